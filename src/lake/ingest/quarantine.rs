//! Rejected rows and why they were rejected: the table `quarantine/<timeframe>`, written after the candles of the same run.

use crate::delta::{Attempts, Change, Log, Snapshot};
use crate::uncommitted::UncommittedFiles;
use crate::writer::{Layout, TableWriter};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// A row that was rejected.
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
    /// Its size in memory.
    pub fn bytes(&self) -> usize {
        let texts = [&self.source, &self.rule, &self.column, &self.value, &self.expected, &self.row];
        size_of::<Reject>() + texts.into_iter().chain(&self.symbol).map(String::len).sum::<usize>()
    }
}

const TEXTS: [&str; 5] = ["rule", "column", "value", "expected", "row"];

/// The columns of the table.
pub(crate) fn schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("source", DataType::Utf8, true),
        Field::new("line", DataType::Int64, true),
        Field::new("symbol", DataType::Utf8, true),
        Field::new("ts", tallow_common::time::timestamp_type(), true),
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

/// The rejects of a run on their way into the quarantine.
///
/// They are committed after the run's candles: rejected rows must not be seen of a delivery that failed. So that a run that is
/// killed between the two commits loses none of them, their files are written before both, and the commit of the candles
/// names them: the next run finds and commits what is missing.
pub(super) struct Rejected<'a> {
    pub files: UncommittedFiles,
    run: Run,
    rejects: &'a [Reject],
    /// The version of the quarantine that holds none of them.
    version: Option<u64>,
}

/// A run, as its commits record it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Run {
    id: String,
    /// Files with its rejects.
    #[serde(default)]
    quarantine: Vec<Add>,
}

impl Run {
    fn info(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self).ok()
    }

    /// Whether the quarantine has what this run rejected.
    async fn is_in(&self, log: &Log, quarantine: &Snapshot) -> Result<bool> {
        let has = |add: &Add| quarantine.files.iter().any(|file| file.add.path == add.path);
        if self.quarantine.iter().all(has) {
            return Ok(true);
        }
        // Others may have put its rows into other files.
        let runs = log.last_runs(quarantine.version, 2 * RECENT).await?;
        Ok(runs.into_iter().filter_map(|run| Run::deserialize(run).ok()).any(|run| run.id == self.id))
    }

    /// Adds files with rejects of this run to the quarantine.
    fn change(&self, adds: &[Add]) -> Change {
        Change {
            adds: adds.to_vec(),
            schema: Some(schema()),
            data_change: true,
            operation: "QUARANTINE",
            run: Run { id: self.id.clone(), quarantine: vec![] }.info(),
            ..Change::default()
        }
    }
}

/// Commits of candles that are searched for a killed run: every run searches, so that it is one of the last.
const RECENT: u64 = 10;

impl<'a> Rejected<'a> {
    /// Writes the rejects of a run to files; those that the quarantine has already, from the same file and line for the
    /// same reason, are not written again.
    pub async fn write(state: &Arc<SessionState>, log: &Log, rejects: &'a [Reject]) -> Result<Rejected<'a>> {
        let base = if rejects.is_empty() { None } else { log.snapshot(None).await? };
        let files = match rejects {
            [] => UncommittedFiles::of(log),
            rejects => write_new(state, log, base.as_ref(), rejects).await?,
        };
        let run = Run { id: uuid::Uuid::new_v4().to_string(), quarantine: files.adds().to_vec() };
        Ok(Rejected { files, run, rejects, version: base.map(|base| base.version) })
    }

    /// What the commit of the candles records of the run.
    pub fn run_info(&self) -> Option<serde_json::Value> {
        self.run.info()
    }

    /// Adds them to the quarantine.
    pub async fn commit(mut self, state: &Arc<SessionState>, log: &Log) -> Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        // The candles' commit names these files: if this one fails, the next run adds them.
        self.files.release();
        let mut attempts = Attempts::default();
        loop {
            let base = log.snapshot(None).await?;
            let is_same = base.as_ref().map(|base| base.version) == self.version;
            let committed = if is_same {
                attempts.commit(log, base.as_ref(), self.run.change(self.files.adds()), &mut []).await?
            } else {
                self.commit_over(state, log, base.as_ref(), &mut attempts).await?
            };
            if committed.is_some() {
                return Ok(());
            }
        }
    }

    /// As [`Rejected::commit`], after others have committed to the quarantine.
    async fn commit_over(
        &mut self,
        state: &Arc<SessionState>,
        log: &Log,
        base: Option<&Snapshot>,
        attempts: &mut Attempts,
    ) -> Result<Option<u64>> {
        // Another run may have taken this one for killed.
        if let Some(base) = base
            && self.run.is_in(log, base).await?
        {
            return Ok(Some(base.version));
        }
        // Or it has brought the same rows, which are not to be there twice.
        let mut files = write_new(state, log, base, self.rejects).await?;
        let committed = match files.is_empty() {
            true => Some(base.map_or(0, |base| base.version)),
            false => attempts.commit(log, base, self.run.change(files.adds()), &mut [&mut files]).await?,
        };
        if committed.is_some() {
            self.files.reclaim();
            self.files.discard().await;
        }
        Ok(committed)
    }
}

/// Commits the rejects of runs that were killed after they had committed their candles.
pub(super) async fn recover(candles: &Log, newest: u64, log: &Log) -> Result<()> {
    let runs = candles.last_runs(newest, RECENT).await?;
    let runs = runs.into_iter().rev().filter_map(|run| Run::deserialize(run).ok());
    let runs: Vec<Run> = runs.filter(|run| !run.quarantine.is_empty()).collect();
    if runs.is_empty() {
        return Ok(());
    }
    for run in runs {
        let mut attempts = Attempts::default();
        loop {
            let base = log.snapshot(None).await?;
            let is_there = match &base {
                Some(base) => run.is_in(log, base).await?,
                None => false,
            };
            if is_there || !log.holds(&run.quarantine).await {
                break;
            }
            tracing::info!("{}: adding the rejected rows of a run that was killed", log.location);
            let change = run.change(&run.quarantine);
            if attempts.commit(log, base.as_ref(), change, &mut []).await?.is_some() {
                break;
            }
        }
    }
    Ok(())
}

/// Writes the rejects that the quarantine does not have to files of it that no version names yet.
async fn write_new(
    state: &Arc<SessionState>,
    log: &Log,
    base: Option<&Snapshot>,
    rejects: &[Reject],
) -> Result<UncommittedFiles> {
    let known = match base {
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
    let mut writer = TableWriter::new(log, schema(), Layout::Unsorted)?;
    let pushed = push_all(&mut writer, &fresh).await;
    Ok(writer.finish(pushed).await?.0)
}

async fn push_all(writer: &mut TableWriter<'_>, rejects: &[Reject]) -> Result<()> {
    for part in rejects.chunks(1 << 16) {
        writer.push(batch(part)?).await?;
    }
    Ok(())
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
