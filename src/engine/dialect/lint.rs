//! What is allowed and cannot be meant.

use super::call::{arguments, literal};
use super::calls::Calls;
use super::rewriter::SHORT;
use super::scope::normal;
use super::timeframe::typed;
use super::tokens::CROSSES;
use super::walk::each_expr;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, Ident, Select, SelectItem, Spanned,
};
use std::ops::ControlFlow;
use tallow_common::Problem;

/// What an expression is above or below by its nature.
enum Bound {
    /// The rolling maximum, this bar included.
    Highest(String),
    /// The rolling minimum.
    Lowest(String),
}

/// A comparison that can never be true, or is always the same.
pub(super) fn comparison(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Problem> {
    let crosses = |name: &str| matches!(op, BinaryOperator::Custom(word) if word == name);
    let (above, below) = if matches!(op, BinaryOperator::Gt) || crosses(CROSSES[0]) {
        (left, right)
    } else if matches!(op, BinaryOperator::Lt) || crosses(CROSSES[1]) {
        (right, left)
    } else {
        (left, left)
    };
    let impossible = match (column(above), bound(below)) {
        (Some(price), Some(Bound::Highest(of))) if at_most(&price, &of) => Some(below),
        _ => match (bound(above), column(below)) {
            (Some(Bound::Lowest(of)), Some(price)) if at_least(&price, &of) => Some(above),
            _ => None,
        },
    };
    let span = left.span().union(&right.span());
    if let Some(rolling) = impossible {
        let rolling = typed(rolling);
        let problem = Problem::new(format!("`{} {op} {}` can never be true", typed(left), typed(right)), span);
        return Some(problem.help(format!("{rolling} includes the bar itself; lag({rolling}, 1) does not")));
    }
    // `1 = 1` is what programs write that put conditions together.
    if is_constant(left) && is_constant(right) && left != right {
        let problem = Problem::new(format!("`{} {op} {}` is the same for every bar", typed(left), typed(right)), span);
        return Some(problem);
    }
    (left == right && !is_constant(left))
        .then(|| Problem::new(format!("`{} {op} {}` compares a value with itself", typed(left), typed(right)), span))
}

/// WHERE on the time beside series functions: the bars before are not read, so that the functions begin anew.
pub(super) fn cut_warm_up(select: &Select, calls: Calls<'_>) -> Option<Problem> {
    let filter = select.selection.as_ref()?;
    let in_projection = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => calls.first_window(expr).is_some(),
        _ => false,
    });
    if !in_projection && select.qualify.as_ref().is_none_or(|q| calls.first_window(q).is_none()) {
        return None;
    }
    let mut found = None;
    each_expr(filter, |expr| match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Gt | BinaryOperator::GtEq, right }
            if column(left).as_deref() == Some("ts") && column(right).is_none() =>
        {
            found = Some(expr.clone());
            ControlFlow::Break(())
        }
        Expr::Between { expr: inner, negated: false, .. } if column(inner).as_deref() == Some("ts") => {
            found = Some(expr.clone());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    let found = found?;
    let problem =
        Problem::new(format!("`{found}` in WHERE cuts off the bars that series functions warm up on"), found.span());
    Some(
        problem.help(
            "use the option `from` and the option `to`, or QUALIFY instead of WHERE, to read them and not show them",
        ),
    )
}

fn column(expr: &Expr) -> Option<String> {
    let plain = |ident: &Ident| {
        let name = normal(ident);
        SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| (*long).to_string())
    };
    match expr {
        Expr::Identifier(ident) => Some(plain(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(plain),
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

fn bound(expr: &Expr) -> Option<Bound> {
    let call = match expr {
        Expr::Function(call) => call,
        Expr::Nested(inner) => return bound(inner),
        _ => return None,
    };
    let name = call.name.to_string().to_ascii_lowercase();
    let of = first_argument(call)?;
    match name.as_str() {
        "highest" | "max" | "ta_max" => Some(Bound::Highest(of)),
        "lowest" | "min" | "ta_min" => Some(Bound::Lowest(of)),
        _ => None,
    }
}

/// The column of `highest(column, n)`; `highest(n)` is about the close.
fn first_argument(call: &Function) -> Option<String> {
    let args = &arguments(call)?.args;
    match args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(n))] if literal(n).is_some() => Some("close".to_string()),
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(of)), _] => column(of),
        _ => None,
    }
}

fn at_most(price: &str, of: &str) -> bool {
    price == of || of == "high" && matches!(price, "open" | "low" | "close")
}

fn at_least(price: &str, of: &str) -> bool {
    price == of || of == "low" && matches!(price, "open" | "high" | "close")
}

/// Whether an expression is made of literals alone.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => literal(expr).is_some(),
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_constant(inner),
        Expr::BinaryOp { left, right, .. } => is_constant(left) && is_constant(right),
        _ => false,
    }
}
