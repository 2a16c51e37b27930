//! Window calls inside window calls.
//!
//! SQL forbids `sma(rsi(close, 14) OVER w, 5) OVER w`. This rule allows it: what is nested is computed by a window of its
//! own below, once for every distinct call, and the outer call reads the column.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::AnalyzerRule;

/// Lifts nested window calls into layers of windows.
#[derive(Debug)]
pub struct NestedWindows;

impl AnalyzerRule for NestedWindows {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Window(window) if window.window_expr.iter().any(|e| !nested_in(e).is_empty()) => {
                Ok(Transformed::yes(lift(LogicalPlan::Window(window))?))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "nested_windows"
    }
}

/// The outermost window calls inside the arguments and keys of a window call.
fn nested_in(expr: &Expr) -> Vec<Expr> {
    let mut found = vec![];
    if let Expr::WindowFunction(call) = expr {
        let params = &call.params;
        let inside = params.args.iter().chain(&params.partition_by).chain(params.order_by.iter().map(|s| &s.expr));
        for part in inside {
            let _ = part.apply(|e| {
                if matches!(e, Expr::WindowFunction(_)) {
                    if !found.contains(e) {
                        found.push(e.clone());
                    }
                    return Ok(TreeNodeRecursion::Jump);
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
    }
    found
}

fn lift(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Window(window) = plan else { return Ok(plan) };
    let mut below: Vec<Expr> = vec![];
    for call in window.window_expr.iter().flat_map(nested_in) {
        if !below.contains(&call) {
            below.push(call);
        }
    }
    // The layer below may nest again.
    let input = LogicalPlanBuilder::window_plan(window.input.as_ref().clone(), below.clone())?;
    let input = input.transform_up(|node| match node {
        LogicalPlan::Window(w) if w.window_expr.iter().any(|e| !nested_in(e).is_empty()) => {
            Ok(Transformed::yes(lift(LogicalPlan::Window(w))?))
        }
        other => Ok(Transformed::no(other)),
    });
    let input = input.data()?;

    let as_column = |e: Expr| {
        if below.contains(&e) {
            let column = Column::new_unqualified(e.schema_name().to_string());
            return Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump));
        }
        Ok(Transformed::no(e))
    };
    let flat = window.window_expr.iter().map(|e| e.clone().transform_down(as_column).data());
    let flat = flat.collect::<Result<Vec<Expr>>>()?;
    let calls: Vec<Expr> = flat.iter().filter(|e| matches!(e, Expr::WindowFunction(_))).cloned().collect();
    let layered = if calls.is_empty() { input } else { LogicalPlanBuilder::window_plan(input, calls)? };

    // What stands above knows the calls by the names they had before.
    let kept = window.input.schema().columns().into_iter().map(Expr::Column);
    let named = window.window_expr.iter().zip(&flat).map(|(old, new)| {
        let column = match new {
            Expr::Column(column) => Expr::Column(column.clone()),
            call => Expr::Column(Column::new_unqualified(call.schema_name().to_string())),
        };
        column.alias(old.schema_name().to_string())
    });
    let exprs: Vec<Expr> = kept.chain(named).collect();
    LogicalPlanBuilder::from(layered).project(exprs)?.build()
}
