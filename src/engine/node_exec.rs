//! The operator of every [node](super::node): all that DataFusion asks of an operator, but for the work itself.

use super::node::{Phase, UnaryNode};
use super::series_order::BySymbol;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use std::any::Any;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

/// What an operator does.
pub(super) trait Work: Send + Sync {
    /// The rows of a partition.
    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<SendableRecordBatchStream>;
}

/// What an operator needs of its input and says of its rows.
pub(super) struct Shape {
    /// The input is ordered and partitioned by symbol; `None`: it is in one partition, in any order.
    pub by_symbol: Option<BySymbol>,
    /// Its rows come in the order of the input's.
    pub keeps_order: bool,
    pub properties: Arc<PlanProperties>,
}

impl Shape {
    /// Passes on rows of an input that is ordered and partitioned by symbol.
    pub fn passing(input: &Arc<dyn ExecutionPlan>) -> Result<Shape> {
        let by_symbol = Some(BySymbol::of(&input.schema())?);
        Ok(Shape { by_symbol, keeps_order: true, properties: Arc::clone(input.properties()) })
    }
}

/// An operator that does a part of a node's work.
pub struct NodeExec {
    node: Arc<dyn UnaryNode>,
    phase: Phase,
    input: Arc<dyn ExecutionPlan>,
    shape: Shape,
    work: Arc<dyn Work>,
    name: String,
    /// What the node shows beside its name.
    details: String,
    metrics: ExecutionPlanMetricsSet,
}

impl NodeExec {
    pub(super) fn plan(
        node: Arc<dyn UnaryNode>,
        phase: Phase,
        input: Arc<dyn ExecutionPlan>,
        shape: Shape,
        work: Arc<dyn Work>,
    ) -> Arc<dyn ExecutionPlan> {
        let described = node.describe();
        let (name, details) = described.split_once(": ").unwrap_or((&described, ""));
        let name = format!("{name}Exec");
        let details = match phase {
            Phase::Whole => details.to_string(),
            phase => format!("mode={phase:?}, {details}"),
        };
        Arc::new(NodeExec { node, phase, input, shape, work, name, details, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// What it does a part of.
    pub fn node(&self) -> &dyn UnaryNode {
        self.node.as_ref()
    }

    /// Which part.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The node of an operator, if it is one of these.
    pub fn node_of<N: UnaryNode>(operator: &dyn ExecutionPlan) -> Option<&N> {
        let node: &dyn Any = operator.downcast_ref::<NodeExec>()?.node();
        node.downcast_ref()
    }
}

impl Debug for NodeExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let NodeExec { node, phase, input, .. } = self;
        f.debug_struct(&self.name).field("node", node).field("phase", phase).field("input", input).finish()
    }
}

impl DisplayAs for NodeExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "{}: {}", self.name, self.details),
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.details),
        }
    }
}

impl ExecutionPlan for NodeExec {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.shape.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.shape.by_symbol {
            Some(by_symbol) => by_symbol.apply_expressions(f),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.shape.keeps_order]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.shape.by_symbol.as_ref().map_or_else(|| vec![None], BySymbol::ordering)
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let one = || InputDistributionRequirements::new(vec![Distribution::SinglePartition]);
        self.shape.by_symbol.as_ref().map_or_else(one, BySymbol::distribution)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => self.node.operator(self.phase, input),
            _ => exec_err!("{} has one input", self.name),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.work.execute(&self.input, partition, context, &self.metrics)
    }
}
