//! Requests at the pace that an exchange allows, and again where it asks for patience.

use super::Exchange;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tallow_common::{Code, Error, Result, short};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// How often something is asked for at most.
const TRIES: u32 = 6;
/// An exchange that asks for more patience has banned us.
const LONGEST: Duration = Duration::from_secs(120);
/// An answer takes no longer.
const ANSWER: Duration = Duration::from_secs(30);
/// No answer is larger.
const LARGEST: u64 = 64 << 20;

/// A way to ask an exchange.
pub(super) struct Client<'a> {
    exchange: &'a Exchange,
    http: reqwest::Client,
    base: String,
    wait: Duration,
    /// When the next request may go out.
    next: Mutex<Instant>,
    requests: AtomicU64,
}

/// Why there is no answer.
enum Fault {
    /// It may be asked for again, after so long if that is known.
    Busy(Option<Duration>, String),
    /// It is of no use to ask again.
    Refused(String),
}

impl<'a> Client<'a> {
    pub fn new(exchange: &'a Exchange, base: String, wait: Duration) -> Result<Client<'a>> {
        let agent = concat!("tallow/", env!("CARGO_PKG_VERSION"));
        let http = reqwest::Client::builder().user_agent(agent).timeout(ANSWER).build();
        let http = http.map_err(|error| Error::known(Code::Unavailable, format!("no way to ask {base}: {error}")))?;
        let base = base.trim_end_matches('/').to_string();
        Ok(Client { exchange, http, base, wait, next: Mutex::new(Instant::now()), requests: AtomicU64::new(0) })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// How many requests were sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// The exchange refuses, cannot be reached, or answers something else.
    pub async fn ask(&self, path: &str) -> Result<Value> {
        let mut wait = self.wait;
        for tried in 1..=TRIES {
            self.turn().await;
            let (patience, said) = match self.once(path).await {
                Ok(answer) => return Ok(answer),
                Err(Fault::Refused(said)) => return Err(Error::known(Code::Unavailable, said)),
                Err(Fault::Busy(patience, said)) => (patience, said),
            };
            let patience = patience.unwrap_or(wait);
            if patience > LONGEST {
                let said = format!("{said}: it asks to wait for {} s", patience.as_secs());
                return Err(Error::known(Code::RateLimited, said));
            }
            if tried == TRIES {
                return Err(Error::known(Code::Unavailable, format!("{said}, {TRIES} times")));
            }
            tracing::info!("{said}: asking again in {patience:?}");
            // Whatever else is asked for waits too.
            let mut next = self.next.lock().await;
            *next = (*next).max(Instant::now() + patience);
            wait *= 2;
        }
        Err(Error::known(Code::Unavailable, format!("{} does not answer", self.base)))
    }

    /// Waits until the next request may go out.
    async fn turn(&self) {
        let mut next = self.next.lock().await;
        let at = *next;
        *next = at.max(Instant::now()) + Duration::from_secs(60) / self.exchange.requests_per_minute.max(1);
        drop(next);
        sleep_until(at).await;
    }

    async fn once(&self, path: &str) -> std::result::Result<Value, Fault> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}{path}", self.base);
        let unreached =
            |error: reqwest::Error| Fault::Busy(None, format!("{} cannot be reached: {}", self.base, cause(&error)));
        let answer = self.http.get(&url).send().await.map_err(unreached)?;
        let (status, patience) = (answer.status(), patience(&answer));
        if answer.content_length().is_some_and(|bytes| bytes > LARGEST) {
            return Err(Fault::Refused(format!("{} answers with more than {} MB", self.base, LARGEST >> 20)));
        }
        let text = answer.text().await.map_err(unreached)?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        let said = value.as_ref().and_then(|value| self.exchange.fault(value));
        let words = || said.as_ref().map_or_else(|| short(text.trim()).into_owned(), |(_, said)| said.clone());
        // 418: banned, since it was asked too often before.
        let is_busy = status == StatusCode::TOO_MANY_REQUESTS || status.as_u16() == 418 || status.is_server_error();
        if is_busy {
            return Err(Fault::Busy(patience, format!("{} answers {status}: {}", self.base, words())));
        }
        if !status.is_success() {
            return Err(Fault::Refused(format!("{} answers {status}: {}", self.base, words())));
        }
        match (value, &said) {
            (Some(_), Some((true, said))) => Err(Fault::Busy(patience, format!("{} answers: {said}", self.base))),
            (Some(_), Some((false, said))) => Err(Fault::Refused(format!("{} answers: {said}", self.base))),
            (Some(value), None) => Ok(value),
            (None, _) => {
                Err(Fault::Busy(None, format!("{} answers with something that is no JSON: {}", self.base, words())))
            }
        }
    }
}

/// How long an answer asks to wait.
fn patience(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The innermost cause of an error, which says most.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
