//! The physical optimizer rule that puts [`SeriesExec`] in place of DataFusion's window operators.

use super::node::{SeriesExec, is_sorted_for};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, InputOrderMode, ReplaceChildrenOptions};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Replaces window operators wherever there is a PARTITION BY and the input is sorted by the partition keys followed by
/// the order keys; then tells each call which struct fields the plan above reads.
///
/// It runs after sorting and projections are settled and before dynamic filters are pushed down, which keep references
/// into the plan.
#[derive(Debug, Default)]
pub struct SeriesRule;

impl PhysicalOptimizerRule for SeriesRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(replace).data()?;
        let everything = vec![Use::All; plan.schema().fields().len()];
        prune(plan, &everything)
    }

    fn name(&self) -> &str {
        "series"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn replace(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let (exprs, input) = if let Some(window) = plan.downcast_ref::<WindowAggExec>() {
        (window.window_expr(), window.input())
    } else if let Some(window) = plan.downcast_ref::<BoundedWindowAggExec>() {
        if window.input_order_mode != InputOrderMode::Sorted {
            return Ok(Transformed::no(plan));
        }
        (window.window_expr(), window.input())
    } else {
        return Ok(Transformed::no(plan));
    };
    if exprs.is_empty() || exprs.iter().any(|e| e.partition_by().is_empty()) {
        return Ok(Transformed::no(plan));
    }
    if !is_sorted_for(&WindowAggExec::try_new(exprs.to_vec(), Arc::clone(input), true)?)? {
        return Ok(Transformed::no(plan));
    }
    Ok(Transformed::yes(Arc::new(SeriesExec::try_new(exprs.to_vec(), Arc::clone(input))?)))
}

/// What the plan above reads of a column.
#[derive(Debug, Clone, PartialEq)]
enum Use {
    Fields(BTreeSet<String>),
    All,
}

impl Use {
    fn nothing() -> Use {
        Use::Fields(BTreeSet::new())
    }

    fn add(&mut self, other: &Use) {
        match (self, other) {
            (Use::Fields(mine), Use::Fields(more)) => mine.extend(more.iter().cloned()),
            (mine, Use::All) => *mine = Use::All,
            (Use::All, _) => {}
        }
    }
}

/// Walks down with what each output column is used for, through the operators that name columns one by one; any other
/// operator is taken to read everything.
fn prune(plan: Arc<dyn ExecutionPlan>, above: &[Use]) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(series) = plan.downcast_ref::<SeriesExec>() {
        let width = series.input().schema().fields().len();
        let wanted: Vec<_> = above[width..]
            .iter()
            .map(|usage| match usage {
                Use::All => None,
                Use::Fields(names) => Some(names.iter().cloned().collect()),
            })
            .collect();
        let mut below = above[..width].to_vec();
        for expr in series.window_expr() {
            let all = expr.all_expressions();
            for used in all.args.iter().chain(&all.partition_by_exprs).chain(&all.order_by_exprs) {
                note(used, &Use::All, &mut below);
            }
        }
        let input = prune(Arc::clone(series.input()), &below)?;
        let series: Arc<dyn ExecutionPlan> = Arc::new(series.with_wanted(&wanted));
        return with_child(series, input);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let mut below = vec![Use::nothing(); projection.input().schema().fields().len()];
        for (expr, usage) in projection.expr().iter().zip(above) {
            note(&expr.expr, usage, &mut below);
        }
        let input = prune(Arc::clone(projection.input()), &below)?;
        return with_child(plan, input);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>()
        && filter.projection().is_none()
    {
        let mut below = above.to_vec();
        note(filter.predicate(), &Use::All, &mut below);
        let input = prune(Arc::clone(filter.input()), &below)?;
        return with_child(plan, input);
    }
    let children = plan
        .children()
        .into_iter()
        .map(|child| prune(Arc::clone(child), &vec![Use::All; child.schema().fields().len()]))
        .collect::<Result<Vec<_>>>()?;
    let changed = plan.children().iter().zip(&children).any(|(old, new)| !Arc::ptr_eq(old, new));
    if changed { with_children(plan, children) } else { Ok(plan) }
}

fn with_child(plan: Arc<dyn ExecutionPlan>, child: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let same = plan.children().first().is_some_and(|old| Arc::ptr_eq(old, &child));
    if same { Ok(plan) } else { with_children(plan, vec![child]) }
}

fn with_children(
    plan: Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// Records what `expr`, itself used as `usage`, reads of the columns below.
fn note(expr: &Arc<dyn PhysicalExpr>, usage: &Use, below: &mut [Use]) {
    let _ = expr.apply(|node| {
        if let Some((column, field)) = field_of_column(node) {
            below[column].add(&Use::Fields(BTreeSet::from([field])));
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Some(column) = node.downcast_ref::<Column>() {
            // A bare column is used for whatever the expression is used for.
            let usage = if Arc::ptr_eq(node, expr) { usage } else { &Use::All };
            below[column.index()].add(usage);
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// `get_field(column, 'name')`
fn field_of_column(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, String)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let function: &ScalarUDF = call.fun();
    let [column, name, ..] = call.args() else { return None };
    let column = column.downcast_ref::<Column>().filter(|_| function.name() == "get_field")?;
    let name = name.downcast_ref::<Literal>()?.value().try_as_str()??;
    Some((column.index(), name.to_string()))
}
