//! Columns of a result as plain values.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use tallow_common::Result;
use tallow_common::time::timestamp_type;

/// Texts; null is empty.
pub fn texts(column: &ArrayRef) -> Result<Vec<String>> {
    let column = cast(column, &DataType::Utf8)?;
    Ok(column.as_string::<i32>().iter().map(|t| t.unwrap_or_default().to_string()).collect())
}

/// Times in microseconds since the epoch.
pub fn times(column: &ArrayRef) -> Result<Vec<i64>> {
    let column = cast(&cast(column, &timestamp_type())?, &DataType::Int64)?;
    Ok(column.as_primitive::<Int64Type>().values().to_vec())
}

/// Numbers; null is NaN.
pub fn numbers(column: &ArrayRef) -> Result<Vec<f64>> {
    let column = cast(column, &DataType::Float64)?;
    let column = column.as_primitive::<Float64Type>();
    Ok((0..column.len()).map(|i| if column.is_valid(i) { column.value(i) } else { f64::NAN }).collect())
}

/// A column by its name.
pub fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name).ok_or_else(|| tallow_common::Error::invalid(format!("the rows have no column `{name}`")))
}
