//! One ingest from its files to its commit.

use super::canonical::{Rules, SEQUENCE, Scale};
use super::counts::Counts;
use super::delivered::{Delivered, OutOfOrder};
use super::delivery::Delivery;
use super::listing;
use super::mapping::{self, Plan, Recognised};
use super::quarantine::{self, Rejected};
use super::source::{BrokenFile, Reading, Source};
use super::tally::Tally;
use super::target::{Begins, Target};
use super::upsert::{MAX_TAILS, Merged, REWRITE_BYTES};
use super::{IngestOptions, IngestProgress, IngestSummary, cause};
use crate::delta::{Attempts, Change, Log, Snapshot, transactions};
use crate::profile::ProfileCache;
use crate::table::CandleTable;
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Instant;
use tallow_common::control::OnProgress;
use tallow_common::time::Zone;
use tallow_udfs::calendar::{Grid, Timeframe};
use tempfile::TempDir;

/// In microseconds.
const SECOND: i64 = 1_000_000;
/// Deliveries up to this size may become files of their own beside a large table.
const SMALL_DELIVERY: u64 = 256 << 20;

/// Ingests files into the table of a timeframe.
pub(crate) async fn ingest(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    lake: &str,
    timeframe: Timeframe,
    options: &IngestOptions,
    progress: &OnProgress,
) -> Result<IngestSummary> {
    let started = Instant::now();
    let lake = lake.trim_end_matches('/');
    let candles = Log::at(state.as_ref(), &format!("{lake}/candles/{timeframe}"))?;
    let quarantine = Log::at(state.as_ref(), &format!("{lake}/quarantine/{timeframe}"))?;
    let ingest = Ingest {
        state,
        cache,
        candles: &candles,
        quarantine: &quarantine,
        timeframe,
        options,
        zone: zone(options.zone.as_deref())?,
        reading: Reading::new(state),
        progress: IngestProgress::new(progress),
    };
    let mut files = ingest.open_files().await?;
    let summary = ingest.run(&mut files).await?;
    Ok(IngestSummary { took: started.elapsed(), ..summary })
}

/// What is the same in all attempts of an ingest.
struct Ingest<'a> {
    state: &'a Arc<SessionState>,
    cache: &'a ProfileCache,
    candles: &'a Log,
    quarantine: &'a Log,
    timeframe: Timeframe,
    options: &'a IngestOptions,
    zone: Zone,
    reading: Reading,
    progress: IngestProgress,
}

/// The files of a delivery that have rows, and what is known of them and of the others.
struct DeliveredFiles {
    sources: Vec<Source>,
    recognised: Vec<Recognised>,
    summary: IngestSummary,
    /// Where members of archives were unpacked to, for as long as they are read.
    _unpacked: Vec<TempDir>,
}

/// How a delivery is merged: the quicker way until it proves impossible.
struct Method {
    /// Rows come in the table's order.
    in_order: bool,
    /// New rows may go to files beside the others.
    append: bool,
}

impl Ingest<'_> {
    /// Opens every file and recognises its columns.
    async fn open_files(&self) -> Result<DeliveredFiles> {
        let IngestOptions { sources, columns, naming, member, .. } = self.options;
        let listing::DeliveredFiles { files: listed, empty: empty_files, unreadable, unpacked } =
            listing::list(self.state, sources, columns.as_deref(), member.as_ref()).await?;
        let files = listed.len() + empty_files.len();
        let summary = IngestSummary { files, empty_files, unreadable, ..Default::default() };
        let mut files = DeliveredFiles { sources: vec![], recognised: vec![], summary, _unpacked: unpacked };
        for mut source in listed {
            match source.open(&self.reading, files.sources.len()).await {
                Ok(Some(head)) => {
                    let recognised = mapping::recognise(&source, &head, naming, self.timeframe)?;
                    let (columns, further) = recognised.in_words();
                    if files.summary.columns.is_empty() {
                        files.summary.columns = columns;
                    }
                    files.summary.further.extend(further);
                    files.recognised.push(recognised);
                    files.sources.push(source);
                }
                Ok(None) => files.summary.empty_files.push(source.path),
                Err(error) => files.summary.skip(&source, error)?,
            }
        }
        Ok(files)
    }

    /// Merges the files into the newest version of the table, until that is done and committed.
    async fn run(&self, files: &mut DeliveredFiles) -> Result<IngestSummary> {
        let mut method = Method { in_order: true, append: true };
        let mut attempts = Attempts::default();
        while !files.sources.is_empty() {
            let begins = Begins { origin: self.options.origin.as_deref(), calendar: self.options.calendar.as_deref() };
            let target = Target::open(self.state, self.cache, self.candles, self.timeframe, begins).await?;
            if let Some(base) = target.base.as_ref().filter(|_| !self.options.dry_run) {
                quarantine::recover(self.candles, base.version, self.quarantine).await?;
            }
            let plan = mapping::plan(&files.recognised, target.base.as_ref().map(|base| base.schema.as_ref()))?;
            let schema = target.schema_with(&plan.schema);
            let delivery = self.delivery(files, plan, target.grid);
            match self.merge(&target, &schema, &delivery, &method).await {
                Ok(Some(merged)) => {
                    let so_far = files.summary.clone();
                    let done = self.commit(&target, &schema, delivery.finish(), merged, so_far, &mut attempts).await?;
                    if let Some(summary) = done {
                        return Ok(summary);
                    }
                }
                // Some rows restate others: their files are rewritten after all.
                Ok(None) => method.append = false,
                Err(error) if method.in_order && cause::<OutOfOrder>(&error).is_some() => {
                    tracing::debug!("rows are not in order: sorting them");
                    method.in_order = false;
                }
                Err(error) => {
                    // Some of its rows may have been taken already: all is done again without the file.
                    let Some(file) = cause::<BrokenFile>(&error).map(|broken| broken.file) else { return Err(error) };
                    files.recognised.remove(file);
                    files.summary.skip(&files.sources.remove(file), error)?;
                }
            }
        }
        Ok(files.summary.clone())
    }

    fn delivery(&self, files: &DeliveredFiles, plan: Plan, grid: Grid) -> Delivery {
        let rules = Rules {
            grid,
            zone: self.zone.clone(),
            scale: self.options.scale.map(Scale::new),
            close_as_ts: self.options.close_as_ts,
            close_slack: match self.timeframe {
                Timeframe::Fixed(_) | Timeframe::Day => SECOND,
                Timeframe::Days(_) | Timeframe::Week | Timeframe::Month => 4 * 86_400 * SECOND,
            },
            now: chrono::Utc::now().timestamp_micros(),
        };
        Delivery::new(&self.reading, &files.sources, plan, rules, self.timeframe, self.progress.clone())
    }

    /// Writes what a delivery makes of the table to new files. `Ok(None)`: rows cannot just be appended.
    async fn merge(
        &self,
        target: &Target<'_>,
        schema: &SchemaRef,
        delivery: &Delivery,
        method: &Method,
    ) -> Result<Option<Merged>> {
        let upsert = target.upsert(schema, delivery.provided());
        let mut rows = if method.in_order { delivery.as_delivered()? } else { delivery.sorted().await? };
        let size: u64 = target.files().iter().map(|f| f.meta.size).sum();
        let is_large = size > self.options.rewrite_bytes.unwrap_or(REWRITE_BYTES);
        let tails = target.files().len().saturating_sub(target.table.as_ref().map_or(0, CandleTable::longest_chain));
        if !method.append || !is_large || delivery.bytes() >= SMALL_DELIVERY || tails >= MAX_TAILS {
            return upsert.rewrite(&mut Delivered::new(rows)).await.map(Some);
        }
        let (mut small, mut bytes) = (vec![], 0);
        while let Some(batch) = rows.try_next().await? {
            bytes += batch.get_array_memory_size() as u64;
            small.push(batch);
            if bytes > SMALL_DELIVERY {
                return Ok(None);
            }
        }
        upsert.append(&small).await
    }

    /// Commits what was merged, and then the rows that were rejected. `None`: another writer was first.
    async fn commit(
        &self,
        target: &Target<'_>,
        schema: &SchemaRef,
        tally: Tally,
        mut merged: Merged,
        so_far: IngestSummary,
        attempts: &mut Attempts,
    ) -> Result<Option<IngestSummary>> {
        merged.files.keep_if_ok(tally.check_origin(self.timeframe)).await?;
        let summary = tally.summary(so_far, &merged.counts);
        if self.options.dry_run {
            merged.discard().await;
            return Ok(Some(summary));
        }
        let rejected = Rejected::write(self.state, self.quarantine, &tally.rejects).await;
        let mut rejected = merged.files.keep_if_ok(rejected).await?;
        if merged.is_empty() && !target.moves() {
            rejected.commit(self.state, self.quarantine).await?;
            return Ok(Some(summary));
        }
        let change = target.change(schema, &merged, "INGEST", rejected.run_info());
        let mut written = [&mut merged.files, &mut merged.changed_rows, &mut rejected.files];
        let committed = attempts.commit(self.candles, target.base.as_ref(), change, &mut written).await?;
        let Some(version) = committed else { return Ok(None) };
        rejected.commit(self.state, self.quarantine).await.map_err(|error| {
            error.context(format!(
                "the candles are in version {version}; rows that were not taken come into the quarantine with the next ingest"
            ))
        })?;
        Ok(Some(IngestSummary { version: Some(version), ..summary }))
    }
}

fn zone(name: Option<&str>) -> Result<Zone> {
    let Some(name) = name else { return Ok(Zone::Fixed(0)) };
    Zone::parse(name).ok_or_else(|| {
        exec_datafusion_err!("the option `tz` '{name}': expected a zone such as America/New_York, UTC or +02:00")
    })
}

/// What the commit of merged rows records, and on what it depends.
#[derive(Debug, Clone, Copy)]
pub struct Merging<'a> {
    /// The operation that made them.
    pub operation: &'static str,
    /// What they were made from: of each source, under a name, the version.
    pub sources: &'a [(String, u64)],
    /// What must be recorded already.
    pub only_if: Option<&'a Recorded>,
}

/// What a table must have recorded, so that something is written to it: a change by somebody else is seen, and not written over.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The name of an application.
    pub application: String,
    /// The number that it has recorded last; `None`: none yet.
    pub reached: Option<u64>,
}

impl Recorded {
    async fn check(&self, log: &Log, base: Option<&Snapshot>) -> Result<()> {
        let reached = match base {
            Some(base) => base.reached(log, &self.application).await?.and_then(|reached| u64::try_from(reached).ok()),
            None => None,
        };
        if reached == self.reached {
            return Ok(());
        }
        exec_err!("somebody else has written `{}` to {} meanwhile", self.application, log.location)
    }
}

/// Merges the rows of a plan, candles already and ordered by (symbol, ts), into the table of a timeframe.
pub(crate) async fn merge_rows(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    lake: &str,
    (timeframe, origin): (Timeframe, &str),
    rows: &Arc<dyn ExecutionPlan>,
    merging: Merging<'_>,
) -> Result<IngestSummary> {
    let Merging { operation, sources, only_if } = merging;
    let started = Instant::now();
    let log = Log::at(state.as_ref(), &format!("{}/candles/{timeframe}", lake.trim_end_matches('/')))?;
    let mut attempts = Attempts::default();
    loop {
        let begins = Begins { origin: Some(origin), calendar: None };
        let target = Target::open(state, cache, &log, timeframe, begins).await?;
        if let Some(recorded) = only_if {
            recorded.check(&log, target.base.as_ref()).await?;
        }
        let schema = target.schema_with(&rows.schema());
        // A plan keeps state of its last run.
        let stream = execute_stream(reset_plan_states(Arc::clone(rows))?, state.task_ctx())?;
        let mut merged = target.upsert(&schema, None).rewrite(&mut Delivered::new(numbered(stream))).await?;
        let Counts { new, unchanged, restated, duplicates, .. } = merged.counts;
        let rows = new + unchanged + restated + duplicates;
        let mut summary = IngestSummary { rows, new, unchanged, restated, duplicates, ..IngestSummary::default() };
        if !merged.is_empty() || !sources.is_empty() || target.moves() {
            let change =
                Change { transactions: transactions(sources), ..target.change(&schema, &merged, operation, None) };
            let mut written = [&mut merged.files, &mut merged.changed_rows];
            let committed = attempts.commit(&log, target.base.as_ref(), change, &mut written).await?;
            let Some(version) = committed else { continue };
            summary.version = Some(version);
        }
        return Ok(IngestSummary { took: started.elapsed(), ..summary });
    }
}

/// Rows with the order in which they come.
fn numbered(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(SEQUENCE, DataType::Int64, false)));
    let schema = Arc::new(Schema::new(fields));
    let target = Arc::clone(&schema);
    let mut next = 0i64;
    let numbered = rows.map(move |batch| {
        let batch = batch?;
        let end = next + batch.num_rows() as i64;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(next..end)));
        next = end;
        Ok(RecordBatch::try_new(Arc::clone(&target), columns)?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, numbered))
}
