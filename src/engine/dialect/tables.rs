//! What a text names: tables, which another may stand in for, and literals that functions are called with.

use super::parse;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Value, visit_expressions,
    visit_relations_mut,
};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use tallow_common::Result;

/// A text with other tables in the place of those that it names.
pub fn with_tables(text: &str, other: &[(&str, &str)]) -> Result<String> {
    let mut statements = parse(text)?;
    for statement in &mut statements {
        if let Statement::Statement(inner) = statement {
            let _ = visit_relations_mut(inner.as_mut(), |name: &mut ObjectName| {
                let own = name.to_string();
                if let Some((_, other)) = other.iter().find(|(table, _)| *table == own) {
                    *name = ObjectName::from(vec![Ident::with_quote('"', *other)]);
                }
                ControlFlow::<()>::Continue(())
            });
        }
    }
    Ok(statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// The texts that a function is called with as its first argument.
pub fn calls_of(function: &str, statements: &[Statement]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for statement in statements {
        let inner = match statement {
            Statement::Statement(inner) => inner,
            Statement::Explain(explain) => {
                found.extend(calls_of(function, std::slice::from_ref(&*explain.statement)));
                continue;
            }
            _ => continue,
        };
        let _ = visit_expressions(inner.as_ref(), |expr: &Expr| {
            if let Expr::Function(call) = expr
                && call.name.to_string().eq_ignore_ascii_case(function)
                && let FunctionArguments::List(list) = &call.args
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) = list.args.first()
                && let Value::SingleQuotedString(text) = &value.value
            {
                found.insert(text.clone());
            }
            ControlFlow::<()>::Continue(())
        });
    }
    found
}
