//! `Describe`: which tables a lake has, and what is in one.

use super::relation::table_named;
use super::rows::texts;
use super::validate::{Expected, Validation};
use crate::Session;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::catalog::{SchemaProvider, TableProvider};
use tallow_common::{Error, Result};
use tallow_engine::dialect::closest;
use tallow_lake::TableSummary;
use tallow_udfs::calendar::{Calendar, Origin};

/// The tables of the lake, by name.
///
/// # Errors
/// It has none.
pub fn tables(session: &Session) -> Result<Vec<String>> {
    let names = session.lake().table_names();
    if names.is_empty() {
        let lake = &session.lake().options().url;
        return Err(Error::not_found(format!(
            "no candles in the lake '{lake}': expected folders such as {lake}/candles/1d/ with .parquet or .csv files"
        )));
    }
    Ok(names)
}

/// What is known of a table of candles; of others it is not known.
pub async fn summary(session: &Session, table: &str) -> Result<Option<TableSummary>> {
    Ok(session.lake().candle_table(table).await?.map(|table| table.summary()))
}

/// A table of candles.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name.
    pub table: String,
    /// What is known of it.
    pub summary: TableSummary,
    /// Its columns and their types.
    pub columns: Vec<(String, DataType)>,
}

/// Symbols that lack bars which most symbols have, or that a calendar has sessions for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gaps {
    /// The calendar of the table.
    pub calendar: Option<&'static str>,
    /// How many symbols.
    pub symbols: usize,
    /// Those with the most missing bars, and how many these are.
    pub most: Vec<(String, i64)>,
}

/// How many symbols are named that lack bars.
const NAMED: usize = 10;

impl Description {
    /// Describes a table by its name, its timeframe or its path.
    ///
    /// # Errors
    /// There is no such table of candles.
    pub async fn of(session: &Session, given: &str) -> Result<Description> {
        let name = table_named(given);
        let Some(table) = session.lake().candle_table(&name).await? else {
            let known = session.lake().table_names();
            let hint = match closest(given, known.iter().map(String::as_str)) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => "the operation `tables` lists what there is".to_string(),
            };
            return Err(Error::not_found(format!("no candle table `{given}`")).with_hint(hint));
        };
        let columns = table.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
        Ok(Description { table: name, summary: table.summary(), columns })
    }

    /// Which bars are missing where most symbols have one, or a calendar has a session; `None` of a table whose rows are no bars.
    pub async fn gaps(&self, session: &Session) -> Result<Option<Gaps>> {
        if !session.lake().columns(&self.table).await?.iter().any(|column| column == "close") {
            return Ok(None);
        }
        let origin = self.summary.origin.clone().unwrap_or_else(|| "utc".to_string());
        let calendar = origin.parse::<Origin>()?.calendar();
        let expected = calendar.map_or(Expected::Observed, Expected::Sessions);
        let timeframe = self.summary.timeframe.clone().unwrap_or_else(|| "1d".to_string());
        let validation = Validation { table: self.table.clone(), timeframe, origin, expected, jump: 1.5 };
        let batches = session.collect(session.sql(&validation.missing()).await?).await?;
        let symbols = batches.iter().map(RecordBatch::num_rows).sum();
        let mut most = vec![];
        for batch in &batches {
            let missing = arrow::compute::cast(batch.column(1), &DataType::Int64)?;
            let missing = missing.as_primitive::<Int64Type>();
            most.extend(texts(batch.column(0))?.into_iter().zip(missing.values().iter().copied()));
        }
        most.truncate(NAMED);
        Ok(Some(Gaps { calendar: calendar.map(Calendar::name), symbols, most }))
    }
}
