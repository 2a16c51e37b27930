//! Rows of the plan as bars with orders, instant by instant.

use super::plan::columns;
use super::{Backtest, Distance};
use arrow::array::{Array, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use std::collections::HashMap;
use tallow_common::time::timestamp_type;
use tallow_common::{Error, Result};
use tallow_udfs::trade::backtest::portfolio::SymbolBar;
use tallow_udfs::trade::backtest::trader::{Bar, Bracket, Level, Order, Signals};

/// The symbols of a run, by number.
#[derive(Default)]
pub(super) struct Symbols {
    pub names: Vec<String>,
    /// The time of the last bar of each.
    lasts: Vec<i64>,
    numbers: HashMap<String, usize>,
}

impl Symbols {
    /// Those of a table, with the time of the last bar of each.
    pub fn of(lasts: Vec<(String, i64)>) -> Symbols {
        let mut symbols = Symbols::default();
        for (name, last) in lasts {
            symbols.numbers.insert(name.clone(), symbols.names.len());
            symbols.names.push(name);
            symbols.lasts.push(last);
        }
        symbols
    }
}

/// The bars of an instant.
#[derive(Default)]
pub(super) struct Instant {
    pub ts: i64,
    pub bars: Vec<SymbolBar>,
}

/// How levels of a kind are given.
fn level(given: &Option<Distance>, value: f64) -> Level {
    match given {
        None => Level::None,
        Some(Distance::Fraction(fraction)) => Level::Fraction(*fraction),
        Some(Distance::Price(_)) => Level::Distance(value),
        Some(Distance::Level(_)) => Level::Price(value),
    }
}

/// The columns of a batch.
struct Batch {
    ts: Vec<i64>,
    prices: [Float64Array; 4],
    volume: Option<Float64Array>,
    signals: [Option<BooleanArray>; 4],
    levels: [Option<Float64Array>; 3],
    rank: Option<Float64Array>,
    size: Option<Float64Array>,
    funding: Option<Float64Array>,
    symbols: Vec<usize>,
}

impl Batch {
    fn of(rows: &RecordBatch, symbols: &Symbols) -> Result<Batch> {
        let number = |name: &str| -> Result<Option<Float64Array>> {
            let Some(column) = rows.column_by_name(name) else { return Ok(None) };
            Ok(Some(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone()))
        };
        let missing = |name: &str| Error::invalid(format!("the bars have no column {name}"));
        let price = |name: &str| number(name)?.ok_or_else(|| missing(name));
        let condition = |name: &str| -> Result<Option<BooleanArray>> {
            let Some(column) = rows.column_by_name(name) else { return Ok(None) };
            Ok(Some(cast(column, &DataType::Boolean)?.as_boolean().clone()))
        };
        let ts = rows.column_by_name("ts").ok_or_else(|| missing("ts"))?;
        let ts = cast(&cast(ts, &timestamp_type())?, &DataType::Int64)?;
        let names = rows.column_by_name("symbol").ok_or_else(|| missing("symbol"))?;
        let names = cast(names, &DataType::Utf8View)?;
        let unknown = |name: &str| Error::invalid(format!("the bars of {name} changed while they were read"));
        let numbers = names.as_string_view().iter().map(|name| {
            let name = name.unwrap_or_default();
            symbols.numbers.get(name).copied().ok_or_else(|| unknown(name))
        });
        Ok(Batch {
            ts: ts.as_primitive::<Int64Type>().values().to_vec(),
            prices: [price("open")?, price("high")?, price("low")?, price("close")?],
            volume: number("volume")?,
            signals: [
                condition(columns::ENTRY)?,
                condition(columns::EXIT)?,
                condition(columns::SHORT_ENTRY)?,
                condition(columns::SHORT_EXIT)?,
            ],
            levels: [number(columns::STOP)?, number(columns::TARGET)?, number(columns::TRAIL)?],
            rank: number(columns::RANK)?,
            size: number(columns::SIZE)?,
            funding: number(columns::FUNDING)?,
            symbols: numbers.collect::<Result<_>>()?,
        })
    }

    fn bar(&self, row: usize, of: &Backtest, each: f64, symbols: &Symbols) -> SymbolBar {
        let value = |column: &Float64Array| if column.is_valid(row) { column.value(row) } else { f64::NAN };
        let number = |column: &Option<Float64Array>| column.as_ref().map_or(f64::NAN, value);
        let is = |at: usize| self.signals[at].as_ref().is_some_and(|s| s.is_valid(row) && s.value(row));
        let [open, high, low, close] = [0, 1, 2, 3].map(|at| value(&self.prices[at]));
        let signals = Signals { enter_long: is(0), exit_long: is(1), enter_short: is(2), exit_short: is(3) };
        let order = match signals.enter_long || signals.enter_short {
            false => Order { signals, ..Order::default() },
            true => Order {
                signals,
                bracket: Bracket {
                    stop: level(&of.stop, number(&self.levels[0])),
                    target: level(&of.target, number(&self.levels[1])),
                    trail: level(&of.trail, number(&self.levels[2])),
                },
                size: self.size.as_ref().map_or(each, value),
            },
        };
        let descending = of.rank.as_ref().is_none_or(|rank| rank.descending);
        let rank = number(&self.rank);
        let symbol = self.symbols[row];
        SymbolBar {
            symbol,
            bar: Bar { open, high, low, close, volume: number(&self.volume) },
            order,
            rank: if descending { rank } else { -rank },
            funding: number(&self.funding),
            is_last: symbols.lasts[symbol] == self.ts[row],
        }
    }
}

/// Hands over each instant once all its bars are there; the last one stays.
pub(super) fn instants(
    rows: &RecordBatch,
    of: &Backtest,
    symbols: &Symbols,
    open: &mut Instant,
    mut each: impl FnMut(&Instant),
) -> Result<()> {
    let (batch, size) = (Batch::of(rows, symbols)?, of.each());
    for row in 0..rows.num_rows() {
        if batch.ts[row] != open.ts && !open.bars.is_empty() {
            each(open);
            open.bars.clear();
        }
        open.ts = batch.ts[row];
        open.bars.push(batch.bar(row, of, size, symbols));
    }
    Ok(())
}
