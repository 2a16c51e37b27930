//! The work of either phase: `Partial` makes state rows of each partition, `Final` the result of all of them.

use super::function::{Execution, Partitions, SeriesAggregate};
use super::gather::Gathering;
use crate::cancellation::{Cancellation, Turns};
use crate::node_exec::Work;
use crate::observer::Observer;
use crate::symbol_guard::Findings;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{StreamExt, stream};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Makes state rows of each partition.
pub(super) struct Partial {
    pub function: Arc<dyn SeriesAggregate>,
    pub running: Running,
}

/// Makes the result of all state rows.
pub(super) struct Final(pub Arc<dyn SeriesAggregate>);

/// The execution whose partitions were last begun, as long as any of them lives: those of one execution have one context.
pub(super) type Running = Mutex<Option<(Weak<TaskContext>, Weak<dyn Partitions>)>>;

impl Partial {
    /// What the partitions of an execution share that run in this process.
    fn partitions(&self, context: &Arc<TaskContext>) -> Arc<dyn Partitions> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |of: &Weak<TaskContext>| of.upgrade().is_some_and(|of| Arc::ptr_eq(&of, context));
        match running.as_ref().filter(|(of, _)| same(of)).and_then(|(_, partitions)| partitions.upgrade()) {
            Some(partitions) => partitions,
            None => {
                let partitions = self.function.begin();
                *running = Some((Arc::downgrade(context), Arc::downgrade(&partitions)));
                partitions
            }
        }
    }
}

impl Work for Partial {
    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<SendableRecordBatchStream> {
        let cancellation = Cancellation::of(&context);
        let partitions = self.partitions(&context);
        let accumulator = partitions.partition(&cancellation);
        let consumer = MemoryConsumer::new(format!("{}[{partition}]", self.function.describe()));
        let mut gathering = Gathering::new(
            &input.schema(),
            &self.function.columns(),
            accumulator,
            Observer::of(&context),
            cancellation.clone(),
            consumer.register(context.memory_pool()),
        )?;
        let symbols = MetricBuilder::new(metrics).counter("symbols", partition);
        let metrics = BaselineMetrics::new(metrics, partition);
        let mut input = input.execute(partition, context)?;
        let state = async move {
            let mut turns = Turns::new(cancellation);
            while let Some(batch) = input.next().await {
                let timer = metrics.elapsed_compute().timer();
                symbols.add(gathering.next(&batch?)?);
                timer.done();
                turns.next().await?;
            }
            let _timer = metrics.elapsed_compute().timer();
            let (state, last) = gathering.end()?;
            symbols.add(last);
            // Others of this process, which may still run, find what it left there.
            drop(partitions);
            Ok(state.record_output(&metrics))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.function.state_schema(), stream::once(state))))
    }
}

impl Work for Final {
    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<SendableRecordBatchStream> {
        if input.output_partitioning().partition_count() != 1 {
            return internal_err!("the state rows of an aggregate over series are not in one partition");
        }
        let reservation = MemoryConsumer::new(self.0.describe()).register(context.memory_pool());
        let (function, metrics) = (Arc::clone(&self.0), metrics.clone());
        let baseline = BaselineMetrics::new(&metrics, partition);
        let (faults_are_read, cancellation) = (Findings::are_read(&context), Cancellation::of(&context));
        let mut input = input.execute(partition, context)?;
        let result = async move {
            let mut states = vec![];
            while let Some(batch) = input.next().await {
                let batch = batch?;
                reservation.try_grow(batch.get_array_memory_size())?;
                states.push(batch);
            }
            let _timer = baseline.elapsed_compute().timer();
            let execution = Execution { metrics: &metrics, faults_are_read, cancellation };
            Ok(function.finish(&states, &execution)?.record_output(&baseline))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.0.schema(), stream::once(result))))
    }
}
