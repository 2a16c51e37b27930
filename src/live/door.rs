//! How others speak with a run while it goes on.

use crate::feeds::{FromFeed, Lines, Numbers, Reply};
use crate::watch::Status;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tallow_common::{Code, Error, Result};
use tokio::sync::mpsc::{Sender, unbounded_channel};
use tokio::sync::oneshot;

/// What a run is asked.
pub(crate) enum Ask {
    Status(oneshot::Sender<Status>),
    DeadLetters(oneshot::Sender<Vec<Letter>>),
    /// To try dead letters again, of a symbol or all; how many there are is answered.
    Retry(Option<String>, oneshot::Sender<usize>),
    /// To write what is not in the lake; answered once it is.
    Flush(oneshot::Sender<()>),
    /// To forget them.
    Drop(Option<String>, oneshot::Sender<usize>),
}

/// A candle that could not be computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Its symbol.
    pub symbol: String,
    /// The time of its bar.
    pub ts: String,
    /// Open, high, low, close, volume.
    pub bar: [Option<f64>; 5],
    /// Why.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried last.
    pub since: String,
}

/// What became of candles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// How many are kept, whatever happens.
    pub accepted: u64,
    /// Lines that are not, by their numbers from 1, and why.
    pub rejected: Vec<Rejected>,
}

/// A line that was not accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its number, from 1.
    pub line: u64,
    /// Why.
    pub error: String,
}

/// How others speak with a run; clones are the same door.
#[derive(Clone)]
pub struct Door {
    pub(crate) asks: Sender<Ask>,
    pub(crate) into: Sender<FromFeed>,
    pub(crate) numbers: Arc<Numbers>,
}

/// A run answers within this time, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(10);

fn over() -> Error {
    Error::known(Code::Unavailable, "the run has ended")
}

impl Door {
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T> {
        let (to, answer) = oneshot::channel();
        self.asks.send(ask(to)).await.map_err(|_| over())?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|_| over()),
            Err(_) => {
                Err(Error::known(Code::Unavailable, format!("the run does not answer within {} s", PATIENCE.as_secs())))
            }
        }
    }

    /// How the run is doing.
    ///
    /// # Errors
    /// It has ended, or hangs.
    pub async fn status(&self) -> Result<Status> {
        self.ask(Ask::Status).await
    }

    /// Candles that could not be computed.
    ///
    /// # Errors
    /// See [`Door::status`].
    pub async fn dead_letters(&self) -> Result<Vec<Letter>> {
        self.ask(Ask::DeadLetters).await
    }

    /// Tries dead letters again, of a symbol or all; how many there are.
    ///
    /// # Errors
    /// See [`Door::status`].
    pub async fn retry(&self, symbol: Option<String>) -> Result<usize> {
        self.ask(|to| Ask::Retry(symbol, to)).await
    }

    /// Forgets dead letters, of a symbol or all; how many there were.
    ///
    /// # Errors
    /// See [`Door::status`].
    pub async fn drop_letters(&self, symbol: Option<String>) -> Result<usize> {
        self.ask(|to| Ask::Drop(symbol, to)).await
    }

    /// Waits until everything that was computed by now is in the lake, which reads then see.
    ///
    /// # Errors
    /// See [`Door::status`]; also, the lake cannot be written.
    pub async fn flush(&self) -> Result<()> {
        self.ask(Ask::Flush).await
    }

    /// Submits candles as lines of JSON, and waits until each is accepted or rejected.
    ///
    /// # Errors
    /// The run has ended.
    pub async fn submit(&self, text: &[u8]) -> Result<Submitted> {
        let (mut lines, mut read) = (Lines::default(), vec![]);
        lines.push(text, &mut read);
        lines.end(&mut read);
        let count = read.len() as u64;
        let (feed, (to, mut replies)) = (self.numbers.next(), unbounded_channel());
        let send = |message| async { self.into.send(message).await.map_err(|_| over()) };
        send(FromFeed::Opened(feed, to)).await?;
        send(FromFeed::Lines(feed, read)).await?;
        let mut submitted = Submitted::default();
        while submitted.accepted + (submitted.rejected.len() as u64) < count {
            match replies.recv().await.ok_or_else(over)? {
                Reply::Accepted(accepted) => submitted.accepted = accepted,
                Reply::Rejected { line, error } => submitted.rejected.push(Rejected { line, error }),
            }
        }
        send(FromFeed::Closed(feed)).await?;
        Ok(submitted)
    }
}
