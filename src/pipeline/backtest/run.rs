//! A back-test from its plan to its results.

use super::bars::{Instant, Symbols, instants};
use super::results::{Collected, Results};
use super::{Backtest, summary};
use crate::Session;
use crate::control::{Control, Progress, Unit};
use crate::quoting::{quoted, text};
use crate::relation::{Relation, one, relation};
use crate::rows::{column, numbers, texts, times};
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_udfs::trade::backtest::portfolio::Portfolio;

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

    async fn results(&self, session: &Session, control: &Control) -> Result<Results> {
        let from = relation(session, &self.table).await?;
        let frame = self.bars(session, &from).await?;
        let symbols = Symbols::of(self.lasts(session, &from).await?);
        let closes = match &self.benchmark {
            Some(symbol) => Some(closes(session, &from, symbol).await?),
            None => None,
        };
        let mut batches = session.execute(session.plan(frame).await?)?;
        let (mut portfolio, mut found) = (Portfolio::new(&self.rules, self.plan()), Collected::default());
        let (mut open, mut rows) = (Instant::default(), 0);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            instants(&batch, self, &symbols, &mut open, |instant| {
                found.see(&instant.bars);
                let mark = portfolio.step(instant.ts, &instant.bars, false, &mut found);
                found.mark(instant.ts, mark);
            })?;
            rows += batch.num_rows() as u64;
            (control.progress)(Progress { unit: Unit::Rows, done: rows, total: None, rows });
        }
        if !open.bars.is_empty() {
            found.see(&open.bars);
            let mark = portfolio.step(open.ts, &open.bars, true, &mut found);
            found.mark(open.ts, mark);
        }
        let (trades, equity) = (found.trades(&symbols.names)?, found.equity(self.terms.cash, closes.as_ref())?);
        let summary = summary::of(self, session, &trades, &equity).await?;
        Ok(Results { trades, equity, rejected: found.rejected()?, summary, warnings: found.warnings() })
    }

    /// The symbols, by name, with the time of the last bar of each.
    async fn lasts(&self, session: &Session, from: &Relation) -> Result<Vec<(String, i64)>> {
        let parts = [self.range.from.map(|t| (">=", t)), self.range.to.map(|t| ("<", t))];
        let bounds: String =
            parts.into_iter().flatten().map(|(than, t)| format!(" and ts {than} to_timestamp_micros({t})")).collect();
        let sql = format!(
            "select symbol, max(ts) as last from (select symbol, ts from {} as candles{}) where true{bounds} group by symbol \
             order by symbol",
            from.sql,
            self.among()
        );
        let mut lasts = vec![];
        for batch in session.collect(one(session, &sql).await?).await? {
            lasts.extend(texts(column(&batch, "symbol")?)?.into_iter().zip(times(column(&batch, "last")?)?));
        }
        if let Some(asked) = &self.symbols {
            let there: BTreeSet<&String> = lasts.iter().map(|(symbol, _)| symbol).collect();
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
