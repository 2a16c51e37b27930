//! Inputs that are cut at the same symbols, merged partition by partition.
//!
//! DataFusion's union puts the partitions of its inputs beside each other; whoever needs the rows of a symbol together and in order
//! then has them spread and merged anew, for which it holds most of them in memory.

mod merge;

use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::NdvFallback;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr};
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, StatisticsArgs,
};
use merge::Merge;
use std::fmt::Formatter;
use std::sync::Arc;

/// Merges each partition of its inputs by a key, the first column of which they are partitioned by.
#[derive(Debug)]
pub(super) struct OrderedUnionExec {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    key: LexOrdering,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl OrderedUnionExec {
    /// The union of inputs that have columns of the same types.
    pub fn try_new(inputs: Vec<Arc<dyn ExecutionPlan>>, key: LexOrdering) -> Result<Self> {
        let Some(first) = inputs.first() else { return internal_err!("a union without inputs") };
        let schema = UnionExec::try_new(inputs.clone())?.schema();
        let partitions = first.output_partitioning();
        let equivalences = EquivalenceProperties::new_with_orderings(schema, [key.clone()]);
        let boundedness = first.properties().boundedness;
        let properties = PlanProperties::new(equivalences, partitions.clone(), EmissionType::Incremental, boundedness);
        Ok(Self { inputs, key, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() })
    }

    /// What rows are merged by.
    pub fn key(&self) -> &LexOrdering {
        &self.key
    }
}

impl DisplayAs for OrderedUnionExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "OrderedUnionExec: [{}]", self.key),
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.key),
        }
    }
}

impl ExecutionPlan for OrderedUnionExec {
    fn name(&self) -> &'static str {
        "OrderedUnionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in &self.key {
            if f(&key.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true; self.inputs.len()]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.key.clone())); self.inputs.len()]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let symbol = Distribution::KeyPartitioned(vec![Arc::clone(&self.key.first().expr)]);
        InputDistributionRequirements::co_partitioned(vec![symbol; self.inputs.len()])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::try_new(children, self.key.clone())?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = |input: &Arc<dyn ExecutionPlan>| input.output_partitioning().partition_count();
        if self.inputs.iter().any(|input| partitions(input) != partitions(&self.inputs[0])) {
            return internal_err!("the inputs of an ordered union are divided unlike each other");
        }
        let streams = self.inputs.iter().map(|input| input.execute(partition, Arc::clone(&context)));
        let consumer = MemoryConsumer::new(format!("OrderedUnionExec[{partition}]"));
        let merge = Merge::new(
            streams.collect::<Result<_>>()?,
            self.key.clone(),
            self.schema(),
            context.session_config().batch_size(),
            consumer.register(context.memory_pool()),
            BaselineMetrics::new(&self.metrics, partition),
        );
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), merge.into_stream())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition); self.inputs.len()]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let inputs = inputs.iter().map(Arc::as_ref);
        Ok(Arc::new(Statistics::try_merge_iter_with_ndv_fallback(inputs, &self.schema(), NdvFallback::Sum)?))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::GreaterEqual
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}
