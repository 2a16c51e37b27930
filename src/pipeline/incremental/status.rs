//! What became of a pipeline so far.

use super::pipeline::Pipeline;
use super::tables::{Followed, Tables};
use super::work::{Extent, Work};
use crate::Session;
use crate::quoting::quoted;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use std::collections::BTreeMap;
use std::time::Duration;
use tallow_common::time::timestamp_type;
use tallow_common::{Error, Result};
use tallow_lake::{HistoryEntry, ResultKind};

/// By how many runs it is estimated how long the next one takes.
const LAST_RUNS: usize = 50;

/// How a pipeline stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Its table.
    pub table: String,
    /// The last commit of the table; `None`: it was never run.
    pub last_commit: Option<HistoryEntry>,
    /// Rows of the table.
    pub rows: u64,
    /// The newest of their times, in microseconds since the epoch.
    pub newest: Option<i64>,
    /// The newest bar of its sources.
    pub newest_source: Option<i64>,
    /// Of each source, the version that the table was made from, and the one that it has now.
    pub sources: BTreeMap<String, (Option<u64>, u64)>,
}

impl Status {
    /// How many versions of its sources the table is behind; `None`: it was not made from one of them.
    pub fn behind(&self) -> Option<u64> {
        self.sources.values().map(|(from, to)| Some(to.saturating_sub((*from)?))).sum()
    }
}

/// How a pipeline stands.
///
/// # Errors
/// What it computes is wrong, or a source is gone.
pub async fn status(session: &Session, pipeline: &Pipeline) -> Result<Status> {
    let table = pipeline.table()?;
    let query = pipeline.definition.as_query(session).await?;
    let plan = pipeline.plan(session, &query).await?;
    let Tables { followed, .. } = Tables::of(&session.optimized(&plan).await?)?;
    let known = pipeline.made_from(session, &table, followed.keys().cloned().collect()).await?;
    let sources = followed.iter().map(|(name, (_, to))| (name.clone(), (known.get(name).copied(), *to))).collect();
    let newest_source = newest(&followed);
    if pipeline.known(session).await?.is_empty() {
        return Ok(Status { table, last_commit: None, rows: 0, newest: None, newest_source, sources });
    }
    let name = table.clone();
    let last_commit = session.on_lake(move |lake| async move { lake.history(&name, Some(1)).await }).await?.pop();
    let (rows, newest) = extent(session, pipeline, &table).await?;
    Ok(Status { table, last_commit, rows, newest, newest_source, sources })
}

/// How long some work of a pipeline takes, by what its last runs took; `None`: none is known that computed rows.
///
/// # Errors
/// The history of its table cannot be read.
pub async fn estimate(session: &Session, pipeline: &Pipeline, work: &Work) -> Result<Option<Duration>> {
    if work.extent == Extent::Nothing || pipeline.known(session).await?.is_empty() {
        return Ok(None);
    }
    let table = pipeline.table()?;
    let last = session.on_lake(move |lake| async move { lake.history(&table, Some(LAST_RUNS)).await }).await?;
    Ok(work.estimate(&last))
}

/// How many rows a table has, and the newest of their times.
async fn extent(session: &Session, pipeline: &Pipeline, table: &str) -> Result<(u64, Option<i64>)> {
    if pipeline.kind() == Some(ResultKind::Matches) {
        let sql = format!("select count(*), max(end_ts) from {}", quoted(table));
        let batches = session.collect(session.sql(&sql).await?).await?;
        let row = batches.iter().find(|batch| batch.num_rows() > 0);
        let newest = |row: &RecordBatch| {
            let times = cast(row.column(1), &timestamp_type())?;
            Ok::<_, Error>(times.as_primitive::<TimestampMicrosecondType>().iter().next().flatten())
        };
        let rows = row.map_or(0, |row| row.column(0).as_primitive::<Int64Type>().value(0));
        return Ok((u64::try_from(rows).unwrap_or_default(), row.map(newest).transpose()?.flatten()));
    }
    let name = table.to_string();
    let own = session.on_lake(move |lake| async move { lake.candle_table(&name).await }).await?;
    let summary = own.map(|own| own.summary());
    Ok(summary.map_or((0, None), |summary| (summary.rows as u64, summary.times.map(|(_, last)| last))))
}

fn newest(sources: &Followed) -> Option<i64> {
    sources.values().filter_map(|(table, _)| Some(table.summary().times?.1)).max()
}
