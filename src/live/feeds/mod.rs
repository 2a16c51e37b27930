//! Where candles come from.

mod again;
mod exchange;
#[cfg(feature = "firestore")]
mod firestore;
#[cfg(feature = "nats")]
mod nats;
mod ndjson;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod replay;
#[cfg(feature = "servers")]
mod server;
mod stdin;
mod tcp;

pub(crate) use ndjson::Lines;

pub use exchange::OfExchange;
#[cfg(feature = "firestore")]
pub use firestore::FirestoreCollection;
#[cfg(feature = "nats")]
pub use nats::NatsStream;
#[cfg(feature = "postgres")]
pub use postgres::PostgresTable;
#[cfg(feature = "redis")]
pub use redis::RedisStream;
pub use replay::{Replay, Speed};

use crate::core::{Bar, Feed};
use std::collections::HashMap;
use std::path::PathBuf;
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
    /// Where it is in a feed that delivers again what it was not told to be in the lake.
    pub offset: Option<u64>,
    /// Its bar is not closed yet.
    pub is_forming: bool,
}

/// A line that is no candle.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unreadable {
    /// Its number.
    pub line: u64,
    /// What is wrong with it.
    pub error: String,
    /// As that of a candle.
    pub offset: Option<u64>,
}

/// What feeds tell.
#[derive(Debug)]
pub(crate) enum FromFeed {
    /// Lines that were read, in their order.
    Lines(Feed, Vec<Result<Raw, Unreadable>>),
    /// A feed that answers: what became of its candles is told there.
    Opened(Feed, UnboundedSender<Reply>),
    /// A feed that is told up to which offset the lake has what came of it.
    #[cfg_attr(not(feature = "servers"), expect(dead_code, reason = "no feed is"))]
    Acknowledges(Feed, UnboundedSender<u64>),
    /// A connection broke, and is opened again.
    Reconnects,
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
    /// Lines of JSON that are posted to this address.
    Http(String),
    /// Bars of a table of the lake.
    Replay(Replay),
    /// Bars of an exchange, as they close.
    Exchange(OfExchange),
    /// Documents of a collection of Firestore.
    #[cfg(feature = "firestore")]
    Firestore(FirestoreCollection),
    /// Entries of a stream of Redis.
    #[cfg(feature = "redis")]
    Redis(RedisStream),
    /// Messages of a stream of NATS JetStream.
    #[cfg(feature = "nats")]
    Nats(NatsStream),
    /// Rows of a table of Postgres.
    #[cfg(feature = "postgres")]
    Postgres(PostgresTable),
}

/// Kinds of feeds that have a cargo feature, by how their addresses begin.
const FEATURES: [(&str, &str); 6] = [
    ("firestore", "firestore"),
    ("redis", "redis"),
    ("rediss", "redis"),
    ("nats", "nats"),
    ("postgres", "postgres"),
    ("postgresql", "postgres"),
];

impl std::str::FromStr for FeedUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<FeedUrl> {
        let Some((kind, rest)) = text.split_once("://") else {
            return if text == "-" || text == "stdin" { Ok(FeedUrl::Stdin) } else { Err(unknown(text)) };
        };
        let address = || {
            let address = rest.trim_end_matches('/');
            if address.contains(':') { Ok(address.to_string()) } else { Err(unknown(text)) }
        };
        match kind {
            "tcp" => Ok(FeedUrl::Tcp(address()?)),
            "http" => Ok(FeedUrl::Http(address()?)),
            "replay" => Ok(FeedUrl::Replay(rest.parse()?)),
            #[cfg(feature = "firestore")]
            "firestore" => Ok(FeedUrl::Firestore(FirestoreCollection::parse(text)?)),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => Ok(FeedUrl::Redis(RedisStream::parse(text)?)),
            #[cfg(feature = "nats")]
            "nats" => Ok(FeedUrl::Nats(NatsStream::parse(text)?)),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Ok(FeedUrl::Postgres(PostgresTable::parse(text)?)),
            exchange => match FEATURES.iter().find(|(kind, _)| *kind == exchange) {
                Some((_, feature)) => Err(Error::invalid(format!(
                    "feeds from {kind}:// are not in this build: it lacks the cargo feature `{feature}`"
                ))),
                None => Ok(FeedUrl::Exchange(OfExchange::parse(exchange, rest)?)),
            },
        }
    }
}

fn unknown(text: &str) -> Error {
    Error::invalid(format!(
        "'{text}' is no feed: expected `-` (standard input), tcp://HOST:PORT, http://HOST:PORT, replay://TABLE, redis://, nats://, \
         postgres://, firestore://, or an exchange such as binance://BTCUSDT"
    ))
}

impl FeedUrl {
    /// What the position of a feed is recorded by in the lake, where it does not know that itself.
    pub(crate) fn position(&self) -> Option<String> {
        match self {
            #[cfg(feature = "postgres")]
            FeedUrl::Postgres(table) => Some(table.key()),
            _ => None,
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
    /// Whether bars are wanted that are not closed yet.
    pub with_forming: bool,
    /// The name of the run.
    #[cfg_attr(not(feature = "servers"), expect(dead_code, reason = "no feed asks"))]
    pub name: &'a str,
    /// The folder of the run.
    #[cfg_attr(not(feature = "firestore"), expect(dead_code, reason = "no feed asks"))]
    pub folder: PathBuf,
    /// Up to which offset the lake has what came of the feed.
    #[cfg_attr(not(feature = "servers"), expect(dead_code, reason = "no feed asks"))]
    pub after: u64,
    /// Held for as long as a feed has something to tell its server.
    #[cfg_attr(not(feature = "servers"), expect(dead_code, reason = "no feed has"))]
    pub alive: Sender<()>,
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
        // Whoever serves the run hands candles in through its door.
        FeedUrl::Http(_) => {}
        FeedUrl::Tcp(address) => tcp::start(address, feed, session, numbers, into, stop)?,
        FeedUrl::Replay(replay) => replay.start(feed, session, into, stop)?,
        FeedUrl::Exchange(exchange) => exchange.start(feed, session, of, into, stop)?,
        #[cfg(feature = "firestore")]
        FeedUrl::Firestore(collection) => {
            let run = collection.clone().run(of.folder.clone(), feed, into, stop);
            spawn(of, run)?;
        }
        #[cfg(feature = "redis")]
        FeedUrl::Redis(stream) => {
            let run = stream.clone().run(of.name.to_string(), feed, into, stop);
            spawn(of, run)?;
        }
        #[cfg(feature = "nats")]
        FeedUrl::Nats(stream) => {
            let run = stream.clone().run(of.name.to_string(), feed, into, stop);
            spawn(of, run)?;
        }
        #[cfg(feature = "postgres")]
        FeedUrl::Postgres(table) => {
            let run = table.clone().run(of.after, feed, into, stop);
            spawn(of, run)?;
        }
    }
    Ok(feed)
}

/// Runs a feed that still has something to tell its server when the run has ended.
#[cfg(feature = "servers")]
fn spawn(of: &Of<'_>, run: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let alive = of.alive.clone();
    of.session.engine().spawn(async move {
        run.await;
        drop(alive);
    })?;
    Ok(())
}

/// The connections that wait for replies.
#[derive(Default)]
pub(crate) struct Replies(HashMap<Feed, Waiting>);

/// What a connection waits for.
struct Waiting {
    to: UnboundedSender<Reply>,
    /// Its candles that are accepted.
    accepted: u64,
    /// Lines that are not decided on.
    open: u64,
    /// Nothing more comes of it: once all are decided on, it is over.
    is_closed: bool,
}

impl Replies {
    pub fn open(&mut self, feed: Feed, to: UnboundedSender<Reply>) {
        self.0.insert(feed, Waiting { to, accepted: 0, open: 0, is_closed: false });
    }

    /// Lines of a feed came.
    pub fn came(&mut self, feed: Feed, lines: usize) {
        if let Some(of) = self.0.get_mut(&feed) {
            of.open += lines as u64;
        }
    }

    /// Nothing more comes of a feed.
    pub fn close(&mut self, feed: Feed) {
        if let Some(of) = self.0.get_mut(&feed) {
            of.is_closed = true;
            self.end(feed);
        }
    }

    fn end(&mut self, feed: Feed) {
        if self.0.get(&feed).is_some_and(|of| of.is_closed && of.open == 0) {
            self.0.remove(&feed);
        }
    }

    /// Tells a feed how many of its candles are accepted, now that so many more are.
    pub fn accepted(&mut self, feed: Feed, more: u64) {
        if let Some(of) = self.0.get_mut(&feed) {
            of.accepted += more;
            of.open = of.open.saturating_sub(more);
            let _ = of.to.send(Reply::Accepted(of.accepted));
            self.end(feed);
        }
    }

    pub fn rejected(&mut self, feed: Feed, line: u64, error: &str) {
        if let Some(of) = self.0.get_mut(&feed) {
            of.open = of.open.saturating_sub(1);
            let _ = of.to.send(Reply::Rejected { line, error: error.to_string() });
            self.end(feed);
        }
    }
}
