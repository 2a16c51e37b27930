//! Values in the place of parameters.

use crate::dialect::parameter::{Declared, Params};
use crate::dialect::walk::change;
use datafusion::sql::sqlparser::ast::{Expr, Value, Visit, VisitMut, VisitorMut};
use std::ops::ControlFlow;
use tallow_common::{Error, Problem, Problems, Result};

/// Puts values in the place of parameters.
pub(in crate::dialect) struct Bind<'a> {
    declared: Declared,
    params: &'a Params,
    problems: Vec<Problem>,
}

impl<'a> Bind<'a> {
    pub fn new(params: &'a Params) -> Self {
        Bind { declared: Declared::default(), params, problems: vec![] }
    }

    /// Those of a piece of syntax.
    pub fn bind(&mut self, node: &mut (impl Visit + VisitMut)) {
        self.declared.collect(node);
        change(node, self);
    }

    /// The parameters without a value.
    pub fn finish(mut self, text: &str) -> Result<()> {
        self.problems.append(&mut self.declared.problems);
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(Error::Text(Problems::new(text, self.problems))),
        }
    }
}

impl VisitorMut for Bind<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(text) = &value.value
        {
            match self.declared.value(text, self.params, value.span) {
                Some(Ok(known)) => *expr = known,
                Some(Err(problem)) => self.problems.push(problem),
                None => {}
            }
        }
        ControlFlow::Continue(())
    }
}
