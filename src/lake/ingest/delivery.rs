//! The rows of a delivery as a stream, in the order in which they come or sorted, and what is counted on the way.

use super::IngestProgress;
use super::canonical::{Rules, SEQUENCE, delivered_schema, take};
use super::cells::Chunk;
use super::held_rows::HeldRows;
use super::mapping::{FilePlan, Plan};
use super::source::{Reading, Source};
use super::tally::{Provided, Tally};
use crate::isolation::named;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, internal_err};
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
use std::sync::{Arc, Mutex, PoisonError};
use tallow_udfs::calendar::Timeframe;

/// Memory that the rows of a delivery are sorted in, at most ...
const SORT_BYTES: usize = 400 << 20;
/// ... and as a share of the memory limit; the rest is for what is parsed before and written after.
const SORT_SHARE: (usize, usize) = (5, 8);
/// Least memory of a partition of the sort: with less it cannot merge what it spilled.
const SORT_PARTITION_BYTES: usize = 64 << 20;
/// About what a block of text takes from when it is read until its rows are taken.
const BLOCK_BYTES: usize = 16 << 20;

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
        mixed.then(|| Provided::new(columns, &self.tally))
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
            let judged = tally.check(timeframe, limit);
            std::future::ready(judged.map(|()| taken.batch))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// The rows by (symbol, ts) and order of delivery.
    pub async fn sorted(&self) -> Result<SendableRecordBatchStream> {
        let mut rows = self.as_delivered()?;
        let (mut held, limit) = (HeldRows::new(rows.schema()), self.sort_limit());
        // Rows take more than their text: where that does not fit, they are not held first.
        if self.bytes() > limit as u64 {
            return self.sorted_on_disk(rows);
        }
        while let Some(batch) = rows.try_next().await? {
            held.push(&batch)?;
            if held.bytes() > limit {
                let held = stream::iter(held.into_delivered());
                return self.sorted_on_disk(Box::pin(RecordBatchStreamAdapter::new(rows.schema(), held.chain(rows))));
            }
        }
        Ok(self.merging(Box::pin(RecordBatchStreamAdapter::new(rows.schema(), held.sorted()))))
    }

    /// As [`Self::sorted`], through a sort that spills.
    fn sorted_on_disk(&self, rows: SendableRecordBatchStream) -> Result<SendableRecordBatchStream> {
        let schema = rows.schema();
        let rows = Once { schema: Arc::clone(&schema), rows: Mutex::new(Some(rows)) };
        let scan = StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, vec![], false, None)?;
        let key = ["symbol", "ts", SEQUENCE].map(|name| {
            let column = Column::new_with_schema(name, &scan.schema())?;
            Ok::<_, DataFusionError>(PhysicalSortExpr::new_default(Arc::new(column)))
        });
        let key = key.into_iter().collect::<Result<Vec<_>>>()?;
        let Some(key) = LexOrdering::new(key) else { return internal_err!("a sort by nothing") };
        let limit = self.sort_limit();
        let partitions = self.reading.state.config().target_partitions().min((limit / SORT_PARTITION_BYTES).max(1));
        let spread: Arc<dyn ExecutionPlan> =
            Arc::new(RepartitionExec::try_new(Arc::new(scan), Partitioning::RoundRobinBatch(partitions))?);
        let sort = SortExec::new(key.clone(), spread).with_preserve_partitioning(true);
        let sorted = Arc::new(SortPreservingMergeExec::new(key, Arc::new(sort)));
        Ok(self.merging(execute_stream(sorted, self.sort_context()?)?))
    }

    /// Sorted rows, which are counted as they are merged.
    fn merging(&self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let (progress, schema) = (self.progress.clone(), rows.schema());
        let rows = rows.inspect_ok(move |batch| progress.add_merged(batch.num_rows() as u64));
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
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
