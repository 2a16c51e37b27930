//! A back-test from its plan to its results.

use super::bars::{HeldBars, Instant, Symbols, instants};
use super::results::{Collected, Results};
use super::{Backtest, summary};
use crate::Session;
use crate::control::{Control, Progress, Unit};
use crate::quoting::{quoted, text};
use crate::relation::{Relation, one, relation};
use crate::rows::{column, numbers, texts, times};
use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::col;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_udfs::calendar::Origin;
use tallow_udfs::trade::backtest::portfolio::{Ledger, Mark, Portfolio};
use tallow_udfs::trade::backtest::weights::Weights;

/// Bars are held where they take at most this share of the memory, and sorted by time otherwise, which can spill to disk.
const HELD_SHARE: usize = 3;

/// What a strategy does with its money.
#[derive(Debug, Clone)]
pub(super) enum Account<'a> {
    OfEntries(Portfolio<'a>),
    OfParts(Weights),
}

impl Account<'_> {
    pub fn step(&mut self, instant: &Instant, is_last: bool, ledger: &mut impl Ledger) -> Mark {
        match self {
            Account::OfEntries(portfolio) => portfolio.step(instant.ts, &instant.bars, is_last, ledger),
            Account::OfParts(weights) => weights.step(instant.ts, &instant.bars, is_last, ledger),
        }
    }

    /// Bars that do not tell what came first, and of which the shorter ones are not known yet.
    fn unclear(&self) -> Vec<(usize, i64)> {
        match self {
            Account::OfEntries(portfolio) => portfolio.unclear().to_vec(),
            Account::OfParts(_) => vec![],
        }
    }
}

impl Backtest {
    /// Runs it.
    ///
    /// # Errors
    /// A formula that does not fit the table, is not of its kind, or looks into the future; symbols that are not there; bars
    /// that cannot be read.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<Results> {
        self.check()?;
        let clock = session.engine().clock()?;
        control.limit(&clock, self.results(session, control)).await
    }

    /// Whether it can be run on the table, without running it; a table that is not there yet tells nothing.
    ///
    /// # Errors
    /// As [`Backtest::run`], before anything is computed.
    pub(crate) async fn try_out(&self, session: &Session) -> Result<()> {
        self.check()?;
        if relation(session, &self.table).await.is_err() {
            return Ok(());
        }
        let (of, from) = self.with_query(session).await?;
        of.bars(session, &from).await.map(|_| ())
    }

    async fn results(&self, session: &Session, control: &Control) -> Result<Results> {
        let (of, bars) = self.with_query(session).await?;
        let frame = of.bars(session, &bars).await?;
        let from = relation(session, &self.table).await?;
        let symbols = Symbols::of(self.lasts(session, &from).await?);
        let closes = match &self.benchmark {
            Some(symbol) => Some(closes(session, &from, symbol).await?),
            None => None,
        };
        let (total, mut rows) = (Some(symbols.bars() as u64), 0);
        let mut progress = |batch: &RecordBatch| {
            rows += batch.num_rows() as u64;
            (control.progress)(Progress { unit: Unit::Rows, done: rows, total, rows });
        };
        let bytes = symbols.bars().saturating_mul(HeldBars::BYTES_PER_BAR);
        let pool = Arc::clone(session.context().task_ctx().memory_pool());
        let reservation = MemoryConsumer::new("bars of a back-test").register(&pool);
        let held = if bytes <= session.engine().memory() / HELD_SHARE && reservation.try_grow(bytes).is_ok() {
            let mut held = HeldBars::of(&symbols);
            let mut batches = session.execute(session.plan(frame.clone()).await?)?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                held.add(&batch, &of, &symbols)?;
                progress(&batch);
            }
            Some(held)
        } else {
            None
        };
        let mut details = of.details(session, &symbols).await?;
        let found = loop {
            let mut account = of.account(session).await?;
            if let (Account::OfEntries(portfolio), Some(details)) = (&mut account, &details) {
                portfolio.with_details(&details.known);
            }
            let mut found = Collected::default();
            let mut step = |instant: &Instant, is_last: bool| {
                found.see(&instant.bars);
                let mark = account.step(instant, is_last, &mut found);
                found.mark(instant.ts, mark);
            };
            if let Some(held) = &held {
                held.replay(step);
            } else {
                let by_time = frame.clone().sort(vec![col("ts").sort(true, false), col("symbol").sort(true, false)])?;
                let mut batches = session.execute(session.plan(by_time).await?)?;
                let mut open = Instant::default();
                while let Some(batch) = batches.next().await {
                    let batch = batch?;
                    instants(&batch, &of, &symbols, &mut open, |instant| step(instant, false))?;
                    progress(&batch);
                }
                if !open.bars.is_empty() {
                    step(&open, true);
                }
            }
            let unclear = account.unclear();
            match &mut details {
                // What they tell changes what comes after, of which others may be unclear then.
                Some(details) if !unclear.is_empty() => details.look_up(session, &unclear).await?,
                _ => break found,
            }
        };
        let mut warnings = found.warnings();
        warnings.extend(details.and_then(|details| details.warning()));
        let (trades, equity) = (found.trades(&symbols.names)?, found.equity(self.terms.cash, closes.as_ref())?);
        let summary = summary::of(self, session, &trades, &equity).await?;
        Ok(Results { trades, equity, rejected: found.rejected()?, summary, warnings })
    }

    /// Its account before the first bar.
    pub(super) async fn account<'a>(&self, session: &Session) -> Result<Account<'a>> {
        let rules = Arc::new(self.rules.clone());
        if self.weight.is_none() {
            return Ok(Account::OfEntries(Portfolio::new(rules, self.terms, self.sizing())));
        }
        let origin: Origin = match session.lake().bars(&self.table).await? {
            Some((_, origin)) => origin.parse()?,
            None => Origin::UTC,
        };
        Ok(Account::OfParts(Weights::new(rules, self.terms, self.rebalance, origin)))
    }

    /// The symbols, by name, with the time of the last bar of each, and how many there are.
    pub(super) async fn lasts(&self, session: &Session, from: &Relation) -> Result<Vec<(String, i64, usize)>> {
        let sql = format!(
            "select symbol, max(ts) as last, count(*) as bars from (select symbol, ts from {} as candles{}) where true{} group by symbol \
             order by symbol",
            from.sql,
            self.among(),
            self.bounds()
        );
        let mut lasts = vec![];
        for batch in session.collect(one(session, &sql).await?).await? {
            let (names, bars) = (texts(column(&batch, "symbol")?)?, numbers(column(&batch, "bars")?)?);
            let times = times(column(&batch, "last")?)?;
            lasts
                .extend(names.into_iter().zip(times).zip(bars).map(|((name, last), bars)| (name, last, bars as usize)));
        }
        if let Some(asked) = &self.symbols {
            let there: BTreeSet<&String> = lasts.iter().map(|(symbol, ..)| symbol).collect();
            let missing: Vec<&str> = asked.iter().filter(|s| !there.contains(s)).map(String::as_str).collect();
            if !missing.is_empty() {
                let said = format!("{} has no bars of {}", from.name, missing.join(", "));
                return Err(Error::not_found(self.in_range(said)));
            }
        }
        if lasts.is_empty() {
            return Err(Error::not_found(self.in_range(format!("{} has no bars", from.name))));
        }
        Ok(lasts)
    }

    /// The times of its bars.
    pub(crate) async fn instants(&self, session: &Session, from: &Relation) -> Result<Vec<i64>> {
        let sql = format!(
            "select distinct ts from (select symbol, ts from {} as candles{}) where true{} order by ts",
            from.sql,
            self.among(),
            self.bounds()
        );
        let mut instants = vec![];
        for batch in session.collect(one(session, &sql).await?).await? {
            instants.extend(times(column(&batch, "ts")?)?);
        }
        Ok(instants)
    }

    fn in_range(&self, said: String) -> String {
        let from = self.range.from.map(|t| format!(" from {}", shown(t))).unwrap_or_default();
        let to = self.range.to.map(|t| format!(" up to {}", shown(t))).unwrap_or_default();
        format!("{said}{from}{to}")
    }
}

/// The closes of a symbol, by time.
async fn closes(session: &Session, from: &Relation, symbol: &str) -> Result<BTreeMap<i64, f64>> {
    let sql = format!(
        "select ts, close from {} as candles where {} = {} and close is not null",
        from.sql,
        quoted("symbol"),
        text(symbol)
    );
    let mut closes = BTreeMap::new();
    for batch in session.collect(one(session, &sql).await?).await? {
        closes.extend(times(column(&batch, "ts")?)?.into_iter().zip(numbers(column(&batch, "close")?)?));
    }
    match closes.is_empty() {
        true => Err(Error::not_found(format!("benchmark '{symbol}': there are no bars of it in {}", from.name))),
        false => Ok(closes),
    }
}
