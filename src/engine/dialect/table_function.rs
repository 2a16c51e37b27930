//! Table functions that stand for a query: `candles('4h')` is put in place as a subquery.

use super::parameter::{Parameter, Params};
use super::scope::normal;
use super::timeframe::{Base, OtherBars};
use super::tokens::{DIALECT, tokens};
use super::walk::{change_statement, look_at_statement};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, Ident, ObjectName, Query, Spanned, TableAlias,
    TableFactor, UnaryOperator, Value, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use tallow_common::Problem;
use tallow_common::{Code, Result};
use tallow_udfs::calendar::Timeframe;

/// The arguments of a table function: literals by position, and by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableArguments {
    /// By position.
    pub positional: Vec<String>,
    /// By name, in lower case.
    pub named: BTreeMap<String, String>,
}

/// Knows table functions and the SQL that they stand for, and which bars a table holds.
#[async_trait]
pub trait TableFunctions: Send + Sync {
    /// Their names.
    fn names(&self) -> Vec<&str>;

    /// The query behind a call.
    async fn sql(&self, name: &str, arguments: &TableArguments) -> Result<String>;

    /// What is allowed in a call and probably not meant.
    async fn warnings(&self, _name: &str, _arguments: &TableArguments) -> Vec<String> {
        vec![]
    }

    /// The bars of another timeframe beside those of a table.
    async fn other_bars(&self, base: &Base, timeframe: Timeframe) -> Result<OtherBars>;

    /// Timeframe and origin of a table's bars, if they are known.
    async fn bars(&self, table: &str) -> Option<(String, String)>;

    /// Those of these symbols that a table does not hold, each with the nearest that it holds; `None` where that is not
    /// known without reading the table.
    fn unknown_symbols(
        &self,
        table: &dyn TableProvider,
        symbols: &BTreeSet<String>,
    ) -> Option<BTreeMap<String, Option<String>>>;

    /// Reads what rewritten statements name beside tables, such as models, before they are planned.
    async fn prepare(&self, _: &[Statement]) -> Result<()> {
        Ok(())
    }
}

/// There are none.
pub struct NoTableFunctions;

#[async_trait]
impl TableFunctions for NoTableFunctions {
    fn names(&self) -> Vec<&str> {
        vec![]
    }

    async fn sql(&self, name: &str, _: &TableArguments) -> Result<String> {
        Err(tallow_common::Error::not_found(format!("there is no table function `{name}`")))
    }

    async fn other_bars(&self, _: &Base, timeframe: Timeframe) -> Result<OtherBars> {
        Err(tallow_common::Error::invalid(format!("bars of {timeframe} are looked up in a lake, and there is none")))
    }

    async fn bars(&self, _: &str) -> Option<(String, String)> {
        None
    }

    fn unknown_symbols(&self, _: &dyn TableProvider, _: &BTreeSet<String>) -> Option<BTreeMap<String, Option<String>>> {
        None
    }
}

/// A query may stand for one that stands for another; more deep than this it stands for itself.
const DEPTH: usize = 8;

/// What was found in calls of table functions.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// What cannot be put in place.
    pub problems: Vec<Problem>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
}

/// Puts queries in the place of table functions.
pub(super) async fn expand(
    statements: &mut [Statement],
    functions: &dyn TableFunctions,
    params: &Params,
    used: &mut BTreeSet<String>,
) -> Expanded {
    let Expanded { mut problems, mut warnings } = Expanded::default();
    let names = functions.names();
    for _ in 0..DEPTH {
        let mut calls = Calls { names: &names, found: vec![] };
        statements.iter().for_each(|s| look_at_statement(s, &mut calls));
        let mut queries = BTreeMap::new();
        for (name, args, span) in calls.found {
            let (said, code) = match arguments(&args, params, used) {
                Ok(arguments) => match functions.sql(&name, &arguments).await {
                    Ok(sql) => match parse_query(&sql) {
                        Ok(query) => {
                            let said = functions.warnings(&name, &arguments).await.into_iter();
                            warnings.extend(said.map(|said| Problem::new(said, span)));
                            queries.insert((name, arguments), query);
                            continue;
                        }
                        Err(error) => (error, Code::Internal),
                    },
                    Err(error) => (error.to_string(), error.code()),
                },
                Err(said) => (said, Code::Invalid),
            };
            problems.push(Problem::new(said, span).of(code));
        }
        if queries.is_empty() || !problems.is_empty() {
            return Expanded { problems, warnings };
        }
        let mut replace = Replace { queries, params };
        for statement in statements.iter_mut() {
            change_statement(statement, &mut replace);
        }
    }
    Expanded { problems, warnings }
}

/// Parses a query that tallow wrote.
pub(super) fn parse_query(sql: &str) -> std::result::Result<Query, String> {
    let tokens = tokens(sql).map_err(|e| e.to_string())?;
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
    parser.parse_query().map(|q| *q).map_err(|e| format!("{e} in {sql}"))
}

type Call = (String, Vec<FunctionArg>, datafusion::sql::sqlparser::tokenizer::Span);

struct Calls<'a> {
    names: &'a [&'a str],
    found: Vec<Call>,
}

fn name_of(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(normal),
        _ => None,
    }
}

impl Visitor for Calls<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(args), .. } = factor
            && let Some(known) = name_of(name).filter(|n| self.names.contains(&n.as_str()))
        {
            self.found.push((known, args.args.clone(), name.span()));
        }
        ControlFlow::Continue(())
    }
}

struct Replace<'a> {
    queries: BTreeMap<(String, TableArguments), Query>,
    params: &'a Params,
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(args), alias, .. } = factor
            && let Some(known) = name_of(name)
            && let Ok(arguments) = arguments(&args.args, self.params, &mut BTreeSet::new())
            && let Some(query) = self.queries.get(&(known.clone(), arguments))
        {
            let own = TableAlias { explicit: true, name: Ident::new(known), columns: vec![], at: None };
            let alias = alias.take().unwrap_or(own);
            *factor = TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query.clone()),
                alias: Some(alias),
                sample: None,
            };
        }
        ControlFlow::Continue(())
    }
}

fn arguments(
    args: &[FunctionArg],
    params: &Params,
    used: &mut BTreeSet<String>,
) -> std::result::Result<TableArguments, String> {
    let mut result = TableArguments::default();
    let mut text = |expr: &Expr| text(expr, params, used);
    for arg in args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => result.positional.push(text(expr)?),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(expr),
                operator: FunctionArgOperator::RightArrow,
            } => {
                result.named.insert(normal(name), text(expr)?);
            }
            other => return Err(format!("`{other}`: expected a text, or name => text")),
        }
    }
    Ok(result)
}

/// The text of a literal, or of the value of a parameter.
fn text(expr: &Expr, params: &Params, used: &mut BTreeSet<String>) -> std::result::Result<String, String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Ok(text.clone()),
            Value::Number(number, _) => Ok(number.clone()),
            Value::Boolean(flag) => Ok(flag.to_string()),
            Value::Placeholder(placeholder) => {
                let wrong = || format!("`{placeholder}` is no parameter: expected :name");
                let parameter = Parameter::of(placeholder).ok_or_else(wrong)?;
                used.insert(parameter.name.clone());
                let given = params.get(&parameter.name).map(str::to_string);
                given.or_else(|| parameter.default_text()).ok_or_else(|| {
                    format!("parameter `:{0}` has no value: give it with the option `param {0}=VALUE`", parameter.name)
                })
            }
            other => Err(format!("`{other}`: expected a text such as '4h', or a number")),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Ok(format!("-{}", text(expr, params, used)?)),
        Expr::Array(list) => {
            let mut number = |item: &Expr| {
                let known = text(item, params, used).ok().filter(|t| t.parse::<f64>().is_ok());
                known.ok_or_else(|| format!("`{item}` in a list: expected a number"))
            };
            let items = list.elem.iter().map(&mut number).collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(format!("[{}]", items.join(", ")))
        }
        other => Err(format!("`{other}`: expected a text such as '4h'")),
    }
}
