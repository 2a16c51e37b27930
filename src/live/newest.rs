//! Queries of the newest bars: `ts = max(ts) over (partition by symbol)` and `ts = (select max(ts) from candles)`.
//!
//! When a bar comes, it is the newest. A query that asks for the newest bar of all that are stored asks, bar by bar, for each.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Window, WindowFunctionDefinition, lit,
};
use std::sync::Arc;
use tallow_engine::reach::scope;

/// A plan in which each bar is the newest, and whether it asked for that.
pub(crate) fn each_is_newest(plan: LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let changed = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Window(window) => of_window(window),
        LogicalPlan::Filter(filter) => {
            let terms = split_conjunction(&filter.predicate);
            if !terms.iter().any(|term| is_newest_of_table(term, &filter.input)) {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            }
            let others = terms.into_iter().filter(|term| !is_newest_of_table(term, &filter.input)).cloned();
            let others = others.reduce(Expr::and).unwrap_or_else(|| lit(true));
            let input = Arc::unwrap_or_clone(filter.input);
            Ok(Transformed::yes(LogicalPlanBuilder::from(input).filter(others)?.build()?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok((changed.data, changed.transformed))
}

/// The newest time of each symbol, which is that of the row.
fn of_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let times: Vec<Option<Column>> = window.window_expr.iter().map(|expr| newest_of(expr, &window.input)).collect();
    if times.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let others = window.window_expr.iter().zip(&times).filter(|(_, time)| time.is_none());
    let others: Vec<Expr> = others.map(|(expr, _)| expr.clone()).collect();
    let below = match others.is_empty() {
        true => window.input.as_ref().clone(),
        false => LogicalPlan::Window(Window::try_new(others, Arc::clone(&window.input))?),
    };
    let own = window.input.schema().fields().len();
    let columns = window.schema.iter().enumerate().map(|(at, (qualifier, field))| {
        let time = at.checked_sub(own).and_then(|at| times[at].clone());
        match time {
            Some(time) => Expr::Column(time).alias(field.name()),
            None => Expr::Column(Column::new(qualifier.cloned(), field.name())),
        }
    });
    let projection = Projection::try_new(columns.collect(), Arc::new(below))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// The time that an expression is the newest of, over all rows of a symbol or of a table.
fn newest_of(expr: &Expr, input: &LogicalPlan) -> Option<Column> {
    let Expr::WindowFunction(call) = expr.clone().unalias() else { return None };
    let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else { return None };
    let WindowFunctionParams { args, partition_by, order_by, window_frame, filter, .. } = &call.params;
    let is_whole = order_by.is_empty()
        && filter.is_none()
        && window_frame.start_bound.is_unbounded()
        && window_frame.end_bound.is_unbounded();
    let of = scope(input);
    let at = |expr: &Expr| match expr {
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    };
    let by_symbol = match partition_by.as_slice() {
        [] => true,
        [symbol] => at(symbol).is_some() && at(symbol) == of.symbol,
        _ => false,
    };
    match args.as_slice() {
        [Expr::Column(time)] if function.name() == "max" && is_whole && by_symbol => {
            (of.time.is_some() && input.schema().maybe_index_of_column(time) == of.time).then(|| time.clone())
        }
        _ => None,
    }
}

/// Whether a term says that a row's time is the newest of a table.
fn is_newest_of_table(term: &Expr, input: &LogicalPlan) -> bool {
    let Expr::BinaryExpr(binary) = term else { return false };
    let (Expr::Column(time), Expr::ScalarSubquery(newest)) = (binary.left.as_ref(), binary.right.as_ref()) else {
        return false;
    };
    binary.op == Operator::Eq
        && scope(input).time.is_some_and(|at| input.schema().maybe_index_of_column(time) == Some(at))
        && is_newest(&newest.subquery)
}

/// Whether a plan is the newest time of a table.
fn is_newest(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => {
            matches!(projection.expr.as_slice(), [expr] if matches!(expr.clone().unalias(), Expr::Column(_)))
                && is_newest(&projection.input)
        }
        LogicalPlan::SubqueryAlias(alias) => is_newest(&alias.input),
        LogicalPlan::Aggregate(aggregate) => {
            let of_time = match aggregate.aggr_expr.as_slice() {
                [expr] => match expr.clone().unalias() {
                    Expr::AggregateFunction(call) if call.func.name() == "max" && call.params.filter.is_none() => {
                        matches!(call.params.args.as_slice(), [Expr::Column(column)] if column.name == "ts")
                    }
                    _ => false,
                },
                _ => false,
            };
            of_time && aggregate.group_expr.is_empty() && is_table(&aggregate.input)
        }
        _ => false,
    }
}

fn is_table(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_table(&alias.input),
        LogicalPlan::TableScan(scan) => scan.filters.is_empty() && scan.fetch.is_none(),
        _ => false,
    }
}
