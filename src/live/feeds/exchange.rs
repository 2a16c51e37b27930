//! Bars of an exchange over a WebSocket, as they close.
//!
//! Every time that it connects, the bars that were missed are asked for by the exchange's other interface, and told before those
//! that came meanwhile.

use super::again::Again;
use super::{FromFeed, Of, Raw};
use crate::core::{Bar, Feed};
use crate::run::now;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::{Error, Result, short};
use tallow_pipeline::Session;
use tallow_pipeline::fetch::{Exchange, Fetch, Stream, Told};
use tallow_udfs::calendar::{Grid, Origin};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// So long it may take to connect.
const CONNECT: Duration = Duration::from_secs(15);
/// A connection on which nothing comes for so long is given up.
const SILENT: Duration = Duration::from_secs(90);
/// After the end of a bar that the next one would close, so long is waited for it: where nobody trades there is no next.
const GRACE: i64 = 5_000_000;

/// Symbols of an exchange: `binance://BTCUSDT,ETHUSDT?market=usdt-perpetual`.
#[derive(Debug, Clone, PartialEq)]
pub struct OfExchange {
    /// The exchange: a name, or a file.
    pub exchange: String,
    /// Its symbols; none: those that the run knows.
    pub symbols: Vec<String>,
    /// Its market.
    pub market: String,
    /// Another address than its own: that of its stream, and that of its other interface.
    pub url: Option<String>,
    /// See `url`.
    pub base: Option<String>,
}

impl OfExchange {
    /// Reads what stands after `://`.
    ///
    /// # Errors
    /// It is no such text, or there is no such exchange or market.
    pub(super) fn parse(exchange: &str, rest: &str) -> Result<OfExchange> {
        let (symbols, options) = rest.split_once('?').unwrap_or((rest, ""));
        let symbols =
            symbols.split(',').map(str::trim).filter(|symbol| !symbol.is_empty()).map(str::to_string).collect();
        let market = "spot".to_string();
        let mut of = OfExchange { exchange: exchange.to_string(), symbols, market, url: None, base: None };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("market", market)) => of.market = market.to_string(),
                Some(("url", url)) => of.url = Some(url.to_string()),
                Some(("base", base)) => of.base = Some(base.to_string()),
                _ => {
                    return Err(Error::invalid(format!(
                        "'{option}' in {exchange}://{rest}: expected market, url or base"
                    )));
                }
            }
        }
        of.stream()?;
        Ok(of)
    }

    fn stream(&self) -> Result<(Exchange, Stream)> {
        let exchange = Exchange::named(&self.exchange)?;
        let stream = exchange.market(&self.market)?.stream.clone();
        let missing =
            || Error::invalid(format!("the market {} of {} has no stream of bars", self.market, self.exchange));
        Ok((exchange, stream.ok_or_else(missing)?))
    }

    /// Starts the feed; `known` are the symbols that the run knows, with the time of the newest bar of each.
    pub(super) fn start(
        &self,
        feed: Feed,
        session: &Arc<Session>,
        of: &Of<'_>,
        into: Sender<FromFeed>,
        stop: CancellationToken,
    ) -> Result<()> {
        let (timeframe, known) = (of.timeframe, &of.known);
        let (exchange, stream) = self.stream()?;
        let of_stream = stream.intervals.as_ref().map(|intervals| intervals.get(&timeframe.to_string()));
        let interval = match of_stream {
            Some(Some(interval)) => interval.clone(),
            Some(None) => {
                return Err(Error::Argument(
                    "timeframe",
                    format!(" {timeframe}: {} tells of no such bars", self.exchange),
                ));
            }
            None => exchange.interval(timeframe)?.to_string(),
        };
        let mut symbols = self.symbols.clone();
        if symbols.is_empty() {
            symbols = known.keys().cloned().collect();
            symbols.sort();
        }
        if symbols.is_empty() {
            return Err(Error::invalid(format!("{}:// names no symbol, and the lake has none", self.exchange)));
        }
        let mut fetch = Fetch::of(exchange, timeframe);
        fetch.market.clone_from(&self.market);
        fetch.base.clone_from(&self.base);
        let connection = Connection {
            feed,
            url: self.url.clone().unwrap_or_else(|| stream.url.clone()),
            messages: stream.subscriptions(&symbols, &interval),
            newest: symbols.iter().map(|symbol| (symbol.clone(), known.get(symbol).copied())).collect(),
            forming: HashMap::new(),
            stream,
            fetch,
            grid: Grid::new(timeframe, Origin::UTC),
            with_forming: of.with_forming,
            into,
        };
        // Two providers of cryptography are linked, so that rustls has no default of its own.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may be first.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        session.engine().spawn(connection.run(stop))?;
        Ok(())
    }
}

impl FromStr for OfExchange {
    type Err = Error;

    fn from_str(text: &str) -> Result<OfExchange> {
        match text.split_once("://") {
            Some((exchange, rest)) => OfExchange::parse(exchange, rest),
            None => Err(Error::invalid(format!("'{text}' names no exchange: expected one such as binance://BTCUSDT"))),
        }
    }
}

struct Connection {
    feed: Feed,
    url: String,
    messages: Vec<String>,
    stream: Stream,
    fetch: Fetch,
    grid: Grid,
    /// The newest closed bar that was told of each symbol.
    newest: HashMap<String, Option<i64>>,
    /// Whether bars are told of that are not closed yet.
    with_forming: bool,
    /// Bars that the next will close.
    forming: HashMap<String, Told>,
    into: Sender<FromFeed>,
}

/// Why a connection ended.
enum Ended {
    /// Nobody takes what comes.
    Unwanted,
    /// It broke, after bars had come on it or before.
    Broken(String, bool),
}

impl Connection {
    async fn run(mut self, stop: CancellationToken) {
        let mut again = Again::default();
        loop {
            let ended = tokio::select! {
                ended = self.connected() => ended,
                () = stop.cancelled() => break,
            };
            match ended {
                Ended::Unwanted => return,
                Ended::Broken(reason, has_told) => {
                    if has_told {
                        again.reset();
                    }
                    let wait = again.next();
                    tracing::warn!("{}: {reason}; connecting again in {:.1} s", self.url, wait.as_secs_f64());
                    if self.into.send(FromFeed::Reconnects).await.is_err() {
                        return;
                    }
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = stop.cancelled() => break,
                    }
                }
            }
        }
        let _ = self.into.send(FromFeed::Closed(self.feed)).await;
    }

    /// One connection, up to its end.
    async fn connected(&mut self) -> Ended {
        let broken = |error: &dyn std::fmt::Display| Ended::Broken(error.to_string(), false);
        let mut socket = match timeout(CONNECT, tokio_tungstenite::connect_async(self.url.as_str())).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(error)) => return broken(&error),
            Err(_) => return broken(&format!("no connection within {} s", CONNECT.as_secs())),
        };
        for message in &self.messages {
            if let Err(error) = socket.send(Message::text(message.clone())).await {
                return broken(&error);
            }
        }
        self.forming.clear();
        let missed: Vec<(String, i64)> =
            self.newest.iter().filter_map(|(symbol, newest)| Some((symbol.clone(), (*newest)?))).collect();
        let (fetch, grid) = (self.fetch.clone(), self.grid);
        let mut backfill = Box::pin(backfill(fetch, grid, missed));
        // What comes before the bars that were missed are known is held.
        let (mut held, mut is_filled, mut has_told) = (vec![], false, false);
        let mut clock = interval(Duration::from_secs(1));
        let (mut heard, mut pinged) = (Instant::now(), Instant::now());
        loop {
            let ping = self.stream.ping.as_ref().map(|ping| (pinged + Duration::from_secs(ping.seconds), &ping.text));
            let (ping_at, ping_text) =
                ping.map_or((heard + SILENT * 2, String::new()), |(at, text)| (at, text.clone()));
            tokio::select! {
                filled = &mut backfill, if !is_filled => {
                    is_filled = true;
                    let mut bars = filled;
                    bars.append(&mut held);
                    has_told |= !bars.is_empty();
                    if !self.tell(bars).await {
                        return Ended::Unwanted;
                    }
                }
                message = socket.next() => {
                    heard = Instant::now();
                    let text = match message {
                        Some(Ok(Message::Text(text))) => text,
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => continue,
                        Some(Ok(Message::Close(frame))) => {
                            let said = frame.map(|frame| frame.to_string()).unwrap_or_default();
                            return Ended::Broken(format!("the exchange closed the connection {said}"), has_told);
                        }
                        Some(Err(error)) => return Ended::Broken(error.to_string(), has_told),
                        None => return Ended::Broken("the connection ended".to_string(), has_told),
                    };
                    let mut forming = vec![];
                    let closed = self.closed_by(text.as_str(), &mut forming);
                    if !self.tell_as(forming, true).await {
                        return Ended::Unwanted;
                    }
                    if is_filled {
                        has_told |= !closed.is_empty();
                        if !self.tell(closed).await {
                            return Ended::Unwanted;
                        }
                    } else {
                        held.extend(closed);
                    }
                }
                () = sleep_until(heard + SILENT) => {
                    return Ended::Broken(format!("nothing came for {} s", SILENT.as_secs()), has_told);
                }
                () = sleep_until(ping_at), if !ping_text.is_empty() => {
                    pinged = Instant::now();
                    if let Err(error) = socket.send(Message::text(ping_text)).await {
                        return Ended::Broken(error.to_string(), has_told);
                    }
                }
                _ = clock.tick(), if !self.forming.is_empty() && is_filled => {
                    let closed = self.closed_by_the_clock(now());
                    has_told |= !closed.is_empty();
                    if !self.tell(closed).await {
                        return Ended::Unwanted;
                    }
                }
            }
        }
    }

    /// The bars that are closed by a message; those that it tells of and that are not, if they are wanted, go to `forming`.
    fn closed_by(&mut self, text: &str, forming: &mut Vec<Told>) -> Vec<Told> {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return vec![] };
        let bars = match self.stream.bars(&message) {
            Ok(bars) => bars,
            Err(error) => {
                tracing::warn!("{}: {error}, in {}", self.url, short(text));
                return vec![];
            }
        };
        let mut closed = vec![];
        for bar in bars.into_iter().filter(|bar| self.newest.contains_key(&bar.symbol)) {
            if self.with_forming && bar.is_closed != Some(true) {
                forming.push(bar.clone());
            }
            match bar.is_closed {
                Some(true) => closed.push(bar),
                Some(false) => {}
                None => match self.forming.get_mut(&bar.symbol) {
                    Some(known) if known.ts < bar.ts => closed.push(std::mem::replace(known, bar)),
                    Some(known) if known.ts == bar.ts => *known = bar,
                    // The snapshot at the beginning has bars that are closed; so has the backfill.
                    Some(_) => closed.push(bar),
                    None => drop(self.forming.insert(bar.symbol.clone(), bar)),
                },
            }
        }
        closed
    }

    /// Bars that have ended, and that no other closes.
    fn closed_by_the_clock(&mut self, now: i64) -> Vec<Told> {
        let over = |bar: &Told| self.grid.end_of(bar.ts).saturating_add(GRACE) <= now;
        let symbols: Vec<String> =
            self.forming.iter().filter(|(_, bar)| over(bar)).map(|(symbol, _)| symbol.clone()).collect();
        symbols.iter().filter_map(|symbol| self.forming.remove(symbol)).collect()
    }

    /// Tells of closed bars; whether somebody takes them.
    async fn tell(&mut self, bars: Vec<Told>) -> bool {
        self.tell_as(bars, false).await
    }

    async fn tell_as(&mut self, bars: Vec<Told>, is_forming: bool) -> bool {
        if bars.is_empty() {
            return true;
        }
        let mut lines = vec![];
        for Told { symbol, ts, values, .. } in bars {
            if let Some(newest) = self.newest.get_mut(&symbol).filter(|_| !is_forming) {
                *newest = (*newest).max(Some(ts));
            }
            lines.push(Ok(Raw {
                symbol,
                bar: Bar { ts, values },
                priority: 0,
                timeframe: None,
                line: 0,
                offset: None,
                is_forming,
            }));
        }
        self.into.send(FromFeed::Lines(self.feed, lines)).await.is_ok()
    }
}

/// The bars that have closed since the newest that is known of each symbol, in the order of their times. What cannot be had is told of:
/// the run goes on with a hole.
async fn backfill(fetch: Fetch, grid: Grid, missed: Vec<(String, i64)>) -> Vec<Told> {
    let mut bars = vec![];
    for (symbol, newest) in missed {
        let from = grid.bar(newest).1;
        if grid.end_of(from) > now() {
            continue;
        }
        match fetch.since(&symbol, from).await {
            Ok(found) => {
                bars.extend(found.into_iter().filter(|(ts, _)| grid.end_of(*ts) <= now()).map(|(ts, values)| Told {
                    symbol: symbol.clone(),
                    ts,
                    values,
                    is_closed: Some(true),
                }))
            }
            Err(error) => tracing::warn!("{symbol}: bars that were missed cannot be had: {error}"),
        }
    }
    bars.sort_by_key(|bar| bar.ts);
    bars
}
