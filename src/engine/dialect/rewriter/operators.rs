//! Operators and literals: comparisons, times, parameters, as-of joins.

use super::Rewriter;
use crate::asof::MATCH;
use crate::dialect::call::function_call;
use crate::dialect::syntax::{is_comparison, typed_comparison};
use crate::dialect::timeframe::typed;
use crate::dialect::tokens::CROSSES;
use crate::dialect::{habits, lint};
use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Join, JoinConstraint, JoinOperator, Spanned, Value};
use tallow_common::Problem;

impl Rewriter<'_> {
    /// `ASOF JOIN` becomes a left join whose condition is marked: the planner knows that one.
    pub(super) fn asof(&mut self, join: &mut Join) {
        let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else { return };
        let JoinConstraint::On(on) = constraint else {
            let problem = Problem::new("ASOF JOIN needs ON".to_string(), match_condition.span());
            self.problems.push(problem.help("write ON a.symbol = b.symbol after MATCH_CONDITION (..)"));
            return;
        };
        let marked = function_call(MATCH, vec![match_condition.clone()]);
        let on = Box::new(Expr::Nested(Box::new(on.clone())));
        let both = Expr::BinaryOp { left: on, op: BinaryOperator::And, right: Box::new(marked) };
        join.join_operator = JoinOperator::LeftOuter(JoinConstraint::On(both));
    }

    /// Times in forms that only others understand.
    pub(super) fn times(&mut self, expr: &Expr) {
        let is_time = |e: &Expr| {
            let known = self.scopes.last().and_then(|scope| scope.data_type(e));
            matches!(known, Some(DataType::Timestamp(..)))
        };
        let compared: Vec<&Expr> = match expr {
            Expr::BinaryOp { left, op, right } if is_comparison(op) && is_time(left) => vec![right],
            Expr::BinaryOp { left, op, right } if is_comparison(op) && is_time(right) => vec![left],
            Expr::Between { expr, low, high, .. } if is_time(expr) => vec![low, high],
            Expr::InList { expr, list, .. } if is_time(expr) => list.iter().collect(),
            _ => vec![],
        };
        let problems: Vec<_> = compared.into_iter().filter_map(habits::time).collect();
        self.problems.extend(problems);
        if let Expr::TypedString(literal) = expr {
            self.problems.extend(habits::typed_time(literal));
        }
    }

    /// The value of a parameter.
    pub(super) fn placeholder(&mut self, expr: &mut Expr) {
        let Expr::Value(value) = expr else { return };
        let Value::Placeholder(text) = &value.value else { return };
        match self.declared.value(text, self.params, value.span) {
            Some(Ok(known)) => *expr = known,
            Some(Err(problem)) => self.problems.push(problem),
            None => {}
        }
    }

    /// `a crosses_above b` becomes a call; comparisons are looked at as they were typed.
    pub(super) fn operator(&mut self, expr: &mut Expr) {
        let Expr::BinaryOp { left, op, right } = expr else { return };
        let crosses = match op {
            BinaryOperator::Custom(word) => CROSSES.iter().copied().find(|name| *name == word.as_str()),
            _ => None,
        };
        if crosses.is_none() && !is_comparison(op) {
            return;
        }
        if matches!(left.as_ref(), Expr::BinaryOp { op, .. } if is_comparison(op)) {
            let span = left.span().union(&right.span());
            let problem =
                Problem::new(format!("`{}`: comparisons do not chain", typed_comparison(left, op, right)), span);
            self.problems.push(problem.help(match left.as_ref() {
                Expr::BinaryOp { right: middle, .. } => {
                    habits::word_for(middle).unwrap_or_else(|| {
                        format!("write `{} and {} {op} {}`", typed(left), typed(middle), typed(right))
                    })
                }
                _ => "join them with and".to_string(),
            }));
            return;
        }
        if self.lints {
            self.warnings.extend(lint::comparison(left, op, right));
        }
        if matches!(right.as_ref(), Expr::IsNull(_) | Expr::IsNotNull(_)) {
            let problem = Problem::new(
                format!("`{}`: comparisons do not chain", typed_comparison(left, op, right)),
                right.span(),
            );
            self.problems.push(problem.help("put the comparison in parentheses"));
            return;
        }
        let Some(name) = crosses else { return };
        let mut sides =
            [left, right].map(|side| std::mem::replace(side.as_mut(), Expr::Value(Value::Null.with_empty_span())));
        let calls = self.calls;
        sides.iter_mut().for_each(|side| calls.first_field(side));
        *expr = function_call(name, sides.to_vec());
    }
}
