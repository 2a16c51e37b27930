//! The physical optimizer rule that puts [`SeriesExec`] in place of DataFusion's window operators.

use super::node::{SeriesExec, is_sorted_for};
use super::prune::prune;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};
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
        prune(plan)
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
