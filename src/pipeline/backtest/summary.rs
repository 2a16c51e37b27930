//! The figures of a back-test, by the aggregates that any SQL can use.

use super::Backtest;
use crate::Session;
use crate::over_rows::over_rows;
use crate::rows::{column, times};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::Result;

const DAY: i64 = 86_400_000_000;
const YEAR: f64 = 365.25 * DAY as f64;
/// Days a year on which markets of a kind are open, weeks and months; what is nearly one of these is one.
const USUAL: [f64; 5] = [252.0, 260.0, 365.0, 52.0, 12.0];

/// One row with every figure.
pub(super) async fn of(
    backtest: &Backtest,
    session: &Session,
    trades: &RecordBatch,
    equity: &RecordBatch,
) -> Result<RecordBatch> {
    let ts = times(column(equity, "ts")?)?;
    let periods = backtest.periods.unwrap_or_else(|| a_year(&ts));
    let with_benchmark = equity.column_by_name("benchmark_return").is_some();
    let found =
        over_rows(session, [trades, equity], |[trades, equity]| figures(periods, with_benchmark, &trades, &equity))
            .await?;
    // What is known without SQL comes first.
    let time = |time: Option<&i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![time.copied()]).with_timezone("UTC"))
    };
    let own = [
        ("first", time(ts.first())),
        ("last", time(ts.last())),
        ("periods", Arc::new(Float64Array::from(vec![periods])) as ArrayRef),
        ("start_equity", Arc::new(Float64Array::from(vec![backtest.terms.cash])) as ArrayRef),
    ];
    let fields = found.schema();
    let rest = fields.fields().iter().map(|f| f.name().as_str()).zip(found.columns().iter().cloned());
    Ok(RecordBatch::try_from_iter(own.into_iter().chain(rest))?)
}

fn figures(periods: f64, with_benchmark: bool, trades: &str, equity: &str) -> String {
    let r = "\"return\"";
    let benchmark = match with_benchmark {
        true => format!(
            ", total_return(benchmark_return) as benchmark_return, beta_to({r}, benchmark_return) as beta,
               alpha_to({r}, benchmark_return, {periods}) as alpha,
               up_capture({r}, benchmark_return, {periods}) as up_capture,
               down_capture({r}, benchmark_return, {periods}) as down_capture"
        ),
        false => String::new(),
    };
    format!(
        "select * from (
           select last_value(equity order by ts) as end_equity, total_return({r}) as total_return, cagr({r}, {periods}) as cagr,
             volatility({r}, {periods}) as volatility, sharpe({r}, {periods}) as sharpe, sortino({r}, {periods}) as sortino,
             calmar({r}, ts, {periods}) as calmar, omega({r}) as omega, max_drawdown({r}, ts) as max_drawdown,
             avg_drawdown({r}, ts) as avg_drawdown, longest_drawdown({r}, ts) as longest_drawdown,
             ulcer_index({r}, ts) as ulcer_index, stability({r}, ts) as stability, tail_ratio({r}) as tail_ratio,
             value_at_risk({r}) as value_at_risk, cvar({r}) as cvar, return_skewness({r}) as skewness, return_kurtosis({r}) as kurtosis,
             probabilistic_sharpe(sharpe({r}, 1.0), cast(count(*) as double), return_skewness({r}), return_kurtosis({r})) as probabilistic_sharpe,
             avg(exposure) as exposure, sum(turnover) / count(*) * {periods} as turnover{benchmark}
           from {equity}
         ) cross join (
           select count(*) as trades, trade_win_rate(\"return\") as trade_win_rate,
             trade_profit_factor(pnl) as trade_profit_factor, trade_expectancy(\"return\") as trade_expectancy,
             trade_payoff(\"return\") as trade_payoff, trade_sqn(\"return\") as trade_sqn, trade_kelly(\"return\") as trade_kelly,
             trade_worst(\"return\") as trade_worst, avg(bars) as trade_bars, sum(costs) as costs
           from {trades}
         )"
    )
}

/// How many of these instants a year has.
pub(crate) fn a_year(ts: &[i64]) -> f64 {
    let (Some(first), Some(last)) = (ts.first(), ts.last()) else { return USUAL[0] };
    let years = (last - first) as f64 / YEAR;
    if years <= 0.0 {
        return USUAL[0];
    }
    let days: BTreeSet<i64> = ts.iter().map(|ts| ts.div_euclid(DAY)).collect();
    let a_day = ts.len() as f64 / days.len() as f64;
    let days = (days.len() as f64 - 1.0) / years;
    let usual = USUAL.into_iter().find(|usual| (days / usual - 1.0).abs() < 0.02).unwrap_or_else(|| days.round());
    (usual * a_day).round().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_has_as_many_bars_as_the_market_is_open() {
        let days = |keep: fn(i64) -> bool, a_day: i64| -> Vec<i64> {
            let day = (0..1461).filter(|day| keep(*day));
            day.flat_map(|day| (0..a_day).map(move |bar| day * DAY + bar * DAY / a_day)).collect()
        };
        assert_eq!(a_year(&days(|_| true, 1)), 365.0);
        assert_eq!(a_year(&days(|_| true, 6)), 2190.0);
        assert_eq!(a_year(&days(|day| day % 7 < 5, 1)), 260.0);
        assert_eq!(a_year(&days(|day| day % 7 == 0, 1)), 52.0);
        assert_eq!(a_year(&days(|day| day % 7 < 5 && day % 45 != 0, 1)), 252.0);
        assert_eq!(a_year(&[]), 252.0);
    }
}
