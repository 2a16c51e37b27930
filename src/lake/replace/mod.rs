//! Replaces the rows of a result table in some ranges, in one commit, which also records what they were made from.
//!
//! Rows lie where replacing them costs little. Old ones lie in files cut by symbol, as ingest writes them. The newest of all
//! symbols lie together in a small file, the tail, so that a run after every bar rewrites that file and no other. A tail that
//! has grown is closed: it keeps the rows that stayed as they were, and a new tail begins. Closed tails of about one size become
//! one as soon as there are some of them, so that there are never many; `optimize` merges them into the files by symbol.

mod merge;
mod tiers;

use super::delta::{Attempts, Change, Log, Snapshot, transactions};
use super::overwrite::{self, Written, stored};
use super::profile::ProfileCache;
use super::properties::{KIND, OPERATION};
use super::table::CandleTable;
use super::uncommitted::UncommittedFiles;
use super::writable::log_schema;
use super::writer::{Layout, RESULT_FILE_BYTES, TableWriter};
use super::{kind::ResultKind, sorted_rows::SortedRows};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use deltalake_core::kernel::Add;
use merge::{Merge, Outputs};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tallow_common::Ranges;
use tiers::{Tier, Touched, touched};

#[cfg(test)]
mod tests;

/// The metric of a commit that tells how many bars its work read, about.
pub(super) const BARS_READ: &str = "bars_read";
/// The metric that tells how long it took.
pub(super) const MILLISECONDS: &str = "milliseconds";

/// Rows that take the place of those in some ranges.
pub struct Replacement {
    /// The rows, all within the ranges, ordered by (symbol, ts), which are the first two columns.
    pub rows: Arc<dyn ExecutionPlan>,
    /// Where rows are replaced; those that are not there again vanish.
    pub ranges: Arc<Ranges>,
    /// What they are.
    pub kind: ResultKind,
    /// Properties of the table.
    pub properties: HashMap<String, String>,
    /// What the table is made from once this is done: of each source, under a name, the version.
    pub sources: Vec<(String, u64)>,
    /// Whether all rows of the symbols in the ranges are replaced.
    pub whole_symbols: bool,
    /// Rows from this time on will probably be replaced by the next run: they are kept in the tail.
    pub open_from: i64,
    /// Whether nothing is to be done where the table is made from these versions, or later ones, already.
    pub once: bool,
    /// What computing the rows takes, for the history of the table.
    pub effort: Effort,
    /// Called with the number of rows so far.
    pub progress: Box<dyn Fn(u64) + Send + Sync>,
}

/// What work takes.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// When it began.
    pub since: Instant,
    /// About how many bars it reads.
    pub bars: u64,
}

impl Effort {
    /// Of work that begins now.
    pub fn begin(bars: u64) -> Effort {
        Effort { since: Instant::now(), bars }
    }
}

impl Replacement {
    /// Whether no old row stays.
    fn is_whole(&self) -> bool {
        *self.ranges == Ranges::all()
    }
}

/// What became of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// It is done.
    Written(Written),
    /// The table was made from the same versions of its sources already, or from later ones: somebody else was first.
    UpToDate {
        /// The version that is.
        version: u64,
    },
}

/// Replaces rows. Until the commit, and if anything fails, the table stays what it was.
pub(super) async fn replace(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    log: &Log,
    replacement: Replacement,
) -> Result<Replaced> {
    overwrite::check(state, log, replacement.kind, &replacement.properties).await?;
    let schema = stored(&replacement.rows.schema());
    let mut attempts = Attempts::default();
    loop {
        let Some(base) = log.snapshot(None).await? else {
            let touched = Touched::default();
            let old = OldRows { log, table: None, files: vec![], touched, closes_tail: false };
            if let Some(done) = attempt(state, &old, None, &schema, &replacement, &mut attempts).await? {
                return Ok(done);
            }
            continue;
        };
        overwrite::check_overwrite(log, &base, replacement.kind, &replacement.properties)?;
        if !replacement.is_whole() {
            overwrite::check_columns(log, &base, &schema)?;
        }
        if replacement.once && base.includes(log, &transactions(&replacement.sources)).await? {
            return Ok(Replaced::UpToDate { version: base.version });
        }
        let table = CandleTable::of_snapshot(state, log, &base, cache).await?.filter(|_| !base.files.is_empty());
        let touched = match &table {
            Some(table) => touched(&base.files, table.profiles(), &replacement.ranges).with_merged_tails(&base.files),
            None => Touched::default(),
        };
        let closes_tail = touched.closes_tail(&base.files);
        let files = base.files.iter().map(|file| file.add.clone()).collect();
        let old = OldRows { log, table, files, touched, closes_tail };
        if let Some(done) = attempt(state, &old, Some(&base), &schema, &replacement, &mut attempts).await? {
            return Ok(done);
        }
    }
}

/// What a table holds before, as far as it is rewritten.
struct OldRows<'a> {
    log: &'a Log,
    table: Option<CandleTable>,
    files: Vec<Add>,
    touched: Touched,
    /// The tail that is rewritten is closed.
    closes_tail: bool,
}

impl OldRows<'_> {
    async fn read(&self, state: &Arc<SessionState>, files: &[usize]) -> Result<Option<SendableRecordBatchStream>> {
        let Some(table) = self.table.as_ref().filter(|_| !files.is_empty()) else { return Ok(None) };
        let plan = table.read_in_order(state, files, None).await?;
        Ok(Some(execute_stream(plan, state.task_ctx())?))
    }
}

/// `None`: another writer was first.
async fn attempt(
    state: &Arc<SessionState>,
    old: &OldRows<'_>,
    base: Option<&Snapshot>,
    schema: &SchemaRef,
    replacement: &Replacement,
    attempts: &mut Attempts,
) -> Result<Option<Replaced>> {
    let writer = |tier: Option<Tier>| -> Result<TableWriter<'_>> {
        let writer = TableWriter::new(old.log, Arc::clone(schema), Layout::Sorted)?.in_tier(tier.map(Tier::number));
        // Tails are replaced as a whole.
        Ok(if tier.is_none() { writer.with_file_bytes(RESULT_FILE_BYTES) } else { writer })
    };
    let (mut by_symbol, mut tail) = (writer(None)?, writer(Some(Tier::Tail))?);
    let mut closed = if old.closes_tail { Some(writer(Some(Tier::Closed))?) } else { None };
    // Of what all goes, nothing has to be read.
    let (old_by_symbol, old_recent) = match replacement.is_whole() {
        true => (None, None),
        false => (old.read(state, &old.touched.by_symbol).await?, old.read(state, &old.touched.recent).await?),
    };
    // A plan keeps state of its last run.
    let plan = reset_plan_states(Arc::clone(&replacement.rows))?;
    let rows = execute_stream(Arc::clone(&plan), state.task_ctx())?;
    let merge = Merge {
        new: SortedRows::new(Some(rows), schema),
        by_symbol: SortedRows::new(old_by_symbol, schema),
        recent: SortedRows::new(old_recent, schema),
        ranges: &replacement.ranges,
        ends: old.touched.ends.clone(),
        all_by_symbol: base.is_none() || replacement.is_whole() || replacement.whole_symbols,
        open_from: replacement.open_from,
        progress: &replacement.progress,
    };
    let outputs = Outputs { by_symbol: &mut by_symbol, tail: &mut tail, closed: closed.as_mut() };
    let merged = merge.run(outputs).await;
    tracing::trace!("executed\n{}", DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(true));
    let mut files = finish(merged, [Some(by_symbol), Some(tail), closed]).await?;
    let removes = old.touched.all().map(|file| old.files[file].clone()).collect();
    let change =
        change(schema, replacement, files.files.iter().flat_map(|f| f.adds().to_vec()).collect(), removes, files.rows);
    let count = change.adds.len();
    let mut written: Vec<&mut UncommittedFiles> = files.files.iter_mut().collect();
    let version = attempts.commit(old.log, base, change, &mut written).await?;
    Ok(version.map(|version| Replaced::Written(Written { rows: files.rows, files: count, version })))
}

/// New files, and the number of new rows in them.
struct NewFiles {
    files: Vec<UncommittedFiles>,
    rows: u64,
}

/// Ends all writers, or gives up all that they wrote.
async fn finish<'a>(merged: Result<u64>, writers: [Option<TableWriter<'a>>; 3]) -> Result<NewFiles> {
    let mut done = NewFiles { files: vec![], rows: 0 };
    let mut result = merged.map(|rows| done.rows = rows);
    for writer in writers.into_iter().flatten() {
        match writer.finish(result).await {
            Ok((files, ())) => {
                done.files.push(files);
                result = Ok(());
            }
            Err(error) => result = Err(error),
        }
    }
    match result {
        Ok(()) => Ok(done),
        Err(error) => {
            for files in &mut done.files {
                files.discard().await;
            }
            Err(error)
        }
    }
}

fn change(schema: &SchemaRef, replacement: &Replacement, adds: Vec<Add>, removes: Vec<Add>, rows: u64) -> Change {
    let kind = replacement.kind;
    let marks = [(KIND, kind.prefix()), (OPERATION, kind.operation())];
    let marks = marks.map(|(key, value)| (key.to_string(), value.to_string()));
    let Effort { since, bars } = replacement.effort;
    let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let metrics = [
        ("rows", rows),
        ("files_added", adds.len() as u64),
        ("files_removed", removes.len() as u64),
        (BARS_READ, bars),
        (MILLISECONDS, millis),
    ];
    Change {
        adds,
        removes,
        schema: Some(log_schema(schema)),
        properties: replacement.properties.iter().map(|(k, v)| (k.clone(), v.clone())).chain(marks).collect(),
        data_change: true,
        metrics: metrics.into_iter().map(|(key, n)| (key.to_string(), n.into())).collect(),
        operation: kind.operation(),
        transactions: transactions(&replacement.sources),
        once: replacement.once,
        ..Change::default()
    }
}
