//! The walk over the syntax tree.

mod functions;
mod names;
mod operators;

use super::call::each_argument;
use super::calls::Calls;
use super::cross_section;
use super::lint;
use super::parameter::{Declared, Params};
use super::scope::{Relation, Scope, Tables, normal};
use super::select;
use super::syntax::{divisor, nested, qualified};
use super::timeframe::{late_field, timeframe_of, typed};
use crate::dialect::habits;
use crate::dialect::walk::{change, change_statement};
use arrow::datatypes::Schema;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, NamedWindowExpr, Query, Select, SelectItem, Spanned, Value, VisitorMut, WindowSpec,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use tallow_common::{Error, Problem, Problems, Result};

/// Short names of candle columns.
pub(super) const SHORT: [(&str, &str); 5] =
    [("o", "open"), ("h", "high"), ("l", "low"), ("c", "close"), ("v", "volume")];

/// What the parser reads as a column though it is none.
const CONSTANTS: [&str; 6] =
    ["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "now"];

pub(super) struct Rewriter<'a> {
    text: &'a str,
    params: &'a Params,
    tables: &'a Tables,
    calls: Calls<'a>,
    functions: HashSet<&'a str>,
    declared: Declared,
    /// Names that WITH defines, as far as the walk has come.
    defined: BTreeSet<String>,
    scopes: Vec<Scope>,
    windows: Vec<BTreeMap<String, WindowSpec>>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    lints: bool,
}

impl<'a> Rewriter<'a> {
    pub fn new(text: &'a str, params: &'a Params, tables: &'a Tables, state: &'a SessionState) -> Self {
        let functions = state
            .scalar_functions()
            .keys()
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .chain(state.higher_order_functions().keys())
            .chain(state.table_functions().keys())
            .map(String::as_str)
            .collect();
        Self {
            text,
            params,
            tables,
            calls: Calls::of(state),
            functions,
            declared: Declared::default(),
            defined: BTreeSet::new(),
            scopes: vec![],
            windows: vec![],
            problems: tables.problems.clone(),
            warnings: vec![],
            lints: true,
        }
    }

    /// Takes notice of the parameters of a statement, before any is rewritten.
    pub fn declare(&mut self, statement: &Statement) {
        match statement {
            Statement::Statement(inner) => self.declared.collect(inner),
            Statement::Explain(explain) => self.declare(&explain.statement),
            Statement::CopyTo(copy) => {
                if let CopyToSource::Query(query) = &copy.source {
                    self.declared.collect(query);
                }
            }
            _ => {}
        }
    }

    /// Warnings that were found before.
    pub fn add_warnings(&mut self, warnings: Vec<Problem>) {
        self.warnings.extend(warnings);
    }

    /// Problems that were found before.
    pub fn add_problems(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    /// Takes notice of the parameters of an expression.
    pub fn declare_expr(&mut self, expr: &Expr) {
        self.declared.collect(expr);
    }

    /// Rewrites an expression over known columns in place.
    pub fn expression(&mut self, expr: &mut Expr, schema: &Schema) {
        // Comparisons are looked at before timeframes are taken out.
        self.lints = false;
        let bars = Relation::of_schema(String::new(), Arc::new(schema.clone()));
        self.scopes.push(Scope { relations: vec![bars], ..Scope::default() });
        change(expr, self);
        self.scopes.pop();
    }

    /// Rewrites a statement in place.
    pub fn statement(&mut self, statement: &mut Statement) {
        change_statement(statement, self);
    }

    /// All problems found, or the warnings.
    pub fn finish(mut self) -> Result<Problems> {
        self.problems.append(&mut self.declared.problems);
        self.warnings.extend(self.declared.unused(self.params));
        match self.problems.is_empty() {
            true => Ok(Problems::new(self.text, self.warnings)),
            false => Err(Error::Text(Problems::new(self.text, self.problems))),
        }
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.defined.insert(normal(&cte.alias.name));
        }
        // ORDER BY and LIMIT stand outside of the SELECT, but see its names.
        if let Some(select) = query.body.as_select() {
            let mut scope = Scope::of(select, self.tables, &self.defined);
            scope.relations.push(Relation::of_columns(Some(vec![])));
            self.scopes.push(scope);
        } else {
            self.scopes.push(Scope { relations: vec![Relation::of_columns(None)], ..Scope::default() });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
            {
                let alias = Ident::with_quote('"', typed(expr).replace('"', "\"\""));
                let expr = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            // A short form keeps its name.
            if let SelectItem::UnnamedExpr(Expr::Identifier(ident)) = item
                && SHORT.iter().any(|(short, _)| *short == normal(ident))
            {
                let alias = ident.clone();
                *item = SelectItem::ExprWithAlias { expr: Expr::Identifier(alias.clone()), alias };
            }
        }
        let scope = Scope::of(select, self.tables, &self.defined);
        let outer: Vec<&Scope> = self.scopes.iter().collect();
        let found = select::problems(select, &scope, &outer, self.calls);
        self.problems.extend(found);
        select::without_series(select, self.calls);
        self.misplaced(select);
        self.warnings.extend(lint::cut_warm_up(select, self.calls));
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            self.asof(join);
        }
        self.scopes.push(scope);
        let mut windows = BTreeMap::new();
        for definition in std::mem::take(&mut select.named_window) {
            let spec = match definition.1 {
                NamedWindowExpr::WindowSpec(spec) => Some(spec),
                NamedWindowExpr::NamedWindow(other) => windows.get(&normal(&other)).cloned(),
            };
            if let Some(spec) = spec {
                windows.insert(normal(&definition.0), spec);
            }
        }
        self.windows.push(windows);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.scopes.pop();
        self.windows.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.placeholder(expr);
        self.operator(expr);
        self.times(expr);
        if let Some(meant) = late_field(expr) {
            let problem = Problem::new("a field stands before the timeframe", expr.span());
            self.problems.push(problem.help(format!("write {meant}")));
        }
        if let Some((inner, timeframe)) = timeframe_of(expr) {
            let problem = Problem::new(format!("`@{timeframe}` cannot stand here"), inner.span());
            self.problems.push(problem.help("it stands in SELECT, WHERE, QUALIFY and ORDER BY of a table of candles"));
        }
        // Before the walk comes to the fields, which would look like columns.
        if let Expr::CompoundFieldAccess { root, access_chain } = expr {
            qualified(root, access_chain);
            if self.is_number(root) {
                self.problems.extend(habits::bars_ago(root, access_chain));
            }
            self.field(root, access_chain);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.name(ident),
            Expr::CompoundIdentifier(parts) => self.qualified_name(parts),
            Expr::Function(call) => {
                let calls = self.calls;
                if cross_section::is_one(&call.name.to_string().to_ascii_lowercase()) {
                    each_argument(call, |arg| calls.first_field(arg));
                }
                match cross_section::expanded(call) {
                    None => self.function(call),
                    Some(Ok(windows)) => *expr = windows,
                    Some(Err(problem)) => self.problems.push(problem),
                }
            }
            Expr::CompoundFieldAccess { root, .. } if self.calls.called(root).is_some() => {
                let inner = std::mem::replace(root.as_mut(), Expr::Value(Value::Null.with_empty_span()));
                **root = nested(inner);
            }
            Expr::BinaryOp { left, op, right } => {
                self.calls.first_field(left);
                self.calls.first_field(right);
                if matches!(op, BinaryOperator::Divide | BinaryOperator::Modulo) {
                    divisor(right);
                }
            }
            Expr::Between { expr, low, high, .. } => {
                let calls = self.calls;
                [expr, low, high].into_iter().for_each(|e| calls.first_field(e));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl std::fmt::Debug for Rewriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewriter").field("problems", &self.problems).finish_non_exhaustive()
    }
}
