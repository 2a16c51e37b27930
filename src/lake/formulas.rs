//! The formulas that a lake keeps: the table `formulas`, one row a version, added to and never changed.

use super::delta::{Change, Log, Outcome};
use super::ingest::{ATTEMPTS, pause};
use super::writer::{Layout, TableWriter};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use std::sync::Arc;

/// A version of a formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFormula {
    /// Its name.
    pub name: String,
    /// From 1.
    pub version: i64,
    /// scan, entry, exit or stop.
    pub category: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// One sentence.
    pub description: String,
    /// The formula.
    pub formula: String,
    /// When it was added, in microseconds since the epoch.
    pub created_at: i64,
}

const TEXTS: [&str; 5] = ["name", "category", "tags", "description", "formula"];

fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text("name"),
        Field::new("version", DataType::Int64, true),
        text("category"),
        text("tags"),
        text("description"),
        text("formula"),
        Field::new("created_at", super::columns::instant(), true),
    ]))
}

fn batch(formula: &StoredFormula) -> Result<RecordBatch> {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let columns: Vec<ArrayRef> = vec![
        text(&formula.name),
        Arc::new(Int64Array::from(vec![formula.version])),
        text(&formula.category),
        text(&formula.tags.join(" ")),
        text(&formula.description),
        text(&formula.formula),
        Arc::new(TimestampMicrosecondArray::from(vec![formula.created_at]).with_timezone("UTC")),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// All versions of all formulas, by name and version.
pub(super) async fn read(state: &Arc<SessionState>, log: &Log) -> Result<Vec<StoredFormula>> {
    let Some(snapshot) = log.snapshot(None).await? else { return Ok(vec![]) };
    let names = ["name", "category", "tags", "description", "formula", "version", "created_at"];
    let plan = snapshot.read(state, log, &names).await?;
    let mut rows = datafusion::physical_plan::execute_stream(plan, state.task_ctx())?;
    let mut all = vec![];
    while let Some(batch) = rows.try_next().await? {
        let texts = (0..TEXTS.len()).map(|i| cast(batch.column(i), &DataType::Utf8)).collect::<Result<Vec<_>, _>>()?;
        let versions = batch.column(5).as_primitive::<Int64Type>();
        let times = cast(batch.column(6), &super::columns::instant())?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let text = |i: usize| {
                let column = texts[i].as_string::<i32>();
                if column.is_null(row) { String::new() } else { column.value(row).to_string() }
            };
            all.push(StoredFormula {
                name: text(0),
                version: versions.value(row),
                category: text(1),
                tags: text(2).split_whitespace().map(str::to_string).collect(),
                description: text(3),
                formula: text(4),
                created_at: times.value(row),
            });
        }
    }
    all.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    Ok(all)
}

/// Adds a formula as the next version of its name, which is returned; one that is the newest version already is not added
/// again. Two writers at the same time get two versions.
pub(super) async fn add(state: &Arc<SessionState>, log: &Log, formula: StoredFormula) -> Result<i64> {
    for attempt in 1..=ATTEMPTS {
        let base = log.snapshot(None).await?;
        let newest = read(state, log).await?.into_iter().rfind(|f| f.name == formula.name);
        let same = |known: &StoredFormula| {
            StoredFormula { version: known.version, created_at: known.created_at, ..formula.clone() } == *known
        };
        if let Some(known) = newest.as_ref().filter(|known| same(known)) {
            return Ok(known.version);
        }
        let version = newest.map_or(0, |f| f.version) + 1;
        let mut writer = TableWriter::new(log, schema(), Layout::Unsorted)?;
        writer.push(batch(&StoredFormula { version, ..formula.clone() })?).await?;
        let adds = writer.finish().await?;
        let written = adds.clone();
        let change =
            Change { adds, schema: Some(schema()), data_change: true, operation: "FORMULA", ..Change::default() };
        match log.commit(base.as_ref(), change).await {
            Ok(Outcome::Committed(_)) => return Ok(version),
            Ok(Outcome::Conflict) => {
                log.discard(&written).await;
                pause(attempt).await;
            }
            Err(error) => {
                log.discard(&written).await;
                return Err(error);
            }
        }
    }
    exec_err!("{}: other writers kept committing; try again", log.location)
}
