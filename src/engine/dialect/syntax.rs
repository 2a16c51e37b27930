//! Pieces of the syntax tree: what they are, and how they are made.

use super::call::{function_call, literal};
use super::timeframe::typed;
use super::tokens::CROSSES;
use super::walk::each_own_expr;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, Ident, ObjectName, Spanned, Subscript, Value, Visit,
};
use std::ops::ControlFlow;

/// `left op right` as it was typed.
pub(super) fn typed_comparison(left: &Expr, op: &BinaryOperator, right: &Expr) -> String {
    format!("{} {op} {}", typed(left), typed(right))
}

pub(super) fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let crosses = |word: &str| CROSSES.contains(&word);
    matches!(op, Eq | NotEq | Gt | GtEq | Lt | LtEq) || matches!(op, BinaryOperator::Custom(word) if crosses(word))
}

/// The first call that is looked for in a piece of syntax, subqueries left out.
pub(super) fn first_call<V: Visit>(node: &V, mut choose: impl FnMut(&Expr) -> Option<Function>) -> Option<Function> {
    let mut found = None;
    each_own_expr(node, |expr| {
        found = choose(expr);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

/// Calls another function in its place.
pub(super) fn rename(call: &mut Function, name: &str) {
    let span = call.name.span();
    call.name = ObjectName::from(vec![Ident { value: name.to_string(), quote_style: None, span }]);
}

/// `['field']`
pub(super) fn subscript(field: &str) -> AccessExpr {
    let index = Expr::Value(Value::SingleQuotedString(field.to_string()).with_empty_span());
    AccessExpr::Subscript(Subscript::Index { index })
}

/// `t.column['field']`, which the parser takes for a field of `t`.
pub(super) fn qualified(root: &mut Expr, access: &mut Vec<AccessExpr>) {
    if let Expr::Identifier(table) = root
        && let Some(AccessExpr::Dot(Expr::Identifier(column))) = access.first()
        && access.len() > 1
    {
        *root = Expr::CompoundIdentifier(vec![table.clone(), column.clone()]);
        access.remove(0);
    }
}

/// An expression in parentheses.
pub(super) fn nested(expr: Expr) -> Expr {
    if matches!(expr, Expr::Nested(_)) { expr } else { Expr::Nested(Box::new(expr)) }
}

/// `b` as a divisor: zero becomes null.
pub(super) fn divisor(expr: &mut Expr) {
    let never_zero = literal(expr).and_then(|v| v.as_f64()).is_some_and(|v| v != 0.0);
    if never_zero {
        return;
    }
    let mut value = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
    let zero = Expr::Value(Value::Number("0".to_string(), false).with_empty_span());
    // What is computed may be -0.0, which does not equal 0 for DataFusion; -0.0 + 0 is 0.
    if !matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
        value = Expr::BinaryOp { left: Box::new(value), op: BinaryOperator::Plus, right: Box::new(zero.clone()) };
    }
    *expr = function_call("nullif", vec![value, zero]);
}
