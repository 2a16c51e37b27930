//! Symbols that a query asks for and its tables do not hold: it finds nothing, and does not say why.

use super::scope::{Tables, normal, relations};
use super::table_function::TableFunctions;
use super::walk::{each_own_expr, look_at_statement};
use datafusion::catalog::TableProvider;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Select, Value, ValueWithSpan, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use tallow_common::Problem;

/// Warnings about the symbols that none of a SELECT's tables holds, as far as their lists tell.
pub(super) fn unknown(statements: &[Statement], tables: &Tables, lake: &dyn TableFunctions) -> Vec<Problem> {
    let mut asked = Asked { tables, selects: vec![] };
    statements.iter().for_each(|statement| look_at_statement(statement, &mut asked));
    asked.selects.into_iter().flat_map(|(tables, symbols)| missing(&tables, &symbols, lake)).collect()
}

type Named<'a> = (&'a str, &'a dyn TableProvider);

/// Those of these symbols that no table holds.
fn missing(tables: &[Named<'_>], symbols: &BTreeMap<String, Span>, lake: &dyn TableFunctions) -> Vec<Problem> {
    let named: BTreeSet<String> = symbols.keys().cloned().collect();
    let mut missing: Option<BTreeMap<String, Option<String>>> = None;
    for (_, table) in tables {
        let Some(here) = lake.unknown_symbols(*table, &named) else { return vec![] };
        missing = Some(match missing {
            None => here,
            Some(before) => before.into_iter().filter(|(symbol, _)| here.contains_key(symbol)).collect(),
        });
    }
    let searched = tables.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let warning = |(symbol, similar): (String, Option<String>)| {
        let span = symbols.get(&symbol).copied().unwrap_or(Span::empty());
        Problem::new(format!("no symbol '{symbol}' in {searched}"), span).maybe(similar)
    };
    missing.unwrap_or_default().into_iter().map(warning).collect()
}

/// The SELECTs that read nothing but tables with symbols, and the symbols that they ask for, with their places.
struct Asked<'a> {
    tables: &'a Tables,
    selects: Vec<(Vec<Named<'a>>, BTreeMap<String, Span>)>,
}

impl Visitor for Asked<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let factors = select.from.iter().flat_map(relations);
        let tables: Option<Vec<Named<'_>>> = factors.map(|factor| self.tables.with_symbols(factor)).collect();
        let mut symbols = BTreeMap::new();
        for condition in select.selection.iter().chain(&select.qualify) {
            each_own_expr(condition, |expr| {
                compared(expr, &mut symbols);
                ControlFlow::Continue(())
            });
        }
        if let Some(tables) = tables.filter(|tables| !tables.is_empty() && !symbols.is_empty()) {
            self.selects.push((tables, symbols));
        }
        ControlFlow::Continue(())
    }
}

/// Notes the texts that `symbol` is compared with; an empty one is a parameter that was left out.
fn compared(expr: &Expr, symbols: &mut BTreeMap<String, Span>) {
    let mut add = |expr: &Expr| {
        if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = expr
            && !text.is_empty()
        {
            symbols.entry(text.clone()).or_insert(*span);
        }
    };
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_symbol(left) => add(right),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_symbol(right) => add(left),
        Expr::InList { expr, list, negated: false } if is_symbol(expr) => list.iter().for_each(add),
        _ => {}
    }
}

fn is_symbol(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(column) => normal(column) == "symbol",
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|column| normal(column) == "symbol"),
        _ => false,
    }
}
