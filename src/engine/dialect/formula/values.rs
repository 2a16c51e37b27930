//! What a reader wants to see of a formula beside a match.

use crate::dialect::call::literal;
use crate::dialect::calls::Calls;
use crate::dialect::syntax::is_comparison;
use crate::dialect::timeframe::typed;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator,
};

/// Gathers what [`super::Formula::values`] gives.
#[derive(Default)]
pub(super) struct Values(pub Vec<String>);

impl Values {
    fn add(&mut self, text: String) {
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }

    /// A condition; `term` if its own truth is worth knowing.
    pub fn condition(&mut self, expr: &Expr, term: bool) {
        match expr {
            Expr::Nested(inner) => self.condition(inner, term),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => self.condition(expr, term),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.condition(left, term);
                self.condition(right, term);
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                self.condition(left, true);
                self.condition(right, true);
            }
            Expr::BinaryOp { left, op, right } if is_comparison(op) => {
                self.operand(left);
                self.operand(right);
                self.term(expr, term);
            }
            Expr::Between { expr: inner, low, high, .. } => {
                [inner, low, high].into_iter().for_each(|e| self.operand(e));
                self.term(expr, term);
            }
            Expr::IsNull(inner) | Expr::IsNotNull(inner) | Expr::InList { expr: inner, .. } => {
                self.operand(inner);
                self.term(expr, term);
            }
            other => self.operand(other),
        }
    }

    fn term(&mut self, expr: &Expr, shown: bool) {
        if shown {
            self.add(typed(expr));
        }
    }

    fn operand(&mut self, expr: &Expr) {
        match expr {
            Expr::Nested(inner) => self.operand(inner),
            Expr::Identifier(column) => {
                let name = column.value.to_ascii_lowercase();
                if !matches!(name.as_str(), "symbol" | "ts" | "close" | "volume" | "c" | "v") {
                    self.add(typed(expr));
                }
            }
            Expr::Value(_) => {}
            _ if literal(expr).is_some() => {}
            _ => {
                let first = Calls::default().called(expr).map(|f| f.signature()).filter(|s| s.outputs.len() > 1);
                self.add(match first {
                    Some(signature) => format!("{}.{}", typed(expr), signature.outputs[0].name),
                    None => typed(expr),
                });
                self.inside(expr);
            }
        }
    }

    /// Calls inside an operand.
    fn inside(&mut self, expr: &Expr) {
        match expr {
            Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => self.inside_operand(inner),
            Expr::BinaryOp { left, right, .. } => [left, right].into_iter().for_each(|e| self.inside_operand(e)),
            Expr::Function(Function { args: FunctionArguments::List(list), .. }) => {
                for arg in &list.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))
                    | FunctionArg::Named { arg: FunctionArgExpr::Expr(inner), .. } = arg
                    {
                        self.inside_operand(inner);
                    }
                }
            }
            _ => {}
        }
    }

    fn inside_operand(&mut self, expr: &Expr) {
        if Calls::default().first_window(expr).is_none() {
            return;
        }
        // Of a long chain, every beginning would be a value.
        if is_chain(expr) { self.inside(expr) } else { self.operand(expr) }
    }
}

/// Whether an expression begins with many operations in a row.
fn is_chain(expr: &Expr) -> bool {
    const LONG: usize = 16;
    let mut first = expr;
    for _ in 0..LONG {
        first = match first {
            Expr::BinaryOp { left, .. } => left,
            Expr::Nested(inner) => inner,
            _ => return false,
        };
    }
    true
}
