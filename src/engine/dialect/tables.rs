//! What a text names: tables, which another may stand in for, and literals that functions are called with.

use super::parse;
use super::walk::{change_statement, look_at_statement};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Value, Visitor, VisitorMut,
};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use tallow_common::Result;

/// A text with other tables in the place of those that it names.
pub fn with_tables(text: &str, other: &[(&str, &str)]) -> Result<String> {
    let mut statements = parse(text)?;
    statements.iter_mut().for_each(|statement| change_statement(statement, &mut Renamed(other)));
    Ok(statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

struct Renamed<'a>(&'a [(&'a str, &'a str)]);

impl VisitorMut for Renamed<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        let own = name.to_string();
        if let Some((_, other)) = self.0.iter().find(|(table, _)| *table == own) {
            *name = ObjectName::from(vec![Ident::with_quote('"', *other)]);
        }
        ControlFlow::Continue(())
    }
}

/// The texts that a function is called with as its first argument.
pub fn calls_of(function: &str, statements: &[Statement]) -> BTreeSet<String> {
    let mut found = Called { function, texts: BTreeSet::new() };
    statements.iter().for_each(|statement| look_at_statement(statement, &mut found));
    found.texts
}

struct Called<'a> {
    function: &'a str,
    texts: BTreeSet<String>,
}

impl Visitor for Called<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr
            && call.name.to_string().eq_ignore_ascii_case(self.function)
            && let FunctionArguments::List(list) = &call.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) = list.args.first()
            && let Value::SingleQuotedString(text) = &value.value
        {
            self.texts.insert(text.clone());
        }
        ControlFlow::Continue(())
    }
}
