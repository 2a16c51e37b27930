//! Joins of ordered inputs are merges.
//!
//! DataFusion joins by hashing: one input is held in memory whole. Candles, labels and features come ordered by
//! (symbol, ts); where both sides of a join are ordered by its keys, a merge holds one key of each.

use arrow::compute::SortOptions;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, JoinOnRef, SortMergeJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use std::sync::Arc;

/// Puts a merge join in the place of a hash join whose inputs are both ordered by its keys.
///
/// It runs before distribution and sorting are enforced, when inputs still have the order that they were declared with.
#[derive(Debug, Default)]
pub struct MergeJoinRule;

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

impl PhysicalOptimizerRule for MergeJoinRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(replace).data()
    }

    fn name(&self) -> &str {
        "merge_join"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn replace(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(hash) = plan.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(plan)) };
    // For semi and anti joins the merge of DataFusion 55 cannot compare times with a zone.
    let supported = matches!(hash.join_type(), JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
    // A handful of rows is better looked up than merged: it needs no order and no shuffle on the other side.
    if !supported || hash.null_aware || hash.on().len() < 2 {
        return Ok(Transformed::no(plan));
    }
    let Some(on) = ordered_keys(hash)? else { return Ok(Transformed::no(plan)) };
    let options = vec![ASCENDING; on.len()];
    let (left, right) = (Arc::clone(hash.left()), Arc::clone(hash.right()));
    let merge = SortMergeJoinExec::try_new(
        left,
        right,
        on,
        hash.filter().cloned(),
        *hash.join_type(),
        options,
        hash.null_equality(),
    )?;
    let merge: Arc<dyn ExecutionPlan> = Arc::new(merge);
    let Some(projection) = &hash.projection else { return Ok(Transformed::yes(merge)) };
    let schema = merge.schema();
    let column = |i: &usize| {
        let name = schema.field(*i).name();
        let column: Arc<dyn PhysicalExpr> = Arc::new(datafusion::physical_expr::expressions::Column::new(name, *i));
        (column, name.clone())
    };
    let exprs: Vec<_> = projection.iter().map(column).collect();
    Ok(Transformed::yes(Arc::new(ProjectionExec::try_new(exprs, merge)?)))
}

type On = Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>;

/// The keys of a join in an order that both inputs have.
fn ordered_keys(hash: &HashJoinExec) -> Result<Option<On>> {
    let on: JoinOnRef<'_> = hash.on();
    if on.iter().any(|(l, r)| is_volatile(l) || is_volatile(r)) {
        return Ok(None);
    }
    let Some(order) = hash.left().properties().output_ordering() else { return Ok(None) };
    let mut keys: On = vec![];
    for sort in order.iter().take(on.len()) {
        let pair = on.iter().find(|(l, _)| l.eq(&sort.expr));
        match pair.filter(|_| sort.options == ASCENDING) {
            Some(pair) => keys.push(pair.clone()),
            None => return Ok(None),
        }
    }
    if keys.len() < on.len() {
        return Ok(None);
    }
    let right = keys.iter().map(|(_, r)| PhysicalSortExpr::new(Arc::clone(r), ASCENDING)).collect::<Vec<_>>();
    let is_ordered = hash.right().properties().equivalence_properties().ordering_satisfy(right)?;
    Ok(is_ordered.then_some(keys))
}
