//! The plan node.

use super::stream::{Side, merge};
use arrow::compute::SortOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinSide, JoinType, Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::equivalence::join_equivalence_properties;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::sort_expr::{LexOrdering, OrderingRequirements};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::joins::utils::build_join_schema;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use std::fmt::Formatter;
use std::sync::Arc;

type Expr = Arc<dyn PhysicalExpr>;

/// Merges two inputs ordered by (keys, match): every left row with the nearest right row.
#[derive(Debug)]
pub struct AsofExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    on: Vec<(Expr, Expr)>,
    matching: (Expr, Operator, Expr),
    orders: [LexOrdering; 2],
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsofExec {
    /// Joins two inputs on equal keys and `left op right`.
    pub fn try_new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        on: Vec<(Expr, Expr)>,
        matching: (Expr, Operator, Expr),
    ) -> Result<Self> {
        let (schema, _) = build_join_schema(&left.schema(), &right.schema(), &JoinType::Left);
        let ascending =
            |e: &Expr| PhysicalSortExpr::new(Arc::clone(e), SortOptions { descending: false, nulls_first: false });
        let of_left = on.iter().map(|(l, _)| l).chain([&matching.0]).map(ascending);
        let of_right = on.iter().map(|(_, r)| r).chain([&matching.2]).map(ascending);
        let (Some(of_left), Some(of_right)) = (LexOrdering::new(of_left), LexOrdering::new(of_right)) else {
            return internal_err!("an as-of join without a match condition");
        };
        let (l, r) = (left.properties(), right.properties());
        let equivalences = join_equivalence_properties(
            l.equivalence_properties().clone(),
            r.equivalence_properties().clone(),
            &JoinType::Left,
            Arc::new(schema),
            &[true, false],
            Some(JoinSide::Left),
            &on,
        )?;
        let partitioning = l.output_partitioning().clone();
        let properties = PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, l.boundedness);
        Ok(Self {
            left,
            right,
            on,
            matching,
            orders: [of_left, of_right],
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Expressions over the left and over the right input that must be equal.
    pub fn on(&self) -> &[(Expr, Expr)] {
        &self.on
    }

    /// `left op right`: the nearest right row for which this holds.
    pub fn matching(&self) -> &(Expr, Operator, Expr) {
        &self.matching
    }
}

impl DisplayAs for AsofExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let on: Vec<_> = self.on.iter().map(|(l, r)| format!("({l}, {r})")).collect();
        let (l, op, r) = &self.matching;
        let text = format!("on=[{}], match=[{l} {op} {r}]", on.join(", "));
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "AsofExec: {text}"),
            DisplayFormatType::TreeRender => writeln!(f, "{text}"),
        }
    }
}

impl ExecutionPlan for AsofExec {
    fn name(&self) -> &'static str {
        "AsofExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Expr) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        let (l, _, r) = &self.matching;
        for expr in self.on.iter().flat_map(|(l, r)| [l, r]).chain([l, r]) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.orders.iter().map(|order| Some(OrderingRequirements::from(order.clone()))).collect()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let (left, right) = self.on.iter().cloned().unzip();
        InputDistributionRequirements::co_partitioned(vec![
            Distribution::KeyPartitioned(left),
            Distribution::KeyPartitioned(right),
        ])
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(right), Some(left)) => {
                Ok(Arc::new(Self::try_new(left, right, self.on.clone(), self.matching.clone())?))
            }
            _ => exec_err!("AsofExec has two inputs"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (l, op, r) = &self.matching;
        let keys = |right: bool| self.on.iter().map(|(l, r)| Arc::clone(if right { r } else { l })).collect();
        let left = Side::new(self.left.execute(partition, Arc::clone(&context))?, keys(false), Arc::clone(l))?;
        let right = Side::new(self.right.execute(partition, Arc::clone(&context))?, keys(true), Arc::clone(r))?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        merge(left, right, *op, self.schema(), metrics, &context, partition)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
