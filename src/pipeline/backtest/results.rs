//! What a back-test gives: trades, the account at every instant, what did not happen, and a summary.

use super::bootstrap::Bootstrap;
use crate::rows;
use arrow::array::{ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::Result;
use tallow_common::time::timestamp_type;
use tallow_udfs::trade::backtest::account::Rejected;
use tallow_udfs::trade::backtest::portfolio::{Ledger, Mark, SymbolBar};
use tallow_udfs::trade::backtest::simulate::Trade;
use tallow_udfs::trade::backtest::{Reason, Side};

/// What a back-test gives.
#[derive(Debug, Clone)]
pub struct Results {
    /// Positions that were left: symbol, side, times and prices of entry and exit, bars, quantity, pnl, return, mfe, mae, costs,
    /// reason.
    pub trades: RecordBatch,
    /// The account at every instant: ts, cash, value, equity, return, drawdown, exposure, turnover, positions, and the return of
    /// the benchmark where there is one.
    pub equity: RecordBatch,
    /// Entries that did not happen: reason, count.
    pub rejected: RecordBatch,
    /// One row with every figure.
    pub summary: RecordBatch,
    /// What is allowed in the strategy and probably not meant.
    pub warnings: Vec<String>,
}

impl Results {
    /// The Sharpe ratio of a year; `None`: the account did not move.
    ///
    /// # Errors
    /// The summary has none.
    pub fn sharpe(&self) -> Result<Option<f64>> {
        let sharpe = rows::numbers(rows::column(&self.summary, "sharpe")?)?;
        Ok(sharpe.first().copied().filter(|sharpe| sharpe.is_finite()))
    }

    /// What its trades may come to when they are drawn anew, so many times.
    ///
    /// # Errors
    /// The trades have no gains.
    pub fn bootstrap(&self, cash: f64, runs: usize, seed: u64) -> Result<Option<Bootstrap>> {
        let pnl = rows::numbers(rows::column(&self.trades, "pnl")?)?;
        Ok(Bootstrap::of(&pnl, cash, runs, seed))
    }
}

/// Collects what happens.
#[derive(Default)]
pub(super) struct Collected {
    trades: Vec<(usize, Trade)>,
    rejected: BTreeMap<usize, i64>,
    marks: Vec<(i64, Mark)>,
    /// Bars with an entry signal, or a part of the account.
    wanted: u64,
    /// Those of them whose stop is on the wrong side of the price.
    beyond_stop: u64,
}

impl Ledger for Collected {
    fn left(&mut self, symbol: usize, trade: &Trade) {
        self.trades.push((symbol, *trade));
    }

    fn rejected(&mut self, _: usize, why: Rejected) {
        *self.rejected.entry(why as usize).or_default() += 1;
    }
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    let mut times = TimestampMicrosecondBuilder::new().with_data_type(timestamp_type());
    values.for_each(|time| times.append_value(time));
    Arc::new(times.finish())
}

fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    let mut numbers = Float64Builder::new();
    values.for_each(|number| numbers.append_option(number.filter(|n| n.is_finite())));
    Arc::new(numbers.finish())
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    let mut integers = Int64Builder::new();
    values.for_each(|number| integers.append_value(number));
    Arc::new(integers.finish())
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    let mut texts = StringBuilder::new();
    values.for_each(|text| texts.append_value(text));
    Arc::new(texts.finish())
}

impl Collected {
    pub fn mark(&mut self, ts: i64, mark: Mark) {
        self.marks.push((ts, mark));
    }

    /// Looks at the signals of an instant.
    pub fn see(&mut self, bars: &[SymbolBar]) {
        for SymbolBar { bar, order, .. } in bars {
            if !order.enters() {
                self.wanted += u64::from(order.size.is_finite() && order.size != 0.0);
                continue;
            }
            self.wanted += 1;
            let side = if order.signals.enter_long { Side::Long } else { Side::Short };
            let is_beyond = order.bracket.stop_distance(bar.close, side).is_some_and(|away| away <= 0.0);
            self.beyond_stop += u64::from(is_beyond);
        }
    }

    /// What is probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = vec![];
        if self.wanted == 0 {
            warnings.push("no trade: nothing was to be entered at any bar".to_string());
        } else if self.trades.is_empty() && self.marks.last().is_none_or(|(_, mark)| mark.positions == 0) {
            warnings.push(format!("no trade: of {} entries none could be filled", self.wanted));
        }
        if self.beyond_stop > 0 {
            let (beyond, all) = (self.beyond_stop, self.wanted);
            warnings.push(format!(
                "{beyond} of {all} entries have a stop on the wrong side of their close, where it is left at once: a stop lies \
                 below the price of what is bought, and above that of what is sold short"
            ));
        }
        warnings
    }

    pub fn trades(&self, names: &[String]) -> Result<RecordBatch> {
        let of = |number: fn(&Trade) -> f64| numbers(self.trades.iter().map(move |(_, trade)| Some(number(trade))));
        let ts = |row: usize| self.marks.get(row).map_or(0, |(ts, _)| *ts);
        let sides = self.trades.iter().map(|(_, t)| if t.side == Side::Long { "long" } else { "short" });
        Ok(RecordBatch::try_from_iter([
            ("symbol", texts(self.trades.iter().map(|(symbol, _)| names[*symbol].as_str()))),
            ("side", texts(sides)),
            ("entry_ts", times(self.trades.iter().map(|(_, trade)| ts(trade.entry_row)))),
            ("entry_price", of(|trade| trade.entry_price)),
            ("exit_ts", times(self.trades.iter().map(|(_, trade)| ts(trade.exit_row)))),
            ("exit_price", of(|trade| trade.exit_price)),
            ("bars", integers(self.trades.iter().map(|(_, trade)| i64::from(trade.bars)))),
            ("quantity", of(|trade| trade.quantity)),
            ("pnl", of(|trade| trade.pnl)),
            ("return", of(|trade| trade.gain)),
            ("mfe", of(|trade| trade.mfe)),
            ("mae", of(|trade| trade.mae)),
            ("costs", of(|trade| trade.costs)),
            ("reason", texts(self.trades.iter().map(|(_, trade)| Reason::NAMES[trade.reason as usize]))),
        ])?)
    }

    /// `closes`: those of the benchmark, by time.
    pub fn equity(&self, cash: f64, closes: Option<&BTreeMap<i64, f64>>) -> Result<RecordBatch> {
        let of = |number: fn(&Mark) -> f64| numbers(self.marks.iter().map(move |(_, mark)| Some(number(mark))));
        let before = std::iter::once(cash).chain(self.marks.iter().map(|(_, mark)| mark.equity));
        let returns = self
            .marks
            .iter()
            .zip(before)
            .map(|((_, mark), before)| Some(if before > 0.0 { mark.equity / before - 1.0 } else { 0.0 }));
        let drawdowns = self.marks.iter().scan(cash, |highest, (_, mark)| {
            *highest = highest.max(mark.equity);
            Some(Some(mark.equity / *highest - 1.0))
        });
        let mut columns = vec![
            ("ts", times(self.marks.iter().map(|(ts, _)| *ts))),
            ("cash", of(|mark| mark.cash)),
            ("value", of(|mark| mark.value)),
            ("equity", of(|mark| mark.equity)),
            ("return", numbers(returns)),
            ("drawdown", numbers(drawdowns)),
            ("exposure", of(|mark| mark.exposure)),
            ("turnover", of(|mark| mark.turnover)),
            ("positions", integers(self.marks.iter().map(|(_, mark)| mark.positions as i64))),
        ];
        if let Some(closes) = closes {
            let returns = self.marks.iter().scan(None, |last: &mut Option<f64>, (ts, _)| {
                let close = closes.get(ts).copied().or(*last);
                let gained = close.zip(*last).map(|(close, last)| close / last - 1.0);
                *last = close;
                Some(gained.or(Some(0.0)))
            });
            columns.push(("benchmark_return", numbers(returns)));
        }
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    pub fn rejected(&self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_from_iter([
            ("reason", texts(self.rejected.keys().map(|why| Rejected::NAMES[*why]))),
            ("count", integers(self.rejected.values().copied())),
        ])?)
    }
}
