//! Where candles come from.

mod exchange;
mod ndjson;
mod replay;
mod stdin;
mod tcp;

pub use exchange::OfExchange;
pub use replay::{Replay, Speed};

use crate::core::{Bar, Feed};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tallow_common::{Error, Result};
use tallow_pipeline::Session;
use tallow_udfs::calendar::Timeframe;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio_util::sync::CancellationToken;

/// A candle as a feed reads it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raw {
    /// Its symbol.
    pub symbol: String,
    /// The bar.
    pub bar: Bar,
    /// From 0, the lowest, to 10.
    pub priority: u8,
    /// The length of its bar, where the feed names it.
    pub timeframe: Option<String>,
    /// The line of the feed that it stands in.
    pub line: u64,
}

/// A line that is no candle.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unreadable {
    /// Its number.
    pub line: u64,
    /// What is wrong with it.
    pub error: String,
}

/// What feeds tell.
#[derive(Debug)]
pub(crate) enum FromFeed {
    /// Lines that were read, in their order.
    Lines(Feed, Vec<Result<Raw, Unreadable>>),
    /// A feed that answers: what became of its candles is told there.
    Opened(Feed, UnboundedSender<Reply>),
    /// Nothing more comes of a feed, or, of one that was opened by another, of this connection.
    Closed(Feed),
    /// A feed cannot go on.
    Failed(Feed, Error),
}

/// What a feed is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// So many candles are accepted, of all that came on this connection.
    Accepted(u64),
    /// A line was not.
    Rejected {
        /// The line.
        line: u64,
        /// Why.
        error: String,
    },
}

/// A feed, as it is named.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedUrl {
    /// Lines of JSON on standard input.
    Stdin,
    /// Lines of JSON on connections to this address.
    Tcp(String),
    /// Bars of a table of the lake.
    Replay(Replay),
    /// Bars of an exchange, as they close.
    Exchange(OfExchange),
}

impl std::str::FromStr for FeedUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<FeedUrl> {
        match text.split_once("://") {
            None if text == "-" || text == "stdin" => Ok(FeedUrl::Stdin),
            Some(("tcp", address)) if address.contains(':') => Ok(FeedUrl::Tcp(address.to_string())),
            Some(("replay", rest)) => Ok(FeedUrl::Replay(rest.parse()?)),
            Some((exchange, rest)) if exchange != "tcp" => Ok(FeedUrl::Exchange(OfExchange::parse(exchange, rest)?)),
            _ => Err(Error::invalid(format!(
                "'{text}' is no feed: expected `-` (standard input), tcp://HOST:PORT, replay://TABLE, or an exchange such as \
                 binance://BTCUSDT"
            ))),
        }
    }
}

/// Numbers for feeds and connections.
#[derive(Default)]
pub(crate) struct Numbers(Mutex<u32>);

impl Numbers {
    pub fn next(&self) -> Feed {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        Feed(*next)
    }
}

/// What a feed has to know of the run.
pub(crate) struct Of<'a> {
    pub session: &'a Arc<Session>,
    pub timeframe: Timeframe,
    /// The newest bar of each symbol that is known.
    pub known: HashMap<String, i64>,
}

/// Starts a feed.
pub(crate) fn start(
    url: &FeedUrl,
    of: &Of<'_>,
    numbers: &Arc<Numbers>,
    into: Sender<FromFeed>,
    stop: CancellationToken,
) -> Result<Feed> {
    let (feed, session) = (numbers.next(), of.session);
    match url {
        FeedUrl::Stdin => stdin::start(feed, into)?,
        FeedUrl::Tcp(address) => tcp::start(address, feed, session, numbers, into, stop)?,
        FeedUrl::Replay(replay) => replay.start(feed, session, into, stop)?,
        FeedUrl::Exchange(exchange) => exchange.start(feed, session, of.timeframe, &of.known, into, stop)?,
    }
    Ok(feed)
}

/// The connections that wait for replies, and what of their candles is accepted.
#[derive(Default)]
pub(crate) struct Replies(HashMap<Feed, (UnboundedSender<Reply>, u64)>);

impl Replies {
    pub fn open(&mut self, feed: Feed, to: UnboundedSender<Reply>) {
        self.0.insert(feed, (to, 0));
    }

    pub fn close(&mut self, feed: Feed) {
        self.0.remove(&feed);
    }

    /// Tells a feed how many of its candles are accepted, now that so many more are.
    pub fn accepted(&mut self, feed: Feed, more: u64) {
        if let Some((to, count)) = self.0.get_mut(&feed) {
            *count += more;
            let _ = to.send(Reply::Accepted(*count));
        }
    }

    pub fn rejected(&self, feed: Feed, line: u64, error: &str) {
        if let Some((to, _)) = self.0.get(&feed) {
            let _ = to.send(Reply::Rejected { line, error: error.to_string() });
        }
    }
}
