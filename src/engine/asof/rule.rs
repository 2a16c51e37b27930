//! The rules that make as-of joins and push filters through them.

use super::marker::MATCH;
use super::node::AsofJoin;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// Puts [`AsofJoin`] in the place of marked left joins.
#[derive(Debug)]
pub struct AsofJoins;

/// The condition inside the marker.
fn marked(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == MATCH => call.args.first(),
        _ => None,
    }
}

impl AnalyzerRule for AsofJoins {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
            let parts = join.filter.as_ref().map(split_conjunction).unwrap_or_default();
            let Some(matching) = parts.iter().find_map(|e| marked(e)) else { return Ok(Transformed::no(node)) };
            let keys = join.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
            let others = parts.iter().filter(|e| marked(e).is_none()).map(|e| (*e).clone());
            let on: Vec<Expr> = keys.chain(others).collect();
            if on.is_empty() {
                return plan_err!("ASOF JOIN needs ON, such as ON a.symbol = b.symbol");
            }
            let asof = AsofJoin::try_new(join.left.as_ref().clone(), join.right.as_ref().clone(), &on, matching)?;
            Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(asof) })))
        })
        .data()
    }

    fn name(&self) -> &str {
        "asof_joins"
    }
}

/// Pushes filters on left columns below an as-of join, and those on its keys to both sides. Filters on right columns
/// must stay above: below they would change which row is nearest.
#[derive(Debug)]
pub struct AsofFilter;

impl OptimizerRule for AsofFilter {
    fn name(&self) -> &str {
        "asof_filter"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Extension(extension) = filter.input.as_ref() else { return Ok(Transformed::no(plan)) };
        let Some(asof) = extension.node.as_any().downcast_ref::<AsofJoin>() else { return Ok(Transformed::no(plan)) };
        let is_left = |e: &&Expr| {
            let columns = e.column_refs();
            let own = columns.iter().all(|c| asof.left.schema().has_column(c));
            own && !columns.is_empty() && !e.is_volatile()
        };
        let (below, above): (Vec<&Expr>, Vec<&Expr>) =
            split_conjunction(&filter.predicate).into_iter().partition(is_left);
        let Some(left) = conjunction(below.iter().map(|e| (*e).clone())) else { return Ok(Transformed::no(plan)) };
        let right = conjunction(below.iter().filter_map(|e| mirrored(e, asof)));
        let filtered = |plan: &LogicalPlan, predicate: Option<Expr>| match predicate {
            Some(predicate) => LogicalPlanBuilder::from(plan.clone()).filter(predicate)?.build(),
            None => Ok(plan.clone()),
        };
        let mut new = asof.clone();
        new.left = filtered(&asof.left, Some(left))?;
        new.right = filtered(&asof.right, right)?;
        let new = LogicalPlan::Extension(Extension { node: Arc::new(new) });
        let above = conjunction(above.into_iter().cloned());
        Ok(Transformed::yes(filtered(&new, above)?))
    }
}

/// A filter on left keys alone, said of the right keys.
fn mirrored(filter: &Expr, asof: &AsofJoin) -> Option<Expr> {
    let key = |e: &Expr| asof.on.iter().find(|(l, _)| l == e).map(|(_, r)| r.clone());
    if !filter.column_refs().iter().all(|c| key(&Expr::Column((*c).clone())).is_some()) {
        return None;
    }
    let said = filter.clone().transform(|e| {
        Ok(match key(&e) {
            Some(right) if matches!(e, Expr::Column(_)) => Transformed::yes(right),
            _ => Transformed::no(e),
        })
    });
    said.data().ok()
}
