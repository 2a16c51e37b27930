//! What is known of the rows of each kind of plan node.

use super::made::stored_values;
use super::shape::{Edge, Shape, Values};
use super::sources::Sources;
use crate::asof::AsofJoin;
use crate::node::{self, NodeReach};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator, UserDefinedLogicalNode, WindowFunctionDefinition};
use tallow_udfs::series::SeriesWindow;

pub(super) fn of_plan(plan: &LogicalPlan) -> Shape {
    let width = plan.schema().fields().len();
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = Sources::table(scan.table_name.table());
            let times = plan.schema().fields().iter().map(|f| f.name() == "ts").collect();
            let values = plan.schema().fields().iter().map(|f| stored_values(f)).collect();
            Shape { columns: vec![table.clone(); width], times, values, rows: table, ..Shape::default() }
        }
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
            Shape { columns: vec![Sources::default(); width], times: vec![false; width], ..Shape::default() }
        }
        LogicalPlan::Projection(p) => {
            let below = of_plan(&p.input);
            let is_time = |e: &Expr| below.is_time(e, p.input.schema());
            Shape {
                columns: p.expr.iter().map(|e| below.of(e, p.input.schema())).collect(),
                times: p.expr.iter().map(is_time).collect(),
                values: p.expr.iter().map(|e| below.values(e, p.input.schema())).collect(),
                edges: p.expr.iter().map(|e| below.edge(e, p.input.schema())).collect(),
                ..below
            }
        }
        LogicalPlan::Filter(f) => {
            let mut shape = of_plan(&f.input);
            let predicate = shape.of(&f.predicate, f.input.schema());
            shape.has_gaps |= !split_conjunction(&f.predicate).iter().all(|e| keeps_runs(e));
            shape.rows = shape.rows.and(&predicate);
            shape
        }
        LogicalPlan::Window(w) => {
            let mut shape = of_plan(&w.input);
            let calls = w.window_expr.iter().map(|e| shape.of(e, w.input.schema())).collect::<Vec<_>>();
            let values = w.window_expr.iter().map(|e| shape.values(e, w.input.schema())).collect::<Vec<_>>();
            shape.times.extend(calls.iter().map(|_| false));
            shape.columns.extend(calls);
            shape.values.resize(w.input.schema().fields().len(), Values::Patchy);
            shape.values.extend(values);
            shape
        }
        LogicalPlan::Aggregate(a) => {
            let below = of_plan(&a.input);
            if let Some(bars) = below.gathered(&a.group_expr, &a.aggr_expr, a.input.schema(), width) {
                return bars;
            }
            let below = below.settled();
            let of = |e: &Expr| below.of(e, a.input.schema());
            let is_time = |e: &Expr| below.is_time(e, a.input.schema());
            // Grouped by time, an aggregate is a cross-section of one instant; otherwise it sees every bar.
            let by_time = a.group_expr.iter().any(is_time);
            let groups = a.group_expr.iter().map(of);
            let results = a.aggr_expr.iter().map(|e| if by_time { of(e) } else { of(e).and(&below.rows).unknown() });
            let mut times: Vec<bool> = a.group_expr.iter().map(is_time).collect();
            times.resize(width, false);
            let rows = if by_time { below.rows.clone() } else { below.rows.clone().unknown() };
            let columns = groups.chain(results).collect();
            Shape { columns, times, rows, has_gaps: below.has_gaps, ..Shape::default() }
        }
        LogicalPlan::Join(join) => joined(of_plan(&join.left).settled(), of_plan(&join.right).settled(), join, width),
        LogicalPlan::Extension(extension) => of_extension(plan, extension.node.as_ref(), width),
        LogicalPlan::Union(union) => {
            let parts: Vec<Shape> = union.inputs.iter().map(|input| of_plan(input)).collect();
            let edges = common_edges(&parts, width);
            let (parts, at_end) = match edges {
                Some(_) => (parts, true),
                None => (parts.into_iter().map(Shape::settled).collect(), false),
            };
            let whole = parts.into_iter().reduce(|a, b| Shape {
                columns: a.columns.into_iter().zip(&b.columns).map(|(a, b)| a.and(b)).collect(),
                times: a.times.iter().zip(&b.times).map(|(a, b)| *a && *b).collect(),
                rows: a.rows.and(&b.rows),
                has_gaps: true,
                ..Shape::default()
            });
            let whole = whole.map(|whole| Shape { at_end, edges: edges.unwrap_or_default(), ..whole });
            whole.unwrap_or_default()
        }
        LogicalPlan::Subquery(s) => of_plan(&s.subquery),
        LogicalPlan::Limit(_) | LogicalPlan::Distinct(_) => {
            let below = plan.inputs().first().map_or_else(Default::default, |input| of_plan(input));
            Shape { has_gaps: true, ..below }
        }
        // Operators that order rows and leave the values alone.
        LogicalPlan::Sort(_) | LogicalPlan::Repartition(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().first().map_or_else(Default::default, |input| of_plan(input))
        }
        _ => unknown(plan),
    }
}

/// Whether a series function in a plan forgets its start only as its inputs move.
pub fn fades_by_movement(plan: &LogicalPlan) -> Result<bool> {
    let fades = |e: &Expr| {
        let Expr::WindowFunction(call) = e else { return Ok(false) };
        let WindowFunctionDefinition::WindowUDF(udf) = &call.fun else { return Ok(false) };
        let Some(series) = udf.inner().downcast_ref::<SeriesWindow>() else { return Ok(false) };
        Ok(series.function().fades_by_movement(&series.params(&call.params.args)?))
    };
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            found = found || expr.exists(fades)?;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// A node that DataFusion does not know: of those that do not state how far they look, nothing is known.
pub(super) fn of_extension(plan: &LogicalPlan, node: &dyn UserDefinedLogicalNode, width: usize) -> Shape {
    let stated = node::reach(node);
    match (node.as_any().downcast_ref::<AsofJoin>(), node.inputs().as_slice()) {
        (Some(asof), [left, right]) => asof_joined(asof, left, right, width),
        (None, [input]) if stated == Some(NodeReach::OfInput) && input.schema().fields().len() == width => {
            of_plan(input)
        }
        _ => unknown(plan),
    }
}

/// An as-of join: every left row, with the nearest of the right rows.
pub(super) fn asof_joined(asof: &AsofJoin, left: &LogicalPlan, below: &LogicalPlan, width: usize) -> Shape {
    let (mut left, right) = (of_plan(left), of_plan(below));
    // Matched by their end, bars made of smaller ones had ended.
    let ended = matches!(right.edge(&asof.matching.2, below.schema()), Some(Edge::End(_)));
    let right = if ended && asof.looks_back() { right } else { right.settled() };
    let away = asof.reach();
    left.times.extend(right.times.iter().map(|_| false));
    left.edges.resize(width, None);
    left.columns.extend(right.columns.into_iter().map(|c| c.under(away)));
    left
}

/// A join: bars with bars of the same time, or with rows that are no bars; else nothing is known of the right side.
pub(super) fn joined(left: Shape, right: Shape, join: &Join, width: usize) -> Shape {
    let both_bars = left.times.contains(&true) && right.times.contains(&true);
    let of_one_time =
        join.on.iter().any(|(l, r)| left.is_time(l, join.left.schema()) && right.is_time(r, join.right.schema()));
    let known = !both_bars || of_one_time;
    let keeps_left = matches!(join.join_type, JoinType::Left) && of_one_time;
    let right_columns = right.columns.into_iter().map(|c| if known { c } else { c.unknown() });
    let rows = left.rows.and(&right.rows);
    let right_times = right.times.into_iter().map(|t| t && of_one_time);
    let mut times: Vec<bool> = left.times.into_iter().chain(right_times).collect();
    times.resize(width, false);
    Shape {
        columns: left.columns.into_iter().chain(right_columns).take(width).collect(),
        times,
        rows: if known { rows } else { rows.unknown() },
        values: if keeps_left { left.values } else { vec![] },
        has_gaps: left.has_gaps || !keeps_left,
        ..Shape::default()
    }
}

/// Whether a filter leaves every symbol's bars without holes: it chooses symbols, or a stretch of time.
pub(super) fn keeps_runs(filter: &Expr) -> bool {
    let names: Vec<String> = filter.column_refs().iter().map(|c| c.name.clone()).collect();
    let is_bound = |e: &Expr| match e {
        Expr::Between(b) => !b.negated && matches!(b.expr.as_ref(), Expr::Column(_)),
        Expr::BinaryExpr(b) => {
            let order = matches!(b.op, Operator::Gt | Operator::GtEq | Operator::Lt | Operator::LtEq);
            order && (matches!(b.left.as_ref(), Expr::Column(_)) || matches!(b.right.as_ref(), Expr::Column(_)))
        }
        _ => false,
    };
    names.iter().all(|n| n == "symbol") || names.iter().all(|n| n == "ts") && is_bound(filter)
}

/// A plan of which only the tables are known.
pub(super) fn unknown(plan: &LogicalPlan) -> Shape {
    let mut all = Sources::default();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            all = std::mem::take(&mut all).and(&Sources::table(scan.table_name.table()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let all = all.unknown();
    let width = plan.schema().fields().len();
    let times = vec![false; width];
    Shape { columns: vec![all.clone(); width], times, rows: all, has_gaps: true, ..Shape::default() }
}

/// The edges of bars that are partly made of smaller ones, on one grid, and partly bars of a table.
pub(super) fn common_edges(parts: &[Shape], width: usize) -> Option<Vec<Option<Edge>>> {
    let made: Vec<&Shape> = parts.iter().filter(|p| p.at_end).collect();
    let first = made.first()?;
    let edges: Vec<Option<Edge>> = (0..width).map(|i| first.edges.get(i).cloned().flatten()).collect();
    let at = edges.iter().position(Option::is_some)?;
    let alike = made.iter().all(|p| p.edges.get(at).cloned().flatten() == edges[at]);
    let others = parts.iter().filter(|p| !p.at_end).all(|p| p.times.get(at).copied().unwrap_or(false));
    (alike && others).then_some(edges)
}

/// `name(column, 'timeframe', 'origin')`: the column, and the rest.
pub(super) fn grid_call<'a>(expr: &'a Expr, name: &str) -> Option<(&'a Expr, String)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let (column, grid) = call.args.split_first().filter(|_| call.name() == name)?;
    let text = |e: &Expr| match e {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_string),
        _ => None,
    };
    Some((column, grid.iter().map(text).collect::<Option<Vec<_>>>()?.join(" ")))
}
