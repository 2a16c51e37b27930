//! tallow's dialect of SQL: what people type, rewritten to what DataFusion plans.
//!
//! One pass over the syntax tree. It gives series functions their default window, puts named windows where they are
//! used, completes omitted series and parameters, resolves struct fields, fills in `:name` parameters, names unaliased
//! results as they were typed, and reports every problem of a text at once. Calls within calls stay as they are: the
//! planner lifts them (see [`nested`](super::nested)).

mod call;
mod problem;
mod rewriter;
mod scope;
mod suggest;
mod table_function;

pub use problem::{Problem, Problems};
pub use suggest::closest;
pub use table_function::{TableArguments, TableFunctions};

use crate::error::{Error, Result};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use rewriter::Rewriter;
use scope::Tables;
use std::collections::BTreeMap;

/// Values for `:name` parameters.
#[derive(Debug, Clone, Default)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// Sets a parameter. A number, `true`, `false` or `null` is used as such, anything else as text.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_ascii_lowercase(), value.to_string());
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// The names that have values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Parses a text and rewrites it; `Err` holds every problem found.
pub(crate) async fn rewrite(
    text: &str,
    params: &Params,
    context: &SessionContext,
    functions: &dyn TableFunctions,
) -> Result<Vec<Statement>> {
    let mut statements = parse(text)?;
    let problems = table_function::expand(&mut statements, functions).await;
    let mut tables = Tables::resolve(&statements, context, functions).await;
    tables.problems.extend(problems);
    let mut rewriter = Rewriter::new(text, params, &tables, context);
    for statement in &mut statements {
        rewriter.statement(statement);
    }
    rewriter.finish()?;
    Ok(statements)
}

fn parse(text: &str) -> Result<Vec<Statement>> {
    let dialect = GenericDialect {};
    let parsed =
        DFParserBuilder::new(text).with_dialect(&dialect).build().and_then(|mut parser| parser.parse_statements());
    match parsed {
        Ok(statements) => Ok(statements.into()),
        Err(error) => Err(Error::Text(Problems::of_parser(text, &error))),
    }
}
