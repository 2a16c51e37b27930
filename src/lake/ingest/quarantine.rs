//! Rows that were not taken, and why: the table `quarantine/<timeframe>`, written after the candles of the same run.

use crate::lake::delta::{Change, Log, Outcome, Snapshot};
use crate::lake::writer::{Layout, TableWriter};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SessionState;
use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
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
        Field::new("ts", crate::lake::columns::timestamp_type(), true),
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
/// They come after the run's candles, since rows that are seen to be rejected must belong to a delivery that came. So that
/// a run that is killed between the two commits loses none of them, their files are written before both, and the commit of
/// the candles names them: the next run finds what is missing.
pub(super) struct Rejected<'a> {
    run: Run,
    rejects: &'a [Reject],
    /// The version of the quarantine that holds none of them.
    version: Option<u64>,
}

/// A run, as its commits tell of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Run {
    id: String,
    /// Files with its rejects.
    #[serde(default)]
    quarantine: Vec<Add>,
}

impl Run {
    fn told(&self) -> Option<serde_json::Value> {
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

    async fn commit(&self, log: &Log, base: Option<&Snapshot>, adds: Vec<Add>) -> Result<Outcome> {
        let run = Run { id: self.id.clone(), quarantine: vec![] }.told();
        let change = Change {
            adds,
            schema: Some(schema()),
            data_change: true,
            operation: "QUARANTINE",
            run,
            ..Change::default()
        };
        log.commit(base, change).await
    }
}

/// Commits of candles among which a killed run is looked for: every run looks, so that it is one of the last.
const RECENT: u64 = 10;

impl<'a> Rejected<'a> {
    /// Writes the rejects of a run to files; those that the quarantine has already, from the same file and line for the
    /// same reason, are not written again.
    pub async fn write(state: &Arc<SessionState>, log: &Log, rejects: &'a [Reject]) -> Result<Rejected<'a>> {
        let mut run = Run { id: uuid::Uuid::new_v4().to_string(), quarantine: vec![] };
        if rejects.is_empty() {
            return Ok(Rejected { run, rejects, version: None });
        }
        let base = log.snapshot(None).await?;
        run.quarantine = write_new(state, log, base.as_ref(), rejects).await?;
        Ok(Rejected { run, rejects, version: base.map(|base| base.version) })
    }

    /// What the commit of the candles tells of the run.
    pub fn told(&self) -> Option<serde_json::Value> {
        self.run.told()
    }

    /// Adds them to the quarantine.
    pub async fn commit(self, state: &Arc<SessionState>, log: &Log) -> Result<()> {
        let Rejected { run, rejects, version } = self;
        if run.quarantine.is_empty() {
            return Ok(());
        }
        for attempt in 1..=super::ATTEMPTS {
            let base = log.snapshot(None).await?;
            let is_same = base.as_ref().map(|base| base.version) == version;
            if is_same {
                match run.commit(log, base.as_ref(), run.quarantine.clone()).await? {
                    Outcome::Committed(_) => return Ok(()),
                    Outcome::Conflict => super::pause(attempt).await,
                }
                continue;
            }
            // Another run may have taken this one for killed.
            if let Some(base) = &base
                && run.is_in(log, base).await?
            {
                return Ok(());
            }
            // Or it has brought the same rows, which are not to be there twice.
            let adds = write_new(state, log, base.as_ref(), rejects).await?;
            let done = match adds.is_empty() {
                true => Ok(Outcome::Committed(0)),
                false => run.commit(log, base.as_ref(), adds.clone()).await,
            };
            if matches!(done, Ok(Outcome::Committed(_))) {
                log.discard(&run.quarantine).await;
                return Ok(());
            }
            log.discard(&adds).await;
            done?;
            super::pause(attempt).await;
        }
        exec_err!("{}: other writers kept committing", log.location)
    }

    /// Gives up what was written, since the candles did not come.
    pub async fn discard(&self, log: &Log) {
        log.discard(&self.run.quarantine).await;
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
    let mut base = log.snapshot(None).await?;
    for run in runs {
        for attempt in 1..=super::ATTEMPTS {
            let there = match &base {
                Some(base) => run.is_in(log, base).await?,
                None => false,
            };
            if there || !log.holds(&run.quarantine).await {
                break;
            }
            tracing::info!("{}: adding the rejected rows of a run that was killed", log.location);
            if let Outcome::Conflict = run.commit(log, base.as_ref(), run.quarantine.clone()).await? {
                super::pause(attempt).await;
            }
            base = log.snapshot(None).await?;
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
) -> Result<Vec<Add>> {
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
    for part in fresh.chunks(1 << 16) {
        writer.push(batch(part)?).await?;
    }
    writer.finish().await
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
