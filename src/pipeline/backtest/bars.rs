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
use tallow_udfs::trade::backtest::{Bar, Bracket, Entry, Level, Order, Signals};

/// The symbols of a run, by number.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub names: Vec<String>,
    /// The time of the last bar of each.
    lasts: Vec<i64>,
    /// How many bars each has.
    bars: Vec<usize>,
    numbers: HashMap<String, usize>,
}

impl Symbols {
    /// Those of a table, with the time of the last bar of each, and how many there are.
    pub fn of(all: Vec<(String, i64, usize)>) -> Symbols {
        let mut symbols = Symbols::default();
        for (name, last, bars) in all {
            symbols.numbers.insert(name.clone(), symbols.names.len());
            symbols.names.push(name);
            symbols.lasts.push(last);
            symbols.bars.push(bars);
        }
        symbols
    }

    /// Adds those of some rows that are not known.
    pub fn learn(&mut self, rows: &RecordBatch) -> Result<()> {
        let names = rows.column_by_name("symbol").ok_or_else(|| Error::invalid("the bars have no column symbol"))?;
        let names = cast(names, &DataType::Utf8View)?;
        for name in names.as_string_view().iter().flatten() {
            if !self.numbers.contains_key(name) {
                self.numbers.insert(name.to_string(), self.names.len());
                self.names.push(name.to_string());
                self.lasts.push(i64::MAX);
                self.bars.push(0);
            }
        }
        Ok(())
    }

    /// How many bars all have.
    pub fn bars(&self) -> usize {
        self.bars.iter().sum()
    }

    /// The number of one.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }
}

/// The bars of an instant.
#[derive(Debug, Default)]
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
pub(super) struct Batch {
    pub ts: Vec<i64>,
    prices: [Float64Array; 4],
    volume: Option<Float64Array>,
    signals: [Option<BooleanArray>; 4],
    levels: [Option<Float64Array>; 5],
    rank: Option<Float64Array>,
    size: Option<Float64Array>,
    weight: Option<Float64Array>,
    funding: Option<Float64Array>,
    symbols: Vec<usize>,
}

impl Batch {
    pub fn of(rows: &RecordBatch, symbols: &Symbols) -> Result<Batch> {
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
            symbols.number(name).ok_or_else(|| unknown(name))
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
            levels: [
                number(columns::STOP)?,
                number(columns::TARGET)?,
                number(columns::TRAIL)?,
                number(columns::ENTRY_LIMIT)?,
                number(columns::ENTRY_STOP)?,
            ],
            rank: number(columns::RANK)?,
            size: number(columns::SIZE)?,
            weight: number(columns::WEIGHT)?,
            funding: number(columns::FUNDING)?,
            symbols: numbers.collect::<Result<_>>()?,
        })
    }

    /// A bar, and what the strategy makes of it.
    pub fn bar(&self, row: usize, of: &Backtest, each: f64, symbols: &Symbols) -> SymbolBar {
        let value = |column: &Float64Array| if column.is_valid(row) { column.value(row) } else { f64::NAN };
        let number = |column: &Option<Float64Array>| column.as_ref().map_or(f64::NAN, value);
        let is = |at: usize| self.signals[at].as_ref().is_some_and(|s| s.is_valid(row) && s.value(row));
        let [open, high, low, close] = [0, 1, 2, 3].map(|at| value(&self.prices[at]));
        let signals = Signals { enter_long: is(0), exit_long: is(1), enter_short: is(2), exit_short: is(3) };
        let order = match signals.enter_long || signals.enter_short {
            false => Order { signals, size: number(&self.weight), ..Order::default() },
            true => Order {
                signals,
                entry: match (&of.entry_limit, &of.entry_stop) {
                    (None, None) => Entry::Market,
                    (limit @ Some(_), _) => Entry::Limit(level(limit, number(&self.levels[3]))),
                    (None, stop) => Entry::Stop(level(stop, number(&self.levels[4]))),
                },
                bracket: Bracket {
                    stop: level(&of.stop, number(&self.levels[0])),
                    target: level(&of.target, number(&self.levels[1])),
                    trail: level(&of.trail, number(&self.levels[2])),
                },
                size: self.size.as_ref().map_or(each, value),
            },
        };
        let descending = of.rank.as_ref().is_none_or(|rank| rank.descending);
        // Without a rank, the largest parts come first.
        let rank = match (&self.rank, &self.weight) {
            (None, Some(weight)) => value(weight).abs(),
            (rank, _) => number(rank),
        };
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

/// The bars of one symbol, in little room: levels, size and rank of entries alone.
#[derive(Default)]
struct Held {
    ts: Vec<i64>,
    /// Open, high, low and close, side by side: going by time, each bar is somewhere else in memory.
    prices: Vec<[f64; 4]>,
    /// Volume, funding, and the part of the account with its rank, where they are there.
    others: [Vec<f64>; 4],
    /// A bit for each signal.
    signals: Vec<u8>,
    /// The orders of entries and their ranks, by row.
    entries: Vec<(usize, Order, f64)>,
}

/// How many bars and entries of a symbol went by.
#[derive(Clone, Copy, Default)]
struct Cursor {
    row: usize,
    entry: usize,
}

/// The bars of all symbols in memory: they come by symbol, and go by time.
pub(super) struct HeldBars {
    symbols: Vec<Held>,
}

impl HeldBars {
    /// Bytes that a bar takes, about.
    pub const BYTES_PER_BAR: usize = 88;

    /// None yet, with room for those of these symbols.
    pub fn of(symbols: &Symbols) -> HeldBars {
        let room = |bars: &usize| Held {
            ts: Vec::with_capacity(*bars),
            prices: Vec::with_capacity(*bars),
            signals: Vec::with_capacity(*bars),
            ..Held::default()
        };
        HeldBars { symbols: symbols.bars.iter().map(room).collect() }
    }

    /// Takes rows, those of each symbol in the order of time.
    ///
    /// # Errors
    /// They are not.
    pub fn add(&mut self, rows: &RecordBatch, of: &Backtest, symbols: &Symbols) -> Result<()> {
        let (batch, size) = (Batch::of(rows, symbols)?, of.each());
        for row in 0..rows.num_rows() {
            let SymbolBar { symbol, bar, order, rank, funding, .. } = batch.bar(row, of, size, symbols);
            let held = &mut self.symbols[symbol];
            if held.ts.last().is_some_and(|last| *last >= batch.ts[row]) {
                let said = format!("{}: its bars are not in the order of time", symbols.names[symbol]);
                return Err(Error::invalid(said).with_hint("the operation `validate` shows where"));
            }
            held.ts.push(batch.ts[row]);
            held.prices.push([bar.open, bar.high, bar.low, bar.close]);
            if batch.volume.is_some() {
                held.others[0].push(bar.volume);
            }
            if batch.funding.is_some() {
                held.others[1].push(funding);
            }
            if batch.weight.is_some() {
                held.others[2].push(order.size);
                held.others[3].push(rank);
            }
            let Signals { enter_long, exit_long, enter_short, exit_short } = order.signals;
            let bit = |is: bool, at: u8| u8::from(is) << at;
            let bits = bit(enter_long, 0) | bit(exit_long, 1) | bit(enter_short, 2) | bit(exit_short, 3);
            held.signals.push(bits);
            if enter_long || enter_short {
                held.entries.push((held.ts.len() - 1, order, rank));
            }
        }
        Ok(())
    }

    /// All instants, by time; whether it is the last with each.
    pub fn replay(&self, mut each: impl FnMut(&Instant, bool)) {
        let mut cursors = vec![Cursor::default(); self.symbols.len()];
        let mut open = Instant::default();
        let mut next = self.symbols.iter().filter_map(|held| held.ts.first().copied()).min();
        while let Some(ts) = next {
            open.ts = ts;
            open.bars.clear();
            next = None;
            for (symbol, (held, cursor)) in self.symbols.iter().zip(&mut cursors).enumerate() {
                if held.ts.get(cursor.row) == Some(&ts) {
                    open.bars.push(held.take(symbol, cursor));
                }
                next = [next, held.ts.get(cursor.row).copied()].into_iter().flatten().min();
            }
            each(&open, next.is_none());
        }
    }
}

impl Held {
    /// The next bar.
    fn take(&self, symbol: usize, cursor: &mut Cursor) -> SymbolBar {
        let Cursor { row, entry } = *cursor;
        let is = |bit: u8| self.signals[row] >> bit & 1 == 1;
        let signals = Signals { enter_long: is(0), exit_long: is(1), enter_short: is(2), exit_short: is(3) };
        let of_entry = self.entries.get(entry).filter(|(of, ..)| *of == row);
        let other = |at: usize| self.others[at].get(row).copied().unwrap_or(f64::NAN);
        let (order, rank) = match of_entry {
            Some((_, order, rank)) => (*order, *rank),
            None => (Order { signals, size: other(2), ..Order::default() }, other(3)),
        };
        *cursor = Cursor { row: row + 1, entry: entry + usize::from(of_entry.is_some()) };
        let [open, high, low, close] = self.prices[row];
        let (volume, funding) = (other(0), other(1));
        let bar = Bar { open, high, low, close, volume };
        SymbolBar { symbol, bar, order, rank, funding, is_last: row + 1 == self.ts.len() }
    }
}
