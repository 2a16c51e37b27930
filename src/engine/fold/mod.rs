//! A place in a plan where the whole series of all symbols become a few rows: the nearest windows of a search.
//!
//! A [`Fold`] gets symbol after symbol, in as many parts as its input has partitions, and makes its rows when all parts
//! have ended. One symbol at a time is held for each part.

mod exec;
mod gather;

pub use exec::FoldExec;

use super::cancellation::Cancellation;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use std::cmp::Ordering;
use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Turns the series of all symbols into rows.
pub trait Fold: Debug + Send + Sync {
    /// What plans show.
    fn describe(&self) -> String;

    /// The numeric columns that it reads, beside `symbol` and `ts`.
    fn columns(&self) -> &[&'static str];

    /// The columns of its rows.
    fn schema(&self) -> SchemaRef;

    /// Begins an execution.
    fn begin(&self) -> Arc<dyn Folding>;
}

/// One execution of a fold.
pub trait Folding: Send + Sync {
    /// Begins a part, which may end early once the execution is over.
    fn open(&self, cancellation: &Cancellation) -> Box<dyn Part>;

    /// The rows, when all parts have ended. What is counted goes to the metrics.
    fn finish(&self, metrics: &ExecutionPlanMetricsSet) -> Result<RecordBatch>;
}

/// Sees the symbols of one partition.
pub trait Part: Send {
    /// All bars of a symbol in time order; what is missing is NaN.
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()>;

    /// A symbol whose bars are no series, and why; none of them is seen.
    fn unfit(&mut self, symbol: &str, reason: &str) -> Result<()>;

    /// How many bytes it takes, whatever it looks at.
    fn bytes(&self) -> usize;

    /// How many bytes a bar takes while its symbol is looked at, beside the bar itself.
    fn bytes_per_bar(&self) -> usize;

    /// No symbol follows.
    fn end(self: Box<Self>) -> Result<()>;
}

/// The logical node.
#[derive(Debug, Clone)]
struct Folded {
    input: LogicalPlan,
    fold: Arc<dyn Fold>,
    schema: DFSchemaRef,
}

/// Puts a fold above a plan, which has the columns `symbol`, `ts` and those that the fold reads.
pub fn folded(input: LogicalPlan, fold: Arc<dyn Fold>) -> Result<LogicalPlan> {
    for name in ["symbol", "ts"].iter().chain(fold.columns()) {
        if !input.schema().fields().iter().any(|f| f.name() == name) {
            let known: Vec<_> = input.schema().fields().iter().map(|f| f.name().as_str()).collect();
            return plan_err!("there is no column `{name}` to search in; there are {}", known.join(", "));
        }
    }
    let schema = Arc::new(DFSchema::try_from(fold.schema().as_ref().clone())?);
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(Folded { input, fold, schema }) }))
}

impl Folded {
    fn key(&self) -> (usize, &LogicalPlan) {
        (Arc::as_ptr(&self.fold).cast::<()>() as usize, &self.input)
    }
}

impl PartialEq for Folded {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Folded {}

impl Hash for Folded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for Folded {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.key().partial_cmp(&other.key())
    }
}

impl UserDefinedLogicalNodeCore for Folded {
    fn name(&self) -> &str {
        "Folded"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Folded: {}", self.fold.describe())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Folded { input, fold: Arc::clone(&self.fold), schema: Arc::clone(&self.schema) }),
            _ => plan_err!("Folded has one input"),
        }
    }

    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        // Which rows come out depends on all that go in.
        self.schema.fields().iter().map(|f| f.name().clone()).collect()
    }

    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let read = ["symbol", "ts"].into_iter().chain(self.fold.columns().iter().copied());
        let fields = self.input.schema().fields();
        let mut needed: Vec<usize> = read.filter_map(|k| fields.iter().position(|f| f.name() == k)).collect();
        needed.sort_unstable();
        Some(vec![needed])
    }
}

/// Plans folds.
#[derive(Debug)]
pub(super) struct FoldPlanner;

#[async_trait]
impl ExtensionPlanner for FoldPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(folded) = node.as_any().downcast_ref::<Folded>() else { return Ok(None) };
        let [input] = inputs else { return plan_err!("Folded has one input, not {}", inputs.len()) };
        Ok(Some(Arc::new(FoldExec::try_new(Arc::clone(input), Arc::clone(&folded.fold))?)))
    }
}
