//! Tables that are computed: written whole, in one commit.

use super::delta::{Change, Log, Outcome};
use super::ingest::{ATTEMPTS, log_schema, pause, refuse_plain_files};
use super::writer::{Layout, TableWriter, conform};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use std::collections::HashMap;
use std::sync::Arc;

/// Beginning of the properties by which a table is known for a computed one.
const MARK: &str = "tallow.computed";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Rows of the table.
    pub rows: u64,
    /// Files that they are in.
    pub files: usize,
    /// Version of the table.
    pub version: u64,
}

/// What a computed table is and how it is told.
pub struct Computed {
    /// The rows; ordered by (symbol, ts), which are then the first two columns, or in no order.
    pub rows: Arc<dyn ExecutionPlan>,
    /// Whether they are ordered.
    pub ordered: bool,
    /// Properties of the table.
    pub properties: HashMap<String, String>,
    /// What was done, as the table's history names it.
    pub operation: &'static str,
    /// Called with the number of rows so far.
    pub progress: Box<dyn Fn(u64) + Send + Sync>,
}

/// Writes the rows of a plan as the whole contents of a table, which is made if it is not there. Until the commit, and if
/// anything fails, the table is what it was.
pub(super) async fn replace(state: &Arc<SessionState>, log: &Log, computed: Computed) -> Result<Written> {
    match log.snapshot(None).await? {
        None => refuse_plain_files(state, log).await?,
        Some(there) if there.properties.keys().any(|key| key.starts_with(MARK)) => {}
        Some(_) => {
            return exec_err!(
                "{} is a table that was not computed by `tallow label`, `levels` or `match`: it is not replaced; name another",
                log.location
            );
        }
    }
    let schema = stored(&computed.rows.schema());
    let layout = if computed.ordered { Layout::Sorted } else { Layout::Unsorted };
    let mut writer = TableWriter::new(log, Arc::clone(&schema), layout)?;
    let (rows, adds) = match write(state, &computed, &schema, &mut writer).await {
        Ok(rows) => (rows, writer.finish().await?),
        Err(error) => {
            writer.abandon().await;
            return Err(error);
        }
    };
    for attempt in 1..=ATTEMPTS {
        let committed = commit(log, &schema, &computed, &adds, rows).await;
        match committed {
            Ok(Outcome::Committed(version)) => return Ok(Written { rows, files: adds.len(), version }),
            Ok(Outcome::Conflict) => pause(attempt).await,
            Err(error) => {
                log.discard(&adds).await;
                return Err(error);
            }
        }
    }
    log.discard(&adds).await;
    exec_err!("{}: {ATTEMPTS} times another writer committed first; nothing was written, try again", log.location)
}

async fn write(
    state: &SessionState,
    computed: &Computed,
    schema: &SchemaRef,
    writer: &mut TableWriter<'_>,
) -> Result<u64> {
    let mut batches = execute_stream(Arc::clone(&computed.rows), state.task_ctx())?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows() as u64;
        writer.push(conform(&batch, schema)?).await?;
        (computed.progress)(rows);
    }
    Ok(rows)
}

/// Puts the new files in the place of all that the newest version has.
async fn commit(log: &Log, schema: &SchemaRef, computed: &Computed, adds: &[Add], rows: u64) -> Result<Outcome> {
    let base = log.snapshot(None).await?;
    let mark = (format!("{MARK}.operation"), computed.operation.to_string());
    let removes = base.iter().flat_map(|b| &b.files).map(|f| f.add.clone()).collect();
    let change = Change {
        adds: adds.to_vec(),
        removes,
        schema: Some(log_schema(schema)),
        properties: computed.properties.iter().map(|(k, v)| (k.clone(), v.clone())).chain([mark]).collect(),
        data_change: true,
        metrics: [("rows".to_string(), rows.into())].into_iter().collect(),
        operation: computed.operation,
    };
    log.commit(base.as_ref(), change).await
}

/// Types as the writer takes them, and as every reader of the table knows them.
fn stored(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            DataType::UInt64 => DataType::Int64,
            other => other.clone(),
        };
        Field::new(field.name(), data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
