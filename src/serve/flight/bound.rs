//! Values of parameters as rows.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tallow_common::{Error, Result};
use tallow_engine::dialect::{ParamValue, Params};

/// A set of values for each row; columns are parameters by their place.
///
/// # Errors
/// There are more or fewer columns than parameters, or one has values of no type that a parameter can have.
pub(super) fn params(names: &[String], batches: &[RecordBatch]) -> Result<Vec<Params>> {
    let mut all = vec![];
    for rows in batches {
        if rows.num_columns() != names.len() {
            let said = format!("{} values are given for {} parameters", rows.num_columns(), names.len());
            return Err(Error::invalid(said));
        }
        let columns = rows.columns().iter().zip(names).map(|(column, name)| values(column, name));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        for row in 0..rows.num_rows() {
            all.push(names.iter().zip(&columns).map(|(name, values)| (name, values[row].clone())).collect());
        }
    }
    Ok(all)
}

fn values(column: &ArrayRef, name: &str) -> Result<Vec<ParamValue>> {
    let null = || ParamValue::typed("null");
    let kind = column.data_type();
    Ok(match kind {
        DataType::Null => vec![null(); column.len()],
        DataType::Boolean => {
            column.as_boolean().iter().map(|value| value.map_or_else(null, ParamValue::from)).collect()
        }
        kind if kind.is_integer() => {
            let column = cast(column, &DataType::Int64)?;
            let column = column.as_primitive::<Int64Type>();
            column.iter().map(|value| value.map_or_else(null, ParamValue::from)).collect()
        }
        kind if kind.is_numeric() => {
            let column = cast(column, &DataType::Float64)?;
            let column = column.as_primitive::<Float64Type>();
            column.iter().map(|value| value.map_or_else(null, ParamValue::from)).collect()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let column = cast(column, &DataType::Utf8)?;
            let column = column.as_string::<i32>();
            column.iter().map(|value| value.map_or_else(null, ParamValue::from)).collect()
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            // A time without a zone is one of UTC, as everywhere here.
            let column = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            let text = |row| ParamValue::from(formatter.value(row).to_string());
            (0..column.len()).map(|row| if column.is_valid(row) { text(row) } else { null() }).collect()
        }
        other => {
            let said = format!("the parameter `{name}` is {other}: expected a number, a text, a time, true or false");
            return Err(Error::invalid(said));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int32Array, StringArray, TimestampNanosecondArray};
    use std::sync::Arc;

    #[test]
    fn rows_are_sets_of_values() {
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(Int32Array::from(vec![Some(14), None])) as ArrayRef, true),
            ("b", Arc::new(Float64Array::from(vec![1.5, -2.0])), true),
            ("c", Arc::new(StringArray::from(vec!["A", "1"])), true),
            ("d", Arc::new(TimestampNanosecondArray::from(vec![0, 1_000_000_000])), true),
        ])
        .unwrap();
        let names: Vec<String> = ["1", "2", "3", "4"].map(str::to_string).to_vec();
        let sets = params(&names, std::slice::from_ref(&rows)).unwrap();
        assert_eq!(sets[0], Params::from([("1", 14)]).with("2", 1.5).with("3", "A").with("4", "1970-01-01T00:00:00Z"));
        assert_eq!((sets[1].get("1"), sets[1].get("2")), (Some("null"), Some("-2")));
        assert_eq!(sets[1], sets[1].clone().with("3", "1"), "text stays text");
        let error = params(&names[..1], &[rows]).unwrap_err().to_string();
        assert_eq!(error, "4 values are given for 1 parameters");
    }
}
