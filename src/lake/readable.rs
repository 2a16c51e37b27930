//! Which files of a table can be read: found out by reading each of them to its end.

use super::columns::Columns;
use super::files::{Files, Kind, symbol_of};
use super::isolation;
use super::proof::{check_rows, footer, rows_named};
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use futures::{StreamExt, stream};
use object_store::ObjectMeta;
use std::sync::Arc;

/// A file that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its path.
    pub path: String,
    /// The symbol that the path names.
    pub symbol: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Separates the files that can be read from those that cannot.
pub(super) async fn readable(state: &Arc<SessionState>, files: &Files) -> Result<(Vec<ObjectMeta>, Vec<Unreadable>)> {
    let threads = state.config().target_partitions().max(1);
    let tried = stream::iter(files.files.clone()).map(|meta| {
        let (state, files) = (Arc::clone(state), files.clone());
        async move {
            let task = datafusion::common::runtime::SpawnedTask::spawn({
                let meta = meta.clone();
                async move { isolation::reading(&files.shown(&meta), read_whole(&state, &files, meta.clone())).await }
            });
            match task.join().await {
                Ok(done) => (meta, done),
                Err(error) => (meta, Err(DataFusionError::External(Box::new(error)))),
            }
        }
    });
    let (mut good, mut bad) = (vec![], vec![]);
    let mut tried = tried.buffered(threads);
    while let Some((meta, done)) = tried.next().await {
        match done {
            Ok(()) => good.push(meta),
            Err(error) => {
                let (path, symbol) = (files.shown(&meta), symbol_of(meta.location.as_ref()));
                bad.push(Unreadable { path, symbol, reason: tallow_common::readable(&error) });
            }
        }
    }
    Ok((good, bad))
}

async fn read_whole(state: &SessionState, files: &Files, meta: ObjectMeta) -> Result<()> {
    if meta.size == 0 {
        return exec_err!("is empty (0 bytes)");
    }
    let session: &dyn Session = state;
    let named = match files.format.kind {
        Kind::Parquet => Some(rows_named(footer(state, &files.store, &meta).await?.as_ref())?),
        _ => None,
    };
    let reader = files.reader(session);
    let schema = reader.infer_schema(session, &files.store, std::slice::from_ref(&meta)).await?;
    // As the table would read it.
    let text = files.format.kind != Kind::Parquet;
    let schema = Columns::recognise(&schema, None, text).filter(|_| text).map_or(schema, |columns| columns.read);
    let source = reader.file_source(TableSchema::from(schema));
    let config = FileScanConfigBuilder::new(files.store_url.clone(), source)
        .with_file_compression_type(files.format.compression)
        .with_file_group(FileGroup::new(vec![PartitionedFile::new_from_meta(meta)]))
        .build();
    let plan = reader.create_physical_plan(session, config).await?;
    let mut batches = plan.execute(0, state.task_ctx())?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch?.num_rows();
    }
    check_rows(named, rows)
}
