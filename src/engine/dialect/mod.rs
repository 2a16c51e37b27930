//! tallow's dialect of SQL: what people type, rewritten to what DataFusion plans.
//!
//! One pass over the syntax tree. It gives series functions their default window, puts named windows where they are
//! used, completes omitted series and parameters, resolves struct fields, fills in `:name` parameters, names unaliased
//! results as they were typed, joins other timeframes, and reports every problem of a text at once. Calls within calls stay as they are: the
//! planner lifts them (see [`nested`](super::nested)).

mod call;
mod calls;
mod cross_section;
mod depth;
mod formula;
mod habits;
mod lint;
mod parameter;
mod parse_error;
mod retries;
mod rewriter;
mod scope;
mod select;
mod suggest;
mod symbols;
mod syntax;
mod table_function;
mod tables;
mod timeframe;
mod tokens;
mod walk;

pub use cross_section::CROSS_SECTIONS;
pub use formula::{Checked, Formula, FormulaKind};
pub use parameter::{ParamValue, Parameter, Params};
pub use suggest::{closest, within};
pub use table_function::{NoTableFunctions, TableArguments, TableFunctions};
pub use tables::{calls_of, with_tables};
pub use tallow_common::{Problem, Problems};
pub use timeframe::{Base, OtherBars};

use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use rewriter::Rewriter;
use scope::Tables;
use std::collections::BTreeSet;
use tallow_common::{Error, Result};

/// Statements that DataFusion plans, and what is allowed in their text and probably not meant.
#[derive(Debug)]
pub struct Parsed {
    /// The statements.
    pub statements: Vec<Statement>,
    /// Warnings.
    pub warnings: Problems,
}

/// The query of a text with values in the place of its parameters.
pub fn bind(text: &str, params: &Params) -> Result<String> {
    let mut statements = parse(text)?;
    let mut bound = formula::Bind::new(params);
    for statement in &mut statements {
        if let Statement::Statement(inner) = statement {
            bound.bind(inner.as_mut());
        }
    }
    bound.finish(text)?;
    Ok(statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Parses a text and rewrites it; `Err` holds every problem found.
pub async fn rewrite(
    text: &str,
    params: &Params,
    context: &SessionContext,
    functions: &dyn TableFunctions,
) -> Result<Parsed> {
    let mut statements = parse(text)?;
    let mut problems = timeframe::join_timeframes(&mut statements, functions).await;
    let mut used = BTreeSet::new();
    let expanded = table_function::expand(&mut statements, functions, params, &mut used).await;
    problems.extend(expanded.problems);
    let params = &params.without(&used);
    // What was put in place may name timeframes of its own.
    problems.extend(timeframe::join_timeframes(&mut statements, functions).await);
    let mut tables = Tables::resolve(&statements, context, functions).await;
    tables.problems.extend(problems);
    let state = context.state();
    let mut rewriter = Rewriter::new(text, params, &tables, &state);
    for statement in &statements {
        rewriter.declare(statement);
    }
    for statement in &mut statements {
        rewriter.statement(statement);
    }
    rewriter.add_warnings(expanded.warnings);
    rewriter.add_warnings(symbols::unknown(&statements, &tables, functions));
    let warnings = rewriter.finish()?;
    Ok(Parsed { statements, warnings })
}

/// The parameters of a text, each once, in the order of the text.
///
/// # Errors
/// It is no SQL.
pub fn parameters(text: &str) -> Result<Vec<Parameter>> {
    let mut declared = parameter::Declared::default();
    for statement in parse(text)? {
        if let Statement::Statement(inner) = &statement {
            declared.collect(inner.as_ref());
        }
    }
    Ok(declared.parameters)
}

fn parse(text: &str) -> Result<Vec<Statement>> {
    let read = tokens::tokens(text)?;
    depth::check_tokens(text, &read)?;
    let signs = habits::signs(&read, false);
    if !signs.is_empty() {
        return Err(Error::Text(Problems::new(text, signs)));
    }
    let parser = DFParserBuilder::new(read).with_dialect(&tokens::DIALECT).build();
    let parsed = parser.and_then(|mut parser| parser.parse_statements());
    match parsed {
        Ok(statements) => {
            let mut statements: Vec<Statement> = statements.into();
            depth::check(text, &mut statements)?;
            Ok(statements)
        }
        Err(error) => Err(Error::Text(parse_error::of_parser(text, &error))),
    }
}
