//! Rows of candles as bars.

use crate::core::Bar;
use crate::worker::VALUES;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use tallow_common::Result;
use tallow_common::time::timestamp_type;

/// What is selected of a table for [`each`].
pub(crate) fn columns() -> String {
    format!("symbol, ts, {}", VALUES.join(", "))
}

/// Hands on the bar of each row of [`columns`], with its symbol.
pub(crate) fn each(batch: &RecordBatch, mut bar: impl FnMut(&str, Bar)) -> Result<()> {
    let symbols = cast(batch.column(0), &DataType::Utf8View)?;
    let times = cast(batch.column(1), &timestamp_type())?;
    let values = (2..2 + VALUES.len()).map(|i| cast(batch.column(i), &DataType::Float64));
    let values = values.collect::<std::result::Result<Vec<_>, _>>()?;
    let (symbols, times) = (symbols.as_string_view(), times.as_primitive::<TimestampMicrosecondType>());
    let values: Vec<_> = values.iter().map(|column| column.as_primitive::<Float64Type>()).collect();
    for row in 0..batch.num_rows() {
        let value = |i: usize| if values[i].is_null(row) { f64::NAN } else { values[i].value(row) };
        bar(symbols.value(row), Bar { ts: times.value(row), values: std::array::from_fn(value) });
    }
    Ok(())
}
