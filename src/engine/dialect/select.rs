//! What a SELECT gets wrong as a whole, and what QUALIFY is without a series.

use super::calls::Calls;
use super::rewriter::SHORT;
use super::scope::{Scope, normal};
use super::syntax::first_call;
use super::timeframe::typed;
use super::walk::{change, each_own_expr};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, GroupByExpr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem,
    Spanned, Value, Visit, VisitorMut,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tallow_common::Problem;

/// The problems of a SELECT that begin with its shape; `outer` are the scopes around it.
pub(super) fn problems(select: &Select, scope: &Scope, outer: &[&Scope], calls: Calls<'_>) -> Vec<Problem> {
    let mut problems = aliases_in_where(select, scope, outer, calls);
    problems.extend(ambiguous(select, scope));
    problems.extend(counted_before_qualify(select, calls).or_else(|| not_grouped(select, scope, calls)));
    problems
}

/// The unqualified names in a piece of syntax, subqueries left out.
fn names(node: &impl Visit) -> Vec<Ident> {
    let mut names = vec![];
    each_own_expr(node, |expr| {
        if let Expr::Identifier(name) = expr {
            names.push(name.clone());
        }
        ControlFlow::Continue(())
    });
    names
}

/// Results are named after WHERE has chosen rows.
fn aliases_in_where(select: &Select, scope: &Scope, outer: &[&Scope], calls: Calls<'_>) -> Vec<Problem> {
    let (Some(filter), Some(_)) = (&select.selection, scope.columns()) else { return vec![] };
    let aliases = aliases(select);
    let is_column = |name: &str| {
        let short = SHORT.iter().any(|(short, long)| *short == name && scope.has(long));
        short || scope.has(name) || outer.iter().any(|s| s.has(name) || s.columns().is_none())
    };
    let problem = |name: Ident| {
        let meant = aliases.get(&normal(&name)).filter(|_| !is_column(&normal(&name)))?;
        let problem = Problem::new(format!("`{}` names a result, which WHERE does not know", name.value), name.span);
        Some(problem.help(match calls.first_window(*meant) {
            Some(_) => "write QUALIFY instead of WHERE: it filters by results and by series".to_string(),
            None => format!("write QUALIFY instead of WHERE, or `{}` in its place", typed(meant)),
        }))
    };
    names(filter).into_iter().filter_map(problem).collect()
}

/// The results that have names, by name.
fn aliases(select: &Select) -> BTreeMap<String, &Expr> {
    let mut all = BTreeMap::new();
    for item in &select.projection {
        if let SelectItem::ExprWithAlias { expr, alias } = item {
            all.insert(normal(alias), expr);
        }
    }
    all
}

/// Names that several of the joined tables have.
fn ambiguous(select: &Select, scope: &Scope) -> Vec<Problem> {
    let joins = || select.from.iter().flat_map(|from| &from.joins);
    if !joins().all(|join| keeps_columns_apart(&join.join_operator)) {
        return vec![];
    }
    let problem = |name: Ident| {
        let column = normal(&name);
        let tables = scope.with(&column);
        if tables.len() < 2 {
            return None;
        }
        let named: Vec<&str> = tables.iter().map(|t| t.name.as_str()).filter(|name| !name.is_empty()).collect();
        let choices: Vec<String> = named.iter().map(|table| format!("{table}.{}", name.value)).collect();
        let problem = Problem::new(format!("`{}` is a column of {}", name.value, named.join(" and ")), name.span);
        Some(problem.help(format!("write {}", choices.join(" or "))))
    };
    let all = names(&select.projection).into_iter().chain(select.selection.iter().flat_map(names));
    all.filter_map(problem).collect()
}

/// Whether both sides' columns stay visible under their own names.
fn keeps_columns_apart(join: &JoinOperator) -> bool {
    use JoinOperator::{AsOf, CrossJoin, FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    match join {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) | Right(c) | RightOuter(c) | FullOuter(c) | CrossJoin(c) => {
            matches!(c, JoinConstraint::On(_) | JoinConstraint::None)
        }
        AsOf { constraint, .. } => matches!(constraint, JoinConstraint::On(_)),
        _ => false,
    }
}

/// `select count(*) .. qualify rsi(14) < 30`: what is counted are rows, and QUALIFY would choose among the counts.
fn counted_before_qualify(select: &Select, calls: Calls<'_>) -> Option<Problem> {
    let series = calls.first_window(select.qualify.as_ref()?).filter(|call| call.over.is_none())?;
    let call = first_aggregate(&select.projection, calls)?;
    let problem =
        Problem::new(format!("`{call}` is computed before QUALIFY looks at {}", series.name), call.name.span());
    Some(
        problem.help(format!(
            "put a query around it: select {call} from (select * from .. qualify {}(..) ..)",
            series.name
        )),
    )
}

fn first_aggregate(node: &impl Visit, calls: Calls<'_>) -> Option<Function> {
    first_call(node, |expr| match expr {
        Expr::Function(call) if calls.is_aggregate(call) => Some(call.clone()),
        _ => None,
    })
}

/// A column beside an aggregate that it is not grouped by.
fn not_grouped(select: &Select, scope: &Scope, calls: Calls<'_>) -> Option<Problem> {
    let GroupByExpr::Expressions(by, modifiers) = &select.group_by else { return None };
    let aggregated = first_aggregate(&select.projection, calls).is_some() || !by.is_empty();
    // What is not grouped by plain columns, the planner compares.
    if !aggregated || !modifiers.is_empty() || !by.iter().all(|e| plain(e).is_some() || position(e).is_some()) {
        return None;
    }
    let is_key = |i: usize, column: &Ident, alias: Option<&Ident>| {
        let same = |e: &Expr| match plain(e) {
            Some(key) => normal(key) == normal(column) || alias.is_some_and(|alias| normal(key) == normal(alias)),
            None => position(e) == Some(i + 1),
        };
        by.iter().any(same)
    };
    let (column, shown) = select.projection.iter().enumerate().find_map(|(i, item)| {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return None,
        };
        let column = plain(expr).filter(|column| scope.has(&normal(column)) && !is_key(i, column, alias))?;
        Some((column, typed(expr)))
    })?;
    let problem = Problem::new(format!("`{shown}` is neither grouped by nor inside an aggregate"), column.span);
    Some(problem.help(match by.is_empty() {
        true => format!("add GROUP BY {shown}, or take one value of it, as max({shown})"),
        false => format!("add it to GROUP BY, or take one value of each group, as max({shown})"),
    }))
}

/// The column that an expression is.
fn plain(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(column) => Some(column),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    }
}

/// `group by 1`
fn position(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Without a series, QUALIFY is WHERE, or HAVING where there are groups: the planner insists on a window. It knows the names
/// of results as QUALIFY does.
pub(super) fn without_series(select: &mut Select, calls: Calls<'_>) {
    let has_series = calls.first_window(&select.projection).is_some() || calls.first_window(&select.qualify).is_some();
    let Some(mut condition) = select.qualify.take_if(|_| !has_series) else { return };
    let results = aliases(select).into_iter().map(|(name, expr)| (name, expr.clone())).collect();
    change(&mut condition, &mut Replace { results, depth: 0 });
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let of_groups = is_grouped || first_aggregate(&condition, calls).is_some();
    let clause = if of_groups { &mut select.having } else { &mut select.selection };
    *clause = Some(both(clause.take(), condition));
}

fn both(first: Option<Expr>, second: Expr) -> Expr {
    let nested = |e: Expr| Box::new(Expr::Nested(Box::new(e)));
    match first {
        Some(first) => Expr::BinaryOp { left: nested(first), op: BinaryOperator::And, right: nested(second) },
        None => second,
    }
}

/// Puts results in the place of their names, subqueries left out.
struct Replace {
    results: BTreeMap<String, Expr>,
    depth: usize,
}

impl VisitorMut for Replace {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some(result) = self.results.get(&normal(name))
        {
            *expr = Expr::Nested(Box::new(result.clone()));
        }
        ControlFlow::Continue(())
    }
}
