//! What a search finds in a partition, as rows that can travel.

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Float64Builder, Int64Array, Int64Builder, LargeListArray, LargeListBuilder,
    RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use datafusion::common::{Result, internal_datafusion_err};
use std::sync::{Arc, LazyLock};

/// What a row tells.
pub mod kind {
    /// A window that is near a pattern.
    pub const MATCH: &str = "match";
    /// How many windows each stage saw.
    pub const STAGES: &str = "stages";
    /// A random window.
    pub const WINDOW: &str = "window";
    /// A symbol that cannot be used, and why.
    pub const SKIPPED: &str = "skipped";
    /// How a symbol's last closes correlate with a pattern.
    pub const CORRELATION: &str = "correlation";
    /// The last bars of a symbol.
    pub const TAIL: &str = "tail";
}

/// One thing that was found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StateRow<'a> {
    pub kind: &'a str,
    /// Which pattern, or which sample of random windows.
    pub position: usize,
    pub symbol: &'a str,
    pub reason: &'a str,
    pub integers: &'a [i64],
    pub numbers: &'a [f64],
}

/// The columns of these rows.
pub fn state_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let list = |item| DataType::LargeList(Arc::new(Field::new_list_field(item, true)));
        let field = |name: &str, kind| Field::new(name, kind, false);
        Arc::new(Schema::new(vec![
            field("kind", DataType::Utf8),
            field("position", DataType::Int64),
            field("symbol", DataType::Utf8),
            field("reason", DataType::Utf8),
            field("integers", list(DataType::Int64)),
            field("numbers", list(DataType::Float64)),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Rows that are being written.
#[derive(Default)]
pub struct StateRows {
    kinds: StringBuilder,
    positions: Int64Builder,
    symbols: StringBuilder,
    reasons: StringBuilder,
    integers: LargeListBuilder<Int64Builder>,
    numbers: LargeListBuilder<Float64Builder>,
    bytes: usize,
}

impl StateRows {
    /// Writes a row.
    pub fn push(&mut self, row: StateRow<'_>) {
        let StateRow { kind, position, symbol, reason, integers, numbers } = row;
        self.bytes += kind.len() + symbol.len() + reason.len() + 8 * (integers.len() + numbers.len() + 5);
        self.kinds.append_value(kind);
        self.positions.append_value(position as i64);
        self.symbols.append_value(symbol);
        self.reasons.append_value(reason);
        self.integers.values().append_slice(integers);
        self.integers.append(true);
        self.numbers.values().append_slice(numbers);
        self.numbers.append(true);
    }

    /// Bytes that they take: what grows has room for up to twice as much.
    pub fn bytes(&self) -> usize {
        2 * self.bytes
    }

    /// Symbols that cannot be used, and why.
    pub fn skipped<'a>(&mut self, skipped: impl IntoIterator<Item = (&'a String, &'a String)>) {
        for (symbol, reason) in skipped {
            self.push(StateRow { kind: kind::SKIPPED, symbol, reason, ..StateRow::default() });
        }
    }

    /// All rows.
    pub fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.kinds.finish()),
            Arc::new(self.positions.finish()),
            Arc::new(self.symbols.finish()),
            Arc::new(self.reasons.finish()),
            Arc::new(self.integers.finish()),
            Arc::new(self.numbers.finish()),
        ];
        Ok(RecordBatch::try_new(state_schema(), columns)?)
    }
}

/// The columns of rows that are being read.
pub struct Columns<'a> {
    kinds: &'a StringArray,
    positions: &'a Int64Array,
    symbols: &'a StringArray,
    reasons: &'a StringArray,
    integers: (&'a LargeListArray, &'a Int64Array),
    numbers: (&'a LargeListArray, &'a Float64Array),
}

impl<'a> Columns<'a> {
    /// Of a batch with [`state_schema`].
    pub fn of(batch: &'a RecordBatch) -> Result<Columns<'a>> {
        let foreign = || internal_datafusion_err!("rows that are no state of a search: {}", batch.schema());
        let text = |i: usize| batch.column(i).as_string_opt::<i32>().ok_or_else(foreign);
        if batch.num_columns() != state_schema().fields().len() {
            return Err(foreign());
        }
        let integers = batch.column(4).as_list_opt::<i64>().ok_or_else(foreign)?;
        let numbers = batch.column(5).as_list_opt::<i64>().ok_or_else(foreign)?;
        Ok(Columns {
            kinds: text(0)?,
            positions: batch.column(1).as_primitive_opt().ok_or_else(foreign)?,
            symbols: text(2)?,
            reasons: text(3)?,
            integers: (integers, integers.values().as_primitive_opt::<Int64Type>().ok_or_else(foreign)?),
            numbers: (numbers, numbers.values().as_primitive_opt::<Float64Type>().ok_or_else(foreign)?),
        })
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = StateRow<'a>> + use<'a> {
        let Columns { kinds, positions, symbols, reasons, integers, numbers } = *self;
        let range = |list: &LargeListArray, row: usize| {
            list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
        };
        (0..kinds.len()).map(move |row| StateRow {
            kind: kinds.value(row),
            position: positions.value(row) as usize,
            symbol: symbols.value(row),
            reason: reasons.value(row),
            integers: &integers.1.values()[range(integers.0, row)],
            numbers: &numbers.1.values()[range(numbers.0, row)],
        })
    }
}

/// The bars that have a close.
pub fn with_close(ts: &[i64], close: &[f64], times: &mut Vec<i64>, closes: &mut Vec<f64>) {
    times.clear();
    closes.clear();
    for (time, close) in ts.iter().zip(close).filter(|(_, close)| close.is_finite()) {
        times.push(*time);
        closes.push(*close);
    }
}

/// A place that rows name.
pub fn at<T>(all: &mut [T], position: usize) -> Result<&mut T> {
    let count = all.len();
    all.get_mut(position)
        .ok_or_else(|| internal_datafusion_err!("place {position} of {count} in the state of a search"))
}

/// So many values of a row.
pub fn values<T: Copy, const N: usize>(values: &[T]) -> Result<[T; N]> {
    values.try_into().map_err(|_| internal_datafusion_err!("{} values in the state of a search, not {N}", values.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows = [
            StateRow {
                kind: kind::WINDOW,
                position: 2,
                symbol: "A",
                integers: &[1, -5],
                numbers: &[0.5],
                ..StateRow::default()
            },
            StateRow { kind: kind::SKIPPED, symbol: "B", reason: "two bars at 2024-01-31", ..StateRow::default() },
        ];
        let mut written = StateRows::default();
        rows.iter().for_each(|row| written.push(*row));
        let batch = written.finish().unwrap();
        assert_eq!(Columns::of(&batch).unwrap().rows().collect::<Vec<_>>(), rows);
        // A cut of the rows keeps its lists.
        let second = batch.slice(1, 1);
        assert_eq!(Columns::of(&second).unwrap().rows().collect::<Vec<_>>(), rows[1..]);
        let other = batch.project(&[0, 1]).unwrap();
        assert!(Columns::of(&other).is_err());
    }
}
