//! A load for a live run: the bars of a table as lines of JSON on a connection, in order or not.

use crate::core::Feed;
use crate::feeds::{FromFeed, Raw, Replay};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_pipeline::Session;
use tallow_pipeline::random::Random;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc::channel;
use tokio_util::sync::CancellationToken;

/// What is done to bars on the way, each with so many of a thousand; the same seed does the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disorder {
    /// Decides which.
    pub seed: u64,
    /// They are sent twice.
    pub twice: u32,
    /// They are sent after up to a thousand others.
    pub late: u32,
}

/// What was sent, and what became of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sent {
    /// Lines that were sent.
    pub lines: u64,
    /// Of these, such as were sent before.
    pub twice: u64,
    /// Such as were sent after others that follow them.
    pub late: u64,
    /// How many were accepted.
    pub accepted: u64,
    /// How many were not.
    pub rejected: u64,
    /// Why the first of them was not.
    pub reason: Option<String>,
    /// How long it took until all were accepted or rejected.
    pub took: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    symbol: &'a str,
    ts: String,
    open: Option<f64>,
    high: Option<f64>,
    low: Option<f64>,
    close: Option<f64>,
    volume: Option<f64>,
}

/// How far behind a late line is, at most.
const BEHIND: usize = 1_000;

/// Lines in the order in which they are sent.
struct Lines {
    disorder: Disorder,
    random: Random,
    /// Lines that are held, and after how many others they are sent.
    held: VecDeque<(u64, Vec<u8>)>,
    sent: Sent,
}

impl Lines {
    fn add(&mut self, raw: &Raw, out: &mut Vec<u8>) -> Result<()> {
        let [open, high, low, close, volume] = raw.bar.values.map(|value| Some(value).filter(|value| !value.is_nan()));
        let ts = shown(raw.bar.ts);
        let line = Line { symbol: &raw.symbol, ts, open, high, low, close, volume };
        let mut text = serde_json::to_vec(&line).map_err(|error| Error::invalid(error.to_string()))?;
        text.push(b'\n');
        if self.random.below(1_000) < self.disorder.late as usize {
            let after = self.sent.lines + 1 + self.random.below(BEHIND) as u64;
            let at = self.held.partition_point(|(due, _)| *due <= after);
            self.held.insert(at, (after, text));
            self.sent.late += 1;
            return Ok(());
        }
        if self.random.below(1_000) < self.disorder.twice as usize {
            self.put(&text, out);
            self.sent.twice += 1;
        }
        self.put(&text, out);
        while let Some((_, held)) = self.held.pop_front_if(|(due, _)| *due <= self.sent.lines) {
            self.put(&held, out);
        }
        Ok(())
    }

    fn put(&mut self, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(text);
        self.sent.lines += 1;
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        while let Some((_, held)) = self.held.pop_front() {
            self.put(&held, out);
        }
    }
}

/// Sends the bars of a table to `host:port`, and waits until each is accepted or rejected.
///
/// # Errors
/// The table cannot be read, or the connection ends before.
pub async fn load(session: &Arc<Session>, replay: &Replay, address: &str, disorder: Disorder) -> Result<Sent> {
    let named = |error| Error::File(format!("tcp://{address}"), error);
    let stream = TcpStream::connect(address).await.map_err(named)?;
    stream.set_nodelay(true).map_err(named)?;
    let (input, mut output) = stream.into_split();
    let (into, mut from) = channel(16);
    let stop = CancellationToken::new();
    replay.start(Feed(0), session, into, stop.clone())?;
    let begun = Instant::now();
    let mut lines = Lines { disorder, random: Random(disorder.seed), held: VecDeque::new(), sent: Sent::default() };
    let sends = async {
        let mut text = vec![];
        while let Some(told) = from.recv().await {
            match told {
                FromFeed::Lines(_, some) => {
                    some.iter().flatten().try_for_each(|raw| lines.add(raw, &mut text))?;
                }
                FromFeed::Failed(_, error) => return Err(error),
                _ => break,
            }
            output.write_all(&text).await.map_err(named)?;
            text.clear();
        }
        lines.end(&mut text);
        output.write_all(&text).await.map_err(named)?;
        output.shutdown().await.map_err(named)?;
        Ok(lines.sent.clone())
    };
    let hears = async {
        let (mut replies, mut heard) = (BufReader::new(input).lines(), Sent::default());
        while let Some(reply) = replies.next_line().await.map_err(named)? {
            let reply: serde_json::Value = serde_json::from_str(&reply).unwrap_or_default();
            if let Some(accepted) = reply["accepted"].as_u64() {
                heard.accepted = accepted;
            }
            if let Some(error) = reply["error"].as_str() {
                heard.rejected += 1;
                heard.reason.get_or_insert_with(|| error.to_string());
            }
        }
        Ok::<Sent, Error>(heard)
    };
    let (sent, heard) = futures::try_join!(sends, hears)?;
    stop.cancel();
    let answered = heard.accepted + heard.rejected;
    if answered < sent.lines {
        let said = format!("{address} ended the connection after {answered} of {} lines", sent.lines);
        return Err(Error::known(tallow_common::Code::Unavailable, said));
    }
    Ok(Sent {
        took: begun.elapsed(),
        ..Sent { accepted: heard.accepted, rejected: heard.rejected, reason: heard.reason, ..sent }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Bar;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_decides_what_comes_twice_and_late_and_nothing_is_missing() {
        let sent = |seed| {
            let disorder = Disorder { seed, twice: 50, late: 50 };
            let mut lines = Lines { disorder, random: Random(seed), held: VecDeque::new(), sent: Sent::default() };
            let mut text = vec![];
            for ts in 0..5_000 {
                let bar = Bar { ts: ts * 1_000_000, values: [1.0; 5] };
                let raw = Raw {
                    symbol: "A".to_string(),
                    bar,
                    priority: 0,
                    timeframe: None,
                    line: 0,
                    offset: None,
                    is_forming: false,
                };
                lines.add(&raw, &mut text).unwrap();
            }
            lines.end(&mut text);
            (String::from_utf8(text).unwrap(), lines.sent)
        };
        let (text, of) = sent(3);
        assert_eq!((text.clone(), of.clone()), sent(3));
        assert_ne!(text, sent(4).0);
        assert_eq!(text.lines().collect::<BTreeSet<_>>().len(), 5_000);
        assert_eq!(text.lines().count() as u64, of.lines);
        assert_eq!(of.lines, 5_000 + of.twice);
        assert!(of.late > 150 && of.twice > 150, "{of:?}");
    }
}
