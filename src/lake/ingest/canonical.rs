//! From delivered rows to candles: types, times, scale, and the rules that decide which rows are taken.

use super::cells::{Cells, Chunk, Texts};
use super::mapping::{FilePlan, Plan, SymbolOf, truth};
use super::quarantine::Reject;
use crate::columns::PRICES;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray, StringViewBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use std::collections::HashMap;
use std::sync::Arc;
use tallow_common::time::Zone;
use tallow_udfs::calendar::Grid;
use tallow_udfs::candle::{Bar, Rule};

/// The name of the column that keeps the order of delivery until rows are merged.
pub(super) const SEQUENCE: &str = "__delivered";

/// How delivered values become those of candles, and which rows are taken.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub grid: Grid,
    pub zone: Zone,
    /// Prices are divided by this, or multiplied by it.
    pub scale: Option<Scale>,
    /// Times are those of the close.
    pub close_as_ts: bool,
    /// How long before its end a bar may be stamped: a second, or the weekend for longer bars that go by their last day.
    pub close_slack: i64,
    /// Bars that end later are not complete.
    pub now: i64,
}

/// A factor for prices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    factor: f64,
    /// The whole number whose inverse the factor is: division by it rounds once and right.
    divisor: Option<f64>,
}

impl Scale {
    pub fn new(factor: f64) -> Scale {
        let divisor = (1.0 / factor).round();
        let exact = factor < 1.0 && (divisor * factor - 1.0).abs() < 1e-12;
        Scale { factor, divisor: exact.then_some(divisor) }
    }

    fn apply(self, value: f64) -> f64 {
        match self.divisor {
            Some(divisor) => {
                // Points are whole numbers; what noise has made of them is made whole again.
                let whole = value.round();
                let points = if (value - whole).abs() < 1e-6 { whole } else { value };
                points / divisor
            }
            None => value * self.factor,
        }
    }
}

/// The result of a chunk.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Which file.
    pub file: usize,
    /// The rows that were taken, with their order of delivery.
    pub batch: Option<RecordBatch>,
    pub rejects: Vec<Reject>,
    pub rows: u64,
    pub incomplete: u64,
    pub future: u64,
    /// Rows that were taken although open, high or low is missing, or the close lies outside the quotes.
    pub warnings: HashMap<&'static str, u64>,
    /// Times that are no opening of a bar: how many for each distance from one, and some of the times.
    pub offsets: HashMap<i64, u64>,
    pub misplaced: Vec<i64>,
}

/// The schema of what is taken: the table's columns and the order of delivery.
pub(super) fn delivered_schema(plan: &Plan) -> SchemaRef {
    let mut fields = plan.schema.fields().to_vec();
    fields.push(Arc::new(Field::new(SEQUENCE, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// Times kept for finding an origin.
const MISPLACED_KEPT: usize = 4096;

/// Prices beyond those that every candle has.
const FURTHER_PRICES: [&str; 4] = ["bid", "ask", "vwap", "adj_close"];

/// Turns a chunk into candles.
pub(super) fn take(chunk: &Chunk, path: &str, plan: &Plan, rules: &Rules) -> Result<Taken> {
    let file = &plan.files[chunk.file];
    let rows = chunk.rows();
    let mut taken = Taken { file: chunk.file, rows: rows as u64, ..Taken::default() };
    let mut rejects = Rejects { chunk, path, list: vec![], symbols: None };
    if let Cells::Text(table) = &chunk.cells {
        taken.rows += table.ragged.len() as u64;
        rejects.ragged(&table.ragged, file.header.len());
    }
    let symbols = symbols(chunk, &file.symbol)?;
    rejects.symbols = Some(&symbols);
    let (ts, floors) = times(chunk, file, rules)?;
    let values = Values::parse(chunk, file, plan, rules)?;
    let missing = vec![f64::NAN; rows];
    let number = |name: &str| values.numbers.get(name).map(Vec::as_slice);
    let mut check = Check {
        plan,
        file,
        ts: &ts,
        floors: &floors,
        symbols: &symbols,
        prices: PRICES.map(|name| number(name).unwrap_or(&missing)),
        quotes: ["bid", "ask"].map(number),
        not_numbers: &values.not_numbers,
        complete: file.complete.map(|column| chunk.texts(column)).transpose()?,
        now: rules.grid.floor(&[rules.now])[0],
        taken,
        rejects,
    };
    let keep: Vec<bool> = (0..rows).map(|row| check.accepts(row)).collect();
    let mut taken = check.taken;
    taken.rejects = check.rejects.list;
    if keep.iter().any(|k| *k) {
        let batch = values.into_batch(chunk, plan, symbols, ts)?;
        let is_whole = keep.iter().all(|k| *k);
        taken.batch = Some(if is_whole { batch } else { filter_record_batch(&batch, &BooleanArray::from(keep))? });
    }
    Ok(taken)
}

/// The columns of a chunk after symbol and time.
struct Values<'a> {
    /// By name; NaN where there is none.
    numbers: HashMap<&'a str, Vec<f64>>,
    /// The first column of a row that holds something else than a number.
    not_numbers: HashMap<usize, usize>,
    /// Columns of other types, by position in the table, in order.
    others: Vec<(usize, ArrayRef)>,
}

impl<'a> Values<'a> {
    fn parse(chunk: &Chunk, file: &FilePlan, plan: &'a Plan, rules: &Rules) -> Result<Values<'a>> {
        let rows = chunk.rows();
        let mut values = Values { numbers: HashMap::new(), not_numbers: HashMap::new(), others: vec![] };
        for (i, field) in plan.schema.fields().iter().enumerate().skip(2) {
            let name = field.name().as_str();
            let Some(column) = file.columns[i - 2] else {
                values.numbers.insert(name, vec![f64::NAN; rows]);
                continue;
            };
            match field.data_type() {
                DataType::Float64 => {
                    let (mut numbers, bad) = chunk.numbers(column)?;
                    bad.into_iter().for_each(|row| {
                        values.not_numbers.entry(row).or_insert(column);
                    });
                    let is_price = (PRICES.contains(&name) && name != "volume") || FURTHER_PRICES.contains(&name);
                    if let Some(scale) = rules.scale.filter(|_| is_price) {
                        numbers.iter_mut().for_each(|v| *v = scale.apply(*v));
                    }
                    values.numbers.insert(name, numbers);
                }
                DataType::Boolean => {
                    let text = chunk.texts(column)?;
                    let truths: BooleanArray = (0..rows).map(|row| truth(text.get(row))).collect();
                    values.others.push((i, Arc::new(truths)));
                }
                _ => {
                    let text = chunk.texts(column)?;
                    let filled = |row| Some(text.get(row)).filter(|t| !t.is_empty());
                    values.others.push((i, Arc::new((0..rows).map(filled).collect::<StringViewArray>())));
                }
            }
        }
        Ok(values)
    }

    /// All rows of the chunk with the order in which they were delivered.
    fn into_batch(
        mut self,
        chunk: &Chunk,
        plan: &Plan,
        symbols: Symbols<'_>,
        ts: Vec<Option<i64>>,
    ) -> Result<RecordBatch> {
        let rows = chunk.rows();
        let times: TimestampMicrosecondArray = ts.into_iter().collect();
        let mut arrays: Vec<ArrayRef> = vec![symbols.into_array(rows), Arc::new(times.with_timezone("UTC"))];
        let mut others = self.others.into_iter().peekable();
        for (i, field) in plan.schema.fields().iter().enumerate().skip(2) {
            if let Some((_, array)) = others.next_if(|(at, _)| *at == i) {
                arrays.push(array);
                continue;
            }
            let numbers = self.numbers.remove(field.name().as_str()).unwrap_or_default();
            arrays.push(match field.data_type() {
                DataType::Float64 => Arc::new(float_array(numbers)) as ArrayRef,
                other => arrow::array::new_null_array(other, rows),
            });
        }
        let first = i64::from(chunk.number) << 32;
        arrays.push(Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|row| first + row))));
        Ok(RecordBatch::try_new(delivered_schema(plan), arrays)?)
    }
}

/// Decides which rows of a chunk are taken, and counts and keeps the others.
struct Check<'a> {
    plan: &'a Plan,
    file: &'a FilePlan,
    ts: &'a [Option<i64>],
    /// The opening of the bar that contains each time.
    floors: &'a [i64],
    symbols: &'a Symbols<'a>,
    /// In the order of [`PRICES`].
    prices: [&'a [f64]; 5],
    /// Bid and ask.
    quotes: [Option<&'a [f64]>; 2],
    not_numbers: &'a HashMap<usize, usize>,
    complete: Option<Texts<'a>>,
    /// The opening of the bar that has not ended yet.
    now: i64,
    taken: Taken,
    rejects: Rejects<'a>,
}

impl Check<'_> {
    fn accepts(&mut self, row: usize) -> bool {
        let Some(at) = self.ts[row] else {
            self.rejects.time(row, self.file);
            return false;
        };
        if let Some(&column) = self.not_numbers.get(&row) {
            let (name, value) = (&self.file.header[column], self.rejects.chunk.show(row, column));
            self.rejects.one(row, Some(at), "type", name, value, "a number");
            return false;
        }
        if self.symbols.get(row).is_empty() {
            self.rejects.one(row, Some(at), "symbol", "symbol", String::new(), "a symbol");
            return false;
        }
        if self.complete.as_ref().is_some_and(|complete| truth(complete.get(row)) == Some(false)) {
            self.taken.incomplete += 1;
            return false;
        }
        if !self.is_sound(row, at) || !self.is_aligned(row, at) {
            return false;
        }
        let has_ended = at < self.now;
        self.taken.future += u64::from(!has_ended);
        has_ended
    }

    /// Whether prices and volume break no rule.
    fn is_sound(&mut self, row: usize, at: i64) -> bool {
        let [open, high, low, close, volume] = self.prices.map(|values| values[row]);
        let [bid, ask] = self.quotes.map(|values| values.map_or(f64::NAN, |values| values[row]));
        let Some(fault) = (Bar { open, high, low, close, volume, bid, ask }).fault() else { return true };
        if !fault.rule.is_error() {
            *self.taken.warnings.entry(fault.rule.name()).or_default() += 1;
            return true;
        }
        let position = self.plan.schema.index_of(fault.column).ok();
        let value = match position.and_then(|position| self.file.columns[position - 2]) {
            Some(column) => self.rejects.chunk.show(row, column),
            None => fault.value.to_string(),
        };
        self.rejects.one(row, Some(at), fault.rule.name(), fault.column, value, fault.expected);
        false
    }

    /// Whether a bar begins at this time.
    fn is_aligned(&mut self, row: usize, at: i64) -> bool {
        let off = at - self.floors[row];
        if off == 0 {
            return true;
        }
        *self.taken.offsets.entry(off).or_default() += 1;
        if self.taken.misplaced.len() < MISPLACED_KEPT {
            self.taken.misplaced.push(at);
        }
        let value = self.rejects.shown_time(row, self.file);
        let expected = "the opening of a bar of the timeframe";
        self.rejects.one(row, Some(at), Rule::Aligned.name(), "ts", value, expected);
        false
    }
}

/// NaN is null: no NaN is ever stored.
fn float_array(values: Vec<f64>) -> Float64Array {
    // Without an early exit the loop vectorises.
    if values.iter().fold(false, |any, v| any | v.is_nan()) {
        values.into_iter().map(|v| Some(v).filter(|v| !v.is_nan())).collect()
    } else {
        Float64Array::from(values)
    }
}

/// The times of the bars' opening, and the opening of the bar that contains each.
fn times(chunk: &Chunk, file: &FilePlan, rules: &Rules) -> Result<(Vec<Option<i64>>, Vec<i64>)> {
    let mut zone = rules.zone.clone();
    let mut ts = match file.ts.as_slice() {
        [column] => chunk.times(*column, &file.time_format, &mut zone)?,
        columns => {
            let parts = columns.iter().map(|c| chunk.texts(*c)).collect::<Result<Vec<_>>>()?;
            let joined = |row| parts.iter().map(|p| p.get(row)).collect::<Vec<_>>().join(" ");
            (0..chunk.rows()).map(|row| file.time_format.parse(&joined(row), &mut zone)).collect()
        }
    };
    if let Some(day) = file.day {
        ts.iter_mut().for_each(|t| *t = t.and_then(|since| zone.utc(day + since)));
    }
    if rules.close_as_ts {
        // A bar that closes at an instant is the one that the instant before lies in.
        let inside: Vec<i64> = ts.iter().map(|t| t.unwrap_or_default() - 1).collect();
        let (opens, ends) = (rules.grid.floor(&inside), rules.grid.end(&inside));
        for (i, t) in ts.iter_mut().enumerate() {
            *t = t.map(|t| if ends[i] - t <= rules.close_slack { opens[i] } else { t });
        }
    }
    let plain: Vec<i64> = ts.iter().map(|t| t.unwrap_or_default()).collect();
    Ok((ts, rules.grid.floor(&plain)))
}

enum Symbols<'a> {
    Column(Texts<'a>),
    File(&'a str),
}

fn symbols<'a>(chunk: &'a Chunk, of: &'a SymbolOf) -> Result<Symbols<'a>> {
    Ok(match of {
        SymbolOf::Column(column) => Symbols::Column(chunk.texts(*column)?),
        SymbolOf::File(symbol) => Symbols::File(symbol),
    })
}

impl Symbols<'_> {
    fn get(&self, row: usize) -> &str {
        match self {
            Symbols::Column(texts) => texts.get(row),
            Symbols::File(symbol) => symbol,
        }
    }

    fn into_array(self, rows: usize) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(rows);
        (0..rows).for_each(|row| builder.append_value(self.get(row)));
        Arc::new(builder.finish())
    }
}

/// Collects the rows that are not taken.
struct Rejects<'a> {
    chunk: &'a Chunk,
    path: &'a str,
    list: Vec<Reject>,
    symbols: Option<&'a Symbols<'a>>,
}

impl Rejects<'_> {
    fn one(&mut self, row: usize, ts: Option<i64>, rule: &str, column: &str, value: String, expected: &str) {
        let symbol = self.symbols.map(|s| s.get(row).to_string()).filter(|s| !s.is_empty());
        self.list.push(Reject {
            source: self.path.to_string(),
            line: self.chunk.line(row),
            symbol,
            ts,
            rule: rule.to_string(),
            column: column.to_string(),
            value,
            expected: expected.to_string(),
            row: self.chunk.show_row(row),
        });
    }

    fn shown_time(&self, row: usize, file: &FilePlan) -> String {
        file.ts.iter().map(|c| self.chunk.show(row, *c)).collect::<Vec<_>>().join(" ")
    }

    fn time(&mut self, row: usize, file: &FilePlan) {
        let value = self.shown_time(row, file);
        let first = file.ts[0];
        if value.trim().eq_ignore_ascii_case(file.header[first].trim()) {
            return self.one(row, None, "header", &file.header[first], value, "a row, not the header again");
        }
        let expected = match (&file.time_format, value.trim().is_empty()) {
            (_, true) => "a time".to_string(),
            (format, false) => format!("a time written like the others ({format})"),
        };
        self.one(row, None, "time", &file.header[first], value, &expected);
    }

    fn ragged(&mut self, ragged: &[(u64, usize, String)], width: usize) {
        for (line, found, text) in ragged {
            self.list.push(Reject {
                source: self.path.to_string(),
                line: self.chunk.first_line + line,
                symbol: None,
                ts: None,
                rule: "fields".to_string(),
                column: String::new(),
                value: format!("{found} fields"),
                expected: format!("{width} fields"),
                row: text.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_points_gives_the_nearest_decimal() {
        let scale = Scale::new(1e-5);
        assert_eq!(scale.apply(112_345.0), 1.12345);
        assert_eq!(scale.apply(112_345.000_000_001), 1.12345);
        assert_eq!(scale.apply(112_345.5), 1.123455);
        assert_eq!(Scale::new(1e-4).apply(12_345.0), 1.2345);
        assert_eq!(Scale::new(100.0).apply(1.5), 150.0);
    }
}
