//! A place in a plan where the rows of whole symbols are seen, in order, by something outside of it.
//!
//! A [`Tap`] gets the batches of each partition, which hold symbol after symbol in time order, and passes on what it
//! likes. A scan has two: one above the table, which leaves out symbols that cannot be used and ends the input early,
//! at a symbol's border, when the scan is cancelled; one above the match, which counts.

use super::node::positions;
use super::series_order::BySymbol;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result, exec_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use std::cmp::Ordering;
use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Sees the rows of a plan.
pub trait Tap: Debug + Send + Sync {
    /// What it is called in plans.
    fn name(&self) -> &'static str;

    /// Begins with a partition. The schema holds `symbol` and `ts`.
    fn open(&self, schema: &SchemaRef, context: &TaskContext, partition: usize) -> Result<Box<dyn TapStream>>;

    /// Whether rows are passed on in the order in which they come, as far as plans rely on it. Where they are not, no
    /// operator above has its order established below the tap, which needs its own.
    fn keeps_order(&self) -> bool;

    /// Completes when no more rows are wanted; what was seen so far is then the whole input.
    fn stopped(&self) -> BoxFuture<'static, ()>;
}

/// Sees the rows of one partition.
pub trait TapStream: Send {
    /// Takes a batch, and passes on batches.
    fn next(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>>;

    /// No batch follows.
    fn end(&mut self) -> Result<Vec<RecordBatch>>;
}

/// The logical node.
#[derive(Debug, Clone)]
struct Tapped {
    input: LogicalPlan,
    tap: Arc<dyn Tap>,
}

/// Puts a tap above a plan, which has the columns `symbol` and `ts`.
pub fn tapped(input: LogicalPlan, tap: Arc<dyn Tap>) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(Tapped { input, tap }) })
}

impl Tapped {
    fn key(&self) -> (usize, &LogicalPlan) {
        (Arc::as_ptr(&self.tap).cast::<()>() as usize, &self.input)
    }
}

impl PartialEq for Tapped {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Tapped {}

impl Hash for Tapped {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for Tapped {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.key().partial_cmp(&other.key())
    }
}

impl UserDefinedLogicalNodeCore for Tapped {
    fn name(&self) -> &str {
        "Tapped"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tapped: {}", self.tap.name())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Tapped { input, tap: Arc::clone(&self.tap) }),
            _ => plan_err!("Tapped has one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let keys = positions(&["symbol", "ts"], self.input.schema());
        let mut needed: Vec<usize> = output_columns.iter().copied().chain(keys).collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Plans taps.
#[derive(Debug)]
pub(super) struct TapPlanner;

#[async_trait]
impl ExtensionPlanner for TapPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(tapped) = node.as_any().downcast_ref::<Tapped>() else { return Ok(None) };
        let [input] = inputs else { return plan_err!("Tapped has one input, not {}", inputs.len()) };
        Ok(Some(Arc::new(TapExec::try_new(Arc::clone(input), Arc::clone(&tapped.tap))?)))
    }
}

/// The operator.
#[derive(Debug)]
pub struct TapExec {
    input: Arc<dyn ExecutionPlan>,
    tap: Arc<dyn Tap>,
    by_symbol: BySymbol,
    properties: Arc<PlanProperties>,
}

impl TapExec {
    fn try_new(input: Arc<dyn ExecutionPlan>, tap: Arc<dyn Tap>) -> Result<Self> {
        let schema = input.schema();
        let by_symbol = BySymbol::of(&schema)?;
        let properties = match tap.keeps_order() {
            true => Arc::clone(input.properties()),
            false => {
                let own = input.properties();
                let unordered = EquivalenceProperties::new(Arc::clone(&schema));
                let partitioning = own.output_partitioning().clone();
                Arc::new(PlanProperties::new(unordered, partitioning, own.emission_type, own.boundedness))
            }
        };
        Ok(TapExec { input, tap, by_symbol, properties })
    }
}

impl DisplayAs for TapExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "TapExec: {}", self.tap.name()),
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.tap.name()),
        }
    }
}

impl ExecutionPlan for TapExec {
    fn name(&self) -> &'static str {
        "TapExec"
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
        self.by_symbol.apply_expressions(f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.tap.keeps_order()]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.by_symbol.ordering()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.by_symbol.distribution()
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(TapExec::try_new(input, Arc::clone(&self.tap))?)),
            _ => exec_err!("TapExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let tap = self.tap.open(&schema, &context, partition)?;
        let input = self.input.execute(partition, context)?.take_until(self.tap.stopped());
        let batches = stream::try_unfold((input, Some(tap)), |(mut input, tap)| async move {
            let Some(mut tap) = tap else { return Ok(None) };
            match input.next().await {
                Some(batch) => {
                    let passed = tap.next(batch?)?;
                    Ok(Some((passed, (input, Some(tap)))))
                }
                None => Ok::<_, datafusion::common::DataFusionError>(Some((tap.end()?, (input, None)))),
            }
        });
        let batches = batches.flat_map(|passed| match passed {
            Ok(batches) => stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
