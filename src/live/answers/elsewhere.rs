//! Results that go elsewhere, as lines of JSON: to a port that somebody listens on, to a web address, or to a command.
//!
//! A thread delivers them. As long as nobody takes them it tries again, and once many wait, the run waits too: results are late, and
//! not lost. Only a run that ends does not wait for ever.

use super::{Answers, Results, lines};
use crate::run::now;
use crate::watch::Alert;
use serde::Serialize;
use std::io::{Error, ErrorKind, Result, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tallow_common::time::shown;

/// Batches that wait to be delivered; with more, the run waits.
const WAITING: usize = 256;
/// The first wait before delivery is tried again, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long delivery is tried of results that are left when the run has ended.
const LAST: Duration = Duration::from_secs(10);

/// Somebody elsewhere who gets them: a thread, and what it is handed.
pub struct Elsewhere {
    waiting: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Elsewhere {
    /// Whoever listens on `host:port`.
    ///
    /// # Errors
    /// Nobody does.
    pub fn tcp(address: &str) -> Result<Elsewhere> {
        let (address, mut stream) = (address.to_string(), Some(connected(address)?));
        Elsewhere::begin("tcp", move |text: &[u8]| {
            let mut open = match stream.take() {
                Some(open) => open,
                None => connected(&address)?,
            };
            open.write_all(text)?;
            stream = Some(open);
            Ok(())
        })
    }

    /// A web address, which they are posted to.
    ///
    /// # Errors
    /// It is none.
    pub fn webhook(url: &str) -> Result<Elsewhere> {
        let other = |error: reqwest::Error| Error::new(ErrorKind::InvalidInput, error.without_url().to_string());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().map_err(other)?;
        let request = client.post(url).header("content-type", "application/x-ndjson").build().map_err(other)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Elsewhere::begin("webhook", move |text: &[u8]| {
            let mut request = request.try_clone().ok_or_else(|| Error::other("the request cannot be sent again"))?;
            *request.body_mut() = Some(text.to_vec().into());
            let answer = runtime.block_on(client.execute(request));
            answer
                .and_then(reqwest::Response::error_for_status)
                .map(drop)
                .map_err(|error| Error::other(error.without_url().to_string()))
        })
    }

    /// A command of the system's shell, which is run for each batch of them, one after the other.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn command(command: &str) -> Result<Elsewhere> {
        let command = command.to_string();
        Elsewhere::begin("command", move |text: &[u8]| given(&command, text))
    }

    /// Tells what is wrong with a run; what nobody has room for is not waited for.
    pub(crate) fn tell(&mut self, run: &str, alert: &Alert) {
        match serde_json::to_string(&Told { run, time: shown(now()), alert }) {
            Ok(text) => {
                let text = (text + "\n").into_bytes();
                if self.waiting.as_ref().is_none_or(|waiting| waiting.try_send(text).is_err()) {
                    tracing::warn!("too many messages wait to be delivered: one is dropped");
                }
            }
            Err(error) => tracing::warn!("a message cannot be written: {error}"),
        }
    }

    fn begin(name: &'static str, deliver: impl FnMut(&[u8]) -> Result<()> + Send + 'static) -> Result<Elsewhere> {
        let (waiting, from) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name(format!("emit-{name}")).spawn(move || run(&from, deliver))?;
        Ok(Elsewhere { waiting: Some(waiting), thread: Some(thread) })
    }

    fn put(&mut self, text: Vec<u8>) -> Result<()> {
        let waiting = self.waiting.as_ref().ok_or(ErrorKind::BrokenPipe)?;
        waiting.send(text).map_err(|_| Error::from(ErrorKind::BrokenPipe))
    }
}

/// What is told of a run, as a line of JSON.
#[derive(Serialize)]
struct Told<'a> {
    run: &'a str,
    time: String,
    #[serde(flatten)]
    alert: &'a Alert,
}

impl Answers for Elsewhere {
    fn take(&mut self, results: Results<'_>) -> Result<()> {
        self.put(lines(results)?.into_owned())
    }

    fn wants_lines(&self) -> bool {
        true
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.waiting = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connected(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// Runs a command with a text on its standard input.
fn given(command: &str, text: &[u8]) -> Result<()> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = std::process::Command::new(shell).args([flag, command]).stdin(Stdio::piped()).spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text));
    let status = child.wait()?;
    match written {
        // It need not read what it is given.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ if status.success() => Ok(()),
        _ => Err(Error::other(format!("the command ended with {status}"))),
    }
}

/// Delivers one text after the other, each until it is taken; those that are left at the end for a while.
fn run(from: &Receiver<Vec<u8>>, mut deliver: impl FnMut(&[u8]) -> Result<()>) {
    let mut ended: Option<Instant> = None;
    let mut next = None;
    loop {
        let text = match next.take().map_or_else(|| from.recv().map_err(drop), Ok) {
            Ok(text) => text,
            Err(()) => return,
        };
        let mut wait = WAITS.0;
        while let Err(error) = deliver(&text) {
            tracing::warn!("results are not taken, they are tried again in {} ms: {error}", wait.as_millis());
            // Whoever ends the run closes the channel, and what is in it is still delivered.
            if ended.is_none() && next.is_none() {
                next = match from.recv_timeout(wait) {
                    Ok(text) => Some(text),
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => None,
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                        ended = Some(Instant::now());
                        None
                    }
                };
            } else {
                std::thread::sleep(wait);
            }
            if ended.is_some_and(|ended| ended.elapsed() > LAST) {
                tracing::error!(
                    "the run has ended, and results were not taken: they are in the lake if they are kept there"
                );
                return;
            }
            wait = (wait * 2).min(WAITS.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Severity;
    use std::sync::{Arc, Mutex};

    #[test]
    fn what_is_not_taken_is_tried_again_in_order() {
        let taken = Arc::new(Mutex::new(vec![]));
        let (to, mut fails) = (Arc::clone(&taken), 1);
        let mut elsewhere = Elsewhere::begin("test", move |text: &[u8]| {
            if fails > 0 {
                fails -= 1;
                return Err(Error::other("nobody there"));
            }
            to.lock().unwrap().push(text.to_vec());
            Ok(())
        })
        .unwrap();
        for text in ["a", "b", "c"] {
            elsewhere.put(text.into()).unwrap();
        }
        drop(elsewhere);
        assert_eq!(*taken.lock().unwrap(), [b"a", b"b", b"c"]);
    }

    #[test]
    fn a_command_is_told_and_given_results() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("told");
        let alert = Alert { what: "memory".to_string(), severity: Severity::Critical, value: 96.0, limit: 95.0 };
        let mut notice = Elsewhere::command(&format!("cat >> {}", path.display())).unwrap();
        notice.tell("swing", &alert);
        drop(notice);
        let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((told["run"].as_str(), told["severity"].as_str()), (Some("swing"), Some("critical")));
        assert_eq!((told["what"].as_str(), told["value"].as_f64()), (Some("memory"), Some(96.0)));
        // It need not read what it is given, and what it says of itself counts.
        assert!(given("true", &[b'x'; 1 << 20]).is_ok());
        assert!(given("exit 3", b"x").unwrap_err().to_string().contains("exit status: 3"));
    }
}
