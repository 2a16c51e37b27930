//! The bars of tables: how long they are, and where they begin.

use super::{Lake, READABLE};
use crate::properties::ORIGIN;
use crate::table::CandleTable;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::time::timestamp_type;
use tallow_udfs::calendar::Timeframe;

impl Lake {
    /// Timeframes that the lake has candles of, shortest first.
    pub fn timeframes(&self) -> Vec<Timeframe> {
        self.names().candles
    }

    /// Where the bars of a timeframe begin, if its table says so.
    pub async fn origin(&self, timeframe: Timeframe) -> Result<Option<String>> {
        let name = format!("candles_{timeframe}");
        let of = |table: &CandleTable| table.property(ORIGIN).map(str::to_string);
        match self.candle_table(&name).await {
            Ok(table) => Ok(table.as_deref().and_then(of)),
            // A file that cannot be read does not change where bars begin.
            Err(error) => match self.table(&format!("{name}{READABLE}")).await {
                Ok(Some(table)) => Ok(table.downcast_ref::<CandleTable>().and_then(of)),
                _ => Err(error),
            },
        }
    }

    /// Length and origin of the bars of a table: as its properties say, as its folder is called, or as most of its first
    /// bars follow each other.
    pub async fn bars(&self, name: &str) -> Result<Option<(Timeframe, String)>> {
        let Some(provider) = self.table(name).await? else { return Ok(None) };
        let Some(table) = provider.downcast_ref::<CandleTable>() else { return Ok(None) };
        let summary = table.summary();
        let origin = summary.origin.unwrap_or_else(|| "utc".to_string());
        let by_folder = || Timeframe::named(summary.location.trim_end_matches('/').rsplit('/').next()?);
        let timeframe = match summary.timeframe.and_then(|t| t.parse().ok()).or_else(by_folder) {
            Some(timeframe) => Some(timeframe),
            None => {
                let (provider, state) = (Arc::clone(&provider), Arc::clone(&self.state));
                self.reading(async move { usual_step(&provider, &state).await }).await?
            }
        };
        Ok(timeframe.map(|timeframe| (timeframe, origin)))
    }
}

/// The timeframe whose length most of a table's first bars keep from the bar before.
async fn usual_step(table: &Arc<dyn TableProvider>, state: &SessionState) -> Result<Option<Timeframe>> {
    const ROWS: usize = 4096;
    let schema = table.schema();
    let (Ok(symbol), Ok(ts)) = (schema.index_of("symbol"), schema.index_of("ts")) else { return Ok(None) };
    let plan = table.scan(state, Some(&vec![symbol, ts]), &[], Some(ROWS)).await?;
    let mut stream = plan.execute(0, state.task_ctx())?;
    let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut rows = 0;
    while rows < ROWS
        && let Some(batch) = stream.try_next().await?
    {
        rows += batch.num_rows();
        let symbols = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let times = arrow::compute::cast(batch.column(1), &timestamp_type())?;
        let (symbols, times) = (symbols.as_string::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
        for (symbol, time) in symbols.iter().zip(times) {
            if let (Some(symbol), Some(time)) = (symbol, time) {
                all.entry(symbol.to_string()).or_default().push(time);
            }
        }
    }
    let mut steps: BTreeMap<i64, usize> = BTreeMap::new();
    for times in all.values_mut() {
        times.sort_unstable();
        for pair in times.windows(2).filter(|pair| pair[0] < pair[1]) {
            *steps.entry(pair[1] - pair[0]).or_default() += 1;
        }
    }
    let day = 86_400_000_000;
    let usual = steps.into_iter().max_by_key(|(_, count)| *count).map(|(step, _)| step);
    Ok(usual.and_then(|step| match step / day {
        28..=31 => Some(Timeframe::Month),
        _ => Timeframe::of_length(step),
    }))
}
