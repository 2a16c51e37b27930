//! The rows of a delivery as a stream, in the order in which they come or sorted, and what is counted on the way.

use super::canonical::{Rules, SEQUENCE, Taken, delivered_schema, take};
use super::cells::Chunk;
use super::mapping::{FilePlan, Plan};
use super::origin;
use super::quarantine::Reject;
use super::source::{Reading, Source};
use super::upsert::Counts;
use super::{IngestProgress, IngestSummary};
use crate::border::named;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryLimit};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalSortExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tallow_udfs::candle::Timeframe;

/// More rejected rows than this are a wrong mapping, not bad rows.
const MAX_REJECTS: usize = 1_000_000;
/// Rows after which misplaced times are judged.
const ENOUGH_ROWS: u64 = 1_000;
/// A rejected row is held up to three times: as it was found, as it is compared with those of the quarantine, and as it is
/// written. All of them may take this share of the memory limit.
const REJECTS_SHARE: usize = 4 * 3;
/// Memory that the rows of a delivery are sorted in, at most ...
const SORT_BYTES: usize = 400 << 20;
/// ... and as a share of the memory limit; the rest is for what is parsed before and written after.
const SORT_SHARE: (usize, usize) = (5, 8);
/// Least memory of a partition of the sort: with less it cannot merge what it spilled.
const SORT_PARTITION_BYTES: usize = 64 << 20;
/// About what a block of text takes from when it is read until its rows are taken.
const BLOCK_BYTES: usize = 16 << 20;

/// What is counted while rows stream by.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: u64,
    incomplete: u64,
    future: u64,
    warnings: BTreeMap<String, u64>,
    pub rejects: Vec<Reject>,
    reject_bytes: usize,
    offsets: HashMap<i64, u64>,
    misplaced: Vec<i64>,
    /// The file of each chunk.
    files: Vec<usize>,
}

impl Tally {
    fn add(&mut self, taken: &mut Taken) {
        self.files.push(taken.file);
        self.rows += taken.rows;
        self.incomplete += taken.incomplete;
        self.future += taken.future;
        taken.warnings.drain().for_each(|(rule, n)| *self.warnings.entry(rule.to_string()).or_default() += n);
        self.reject_bytes += taken.rejects.iter().map(Reject::bytes).sum::<usize>();
        self.rejects.append(&mut taken.rejects);
        taken.offsets.drain().for_each(|(offset, n)| *self.offsets.entry(offset).or_default() += n);
        if self.misplaced.len() < ENOUGH_ROWS as usize {
            self.misplaced.append(&mut taken.misplaced);
        }
    }

    /// Stops where most times are off by the same amount: the bars begin elsewhere.
    pub fn check_origin(&self, timeframe: Timeframe) -> Result<()> {
        let off: u64 = self.offsets.values().sum();
        if off * 2 <= self.rows {
            return Ok(());
        }
        origin::explain(timeframe, &self.misplaced, off, self.rows)
    }

    pub fn summary(&self, so_far: IngestSummary, counts: &Counts) -> IngestSummary {
        let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
        self.rejects.iter().for_each(|r| *rejected.entry(r.rule.clone()).or_default() += 1);
        IngestSummary {
            rows: self.rows,
            new: counts.new,
            unchanged: counts.unchanged,
            restated: counts.restated,
            duplicates: counts.duplicates,
            conflicting: counts.conflicting,
            incomplete: self.incomplete,
            future: self.future,
            rejected,
            warnings: self.warnings.clone(),
            ..so_far
        }
    }
}

/// The rows of a delivery, as often as they are asked for.
#[derive(Debug)]
pub(super) struct Delivery {
    reading: Reading,
    sources: Vec<Source>,
    plan: Arc<Plan>,
    rules: Rules,
    timeframe: Timeframe,
    progress: IngestProgress,
    tally: Arc<Mutex<Tally>>,
}

impl Delivery {
    pub fn new(
        reading: &Reading,
        sources: &[Source],
        plan: Plan,
        rules: Rules,
        timeframe: Timeframe,
        progress: IngestProgress,
    ) -> Delivery {
        Delivery {
            reading: reading.clone(),
            sources: sources.to_vec(),
            plan: Arc::new(plan),
            rules,
            timeframe,
            progress,
            tally: Arc::default(),
        }
    }

    /// Which rows come with which columns; `None` if all come with all.
    pub fn provided(&self) -> Option<Provided> {
        let of_file = |file: &FilePlan| {
            let columns = file.columns.iter().map(Option::is_some);
            [true, true].into_iter().chain(columns).collect::<Vec<bool>>()
        };
        let columns: Vec<Vec<bool>> = self.plan.files.iter().map(of_file).collect();
        let mixed = columns.iter().flatten().any(|has| !has);
        mixed.then(|| Provided { columns, tally: Arc::clone(&self.tally) })
    }

    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|s| s.meta.size).sum()
    }

    pub fn finish(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The rows in the order of delivery.
    pub fn as_delivered(&self) -> Result<SendableRecordBatchStream> {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = Tally::default();
        self.progress.start(self.bytes());
        let (reading, progress) = (self.reading.clone(), self.progress.clone());
        let opened = stream::iter(self.sources.clone().into_iter().enumerate())
            .map(move |(file, source)| source.chunks(reading.clone(), file, progress.clone()))
            .buffered(4)
            .try_flatten();
        let sources: Arc<Vec<String>> = Arc::new(self.sources.iter().map(|s| s.path.clone()).collect());
        let (plan, rules) = (Arc::clone(&self.plan), self.rules.clone());
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        let limit = self.memory_limit();
        let parsed = opened
            .enumerate()
            .map(move |(number, pending)| {
                let (plan, rules, sources) = (Arc::clone(&plan), rules.clone(), Arc::clone(&sources));
                async move {
                    let pending = pending?;
                    let work = SpawnedTask::spawn(async move {
                        let chunk = Chunk { number: number as u32, ..pending.parse(&sources)? };
                        let path = &sources[chunk.file];
                        take(&chunk, path, &plan, &rules).map_err(|error| named(path, error))
                    });
                    work.join().await.map_err(|e| DataFusionError::External(Box::new(e)))?
                }
            })
            .buffered((threads + 1).min((limit / BLOCK_BYTES).max(2)));
        let (tally, progress, timeframe) = (Arc::clone(&self.tally), self.progress.clone(), self.timeframe);
        let schema = delivered_schema(&self.plan);
        let rows = parsed.try_filter_map(move |mut taken| {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            progress.add_rows(taken.rows);
            tally.add(&mut taken);
            let judged = if tally.rows >= ENOUGH_ROWS { tally.check_origin(timeframe) } else { Ok(()) };
            let many = tally.rejects.len() > MAX_REJECTS || tally.reject_bytes > limit / REJECTS_SHARE;
            let judged = judged.and_then(|()| match tally.rejects.last().filter(|_| many) {
                Some(one) => exec_err!(
                    "{} rows break a rule, too many to be kept under the memory limit of {} MiB, such as {} line {}: {} '{}', \
                     expected {}; nothing was written. Are the columns and the format of the times right?",
                    tally.rejects.len(),
                    limit >> 20,
                    one.source,
                    one.line,
                    one.column,
                    one.value,
                    one.expected
                ),
                None => Ok(()),
            });
            std::future::ready(judged.map(|()| taken.batch))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// The rows by (symbol, ts) and order of delivery, through a sort that spills.
    pub fn sorted(&self) -> Result<SendableRecordBatchStream> {
        let schema = delivered_schema(&self.plan);
        let rows = Once { schema: Arc::clone(&schema), rows: Mutex::new(Some(self.as_delivered()?)) };
        let scan = StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, vec![], false, None)?;
        let key = ["symbol", "ts", SEQUENCE].map(|name| {
            let column = Column::new_with_schema(name, &scan.schema())?;
            Ok::<_, DataFusionError>(PhysicalSortExpr::new_default(Arc::new(column)))
        });
        let key = key.into_iter().collect::<Result<Vec<_>>>()?;
        let Some(key) = LexOrdering::new(key) else { return self.as_delivered() };
        let limit = self.sort_limit();
        let partitions = self.reading.state.config().target_partitions().min((limit / SORT_PARTITION_BYTES).max(1));
        let spread: Arc<dyn ExecutionPlan> =
            Arc::new(RepartitionExec::try_new(Arc::new(scan), Partitioning::RoundRobinBatch(partitions))?);
        let sort = SortExec::new(key.clone(), spread).with_preserve_partitioning(true);
        let sorted = Arc::new(SortPreservingMergeExec::new(key, Arc::new(sort)));
        let (progress, schema) = (self.progress.clone(), sorted.schema());
        let rows = execute_stream(sorted, self.sort_context()?)?;
        let rows = rows.inspect_ok(move |batch| progress.add_merged(batch.num_rows() as u64));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// The session's context with a share of its memory: sorting in more is hardly faster than through the disk.
    fn sort_context(&self) -> Result<Arc<TaskContext>> {
        let context = TaskContext::from(self.reading.state.as_ref());
        let builder = RuntimeEnvBuilder::from_runtime_env(&context.runtime_env());
        let own = builder.with_memory_pool(Arc::new(FairSpillPool::new(self.sort_limit()))).build_arc()?;
        Ok(Arc::new(context.with_runtime(own)))
    }

    fn sort_limit(&self) -> usize {
        (self.memory_limit() / SORT_SHARE.1 * SORT_SHARE.0).min(SORT_BYTES)
    }

    fn memory_limit(&self) -> usize {
        match self.reading.state.runtime_env().memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        }
    }
}

/// Which columns a row was delivered with, where the files of a delivery have different ones: what a file does not have,
/// it has not said to be empty.
#[derive(Debug)]
pub(super) struct Provided {
    /// By file, by column of the delivery.
    columns: Vec<Vec<bool>>,
    tally: Arc<Mutex<Tally>>,
}

impl Provided {
    /// Whether the row with this number in the order of delivery came with a column.
    pub fn has(&self, sequence: i64, column: usize) -> bool {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let file = usize::try_from(sequence >> 32).ok().and_then(|chunk| tally.files.get(chunk));
        file.is_none_or(|&file| self.columns[file].get(column).is_none_or(|has| *has))
    }
}

/// A stream that is read once.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Once")
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.unwrap_or_else(|| Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::empty())))
    }
}
