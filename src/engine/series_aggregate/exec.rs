//! The operator of either phase.

use super::function::{Execution, Partitions, SeriesAggregate};
use super::gather::Gathering;
use super::node::SeriesAggregateNode;
use crate::cancellation::{Cancellation, Turns};
use crate::node::{Phase, UnaryNode};
use crate::observer::Observer;
use crate::series_order::BySymbol;
use crate::symbol_guard::Findings;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::{StreamExt, stream};
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One phase of an aggregate over series: `Partial` makes state rows of each partition, `Final` the result of all of them.
pub struct SeriesAggregateExec {
    phase: Phase,
    node: SeriesAggregateNode,
    input: Arc<dyn ExecutionPlan>,
    /// What the partial phase asks of its input.
    by_symbol: Option<BySymbol>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    running: Running,
}

/// The execution whose partitions were last begun, as long as any of them lives: those of one execution have one context.
type Running = Mutex<Option<(Weak<TaskContext>, Weak<dyn Partitions>)>>;

impl SeriesAggregateExec {
    pub(super) fn try_new(phase: Phase, node: SeriesAggregateNode, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let (schema, by_symbol, partitions) = match phase {
            Phase::Partial => {
                let partitions = input.output_partitioning().partition_count();
                (node.0.state_schema(), Some(BySymbol::of(&input.schema())?), partitions)
            }
            Phase::Final => (node.0.schema(), None, 1),
            Phase::Whole => return internal_err!("an aggregate over series has two phases"),
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(SeriesAggregateExec { phase, node, input, by_symbol, properties, metrics, running: Mutex::default() })
    }

    /// What it does a phase of.
    pub fn node(&self) -> &dyn UnaryNode {
        &self.node
    }

    /// Which phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    fn function(&self) -> &Arc<dyn SeriesAggregate> {
        &self.node.0
    }

    /// What the partitions of an execution share that run in this process.
    fn partitions(&self, context: &Arc<TaskContext>) -> Arc<dyn Partitions> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |of: &Weak<TaskContext>| of.upgrade().is_some_and(|of| Arc::ptr_eq(&of, context));
        match running.as_ref().filter(|(of, _)| same(of)).and_then(|(_, partitions)| partitions.upgrade()) {
            Some(partitions) => partitions,
            None => {
                let partitions = self.function().begin();
                *running = Some((Arc::downgrade(context), Arc::downgrade(&partitions)));
                partitions
            }
        }
    }

    /// State rows of a partition.
    fn partial(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let cancellation = Cancellation::of(&context);
        let partitions = self.partitions(&context);
        let accumulator = partitions.partition(&cancellation);
        let consumer = MemoryConsumer::new(format!("{}[{partition}]", self.function().describe()));
        let mut gathering = Gathering::new(
            &self.input.schema(),
            self.function().columns(),
            accumulator,
            Observer::of(&context),
            cancellation.clone(),
            consumer.register(context.memory_pool()),
        )?;
        let symbols = MetricBuilder::new(&self.metrics).counter("symbols", partition);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let mut input = self.input.execute(partition, context)?;
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
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(state))))
    }

    /// The result of all state rows.
    fn finish(&self, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.input.output_partitioning().partition_count() != 1 {
            return internal_err!("the state rows of an aggregate over series are not in one partition");
        }
        let reservation = MemoryConsumer::new(self.function().describe()).register(context.memory_pool());
        let (function, metrics) = (Arc::clone(self.function()), self.metrics.clone());
        let baseline = BaselineMetrics::new(&self.metrics, 0);
        let (findings, cancellation) = (Findings::of(&context), Cancellation::of(&context));
        let mut input = self.input.execute(0, context)?;
        let result = async move {
            let mut states = vec![];
            while let Some(batch) = input.next().await {
                let batch = batch?;
                reservation.try_grow(batch.get_array_memory_size())?;
                states.push(batch);
            }
            let _timer = baseline.elapsed_compute().timer();
            let execution = Execution { metrics: &metrics, findings, cancellation };
            Ok(function.finish(&states, &execution)?.record_output(&baseline))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(result))))
    }
}

impl Debug for SeriesAggregateExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesAggregateExec")
            .field("phase", &self.phase)
            .field("node", &self.node)
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

impl DisplayAs for SeriesAggregateExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let text = format!("mode={:?}, {}", self.phase, self.function().describe());
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "SeriesAggregateExec: {text}"),
            DisplayFormatType::TreeRender => writeln!(f, "{text}"),
        }
    }
}

impl ExecutionPlan for SeriesAggregateExec {
    fn name(&self) -> &'static str {
        "SeriesAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.by_symbol {
            Some(by_symbol) => by_symbol.apply_expressions(f),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.by_symbol.as_ref().map_or_else(|| vec![None], BySymbol::ordering)
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let one = || InputDistributionRequirements::new(vec![Distribution::SinglePartition]);
        self.by_symbol.as_ref().map_or_else(one, BySymbol::distribution)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(SeriesAggregateExec::try_new(self.phase, self.node.clone(), input)?)),
            _ => exec_err!("SeriesAggregateExec has one input"),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        match self.phase {
            Phase::Partial => self.partial(partition, context),
            _ if partition > 0 => exec_err!("SeriesAggregateExec has one partition, not {}", partition + 1),
            _ => self.finish(context),
        }
    }
}
