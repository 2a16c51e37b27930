//! The figures of a back-test in words.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// How a figure is written.
#[derive(Clone, Copy)]
enum As {
    Money,
    Percent,
    Number,
    Count,
}

/// The figures that are shown: column, words, and how they are written; an empty column parts the ones after it.
const SHOWN: [(&str, &str, As); 31] = [
    ("start_equity", "money at the beginning", As::Money),
    ("end_equity", "money at the end", As::Money),
    ("total_return", "return", As::Percent),
    ("cagr", "return a year", As::Percent),
    ("benchmark_return", "return of the benchmark", As::Percent),
    ("beta", "beta", As::Number),
    ("alpha", "alpha a year", As::Percent),
    ("", "", As::Number),
    ("volatility", "volatility a year", As::Percent),
    ("sharpe", "Sharpe ratio", As::Number),
    ("sortino", "Sortino ratio", As::Number),
    ("calmar", "Calmar ratio", As::Number),
    ("max_drawdown", "largest drawdown", As::Percent),
    ("longest_drawdown", "longest drawdown, bars", As::Count),
    ("ulcer_index", "ulcer index", As::Percent),
    ("cvar", "mean of the worst 5 % of the bars", As::Percent),
    ("probabilistic_sharpe", "probability that the Sharpe ratio is above 0", As::Percent),
    ("", "", As::Number),
    ("exposure", "mean exposure", As::Percent),
    ("turnover", "turnover a year, of the account", As::Number),
    ("costs", "costs beside prices", As::Money),
    ("", "", As::Number),
    ("trades", "trades", As::Count),
    ("trade_win_rate", "trades that gained", As::Percent),
    ("trade_expectancy", "mean gain of a trade", As::Percent),
    ("trade_profit_factor", "profit factor", As::Number),
    ("trade_payoff", "mean gain over mean loss", As::Number),
    ("trade_sqn", "system quality number", As::Number),
    ("trade_kelly", "Kelly's fraction", As::Percent),
    ("trade_worst", "worst trade", As::Percent),
    ("trade_bars", "mean bars of a trade", As::Number),
];

/// The figures of a summary that people look at, in groups: words, and the figure as it is written; `-` where there is none.
pub fn figures_in_words(summary: &RecordBatch) -> Vec<Vec<(&'static str, String)>> {
    let number = |name: &str| -> Option<f64> {
        let column = summary.column_by_name(name)?;
        match column.data_type() {
            DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(0) as f64),
            DataType::Float64 => column.is_valid(0).then(|| column.as_primitive::<Float64Type>().value(0)),
            _ => None,
        }
    };
    let groups = SHOWN.split(|(name, ..)| name.is_empty());
    let known = |group: &[(&'static str, &'static str, As)]| {
        let there = group.iter().filter(|(name, ..)| summary.column_by_name(name).is_some());
        there.map(|(name, words, how)| (*words, written(number(name), *how))).collect()
    };
    groups.map(known).collect()
}

fn written(figure: Option<f64>, how: As) -> String {
    let Some(figure) = figure else { return "-".to_string() };
    match how {
        As::Money => format!("{figure:.2}"),
        As::Percent => format!("{:.2} %", figure * 100.0),
        As::Number => format!("{figure:.3}"),
        As::Count => format!("{figure:.0}"),
    }
}
