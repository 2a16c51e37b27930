//! Bars as rows of a table of candles, and rows of one as bars.

use crate::core::Bar;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchOptions, StringViewBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;
use std::sync::Arc;
use tallow_common::Result;
use tallow_common::time::timestamp_type;

/// The columns of candles, beside symbol and ts.
pub(crate) const VALUES: [&str; 5] = ["open", "high", "low", "close", "volume"];

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

/// Bars by column.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// The names of symbols, and how many bars after those before are of each.
    symbols: Vec<(Arc<str>, usize)>,
    named: usize,
    times: Vec<i64>,
    values: [Vec<f64>; 5],
}

impl Columns {
    /// Room for so many bars.
    pub fn with_capacity(bars: usize) -> Columns {
        let of = || Vec::with_capacity(bars);
        Columns { symbols: vec![], named: 0, times: Vec::with_capacity(bars), values: [of(), of(), of(), of(), of()] }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Says whose the bars are that were added since this was last said.
    pub fn end(&mut self, symbol: &Arc<str>) {
        self.symbols.push((Arc::clone(symbol), self.times.len() - self.named));
        self.named = self.times.len();
    }

    /// Adds one.
    pub fn push(&mut self, bar: &Bar) {
        self.times.push(bar.ts);
        self.values.iter_mut().zip(bar.values).for_each(|(column, value)| column.push(value));
    }

    /// Adds several.
    pub fn extend(&mut self, times: &[i64], values: [&[f64]; 5]) {
        self.times.extend_from_slice(times);
        self.values.iter_mut().zip(values).for_each(|(column, values)| column.extend_from_slice(values));
    }

    /// As rows of a table; further columns of it are null.
    pub fn rows(self, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
        let (count, mut values) = (self.times.len(), self.values);
        let mut column = |name: &str| -> Option<ArrayRef> {
            match name {
                "symbol" => {
                    let mut names = StringViewBuilder::with_capacity(count);
                    for (name, bars) in &self.symbols {
                        (0..*bars).for_each(|_| names.append_value(name));
                    }
                    Some(Arc::new(names.finish()))
                }
                "ts" => {
                    let times = TimestampMicrosecondArray::from(self.times.clone());
                    Some(Arc::new(times.with_timezone("UTC")))
                }
                _ => {
                    let values = std::mem::take(&mut values[VALUES.iter().position(|of| *of == name)?]);
                    let has_nulls = values.iter().fold(false, |any, value| any | value.is_nan());
                    let valid = has_nulls.then(|| values.iter().map(|value| !value.is_nan()).collect::<NullBuffer>());
                    Some(Arc::new(Float64Array::new(values.into(), valid)))
                }
            }
        };
        let column = |field: &Arc<arrow::datatypes::Field>| match column(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column),
            Some(column) => cast(&column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), count)),
        };
        let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}
