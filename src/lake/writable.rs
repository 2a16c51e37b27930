//! Which tables tallow writes to, and in which types.

use super::columns::PRICES;
use super::delta::Log;
use super::files::Files;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use std::sync::Arc;
use tallow_common::Error;
use tallow_common::time::timestamp_type;

/// Refuses a folder of plain files: they would vanish from queries once a log stands beside them.
pub(super) async fn refuse_plain_files(state: &Arc<SessionState>, log: &Log) -> Result<()> {
    let files = Files::list(state.as_ref(), &format!("{}/", log.location)).await;
    match files {
        Ok(Some(files)) => {
            let (place, count) = (&log.location, files.files.len());
            let said =
                format!("{place} holds {count} plain files without a transaction log, which a table there would hide");
            let hint = "write to another lake (the option `lake`) or place, and ingest these files there";
            Err(Error::conflict(said).with_hint(hint).into())
        }
        _ => Ok(()),
    }
}

/// Refuses to write to a table whose columns have other names or types than tallow's: its rows could not be kept.
pub(super) fn check_writable(location: &str, schema: &Schema) -> Result<()> {
    let expected = |name: &str| match name {
        "symbol" => Some(DataType::Utf8),
        "ts" => Some(timestamp_type()),
        name if PRICES.contains(&name) => Some(DataType::Float64),
        _ => None,
    };
    for name in ["symbol", "ts", "close"] {
        if schema.field_with_name(name).is_err() {
            let found: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            let found = found.join(", ");
            return foreign(format!(
                "{location}: tallow writes to tables with the columns symbol, ts, close; this one has {found}"
            ));
        }
    }
    for field in schema.fields() {
        let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match expected(field.name()) {
            Some(expected) if *field.data_type() != expected && !(text && expected == DataType::Utf8) => {
                let (name, found) = (field.name(), field.data_type());
                return foreign(format!("{location}: column `{name}` is {found}, and tallow writes {expected}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn foreign(said: String) -> Result<()> {
    Err(Error::conflict(said).with_hint("ingest it into a table of its own").into())
}

/// Types as a log names them.
pub(super) fn log_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8View => field.as_ref().clone().with_data_type(DataType::Utf8),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// An error for a table that holds no candles.
pub(super) fn no_candles(location: &str) -> DataFusionError {
    Error::conflict(format!("the table at {location} has no columns `ts` and `close`")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
    }

    #[test]
    fn only_canonical_columns_are_written_to() {
        let key = [("symbol", DataType::LargeUtf8), ("ts", timestamp_type())];
        let with = |close: DataType| schema(&[&key[..], &[("close", close)]].concat());
        assert!(check_writable("x", &with(DataType::Float64)).is_ok());
        let error = check_writable("x", &with(DataType::Float32)).unwrap_err().to_string();
        assert!(error.contains("column `close` is Float32"), "{error}");
        let error = check_writable("x", &schema(&key)).unwrap_err().to_string();
        assert!(error.contains("this one has symbol, ts"), "{error}");
    }
}
