//! The page of a back-test.

use super::data::charts_of_trades;
use super::drawing::month;
use super::{Body, Columns, Figure, HeatMap, Lines, Page, Pane, PaneStyle, Section, source};
use crate::Session;
use crate::backtest::{Backtest, Options, Results, figures_in_words};
use crate::rows::{column, numbers, times};
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use tallow_common::Result;
use tallow_common::time::shown;

/// Drawdowns that are listed.
const WORST: usize = 10;

/// The page of a back-test whose strategy was typed like this, with charts of at most so many trades.
///
/// # Errors
/// Candles cannot be read.
pub async fn backtest_page(
    session: &Session,
    backtest: &Backtest,
    typed: &Options,
    results: &Results,
    charts: usize,
) -> Result<Page> {
    let given = [
        ("symbols", backtest.symbols.as_ref().map(|symbols| symbols.join(", "))),
        ("from", backtest.range.from.map(shown)),
        ("to", backtest.range.to.map(shown)),
        ("benchmark", backtest.benchmark.clone()),
    ];
    let given = given.into_iter().filter_map(|(name, text)| Some((name.to_string(), text?)));
    let typed: Vec<_> = typed.iter().map(|(name, text)| (name.replace('_', " "), text.to_string())).collect();
    let entry = backtest.entry.as_ref().or(backtest.short_entry.as_ref());
    let facts = figures_in_words(&results.summary).into_iter().flatten();
    let facts = facts.map(|(words, figure)| (words.to_string(), figure)).collect();
    let drawn = vec![Figure::Lines(account(backtest, results)?), Figure::HeatMap(months(&results.equity)?)];
    let gains = numbers(column(&results.trades, "return")?)?;
    let distribution = Columns {
        title: "Gains of trades".to_string(),
        subtitle: "trades by their return; the first and the last column hold what lies beyond".to_string(),
        is_percent: true,
        ..Columns::of(&gains, None)
    };
    let charts = charts_of_trades(session, &results.trades, &backtest.table, charts).await?;
    let sections = [
        Some(Section { heading: "Figures".to_string(), body: Body::Facts(facts) }),
        Section::figures("Account", drawn),
        Section::figures("Trades", if gains.is_empty() { vec![] } else { vec![Figure::Columns(distribution)] }),
        Some(Section::table("Years", results.by_year(session).await?)),
        Some(Section::table("Deepest drawdowns", results.worst_drawdowns(WORST)?)),
        Some(Section::table("Symbols", results.by_symbol(session).await?)),
        Section::figures("The best and the worst trades", charts),
        Some(Section::table("All trades", results.trades.clone())),
        (results.rejected.num_rows() > 0)
            .then(|| Section::table("Entries that did not happen", results.rejected.clone())),
    ];
    Ok(Page {
        title: entry.map_or_else(|| "Back-test".to_string(), |entry| format!("Back-test: {entry}")),
        parameters: typed.into_iter().chain(given).collect(),
        sources: vec![source(session, &backtest.table).await?],
        notes: results.warnings.clone(),
        sections: sections.into_iter().flatten().collect(),
    })
}

/// The account over time, beside the benchmark; below it how deep it fell, and how much of it was in positions.
fn account(backtest: &Backtest, results: &Results) -> Result<Lines> {
    let of = |name: &str| numbers(column(&results.equity, name)?);
    let mut growth = vec![("account".to_string(), of("equity")?)];
    if let (Some(symbol), Ok(returns)) = (&backtest.benchmark, of("benchmark_return")) {
        let grown = returns.iter().scan(backtest.terms.cash, |money, gain| {
            *money *= 1.0 + gain;
            Some(*money)
        });
        growth.push((symbol.clone(), grown.collect()));
    }
    let area = |name: &str, values| Pane { lines: vec![(name.to_string(), values)], style: PaneStyle::Area };
    Ok(Lines {
        title: "Account".to_string(),
        subtitle: format!("money, from {}", backtest.terms.cash),
        times: times(column(&results.equity, "ts")?)?,
        panes: vec![
            Pane { lines: growth, style: PaneStyle::Growth },
            area("drawdown", of("drawdown")?),
            area("exposure", of("exposure")?),
        ],
    })
}

/// What the account gained in each month, and in each year.
fn months(equity: &RecordBatch) -> Result<HeatMap> {
    let (ts, returns) = (times(column(equity, "ts")?)?, numbers(column(equity, "return")?)?);
    let mut grown: BTreeMap<i32, [f64; 13]> = BTreeMap::new();
    for (ts, gain) in ts.into_iter().zip(returns) {
        let Some((year, month)) = month(ts) else { continue };
        let row = grown.entry(year).or_insert([f64::NAN; 13]);
        for at in [month, 12] {
            row[at] = if row[at].is_nan() { 1.0 } else { row[at] } * (1.0 + gain);
        }
    }
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year"];
    Ok(HeatMap {
        title: "Months".to_string(),
        subtitle: "gain of the account in percent".to_string(),
        columns: names.map(str::to_string).to_vec(),
        rows: grown.into_iter().map(|(year, row)| (year.to_string(), row.map(|grown| grown - 1.0).to_vec())).collect(),
        is_percent: true,
        summed_from: Some(12),
        marks_best: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, TimestampMicrosecondArray};
    use std::sync::Arc;

    #[test]
    fn the_gains_of_a_month_multiply_and_those_of_a_year_too() {
        let day = 86_400_000_000;
        // The last two days of 2019 and the first two of 2020.
        let ts = [18_260, 18_261, 18_262, 18_263].map(|days: i64| days * day);
        let equity = RecordBatch::try_from_iter([
            ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(ts)) as ArrayRef),
            ("return", Arc::new(Float64Array::from(vec![0.1, 0.1, -0.5, 0.2]))),
        ]);
        let map = months(&equity.unwrap()).unwrap();
        let cells: Vec<_> = map.rows.iter().map(|(year, row)| (year.as_str(), row[11], row[0], row[12])).collect();
        assert!(cells[0].0 == "2019" && (cells[0].1 - 0.21).abs() < 1e-12 && cells[0].2.is_nan());
        assert!(cells[1].0 == "2020" && (cells[1].2 + 0.4).abs() < 1e-12 && (cells[1].3 + 0.4).abs() < 1e-12);
    }
}
