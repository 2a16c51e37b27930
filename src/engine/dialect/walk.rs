//! One walk over syntax trees for all that look at them or change them. The parser's own is generic in its visitor: each of
//! ours would be compiled together with a walk of its own, of two thousand functions.

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement as Sql, TableFactor, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use std::ops::ControlFlow;

/// What looks at a tree.
pub(super) type Look<'a> = dyn Visitor<Break = ()> + 'a;

/// What changes a tree.
pub(super) type Change<'a> = dyn VisitorMut<Break = ()> + 'a;

/// Walks over a piece of syntax.
pub(super) fn look(node: &impl Visit, visitor: &mut Look<'_>) {
    let _ = node.visit(&mut Looking(visitor));
}

/// Walks over a piece of syntax that is changed on the way.
pub(super) fn change(node: &mut impl VisitMut, visitor: &mut Change<'_>) {
    let _ = node.visit(&mut Changing(visitor));
}

/// Walks over a statement, and what EXPLAIN and COPY have inside.
pub(super) fn look_at_statement(statement: &Statement, visitor: &mut Look<'_>) {
    match statement {
        Statement::Statement(inner) => look(inner.as_ref(), visitor),
        Statement::Explain(explain) => look_at_statement(&explain.statement, visitor),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => look(query.as_ref(), visitor),
            CopyToSource::Relation(_) => {}
        },
        _ => {}
    }
}

/// Walks over a statement, and what EXPLAIN and COPY have inside, that is changed on the way.
pub(super) fn change_statement(statement: &mut Statement, visitor: &mut Change<'_>) {
    match statement {
        Statement::Statement(inner) => change(inner.as_mut(), visitor),
        Statement::Explain(explain) => change_statement(&mut explain.statement, visitor),
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => change(query.as_mut(), visitor),
            CopyToSource::Relation(_) => {}
        },
        _ => {}
    }
}

/// Hands over each expression, the outer ones first, those of subqueries among them, until there is a break.
pub(super) fn each_expr(node: &impl Visit, of: impl FnMut(&Expr) -> ControlFlow<()>) {
    struct Each<F>(F);
    impl<F: FnMut(&Expr) -> ControlFlow<()>> Visitor for Each<F> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            (self.0)(expr)
        }
    }
    look(node, &mut Each(of));
}

/// Hands over each expression of a piece of syntax, but for those of subqueries, until there is a break.
pub(super) fn each_own_expr(node: &impl Visit, of: impl FnMut(&Expr) -> ControlFlow<()>) {
    struct Each<F> {
        queries: usize,
        of: F,
    }
    impl<F: FnMut(&Expr) -> ControlFlow<()>> Visitor for Each<F> {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.queries += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.queries -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if self.queries == 0 { (self.of)(expr) } else { ControlFlow::Continue(()) }
        }
    }
    look(node, &mut Each { queries: 0, of });
}

struct Looking<'a, 'v>(&'a mut Look<'v>);

impl Visitor for Looking<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0.pre_visit_query(query)
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0.post_visit_query(query)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.0.pre_visit_select(select)
    }

    fn post_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.0.post_visit_select(select)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.0.pre_visit_relation(relation)
    }

    fn post_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.0.post_visit_relation(relation)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.0.pre_visit_table_factor(factor)
    }

    fn post_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.0.post_visit_table_factor(factor)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0.pre_visit_expr(expr)
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0.post_visit_expr(expr)
    }

    fn pre_visit_statement(&mut self, statement: &Sql) -> ControlFlow<()> {
        self.0.pre_visit_statement(statement)
    }

    fn post_visit_statement(&mut self, statement: &Sql) -> ControlFlow<()> {
        self.0.post_visit_statement(statement)
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        self.0.pre_visit_value(value)
    }

    fn post_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        self.0.post_visit_value(value)
    }
}

struct Changing<'a, 'v>(&'a mut Change<'v>);

impl VisitorMut for Changing<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.pre_visit_query(query)
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.post_visit_query(query)
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.0.pre_visit_select(select)
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.0.post_visit_select(select)
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        self.0.pre_visit_relation(relation)
    }

    fn post_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        self.0.post_visit_relation(relation)
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.0.pre_visit_table_factor(factor)
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.0.post_visit_table_factor(factor)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.pre_visit_expr(expr)
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.post_visit_expr(expr)
    }

    fn pre_visit_statement(&mut self, statement: &mut Sql) -> ControlFlow<()> {
        self.0.pre_visit_statement(statement)
    }

    fn post_visit_statement(&mut self, statement: &mut Sql) -> ControlFlow<()> {
        self.0.post_visit_statement(statement)
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        self.0.pre_visit_value(value)
    }

    fn post_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        self.0.post_visit_value(value)
    }
}
