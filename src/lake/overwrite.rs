//! Computed tables: a run overwrites all rows, or adds its own to those of earlier runs, in one commit.

use super::delta::{Attempts, Change, Log, Snapshot, transactions};
use super::kind::ResultKind;
use super::properties::{KIND, LEVELS_TIMEFRAME, OPERATION, PIPELINE, TIMEFRAME};
use super::replace::Replaced;
use super::writable::{log_schema, refuse_plain_files};
use super::writer::{Layout, SUFFIX, TableWriter, conform};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use std::collections::HashMap;
use std::sync::Arc;
use tallow_common::Error;

/// Properties that must not change: a table keeps to the same bars and, where one is named, to the same pipeline.
const SAME: [&str; 3] = [TIMEFRAME, LEVELS_TIMEFRAME, PIPELINE];

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

/// A computed table: its rows, and what is recorded of it.
pub struct Computed {
    /// The rows; ordered by (symbol, ts), which are then the first two columns, or in no order.
    pub rows: Arc<dyn ExecutionPlan>,
    /// Whether they are ordered.
    pub ordered: bool,
    /// Properties of the table.
    pub properties: HashMap<String, String>,
    /// What they are.
    pub kind: ResultKind,
    /// What they are made from, where that is recorded: of each source, under a name, the version.
    pub sources: Vec<(String, u64)>,
    /// Called with the number of rows so far.
    pub progress: Box<dyn Fn(u64) + Send + Sync>,
}

/// What becomes of the rows of earlier runs that a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// The new ones take their place.
    Replaced,
    /// They stay, and where the table is made from the same versions of the sources already, nothing is added.
    Kept,
}

/// Writes the rows of a plan to a table; one that does not exist is made. Until the commit, and if anything fails, the table stays
/// what it was.
pub(super) async fn write(
    state: &Arc<SessionState>,
    log: &Log,
    computed: Computed,
    earlier: Earlier,
) -> Result<Replaced> {
    check(state, log, computed.kind, &computed.properties).await?;
    let schema = stored(&computed.rows.schema());
    let layout = if computed.ordered { Layout::Sorted } else { Layout::Unsorted };
    let mut writer = TableWriter::new(log, Arc::clone(&schema), layout)?;
    let written = run(state, &computed, &schema, &mut writer).await;
    let (mut files, rows) = writer.finish(written).await?;
    let mut attempts = Attempts::keeping_files();
    loop {
        let base = log.snapshot(None).await;
        let base = files.keep_if_ok(base).await?;
        // It may be somebody's by now.
        let allowed = base.as_ref().map_or(Ok(()), |base| {
            check_overwrite(log, base, computed.kind, &computed.properties)?;
            if earlier == Earlier::Kept { check_columns(log, base, &schema) } else { Ok(()) }
        });
        files.keep_if_ok(allowed).await?;
        if let Some(version) = files.keep_if_ok(up_to_date(log, base.as_ref(), &computed, earlier).await).await? {
            files.discard().await;
            return Ok(Replaced::UpToDate { version });
        }
        let change = change(base.as_ref(), &schema, &computed, earlier, files.adds(), rows);
        if let Some(version) = attempts.commit(log, base.as_ref(), change, &mut [&mut files]).await? {
            return Ok(Replaced::Written(Written { rows, files: files.adds().len(), version }));
        }
    }
}

/// The version of a table that has what is to be added.
async fn up_to_date(log: &Log, base: Option<&Snapshot>, computed: &Computed, earlier: Earlier) -> Result<Option<u64>> {
    let Some(base) = base.filter(|_| earlier == Earlier::Kept && !computed.sources.is_empty()) else {
        return Ok(None);
    };
    Ok(base.includes(log, &transactions(&computed.sources)).await?.then_some(base.version))
}

/// Refuses to overwrite anything but an earlier result of the same kind, made from the same bars.
pub(super) async fn check(
    state: &Arc<SessionState>,
    log: &Log,
    kind: ResultKind,
    properties: &HashMap<String, String>,
) -> Result<()> {
    match log.snapshot(None).await? {
        Some(there) => check_overwrite(log, &there, kind, properties),
        None => {
            refuse_plain_files(state, log).await?;
            refuse_files_of_others(log).await
        }
    }
}

pub(super) fn check_overwrite(
    log: &Log,
    there: &Snapshot,
    kind: ResultKind,
    properties: &HashMap<String, String>,
) -> Result<()> {
    let known = |key: &str| there.properties.get(key).map(String::as_str);
    let is_of_kind = match (known(KIND), known(OPERATION)) {
        (Some(known), _) => known == kind.prefix(),
        // Tables of versions that did not record the kind.
        (None, Some(operation)) => operation == kind.operation(),
        (None, None) => {
            return another(format!(
                "{} is a table that was not computed by the operation `label`, `levels` or `match`: it is not replaced",
                log.location
            ));
        }
    };
    if !is_of_kind {
        let known = known(KIND).or(known(OPERATION)).unwrap_or_default();
        return another(format!("{} is a table of {known}, which {kind} do not replace", log.location));
    }
    for key in SAME {
        let (Some(known), Some(own)) = (known(key), properties.get(key)) else { continue };
        if known != own {
            let key = key.rsplit('.').next().unwrap_or(key);
            let said = format!("holds {kind} of another {key}, {known}, which those of {own} do not replace");
            return another(format!("{} {said}", log.location));
        }
    }
    Ok(())
}

/// Refuses a folder that holds other files. Names that begin with a dot and what a killed run left do not count.
async fn refuse_files_of_others(log: &Log) -> Result<()> {
    let listed = match log.store.list_with_delimiter(Some(&log.folder)).await {
        Ok(listed) => listed,
        Err(object_store::Error::NotFound { .. } | object_store::Error::NotImplemented { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let files = listed.objects.iter().filter_map(|file| file.location.filename());
    let files = files.filter(|name| !name.starts_with('.') && !name.ends_with(SUFFIX));
    let folders = listed.common_prefixes.iter().filter_map(Path::filename).filter(|name| *name != "_delta_log");
    match files.chain(folders).next() {
        Some(found) => {
            let said = format!("{} holds other files ({found}), among which no table is written", log.location);
            Err(Error::conflict(said).with_hint("name an empty folder").into())
        }
        None => Ok(()),
    }
}

fn another(said: String) -> Result<()> {
    Err(Error::conflict(said).with_hint("name another").into())
}

async fn run(
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

/// Adds the new files to those of a version, or puts them in the place of all that it has.
fn change(
    base: Option<&Snapshot>,
    schema: &SchemaRef,
    computed: &Computed,
    earlier: Earlier,
    adds: &[Add],
    rows: u64,
) -> Change {
    let replaced = base.filter(|_| earlier == Earlier::Replaced);
    let marks = [(KIND, computed.kind.prefix()), (OPERATION, computed.kind.operation())];
    let marks = marks.map(|(key, value)| (key.to_string(), value.to_string()));
    Change {
        adds: adds.to_vec(),
        removes: replaced.iter().flat_map(|b| &b.files).map(|f| f.add.clone()).collect(),
        schema: Some(log_schema(schema)),
        properties: computed.properties.iter().map(|(k, v)| (k.clone(), v.clone())).chain(marks).collect(),
        data_change: true,
        metrics: [("rows".to_string(), rows.into())].into_iter().collect(),
        operation: computed.kind.operation(),
        transactions: transactions(&computed.sources),
        once: earlier == Earlier::Kept,
        ..Change::default()
    }
}

/// Refuses rows with other columns than those that stay.
pub(super) fn check_columns(log: &Log, base: &Snapshot, schema: &SchemaRef) -> Result<()> {
    let names = |schema: &SchemaRef| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let (there, new) = (names(&base.schema), names(schema));
    if there == new || base.files.is_empty() {
        return Ok(());
    }
    let without = |names: &[String], others: &[String]| {
        let only: Vec<_> = names.iter().filter(|name| !others.contains(name)).map(String::as_str).collect();
        if only.is_empty() { "none".to_string() } else { only.join(", ") }
    };
    let (more, fewer) = (without(&new, &there), without(&there, &new));
    let location = &log.location;
    let said = match there.len() == new.len() && more == "none" {
        true => format!(
            "{location} has its columns in the order {}, the new rows in the order {}",
            there.join(", "),
            new.join(", ")
        ),
        false => {
            format!("the new rows have columns that {location} has not: {more}; and lack some that it has: {fewer}")
        }
    };
    Err(Error::conflict(said).with_hint("name another table").into())
}

/// The columns as they are stored: in types that the writer takes and that every reader knows.
pub(super) fn stored(schema: &Schema) -> SchemaRef {
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
