//! `Fetch`: the history of an exchange's candles, by its public interface, merged into the lake.

mod client;
mod exchange;
mod streams;

pub use exchange::{Answer, Exchange, Listing, Market};
pub use streams::{Closed, Fields, Ping, Stream, Told};

use super::control::{Control, Progress, Unit};
use super::ingest::Ingest;
use super::outcome::Skipped;
use super::quoting::texts as quoted_texts;
use super::relation::one;
use super::rows::{column, texts, times};
use crate::Session;
use client::Client;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tallow_common::{Error, Result};
use tallow_lake::{IngestOptions, IngestSummary};
use tallow_udfs::calendar::{Grid, Origin, Timeframe};

/// Pages without a bar after which history is taken to begin.
const EMPTY_PAGES: usize = 3;
/// Symbols that are asked for at the same time.
const AT_ONCE: usize = 4;
/// For so long a list of symbols is not asked for again.
const LIST_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// From where.
    pub exchange: Exchange,
    /// Which of its markets.
    pub market: String,
    /// Scheme and host in place of the market's own, such as those of a proxy.
    pub base: Option<String>,
    /// Length of the bars.
    pub timeframe: Timeframe,
    /// As the exchange calls them; `None`: all of the market.
    pub symbols: Option<Vec<String>>,
    /// The first instant; `None`: from the newest bars that the lake has, or else from the beginning.
    pub from: Option<i64>,
    /// Up to this instant; `None`: now.
    pub to: Option<i64>,
    /// How many of the newest bars that the lake has are fetched again: the last of them may have been restated.
    pub again: u32,
    /// Where lists of symbols are kept for a day.
    pub cache: Option<PathBuf>,
    /// How long the first wait is before something is asked for again; it doubles.
    pub wait: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// Symbols whose bars were fetched.
    pub symbols: usize,
    /// Requests that were answered.
    pub requests: u64,
    /// What the lake made of the bars; `None`: there were none.
    pub ingested: Option<IngestSummary>,
    /// Symbols that could not be fetched, and why.
    pub skipped: Vec<Skipped>,
}

impl Fetch {
    /// Spot bars up to now, from where the lake ends.
    pub fn of(exchange: Exchange, timeframe: Timeframe) -> Fetch {
        Fetch {
            exchange,
            market: "spot".to_string(),
            base: None,
            timeframe,
            symbols: None,
            from: None,
            to: None,
            again: 3,
            cache: None,
            wait: Duration::from_secs(1),
        }
    }

    /// Fetches the bars of each symbol, page by page from the newest back, and merges those that have ended into the lake, in one
    /// commit. A symbol that cannot be fetched does not stop the others; of an interrupted one, nothing is taken.
    ///
    /// # Errors
    /// An unknown market or timeframe; no symbol can be fetched.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<Fetched> {
        let market = self.exchange.market(&self.market)?;
        self.exchange.interval(self.timeframe)?;
        let base = self.base.clone().unwrap_or_else(|| market.base.clone());
        let client = Client::new(&self.exchange, base, self.wait)?;
        let symbols = match &self.symbols {
            Some(symbols) => symbols.clone(),
            None => self.all(&client, market).await?,
        };
        let lasts = self.lasts(session, &symbols).await?;
        let folder = tempfile::tempdir().map_err(|error| Error::File("the temporary folder".to_string(), error))?;
        let (done, total, rows) = (AtomicU64::new(0), Some(symbols.len() as u64), AtomicU64::new(0));
        let fetched = stream::iter(symbols.iter().enumerate().map(|(at, symbol)| {
            let (client, done, rows) = (&client, &done, &rows);
            let place = folder.path().join(format!("{at:06}"));
            let last = lasts.get(symbol).copied();
            async move {
                let pages = match control.cancel.is_cancelled() {
                    true => Err(Error::invalid("interrupted")),
                    false => self.pages(client, market, symbol, last, &place, control).await,
                };
                if pages.is_err() {
                    // What is there has a hole before it.
                    let _ = std::fs::remove_dir_all(&place);
                }
                let bars = *pages.as_ref().unwrap_or(&0);
                let rows = rows.fetch_add(bars, Ordering::Relaxed) + bars;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (control.progress)(Progress { unit: Unit::Rows, done, total, rows });
                (symbol.clone(), pages)
            }
        }));
        let fetched: Vec<(String, Result<u64>)> = fetched.buffered(AT_ONCE).collect().await;
        let mut found = Fetched { requests: client.requests(), ..Fetched::default() };
        let mut bars = 0;
        for (symbol, pages) in fetched {
            match pages {
                Ok(of_symbol) => {
                    found.symbols += 1;
                    bars += of_symbol;
                }
                Err(error) => found.skipped.push(Skipped { symbol, reason: error.to_string() }),
            }
        }
        if found.symbols == 0
            && let Some(first) = found.skipped.first()
        {
            let many = if found.skipped.len() > 1 {
                format!(" (and {} others)", found.skipped.len() - 1)
            } else {
                String::new()
            };
            return Err(Error::invalid(format!("{}: {}{many}", first.symbol, first.reason)));
        }
        if bars > 0 {
            let sources = vec![format!("{}/**/*.csv", folder.path().display())];
            let options = IngestOptions { sources, columns: Some(market.header()), ..IngestOptions::default() };
            let ingest = Ingest { timeframe: self.timeframe, options };
            found.ingested = Some(ingest.run(session, &Control::default()).await?.0);
        }
        Ok(found)
    }

    /// The bars of a symbol that began at or after a time, in order, without merging them into the lake: open, high, low, close and
    /// volume. One that has not ended may be among them.
    ///
    /// # Errors
    /// The exchange does not answer, or not as it should.
    pub async fn since(&self, symbol: &str, from: i64) -> Result<Vec<(i64, [f64; 5])>> {
        let market = self.exchange.market(&self.market)?;
        let client = Client::new(&self.exchange, self.base.clone().unwrap_or_else(|| market.base.clone()), self.wait)?;
        let folder = tempfile::tempdir().map_err(|error| Error::File("the temporary folder".to_string(), error))?;
        let of_symbol = Fetch { from: Some(from), ..self.clone() };
        of_symbol.pages(&client, market, symbol, None, folder.path(), &Control::default()).await?;
        let header = market.header();
        let at = |name: &str| header.iter().position(|column| column == name).unwrap_or_default();
        let places = ["open", "high", "low", "close", "volume"].map(at);
        let (ts, mut bars) = (at("ts"), BTreeMap::new());
        let pages =
            std::fs::read_dir(folder.path()).map_err(|e| Error::File(folder.path().display().to_string(), e))?;
        for page in pages.flatten() {
            let text = std::fs::read_to_string(page.path()).map_err(|e| Error::File("a page".to_string(), e))?;
            for line in text.lines() {
                // The symbol is quoted, and may hold what separates fields.
                let values: Vec<&str> = line.rsplit(',').take(header.len() - 1).collect();
                let value =
                    |column: usize| values.iter().rev().nth(column.wrapping_sub(1)).copied().unwrap_or_default();
                let number = |column: usize| value(column).parse().unwrap_or(f64::NAN);
                if let Some(ts) = tallow_common::time::parse(value(ts)).filter(|ts| *ts >= from) {
                    bars.insert(ts, places.map(number));
                }
            }
        }
        Ok(bars.into_iter().collect())
    }

    /// The pages of a symbol, newest first, into files whose order is that of time. How many bars they have.
    async fn pages(
        &self,
        client: &Client<'_>,
        market: &Market,
        symbol: &str,
        last: Option<i64>,
        folder: &Path,
        control: &Control,
    ) -> Result<u64> {
        let interval = self.exchange.interval(self.timeframe)?;
        let failed = |error| Error::File(folder.display().to_string(), error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let grid = Grid::new(self.timeframe, Origin::UTC);
        let now = self.to.unwrap_or_else(|| chrono::Utc::now().timestamp_micros());
        let first = match (self.from, last) {
            (Some(from), _) => Some(from),
            (None, Some(last)) => Some((0..self.again).fold(last, |ts, _| grid.bar(ts - 1).0)),
            (None, None) => None,
        };
        let (mut end, mut empty, mut bars) = (grid.bar(now - 1).1, 0, 0);
        // Files are numbered down, since the newest comes first.
        for number in (0..1_000_000u32).rev() {
            if control.cancel.is_cancelled() {
                return Err(Error::invalid("interrupted"));
            }
            if end <= 0 || first.is_some_and(|first| end <= first) {
                break;
            }
            let begin =
                (0..market.limit).fold(end, |ts, _| grid.bar(ts - 1).0).max(first.map_or(0, |first| grid.bar(first).0));
            let answer = client.ask(&market.page(symbol, interval, (begin / 1000, end / 1000))).await?;
            let lines = market.lines(symbol, &answer)?;
            empty = if lines.is_empty() { empty + 1 } else { 0 };
            if !lines.is_empty() {
                bars += lines.len() as u64;
                std::fs::write(folder.join(format!("{number:07}.csv")), lines.join("\n") + "\n").map_err(failed)?;
            }
            if market.newest_only || (first.is_none() && empty >= EMPTY_PAGES) {
                break;
            }
            end = begin;
        }
        Ok(bars)
    }

    /// All symbols of the market, as they were in the last day.
    async fn all(&self, client: &Client<'_>, market: &Market) -> Result<Vec<String>> {
        let name: String =
            client.base().chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '_' }).collect();
        let kept = self.cache.as_ref().map(|folder| folder.join(format!("symbols_{name}_{}.json", self.market)));
        let is_fresh = |file: &PathBuf| {
            let age = file.metadata().ok()?.modified().ok()?.elapsed().ok()?;
            (age < LIST_KEPT).then_some(())
        };
        if let Some(file) = kept.as_ref().filter(|file| is_fresh(file).is_some())
            && let Ok(text) = std::fs::read_to_string(file)
            && let Ok(symbols) = serde_json::from_str(&text)
        {
            return Ok(symbols);
        }
        let symbols = market.symbols.names(&client.ask(&market.symbols.path).await?)?;
        if symbols.is_empty() {
            return Err(Error::not_found("the exchange lists no symbol of this market".to_string()));
        }
        if let (Some(file), Ok(text)) = (kept, serde_json::to_string(&symbols)) {
            // A list that cannot be kept is asked for again.
            let _ = file.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(file, text);
        }
        Ok(symbols)
    }

    /// The newest bar that the lake has of each symbol.
    async fn lasts(&self, session: &Session, symbols: &[String]) -> Result<BTreeMap<String, i64>> {
        if self.from.is_some() || !session.lake().timeframes().contains(&self.timeframe) {
            return Ok(BTreeMap::new());
        }
        let sql = format!(
            "select symbol, max(ts) as last from candles_{} where symbol in ({}) group by symbol",
            self.timeframe,
            quoted_texts(symbols)
        );
        let mut lasts = BTreeMap::new();
        for batch in session.collect(one(session, &sql).await?).await? {
            lasts.extend(texts(column(&batch, "symbol")?)?.into_iter().zip(times(column(&batch, "last")?)?));
        }
        Ok(lasts)
    }
}
