//! The table of a timeframe as a merge finds it, and what the merge changes of it.

use super::tally::Provided;
use super::upsert::{Merged, Upsert};
use crate::columns::PRICES;
use crate::delta::{Change, DataFile, Log, Snapshot};
use crate::profile::ProfileCache;
use crate::properties::{ORIGIN, TIMEFRAME};
use crate::table::CandleTable;
use crate::writable::{check_writable, log_schema, no_candles, refuse_plain_files};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use std::sync::Arc;
use tallow_common::Error;
use tallow_udfs::calendar::{Grid, Timeframe};

/// The newest version of a table of candles, into which rows are merged.
pub(super) struct Target<'a> {
    state: &'a Arc<SessionState>,
    log: &'a Log,
    /// `None`: the table is to be made.
    pub base: Option<Snapshot>,
    /// `None`: the table holds nothing yet.
    pub table: Option<CandleTable>,
    timeframe: Timeframe,
    /// Where its bars begin, by name.
    origin: String,
    /// Where its bars begin and end.
    pub grid: Grid,
}

impl<'a> Target<'a> {
    /// The table as it is now; `origin` is where the bars begin of a table that is to be made.
    pub async fn open(
        state: &'a Arc<SessionState>,
        cache: &ProfileCache,
        log: &'a Log,
        timeframe: Timeframe,
        origin: Option<&str>,
    ) -> Result<Target<'a>> {
        let base = log.snapshot(None).await?;
        let table = existing(state, cache, log, base.as_ref()).await?;
        let origin = origin_of(base.as_ref(), origin, timeframe)?;
        let grid = Grid::new(timeframe, origin.parse()?);
        Ok(Target { state, log, base, table, timeframe, origin, grid })
    }

    /// The files of the table.
    pub fn files(&self) -> &[DataFile] {
        self.base.as_ref().map_or(&[], |base| &base.files)
    }

    /// The columns of the table, and those that a delivery adds.
    pub fn schema_with(&self, delivered: &SchemaRef) -> SchemaRef {
        merged_schema(self.base.as_ref().map(|base| base.schema.as_ref()), delivered)
    }

    /// What merges rows into a table of these columns.
    pub fn upsert(&self, schema: &SchemaRef, provided: Option<Provided>) -> Upsert<'_> {
        Upsert {
            state: self.state,
            log: self.log,
            table: self.table.as_ref(),
            files: self.files(),
            schema: Arc::clone(schema),
            provided,
        }
    }

    /// What a merge changes.
    pub fn change(
        &self,
        schema: &SchemaRef,
        merged: &Merged,
        operation: &'static str,
        run: Option<serde_json::Value>,
    ) -> Change {
        let adds = merged.files.adds().to_vec();
        let metrics = [
            ("new", merged.counts.new),
            ("restated", merged.counts.restated),
            ("unchanged", merged.counts.unchanged),
            ("files_added", adds.len() as u64),
            ("files_removed", merged.removes.len() as u64),
        ];
        let properties = [(TIMEFRAME, self.timeframe.to_string()), (ORIGIN, self.origin.clone())];
        Change {
            adds,
            removes: merged.removes.iter().map(|&i| self.files()[i].add.clone()).collect(),
            schema: Some(log_schema(schema)),
            properties: properties.map(|(key, value)| (key.to_string(), value)).into(),
            data_change: true,
            feeds_changes: true,
            changed_rows: merged.changed_rows.adds().to_vec(),
            metrics: metrics.into_iter().map(|(k, n)| (k.to_string(), n.into())).collect(),
            operation,
            run,
            transactions: vec![],
            once: false,
        }
    }
}

async fn existing(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    log: &Log,
    base: Option<&Snapshot>,
) -> Result<Option<CandleTable>> {
    let Some(base) = base else {
        refuse_plain_files(state, log).await?;
        return Ok(None);
    };
    if base.files.is_empty() {
        return Ok(None);
    }
    check_writable(&log.location, &base.schema)?;
    match CandleTable::of_snapshot(state, log, base, cache).await? {
        Some(table) => Ok(Some(table)),
        None => Err(no_candles(&log.location)),
    }
}

/// The origin of a table: its own, which a delivery cannot change.
fn origin_of(base: Option<&Snapshot>, given: Option<&str>, timeframe: Timeframe) -> Result<String> {
    let known = base.and_then(|b| b.properties.get(ORIGIN)).map(String::as_str);
    if let (Some(known), Some(given)) = (known, given)
        && known != given
    {
        let said = format!("the option `origin` '{given}': the bars of this {timeframe} table begin by `{known}`");
        return Err(Error::conflict(said).into());
    }
    Ok(known.or(given).unwrap_or("utc").to_string())
}

fn merged_schema(base: Option<&Schema>, delivered: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Field> = vec![];
    if let Some(base) = base {
        for field in base.fields() {
            let data_type = match field.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                other => other.clone(),
            };
            fields.push(Field::new(field.name(), data_type, true));
        }
        // Files are sorted by their first two columns; the log goes by name.
        fields.sort_by_key(|f| match f.name().as_str() {
            "symbol" => 0,
            "ts" => 1,
            _ => 2,
        });
    } else {
        fields.extend(delivered.fields().iter().take(2).map(|f| f.as_ref().clone()));
        fields.extend(PRICES.map(|name| Field::new(name, DataType::Float64, true)));
    }
    for field in delivered.fields() {
        if fields.iter().all(|f| f.name() != field.name()) {
            fields.push(field.as_ref().clone());
        }
    }
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(names: &[&str]) -> SchemaRef {
        Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()))
    }

    fn names(schema: &SchemaRef) -> Vec<&str> {
        schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    #[test]
    fn a_delivery_widens_a_table_and_narrows_none() {
        let delivered = schema(&["symbol", "ts", "close", "bid"]);
        let made = merged_schema(None, &delivered);
        assert_eq!(names(&made), ["symbol", "ts", "open", "high", "low", "close", "volume", "bid"]);
        let widened = merged_schema(Some(&schema(&["close", "ts", "symbol", "trades"])), &delivered);
        assert_eq!(names(&widened), ["symbol", "ts", "close", "trades", "bid"]);
        assert_eq!(widened.field(0).data_type(), &DataType::Utf8View);
    }
}
