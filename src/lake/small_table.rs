//! Small tables of the lake, such as `patterns`: a row is a Rust value, and a change rewrites the table.

use super::delta::{Attempts, Change, Log, Snapshot};
use super::uncommitted::UncommittedFiles;
use super::writer::{Layout, TableWriter};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A row of a small table: its fields are the columns, and times are microseconds since the epoch.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The table, and its folder.
    const TABLE: &'static str;

    /// The columns.
    fn columns() -> Vec<(&'static str, DataType)>;
}

fn schema<T: Record>() -> SchemaRef {
    Arc::new(Schema::new(T::columns().into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect::<Vec<_>>()))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// All rows, in the order in which they were written.
pub(super) async fn read<T: Record>(state: &Arc<SessionState>, log: &Log) -> Result<Vec<T>> {
    match log.snapshot(None).await? {
        Some(snapshot) => rows(state, log, &snapshot).await,
        None => Ok(vec![]),
    }
}

async fn rows<T: Record>(state: &Arc<SessionState>, log: &Log, snapshot: &Snapshot) -> Result<Vec<T>> {
    // Columns that came with a later version of tallow may not be there yet.
    let columns: Vec<_> = T::columns().into_iter().filter(|(name, _)| snapshot.schema.index_of(name).is_ok()).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut batches = execute_stream(snapshot.read(state, log, &names).await?, state.task_ctx())?;
    let mut all = vec![];
    while let Some(batch) = batches.try_next().await? {
        let mut plain = vec![];
        for ((name, kind), column) in columns.iter().zip(batch.columns()) {
            let kind = if matches!(kind, DataType::Timestamp(..)) { DataType::Int64 } else { kind.clone() };
            plain.push((*name, cast(column, &kind)?));
        }
        let mut writer = arrow::json::ArrayWriter::new(vec![]);
        writer.write(&RecordBatch::try_from_iter(plain)?)?;
        writer.finish()?;
        all.extend(serde_json::from_slice::<Vec<T>>(&writer.into_inner()).map_err(failed)?);
    }
    Ok(all)
}

/// Changes the rows by a function, in one commit. The function is called again after another writer's commit; if it changes
/// nothing, nothing is written.
pub(super) async fn change<T: Record, R>(
    state: &Arc<SessionState>,
    log: &Log,
    operation: &'static str,
    of: impl Fn(&mut Vec<T>) -> Result<R>,
) -> Result<R> {
    let mut attempts = Attempts::default();
    loop {
        let base = log.snapshot(None).await?;
        let before = match &base {
            Some(snapshot) => rows::<T>(state, log, snapshot).await?,
            None => vec![],
        };
        let known = serde_json::to_vec(&before).map_err(failed)?;
        let mut after = before;
        let result = of(&mut after)?;
        if serde_json::to_vec(&after).map_err(failed)? == known {
            return Ok(result);
        }
        let mut files = write(log, &after).await?;
        let change = Change {
            adds: files.adds().to_vec(),
            removes: base.iter().flat_map(|b| &b.files).map(|f| f.add.clone()).collect(),
            schema: Some(schema::<T>()),
            data_change: true,
            operation,
            ..Change::default()
        };
        if attempts.commit(log, base.as_ref(), change, &mut [&mut files]).await?.is_some() {
            return Ok(result);
        }
    }
}

async fn write<T: Record>(log: &Log, rows: &[T]) -> Result<UncommittedFiles> {
    let mut writer = TableWriter::new(log, schema::<T>(), Layout::Unsorted)?;
    let pushed = match batch(rows)? {
        Some(batch) => writer.push(batch).await,
        None => Ok(()),
    };
    Ok(writer.finish(pushed).await?.0)
}

fn batch<T: Record>(rows: &[T]) -> Result<Option<RecordBatch>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut decoder = ReaderBuilder::new(schema::<T>()).with_batch_size(rows.len()).build_decoder()?;
    decoder.serialize(rows)?;
    Ok(decoder.flush()?)
}
