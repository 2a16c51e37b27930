//! The results of a back-test by year and by symbol, and its worst drawdowns.

use super::Results;
use crate::Session;
use crate::over_rows::over_rows;
use crate::rows::{column, numbers, times};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use std::sync::Arc;
use tallow_common::Result;

/// From one peak of an account to the next: where it was highest, lowest, and as high again, if it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Drawdown {
    peak: usize,
    lowest: usize,
    recovered: Option<usize>,
}

/// The drawdowns of an account, in the order of time; `downs` is how far it is below its peak at each instant, as a fraction not above 0.
fn drawdowns(downs: &[f64]) -> Vec<Drawdown> {
    let mut all: Vec<Drawdown> = vec![];
    let mut is_open = false;
    for (at, down) in downs.iter().enumerate() {
        match (*down < 0.0, is_open, all.last_mut()) {
            (true, true, Some(open)) => {
                if *down < downs[open.lowest] {
                    open.lowest = at;
                }
            }
            (true, ..) => all.push(Drawdown { peak: at.saturating_sub(1), lowest: at, recovered: None }),
            (false, true, Some(open)) => open.recovered = Some(at),
            (false, ..) => {}
        }
        is_open = *down < 0.0;
    }
    all
}

impl Results {
    /// One row a year: what the account gained, how deep it fell, and the trades that ended.
    ///
    /// # Errors
    /// They cannot be computed.
    pub async fn by_year(&self, session: &Session) -> Result<RecordBatch> {
        over_rows(session, [&self.equity, &self.trades], |[equity, trades]| {
            format!(
                "select e.year as year, e.total_return as total_return, e.max_drawdown as max_drawdown, e.exposure as exposure,
                   coalesce(t.trades, 0) as trades, t.win_rate as win_rate, t.mean_return as mean_return, t.costs as costs
                 from (
                   select cast(date_part('year', ts) as bigint) as year, total_return(\"return\") as total_return,
                     max_drawdown(\"return\", ts) as max_drawdown, avg(exposure) as exposure
                   from {equity} group by 1
                 ) e left join (
                   select cast(date_part('year', exit_ts) as bigint) as year, count(*) as trades, trade_win_rate(\"return\") as win_rate,
                     avg(\"return\") as mean_return, sum(costs) as costs
                   from {trades} group by 1
                 ) t on e.year = t.year order by e.year"
            )
        })
        .await
    }

    /// One row a symbol that was traded, the largest gain first.
    ///
    /// # Errors
    /// They cannot be computed.
    pub async fn by_symbol(&self, session: &Session) -> Result<RecordBatch> {
        over_rows(session, [&self.trades], |[trades]| {
            format!(
                "select symbol, count(*) as trades, sum(pnl) as pnl, trade_win_rate(\"return\") as win_rate, avg(\"return\") as mean_return,
                   min(\"return\") as worst, max(\"return\") as best, avg(bars) as bars, sum(costs) as costs
                 from {trades} group by symbol order by pnl desc, symbol"
            )
        })
        .await
    }

    /// The deepest drawdowns of the account, at most so many: when it was highest, when lowest, when as high again (null: not yet), how
    /// deep it fell, and how many bars it took.
    ///
    /// # Errors
    /// The account has no drawdowns.
    pub fn worst_drawdowns(&self, most: usize) -> Result<RecordBatch> {
        let (ts, downs) = (times(column(&self.equity, "ts")?)?, numbers(column(&self.equity, "drawdown")?)?);
        let mut worst = drawdowns(&downs);
        worst.sort_by(|a, b| downs[a.lowest].total_cmp(&downs[b.lowest]));
        worst.truncate(most);
        let when = |of: &dyn Fn(&Drawdown) -> Option<usize>| -> ArrayRef {
            let times: TimestampMicrosecondArray = worst.iter().map(|drawdown| of(drawdown).map(|at| ts[at])).collect();
            Arc::new(times.with_timezone("UTC"))
        };
        let end = |drawdown: &Drawdown| drawdown.recovered.unwrap_or(downs.len().saturating_sub(1));
        let bars = worst.iter().map(|drawdown| (end(drawdown) - drawdown.peak) as i64);
        Ok(RecordBatch::try_from_iter([
            ("highest", when(&|drawdown| Some(drawdown.peak))),
            ("lowest", when(&|drawdown| Some(drawdown.lowest))),
            ("recovered", when(&|drawdown| drawdown.recovered)),
            ("drawdown", Arc::new(Float64Array::from_iter_values(worst.iter().map(|d| downs[d.lowest]))) as ArrayRef),
            ("bars", Arc::new(Int64Array::from_iter_values(bars))),
        ])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawdown_lasts_from_a_peak_until_it_is_reached_again() {
        let found = drawdowns(&[0.0, -0.1, -0.3, -0.2, 0.0, 0.0, -0.05]);
        let first = Drawdown { peak: 0, lowest: 2, recovered: Some(4) };
        assert_eq!(found, [first, Drawdown { peak: 5, lowest: 6, recovered: None }]);
        assert_eq!(drawdowns(&[-0.1, 0.0]), [Drawdown { peak: 0, lowest: 0, recovered: Some(1) }]);
        assert_eq!(drawdowns(&[]), []);
    }
}
