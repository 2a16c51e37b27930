//! What the feeds from servers have in common: each candle has an offset, and the server is told up to which one the lake has what
//! came of them, so that it delivers the rest again to a run that begins anew.

use super::again::Again;
use super::ndjson::read;
use super::{FromFeed, Raw, Unreadable};
use crate::core::Feed;
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tallow_common::{Error, Result};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Lines that are told of at a time.
pub(super) const AT_A_TIME: usize = 1_000;

/// A server that delivers candles.
pub(super) trait Server: Send + 'static {
    /// How the server names what it delivered, to be told that it need not again.
    type Receipt: Send + 'static;

    /// The offset of what it delivered, which is the so many-th: they only grow.
    fn offset(_: &Self::Receipt, count: u64) -> u64 {
        count
    }

    /// What it is called in messages, without secrets.
    fn name(&self) -> String;

    /// Connects, and until the connection ends both hands on what comes and tells the server what the lake has.
    fn connected(
        &mut self,
        lines: &mut Lines<Self::Receipt>,
        acknowledged: &mut Acknowledged<Self::Receipt>,
    ) -> impl Future<Output = Ended> + Send;
}

/// The address of a server, of which what is the feed's own is taken out.
pub(super) struct Address {
    /// Without it.
    pub server: Url,
    options: HashMap<String, String>,
}

impl Address {
    /// Reads `kind://server?name=value`: these names are the feed's own, others stay with the server.
    pub fn of(text: &str, own: &[&str]) -> Result<Address> {
        let mut server =
            Url::parse(text).map_err(|error| Error::invalid(format!("'{text}' is no address of a server: {error}")))?;
        let (mut options, mut rest) = (HashMap::new(), vec![]);
        for (name, value) in server.query_pairs().into_owned() {
            if own.contains(&name.as_str()) {
                options.insert(name, value);
            } else {
                rest.push((name, value));
            }
        }
        server.set_query(None);
        if !rest.is_empty() {
            server.query_pairs_mut().extend_pairs(rest);
        }
        Ok(Address { server, options })
    }

    /// The same of a server that has no parameters of its own.
    pub fn of_plain(text: &str, own: &[&str]) -> Result<Address> {
        let address = Address::of(text, own)?;
        match address.server.query_pairs().next() {
            Some((name, _)) => {
                let kind = address.server.scheme();
                Err(Error::invalid(format!("'{name}' of a feed {kind}://: expected {}", own.join(", "))))
            }
            None => Ok(address),
        }
    }

    /// Takes an option.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.options.remove(name)
    }

    /// Takes one that has to be there.
    pub fn required(&mut self, name: &str) -> Result<String> {
        self.take(name).ok_or_else(|| {
            let kind = self.server.scheme();
            Error::invalid(format!("a feed {kind}:// names no {name}: expected {name}=.. behind a question mark"))
        })
    }
}

/// Why a connection ended.
pub(super) enum Ended {
    /// The run is over.
    Unwanted,
    Broken(String),
}

impl Ended {
    pub fn broken(error: impl Display) -> Ended {
        Ended::Broken(error.to_string())
    }
}

/// What was delivered and is not in the lake, by offset.
type Receipts<R> = Arc<Mutex<VecDeque<(u64, R)>>>;

/// Where lines go that a server delivers.
pub(super) struct Lines<R> {
    feed: Feed,
    into: Sender<FromFeed>,
    receipts: Receipts<R>,
    offset: fn(&R, u64) -> u64,
    count: u64,
    has_delivered: bool,
}

impl<R> Lines<R> {
    /// How many have come.
    #[cfg(feature = "firestore")]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Hands lines on, each with what the server calls it; whether the run takes more.
    pub async fn put(&mut self, lines: Vec<(R, Vec<u8>)>) -> bool {
        if lines.is_empty() {
            return true;
        }
        let mut all = Vec::with_capacity(lines.len());
        for (receipt, text) in lines {
            self.count += 1;
            let offset = (self.offset)(&receipt, self.count);
            self.receipts.lock().unwrap_or_else(PoisonError::into_inner).push_back((offset, receipt));
            all.push(with_offset(read(&text, self.count), offset));
        }
        self.has_delivered = true;
        self.into.send(FromFeed::Lines(self.feed, all)).await.is_ok()
    }
}

fn with_offset(line: Result<Raw, Unreadable>, offset: u64) -> Result<Raw, Unreadable> {
    match line {
        Ok(raw) => Ok(Raw { offset: Some(offset), ..raw }),
        Err(error) => Err(Unreadable { offset: Some(offset), ..error }),
    }
}

/// What of it the lake has.
pub(super) struct Acknowledged<R> {
    from: UnboundedReceiver<u64>,
    receipts: Receipts<R>,
}

impl<R> Acknowledged<R> {
    /// Waits until there is more; `None`: the run is over.
    pub async fn next(&mut self) -> Option<Vec<R>> {
        let mut through = self.from.recv().await?;
        while let Ok(later) = self.from.try_recv() {
            through = later;
        }
        let mut receipts = self.receipts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = receipts.partition_point(|(offset, _)| *offset <= through);
        Some(receipts.drain(..count).map(|(_, receipt)| receipt).collect())
    }
}

/// Connects again and again until the run is over.
pub(super) async fn run<S: Server>(mut server: S, feed: Feed, into: Sender<FromFeed>, stop: CancellationToken) {
    let (to, from) = unbounded_channel();
    if into.send(FromFeed::Acknowledges(feed, to)).await.is_err() {
        return;
    }
    let receipts = Receipts::default();
    let (of_lines, offset) = (Arc::clone(&receipts), S::offset);
    let mut lines = Lines { feed, into: into.clone(), receipts: of_lines, offset, count: 0, has_delivered: false };
    let mut acknowledged = Acknowledged { from, receipts: Arc::clone(&receipts) };
    let mut again = Again::default();
    while let Ended::Broken(reason) = server.connected(&mut lines, &mut acknowledged).await {
        if std::mem::take(&mut lines.has_delivered) {
            again.reset();
        }
        // What the server was not told to be in the lake it delivers again.
        receipts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let wait = again.next();
        tracing::warn!("{}: {reason}; connecting again in {:.1} s", server.name(), wait.as_secs_f64());
        if into.send(FromFeed::Reconnects).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => break,
        }
    }
    let _ = into.send(FromFeed::Closed(feed)).await;
}
