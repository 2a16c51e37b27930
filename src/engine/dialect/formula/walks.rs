//! What is looked for in a formula, and what is changed before it is planned.

use crate::dialect::calls::Calls;
use crate::dialect::lint;
use crate::dialect::syntax::is_comparison;
use crate::dialect::timeframe::timeframe_of;
use crate::dialect::walk::{each_expr, look};
use datafusion::sql::sqlparser::ast::{Expr, Query, Spanned, UnaryOperator, Value, Visitor, VisitorMut};
use std::ops::ControlFlow;
use tallow_common::Problem;
use tallow_udfs::calendar::Timeframe;

/// Comparisons that cannot be meant.
pub(super) fn lints(expr: &Expr) -> Vec<Problem> {
    let mut found = vec![];
    each_expr(expr, |expr| {
        if let Expr::BinaryOp { left, op, right } = expr
            && is_comparison(op)
        {
            found.extend(lint::comparison(left, op, right));
        }
        ControlFlow::Continue(())
    });
    found
}

/// What SQL has and a formula has not.
pub(super) fn misfits(expr: &Expr) -> Vec<Problem> {
    struct Find(Vec<Problem>);
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let problem = Problem::new("a formula has no subquery", query.span());
            self.0.push(problem.help("write a SQL text for the operation `query`"));
            ControlFlow::Break(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::CompoundFieldAccess { root, .. } = expr
                && matches!(root.as_ref(), Expr::Value(_))
            {
                self.0.push(Problem::new(format!("`{root}` has no field"), root.span()));
            }
            ControlFlow::Continue(())
        }
    }
    let mut find = Find(vec![]);
    look(expr, &mut find);
    find.0
}

/// `- -x` would be shown as `--x`, which begins a remark: the inner one is put in parentheses.
pub(super) struct MinusMinus;

impl VisitorMut for MinusMinus {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } = expr
            && matches!(inner.as_ref(), Expr::UnaryOp { op: UnaryOperator::Minus, .. })
        {
            let own = std::mem::replace(inner.as_mut(), Expr::Value(Value::Null.with_empty_span()));
            **inner = Expr::Nested(Box::new(own));
        }
        ControlFlow::Continue(())
    }
}

/// Puts `x` in the place of `x@1d`: of the same type, over the same columns.
pub(super) struct Flatten<'a> {
    calls: Calls<'a>,
    pub problems: Vec<Problem>,
    depth: usize,
}

impl<'a> Flatten<'a> {
    pub fn new(calls: Calls<'a>) -> Self {
        Flatten { calls, problems: vec![], depth: 0 }
    }
}

impl VisitorMut for Flatten<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some((inner, timeframe)) = timeframe_of(expr) else { return ControlFlow::Continue(()) };
        if let Err(error) = timeframe.parse::<Timeframe>() {
            self.problems.push(Problem::new(tallow_common::readable(&error), inner.span()));
        }
        if self.depth > 0 {
            self.problems.push(Problem::new(format!("@{timeframe}: timeframes do not nest"), inner.span()));
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some((inner, _)) = timeframe_of(expr) {
            let mut inner = inner.clone();
            self.calls.first_field(&mut inner);
            *expr = Expr::Nested(Box::new(inner));
            self.depth -= 1;
        }
        ControlFlow::Continue(())
    }
}
