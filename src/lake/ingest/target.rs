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
use tallow_udfs::calendar::{Calendar, Grid, Origin, Timeframe};

/// The newest version of a table of candles, into which rows are merged.
pub(super) struct Target<'a> {
    state: &'a Arc<SessionState>,
    log: &'a Log,
    /// `None`: the table is to be made.
    pub base: Option<Snapshot>,
    /// `None`: the table holds nothing yet.
    pub table: Option<CandleTable>,
    timeframe: Timeframe,
    /// Where its bars begin.
    origin: Origin,
    /// Where its bars begin and end.
    pub grid: Grid,
}

impl<'a> Target<'a> {
    /// The table as it is now, and where its bars begin from now on.
    pub async fn open(
        state: &'a Arc<SessionState>,
        cache: &ProfileCache,
        log: &'a Log,
        timeframe: Timeframe,
        begins: Begins<'_>,
    ) -> Result<Target<'a>> {
        let base = log.snapshot(None).await?;
        let table = existing(state, cache, log, base.as_ref()).await?;
        let known = base.as_ref().and_then(|base| base.properties.get(ORIGIN));
        let origin = begins.origin(known.map(String::as_str), timeframe)?;
        let grid = Grid::new(timeframe, origin);
        Ok(Target { state, log, base, table, timeframe, origin, grid })
    }

    /// Whether the table says that its bars begin elsewhere, or have another calendar.
    pub fn moves(&self) -> bool {
        let known = self.base.as_ref().and_then(|base| base.properties.get(ORIGIN));
        known.is_some_and(|known| known.parse::<Origin>().ok() != Some(self.origin))
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
        let properties = [(TIMEFRAME, self.timeframe.to_string()), (ORIGIN, self.origin.to_string())];
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

/// What a delivery says of where bars begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begins<'a> {
    /// An origin, which may name a calendar.
    pub origin: Option<&'a str>,
    /// A calendar.
    pub calendar: Option<&'a str>,
}

impl Begins<'_> {
    /// The origin of a table: of its own, which a delivery cannot change, only the calendar is changed.
    fn origin(self, known: Option<&str>, timeframe: Timeframe) -> Result<Origin> {
        let own: Option<Origin> = known.map(str::parse).transpose()?;
        let given: Option<Origin> = self.origin.map(str::parse).transpose()?;
        if let (Some(own), Some(given)) = (own, given)
            && !own.has_days_of(given)
        {
            let said = format!("the option `origin` '{given}': the bars of this {timeframe} table begin by `{own}`");
            return Err(Error::conflict(said).into());
        }
        let named = self.calendar.map(Calendar::named).transpose()?;
        let of_origin = given.and_then(|given| given.calendar());
        if let (Some(named), Some(other)) = (named, of_origin)
            && named != other
        {
            let said =
                format!("the option `calendar` '{}': the option `origin` has another, {}", named.name(), other.name());
            return Err(Error::conflict(said).into());
        }
        let calendar = named.or(of_origin);
        let origin = match own.or(given) {
            Some(origin) => origin,
            // Where bars are shorter than sessions, days are these.
            None if timeframe < Timeframe::Day => calendar.and_then(Origin::of_sessions).unwrap_or(Origin::UTC),
            None => Origin::UTC,
        };
        Ok(calendar.map_or(origin, |calendar| origin.with_calendar(calendar)))
    }
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
