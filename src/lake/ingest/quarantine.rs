//! Rows that were not taken, and why: the table `quarantine/<timeframe>`.

use crate::lake::delta::{Change, Log, Outcome, Snapshot};
use crate::lake::writer::{Layout, TableWriter};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reject {
    /// The file, and the line in it from 1.
    pub source: String,
    pub line: u64,
    pub symbol: Option<String>,
    pub ts: Option<i64>,
    pub rule: String,
    pub column: String,
    pub value: String,
    pub expected: String,
    /// The row as it was delivered.
    pub row: String,
}

impl Reject {
    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        let texts = [&self.source, &self.rule, &self.column, &self.value, &self.expected, &self.row];
        size_of::<Reject>() + texts.into_iter().chain(&self.symbol).map(String::len).sum::<usize>()
    }
}

const TEXTS: [&str; 5] = ["rule", "column", "value", "expected", "row"];

/// The columns of the table.
pub(in crate::lake) fn schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("source", DataType::Utf8, true),
        Field::new("line", DataType::Int64, true),
        Field::new("symbol", DataType::Utf8, true),
        Field::new("ts", crate::lake::columns::instant(), true),
    ];
    fields.extend(TEXTS.map(|name| Field::new(name, DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

fn batch(rejects: &[Reject]) -> Result<RecordBatch> {
    let text = |f: fn(&Reject) -> &String| -> ArrayRef {
        Arc::new(rejects.iter().map(|r| Some(f(r))).collect::<StringArray>())
    };
    let ts: TimestampMicrosecondArray = rejects.iter().map(|r| r.ts).collect();
    let columns: Vec<ArrayRef> = vec![
        text(|r| &r.source),
        Arc::new(Int64Array::from_iter_values(rejects.iter().map(|r| r.line as i64))),
        Arc::new(rejects.iter().map(|r| r.symbol.as_ref()).collect::<StringArray>()),
        Arc::new(ts.with_timezone("UTC")),
        text(|r| &r.rule),
        text(|r| &r.column),
        text(|r| &r.value),
        text(|r| &r.expected),
        text(|r| &r.row),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// What makes two rejects the same.
type Key = (String, i64, String, String, String);

/// Adds rows to the quarantine; rows that are there already, from the same file and line for the same reason, are not
/// added again. Returns how many were.
pub(super) async fn store(state: &Arc<SessionState>, log: &Log, rejects: &[Reject]) -> Result<usize> {
    for _ in 0..super::ATTEMPTS {
        let base = log.snapshot(None).await?;
        let known = match &base {
            Some(base) => known(state, log, base, rejects).await?,
            None => HashSet::new(),
        };
        let mut seen = HashSet::new();
        let fresh: Vec<Reject> = rejects
            .iter()
            .filter(|r| {
                let key = (r.source.clone(), r.line as i64, r.rule.clone(), r.value.clone(), r.row.clone());
                !known.contains(&key) && seen.insert(key)
            })
            .cloned()
            .collect();
        if fresh.is_empty() {
            return Ok(0);
        }
        let mut writer = TableWriter::new(log, schema(), Layout::Unsorted)?;
        for part in fresh.chunks(1 << 16) {
            writer.push(batch(part)?).await?;
        }
        let adds = writer.finish().await?;
        let written = adds.clone();
        let change =
            Change { adds, schema: Some(schema()), data_change: true, operation: "QUARANTINE", ..Change::default() };
        match log.commit(base.as_ref(), change).await {
            Ok(Outcome::Committed(_)) => return Ok(fresh.len()),
            Ok(Outcome::Conflict) => log.discard(&written).await,
            Err(error) => {
                log.discard(&written).await;
                return Err(error);
            }
        }
    }
    exec_err!("{}: other writers kept committing; try again", log.location)
}

/// What the quarantine holds already of the files that these rejects come from.
async fn known(state: &Arc<SessionState>, log: &Log, base: &Snapshot, rejects: &[Reject]) -> Result<HashSet<Key>> {
    let sources: BTreeSet<&str> = rejects.iter().map(|r| r.source.as_str()).collect();
    let mut found = HashSet::new();
    let plan = base.read(state, log, &["source", "line", "rule", "value", "row"]).await?;
    let mut rows = datafusion::physical_plan::execute_stream(plan, state.task_ctx())?;
    while let Some(batch) = rows.try_next().await? {
        let text = |i: usize| arrow::compute::cast(batch.column(i), &DataType::Utf8);
        let (source, rule, value, whole) = (text(0)?, text(2)?, text(3)?, text(4)?);
        let [source, rule, value, whole] = [&source, &rule, &value, &whole].map(|a| a.as_string::<i32>());
        let line = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            if !source.is_null(row) && sources.contains(source.value(row)) {
                let text = |a: &StringArray| if a.is_null(row) { String::new() } else { a.value(row).to_string() };
                found.insert((source.value(row).to_string(), line.value(row), text(rule), text(value), text(whole)));
            }
        }
    }
    Ok(found)
}
