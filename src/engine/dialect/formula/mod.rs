//! A formula: one expression of the dialect over the bars of a symbol.

mod bind;
mod values;
mod walks;

use super::calls::Calls;
use super::cross_section;
use super::depth;
use super::parameter::{Declared, Parameter, Params};
use super::rewriter::Rewriter;
use super::scope::Tables;
use super::suggest::closest;
use super::syntax::first_call;
use super::timeframe::{timeframe_of, typed};
use super::tokens::{CROSSES, DIALECT, tokens};
use super::{habits, parse_error};
use crate::dialect::walk::{change, each_expr};
use arrow::datatypes::{DataType, Schema};
pub(super) use bind::Bind;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr as Planned, ExprSchemable};
use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, ExprWithAlias, Ident};
use datafusion::sql::sqlparser::tokenizer::{Span, Token};
use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::Arc;
use tallow_common::{Error, Problem, Problems, Result};
use tallow_udfs::calendar::Timeframe;
use values::Values;
use walks::{Flatten, MinusMinus, lints, misfits};

/// The longest formula, in bytes and in words and signs; what is longer was not typed by anyone.
const MAX_BYTES: usize = 64 << 10;
const MAX_TOKENS: usize = 2_000;

/// A condition or a value over the bars of one symbol, such as `rsi(14) < 30 and close crosses_above sma(20)`.
///
/// It is written in tallow's dialect of SQL, so that the same text stands in `select` and `qualify`. Formulas are
/// immutable and cheap to clone; two that mean the same syntax tree are equal, whatever their spaces and letter case of
/// keywords. `Display` gives a text that parses to an equal formula.
///
/// ```
/// use tallow_engine::dialect::Formula;
///
/// let formula = Formula::parse("rsi(:period 14)<30 AND close  crosses_above sma(20)")?;
/// assert_eq!(formula.to_string(), "rsi(:period 14) < 30 AND close crosses_above sma(20)");
/// assert_eq!(formula.parameters()[0].default.as_deref(), Some("14"));
/// assert!(Formula::parse("rsi(14) <").is_err());
/// # Ok::<_, tallow_common::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Formula {
    source: Arc<str>,
    text: Arc<str>,
    expr: Arc<Expr>,
}

/// What a formula's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormulaKind {
    /// True, false or unknown.
    Condition,
    /// A number.
    Number,
}

/// A formula that fits a table.
#[derive(Debug)]
pub struct Checked {
    /// What its value is.
    pub kind: FormulaKind,
    /// The columns of the table that it reads, those of other timeframes too.
    pub columns: BTreeSet<String>,
    /// What is allowed and probably not meant.
    pub warnings: Problems,
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Formula {}

impl Hash for Formula {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Display for Formula {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Formula {
    type Err = Error;

    fn from_str(text: &str) -> Result<Formula> {
        Formula::parse(text)
    }
}

impl Formula {
    /// Parses a text. An error tells line and column; what the names mean is looked at by [`Formula::check`].
    pub fn parse(text: &str) -> Result<Formula> {
        let refuse = |message: String| Error::Text(Problems::new("", vec![Problem::new(message, Span::empty())]));
        if text.len() > MAX_BYTES {
            return Err(refuse(format!("a formula of {} bytes: expected at most {MAX_BYTES}", text.len())));
        }
        let read = tokens(text)?;
        let count = read.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).count();
        if count > MAX_TOKENS {
            return Err(refuse(format!("a formula of {count} words and signs: expected at most {MAX_TOKENS}")));
        }
        if count == 0 {
            return Err(refuse("an empty formula: expected a condition such as rsi(14) < 30".to_string()));
        }
        let signs = habits::signs(&read, true);
        if !signs.is_empty() {
            return Err(Error::Text(Problems::new(text, signs)));
        }
        let failed = |error: DataFusionError| Error::Text(parse_error::of_parser(text, &error));
        let mut parser = DFParserBuilder::new(read).with_dialect(&DIALECT).build().map_err(failed)?;
        let mut expr = parser.parser.parse_expr().map_err(|e| failed(DataFusionError::SQL(Box::new(e), None)))?;
        let rest = parser.parser.peek_token();
        if rest.token != Token::EOF {
            let problem = Problem::new(format!("`{}` is not expected here", rest.token), rest.span);
            let word = rest.token.to_string();
            let help = match closest(&word, CROSSES).filter(|_| word.starts_with("cross")) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => "a formula is one expression; join conditions with and, or".to_string(),
            };
            return Err(Error::Text(Problems::new(text, vec![problem.help(help)])));
        }
        depth::check_formula(text, &mut expr)?;
        let problems = misfits(&expr);
        if !problems.is_empty() {
            return Err(Error::Text(Problems::new(text, problems)));
        }
        change(&mut expr, &mut MinusMinus);
        Ok(Formula { source: text.into(), text: typed(&expr).into(), expr: Arc::new(expr) })
    }

    /// Whether it looks at all symbols of a time, so that the order of its rows is not that of symbols.
    pub fn is_cross_sectional(&self) -> bool {
        let found = first_call(self.expr.as_ref(), |expr| match expr {
            Expr::Function(call) => {
                cross_section::is_one(&call.name.to_string().to_ascii_lowercase()).then(|| call.clone())
            }
            _ => None,
        });
        found.is_some()
    }

    /// The plain names in it, which may be columns, in small letters.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        each_expr(self.expr.as_ref(), |expr| {
            if let Expr::Identifier(name) = expr {
                names.insert(name.value.to_lowercase());
            }
            ControlFlow::Continue(())
        });
        names
    }

    /// Whether both are true.
    ///
    /// # Errors
    /// They are too long together.
    pub fn and(&self, other: &Formula) -> Result<Formula> {
        Formula::parse(&format!("({self}) and ({other})"))
    }

    /// Its parameters, each once, in the order of the text.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut declared = Declared::default();
        declared.collect(self.expr.as_ref());
        declared.parameters
    }

    /// The formula with values in the place of its parameters.
    pub fn bind(&self, params: &Params) -> Result<Formula> {
        let mut expr = self.expr.as_ref().clone();
        let mut bind = Bind::new(params);
        bind.bind(&mut expr);
        bind.finish(&self.source)?;
        Ok(Formula { source: Arc::clone(&self.source), text: typed(&expr).into(), expr: Arc::new(expr) })
    }

    /// Whether it fits a table with these columns: every name, argument, parameter and type. `Err` holds all problems.
    pub fn check(&self, schema: &Schema, params: &Params) -> Result<Checked> {
        self.check_in(crate::context::planner()?, schema, params)
    }

    /// As [`Formula::check`], with the functions of a session.
    pub fn check_in(&self, state: &SessionState, schema: &Schema, params: &Params) -> Result<Checked> {
        let tables = Tables::default();
        let mut expr = self.expr.as_ref().clone();
        let calls = Calls::of(state);
        let mut flat = Flatten::new(calls);
        change(&mut expr, &mut flat);
        let mut rewriter = Rewriter::new(&self.source, params, &tables, state);
        rewriter.add_problems(flat.problems);
        rewriter.add_warnings(lints(&self.expr));
        rewriter.declare_expr(&expr);
        rewriter.expression(&mut expr, schema);
        let warnings = rewriter.finish()?;
        calls.first_field(&mut expr);
        let schema = DFSchema::try_from(schema.clone())?;
        let planned = state.create_logical_expr_from_sql_expr(ExprWithAlias { expr, alias: None }, &schema)?;
        let kind = self.kind(&planned, &schema)?;
        let columns = planned.column_refs().into_iter().map(|c| c.name.clone()).collect();
        Ok(Checked { kind, columns, warnings })
    }

    fn kind(&self, planned: &Planned, schema: &DFSchema) -> Result<FormulaKind> {
        let problem = |message: String, help: &str| {
            Error::Text(Problems::new(&self.source, vec![Problem::new(message, Span::empty()).help(help)]))
        };
        let mut wrong = None;
        planned.apply(|node| {
            if let Planned::AggregateFunction(call) = node {
                let name = call.func.name();
                wrong = Some(problem(
                    format!("{name} is an aggregate: a formula has one value for every bar"),
                    "rolling functions take a period, as sma(close, 20), max(high, 20) or std(close, 20)",
                ));
                return Ok(TreeNodeRecursion::Stop);
            }
            match node.get_type(schema) {
                Ok(_) => Ok(TreeNodeRecursion::Continue),
                Err(error) => Err(error),
            }
        })?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        match planned.get_type(schema)? {
            DataType::Boolean => Ok(FormulaKind::Condition),
            DataType::Null => Ok(FormulaKind::Condition),
            other if other.is_numeric() => Ok(FormulaKind::Number),
            other => Err(problem(
                format!("`{self}` is a {other}"),
                "a formula is a condition, as rsi(14) < 30, or a number, as close / sma(50)",
            )),
        }
    }

    /// What a reader wants to see beside a match: the operands of its comparisons, the calls inside of them, and the
    /// terms of `or`, as texts of the dialect. Literals and plain `symbol`, `ts`, `close` and `volume` are left out.
    pub fn values(&self) -> Vec<String> {
        let mut values = Values::default();
        values.condition(&self.expr, false);
        values.0
    }

    /// Its first field, where it is a call with several results.
    pub fn first_field(&self) -> Formula {
        let mut expr = self.expr.as_ref().clone();
        if let Some(signature) = Calls::default().called(&expr).map(|f| f.signature()).filter(|s| s.outputs.len() > 1) {
            let field = AccessExpr::Dot(Expr::Identifier(Ident::new(signature.outputs[0].name.clone())));
            expr = Expr::CompoundFieldAccess { root: Box::new(expr), access_chain: vec![field] };
        }
        Formula { source: Arc::clone(&self.source), text: typed(&expr).into(), expr: Arc::new(expr) }
    }

    /// The other timeframes that it looks at.
    pub fn timeframes(&self) -> Vec<Timeframe> {
        let mut found = vec![];
        each_expr(self.expr.as_ref(), |expr| {
            found.extend(timeframe_of(expr).and_then(|(_, t)| t.parse::<Timeframe>().ok()));
            ControlFlow::Continue(())
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The syntax tree.
    pub fn syntax(&self) -> &Expr {
        &self.expr
    }
}
