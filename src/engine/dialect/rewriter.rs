//! The walk over the syntax tree.

use super::call::{
    arguments, check_window, complete, default_window, function_call, in_order, literal, positional, qualifier,
    with_time,
};
use super::habits;
use super::lint;
use super::parameter::{Declared, Params};
use super::scope::{Relation, Scope, Tables, normal};
use super::select;
use super::suggest::{closest, closest_name};
use super::timeframe::{late_field, timeframe_of, typed};
use super::tokens::CROSSES;
use crate::asof::MATCH;
use arrow::datatypes::{DataType, Schema};
use datafusion::execution::SessionState;
use datafusion::logical_expr::AggregateUDF;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, Ident, Join, JoinConstraint,
    JoinOperator, NamedWindowExpr, ObjectName, ObjectNamePart, Query, Select, SelectItem, Spanned, Subscript, Value,
    Visit, VisitMut, Visitor, VisitorMut, WindowSpec, WindowType,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_common::{Problem, Problems};
use tallow_udfs::series::{ParamValue, SeriesFunction};
use tallow_udfs::series_function;

/// Short names of candle columns.
pub(super) const SHORT: [(&str, &str); 5] =
    [("o", "open"), ("h", "high"), ("l", "low"), ("c", "close"), ("v", "volume")];

/// Aggregates that, called with a literal number as second argument, mean TA-Lib's rolling function.
const ROLLING: [&str; 6] = ["max", "min", "sum", "stddev", "var", "median"];

/// DataFusion's own window functions that need no OVER here either, and what they are then: SQL's count rows, ours bars with
/// a value.
const SHIFTS: [(&str, &str); 2] = [("lag", "lag_bars"), ("lead", "lead_bars")];

/// What the parser reads as a column though it is none.
const CONSTANTS: [&str; 6] =
    ["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "now"];

pub(super) struct Rewriter<'a> {
    text: &'a str,
    params: &'a Params,
    tables: &'a Tables,
    aggregates: &'a HashMap<String, Arc<AggregateUDF>>,
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
            aggregates: state.aggregate_functions(),
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
        let _ = expr.visit(self);
        self.scopes.pop();
    }

    /// Rewrites a statement in place.
    pub fn statement(&mut self, statement: &mut Statement) {
        match statement {
            Statement::Statement(inner) => {
                let _ = inner.visit(self);
            }
            Statement::Explain(explain) => self.statement(&mut explain.statement),
            Statement::CopyTo(copy) => {
                if let CopyToSource::Query(query) = &mut copy.source {
                    let _ = query.visit(self);
                }
            }
            _ => {}
        }
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

    fn function(&mut self, call: &mut Function) {
        let [part] = call.name.0.as_slice() else {
            let problem = habits::method(call, |name| self.is_function(name));
            self.problems.extend(problem);
            return;
        };
        let Some(ident) = part.as_ident().cloned() else { return };
        let mut name = normal(&ident);
        if name == "log" && positional(call) == 1 {
            rename(call, "ln");
            return;
        }
        if ROLLING.contains(&name.as_str()) && call.over.is_none() && is_rolling(call) {
            name = format!("ta_{name}");
        }
        if is_shift(&name) {
            self.shift(call, &name);
            return;
        }
        match series_function(&name) {
            Some(function) => {
                self.window(call, true);
                complete(call, function, self.tables.bars(), &mut self.problems);
            }
            None if self.functions.contains(name.as_str()) || is_builtin(&name) => {
                in_order(call, &name);
                with_time(call, &name);
                self.aggregate_of_series(call, &name);
                self.window(call, false);
            }
            None => {
                let series = || tallow_udfs::all_series_functions().iter().map(|f| f.signature());
                let aliases = series().flat_map(|s| &s.aliases).map(String::as_str);
                let near = closest_name(&name, series().map(|s| s.name.as_str()), aliases)
                    .or_else(|| closest(&name, self.functions.iter().copied()));
                let problem = Problem::new(format!("unknown function `{name}`"), ident.span);
                self.problems.push(match (habits::instead_of(&name), near) {
                    (Some(other), _) => problem.help(other),
                    (None, Some(near)) => problem.maybe(Some(near)),
                    (None, None) => problem.help("the operation `functions` lists all"),
                });
            }
        }
    }

    fn is_function(&self, name: &str) -> bool {
        is_shift(name) || series_function(name).is_some() || self.functions.contains(name) || is_builtin(name)
    }

    /// What to write where a function's name stands alone.
    fn without_parentheses(&self, name: &str) -> Option<String> {
        let call = match series_function(name) {
            Some(function) => habits::example(function.signature()),
            None if is_shift(name) => format!("`{name}(close, 1)`"),
            None if self.is_function(name) => format!("`{name}(..)`"),
            None => return None,
        };
        Some(format!("`{name}` is a function, which needs parentheses: {call}"))
    }

    /// `lag(x, n)`, of bars where SQL's OVER is left out. A negative n would read the other way.
    fn shift(&mut self, call: &mut Function, name: &str) {
        let name = name.trim_end_matches("_bars");
        let offset = offset(call).cloned();
        if let Some(ParamValue::Int(n)) = offset.as_ref().and_then(literal)
            && n < 1
        {
            let (other, sees) = if name == "lag" { ("lead", "the future") } else { ("lag", "the past") };
            self.problems.push(match n {
                0 => Problem::new(format!("{name} by 0 bars is the bar itself"), call.name.span())
                    .help("expected 1 or more bars"),
                _ => Problem::new(format!("{name} by {n} bars reads {sees}"), call.name.span())
                    .help(format!("write {other}(x, {}) if that is meant", -n)),
            });
        }
        let treats_nulls = call.null_treatment.is_some() || arguments(call).is_some_and(|l| !l.clauses.is_empty());
        let is_plain = SHIFTS.iter().any(|(plain, _)| call.name.to_string().eq_ignore_ascii_case(plain));
        if is_plain && call.over.is_none() && treats_nulls {
            call.over = Some(default_window(qualifier(call).as_ref()));
        }
        if is_plain && call.over.is_some() {
            self.window(call, false);
            return;
        }
        if let Some(offset) = offset.filter(|e| matches!(e, Expr::Identifier(_) | Expr::CompoundIdentifier(_))) {
            let message = format!("`offset` of {name} must be a literal, not `{offset}`");
            self.problems.push(Problem::new(message, offset.span()).help("expected 1 or more bars"));
        }
        rename(call, &format!("{name}_bars"));
        self.window(call, true);
    }

    /// Series calls where SQL has no place for them: WHERE, HAVING and GROUP BY are decided before windows are computed.
    fn misplaced(&mut self, select: &Select) {
        let clauses = [("WHERE", &select.selection), ("HAVING", &select.having)];
        for (clause, expr) in clauses.into_iter().filter_map(|(c, e)| Some((c, e.as_ref()?))) {
            if let Some(call) = window_call(expr) {
                let problem = Problem::new(format!("{} cannot stand in {clause}", call.name), call.name.span());
                self.problems.push(problem.help(format!("write QUALIFY instead of {clause}: it filters by series")));
            }
        }
    }

    /// `ASOF JOIN` becomes a left join whose condition is marked: the planner knows that one.
    fn asof(&mut self, join: &mut Join) {
        let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else { return };
        let JoinConstraint::On(on) = constraint else {
            let problem = Problem::new("ASOF JOIN needs ON".to_string(), match_condition.span());
            self.problems.push(problem.help("write ON a.symbol = b.symbol after MATCH_CONDITION (..)"));
            return;
        };
        let marked = function_call(MATCH, vec![match_condition.clone()]);
        let on = Box::new(Expr::Nested(Box::new(on.clone())));
        let both = Expr::BinaryOp { left: on, op: BinaryOperator::And, right: Box::new(marked) };
        join.join_operator = JoinOperator::LeftOuter(JoinConstraint::On(both));
    }

    /// `avg(rsi(14))`: a group is formed after the series, so the series needs a query of its own.
    fn aggregate_of_series(&mut self, call: &Function, name: &str) {
        let is_aggregate = self.is_aggregate(call);
        if let Some(inner) = arguments(call).filter(|_| is_aggregate).and_then(window_call) {
            let shown = inner.name.to_string();
            let shown = SHIFTS.iter().find(|(_, bars)| *bars == shown).map_or(shown.as_str(), |(plain, _)| plain);
            let problem = Problem::new(format!("{shown} cannot stand inside the aggregate {name}"), inner.name.span());
            let help =
                format!("compute it in a subquery: select {name}(x) from (select symbol, ts, {shown}(..) x from ..)");
            self.problems.push(problem.help(help));
        }
    }

    /// Puts a named window where it is used; a series function without OVER gets the default one.
    fn window(&mut self, call: &mut Function, series: bool) {
        match &call.over {
            Some(WindowType::NamedWindow(name)) => match self.windows.last().and_then(|w| w.get(&normal(name))) {
                Some(spec) => call.over = Some(WindowType::WindowSpec(spec.clone())),
                None => {
                    let known: Vec<_> = self.windows.last().map(|w| w.keys().cloned().collect()).unwrap_or_default();
                    let near = closest(&name.value, known.iter().map(String::as_str));
                    let problem = Problem::new(format!("unknown window `{name}`"), name.span);
                    self.problems.push(match near {
                        Some(near) => problem.maybe(Some(near)),
                        None => problem.help(format!("define it: WINDOW {name} AS (PARTITION BY symbol ORDER BY ts)")),
                    });
                }
            },
            Some(WindowType::WindowSpec(_)) => {}
            None if series => call.over = Some(default_window(qualifier(call).as_ref())),
            None => {}
        }
        if series && let Some(WindowType::WindowSpec(spec)) = &call.over {
            check_window(call, spec, &mut self.problems);
        }
    }

    /// An unqualified name: a column, a short form of one, or a slip.
    fn name(&mut self, ident: &mut Ident) {
        let Some(scope) = self.scopes.last() else { return };
        let name = normal(ident);
        if scope.has(&name) || ident.quote_style.is_some() && scope.columns().is_none() {
            return;
        }
        if let Some((_, long)) = SHORT.iter().find(|(short, long)| *short == name && scope.has(long))
            && ident.quote_style.is_none()
        {
            ident.value = (*long).to_string();
            return;
        }
        let outer = self.scopes.iter().rev();
        let known_elsewhere = outer.clone().any(|s| s.aliases.contains(&name) || s.has(&name) || s.columns().is_none());
        if known_elsewhere || CONSTANTS.contains(&name.as_str()) {
            return;
        }
        let Some(columns) = scope.columns().filter(|c| !c.is_empty()) else { return };
        let near = closest(&name, columns.iter().copied().chain(scope.aliases.iter().map(String::as_str)));
        let problem = Problem::new(format!("unknown column `{}`", ident.value), ident.span);
        let shown: Vec<_> = columns.iter().copied().collect();
        let problem = match (self.without_parentheses(&name), near) {
            (Some(help), _) => problem.help(help),
            (None, Some(near)) => problem.maybe(Some(near)),
            (None, None) => problem.help(format!("columns: {}", shown.join(", "))),
        };
        self.problems.push(problem);
    }

    /// `c.close`, whose table is known.
    fn qualified_name(&mut self, parts: &[Ident]) {
        let ([table, column], Some(scope)) = (parts, self.scopes.last()) else { return };
        let Some(columns) = scope.relation(&normal(table)).and_then(|relation| relation.columns.as_ref()) else {
            return;
        };
        let name = normal(column);
        if columns.is_empty() || columns.contains(&name) {
            return;
        }
        let problem = Problem::new(format!("`{table}` has no column `{column}`"), column.span);
        self.problems.push(match closest(&name, columns.iter().map(String::as_str)) {
            Some(near) => problem.maybe(Some(near)),
            None => problem.help(format!("columns: {}", columns.join(", "))),
        });
    }

    /// Times in forms that only others understand.
    fn times(&mut self, expr: &Expr) {
        let is_time = |e: &Expr| {
            let known = self.scopes.last().and_then(|scope| scope.data_type(e));
            matches!(known, Some(DataType::Timestamp(..)))
        };
        let compared: Vec<&Expr> = match expr {
            Expr::BinaryOp { left, op, right } if is_comparison(op) && is_time(left) => vec![right],
            Expr::BinaryOp { left, op, right } if is_comparison(op) && is_time(right) => vec![left],
            Expr::Between { expr, low, high, .. } if is_time(expr) => vec![low, high],
            Expr::InList { expr, list, .. } if is_time(expr) => list.iter().collect(),
            _ => vec![],
        };
        let problems: Vec<_> = compared.into_iter().filter_map(habits::time).collect();
        self.problems.extend(problems);
        if let Expr::TypedString(literal) = expr {
            self.problems.extend(habits::typed_time(literal));
        }
    }

    /// Whether a value is one number for every bar.
    fn is_number(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Function(call) => match called(expr) {
                Some(function) => function.signature().outputs.len() == 1,
                None => is_window_call(call) && call.over.is_none(),
            },
            Expr::Nested(inner) => self.is_number(inner),
            _ => {
                let of = |e: &Expr| {
                    self.scopes.last().and_then(|scope| scope.data_type(e)).is_some_and(DataType::is_numeric)
                };
                let long = match expr {
                    Expr::Identifier(ident) => {
                        SHORT.iter().find(|(short, _)| *short == normal(ident)).map(|(_, long)| long)
                    }
                    _ => None,
                };
                of(expr) || long.is_some_and(|long| of(&Expr::Identifier(Ident::new(*long))))
            }
        }
    }

    /// Whether a call is an aggregate over rows, not a window nor a rolling function of that name.
    fn is_aggregate(&self, call: &Function) -> bool {
        let name = call.name.to_string().to_ascii_lowercase();
        self.aggregates.contains_key(&name) && !is_window_call(call)
    }

    /// `f(..).field` becomes `(f(..) OVER ..)['field']`.
    fn field(&mut self, root: &Expr, chain: &mut [AccessExpr]) {
        self.methods(root, chain);
        for access in chain.iter_mut() {
            let AccessExpr::Dot(Expr::Identifier(field)) = access else { continue };
            let name = normal(field);
            if let Some(signature) = called(root).map(|f| f.signature())
                && signature.output_index(&name).is_none()
            {
                let known: Vec<_> = signature.outputs.iter().map(|o| o.name.as_str()).collect();
                let problem = Problem::new(format!("{} has no field `{field}`", signature.name), field.span);
                self.problems.push(match closest(&name, known.iter().copied()) {
                    _ if signature.outputs.len() == 1 => problem.help(format!("{} is a plain column", signature.name)),
                    Some(near) => problem.maybe(Some(near)),
                    None => problem.help(format!("fields: {}", known.join(", "))),
                });
            }
            *access = subscript(&name);
        }
    }

    /// `rsi(14).shift(1)`; of `close.rolling(20).mean()` the first call is told of.
    fn methods(&mut self, root: &Expr, chain: &mut [AccessExpr]) {
        let mut told = matches!(root, Expr::Function(first) if first.name.0.len() > 1);
        let mut of = typed(root);
        for access in chain.iter_mut() {
            let shown = access.to_string();
            if let AccessExpr::Dot(Expr::Function(call)) = access {
                if !std::mem::replace(&mut told, true) {
                    let mut method = call.clone();
                    method.name.0.insert(0, ObjectNamePart::Identifier(Ident::new(of.clone())));
                    let problem = habits::method(&method, |name| self.is_function(name));
                    self.problems.extend(problem);
                }
                *access = subscript("");
            }
            of += &shown;
        }
    }

    fn placeholder(&mut self, expr: &mut Expr) {
        let Expr::Value(value) = expr else { return };
        let Value::Placeholder(text) = &value.value else { return };
        match self.declared.value(text, self.params, value.span) {
            Some(Ok(known)) => *expr = known,
            Some(Err(problem)) => self.problems.push(problem),
            None => {}
        }
    }

    /// `a crosses_above b` becomes a call; comparisons are looked at as they were typed.
    fn operator(&mut self, expr: &mut Expr) {
        let Expr::BinaryOp { left, op, right } = expr else { return };
        let crosses = match op {
            BinaryOperator::Custom(word) => CROSSES.iter().copied().find(|name| *name == word.as_str()),
            _ => None,
        };
        if crosses.is_none() && !is_comparison(op) {
            return;
        }
        if matches!(left.as_ref(), Expr::BinaryOp { op, .. } if is_comparison(op)) {
            let span = left.span().union(&right.span());
            let problem = Problem::new(format!("`{}`: comparisons do not chain", typed_expr(left, op, right)), span);
            self.problems.push(problem.help(match left.as_ref() {
                Expr::BinaryOp { right: middle, .. } => {
                    habits::word_for(middle).unwrap_or_else(|| {
                        format!("write `{} and {} {op} {}`", typed(left), typed(middle), typed(right))
                    })
                }
                _ => "join them with and".to_string(),
            }));
            return;
        }
        if self.lints {
            self.warnings.extend(lint::comparison(left, op, right));
        }
        if matches!(right.as_ref(), Expr::IsNull(_) | Expr::IsNotNull(_)) {
            let problem =
                Problem::new(format!("`{}`: comparisons do not chain", typed_expr(left, op, right)), right.span());
            self.problems.push(problem.help("put the comparison in parentheses"));
            return;
        }
        let Some(name) = crosses else { return };
        let mut sides =
            [left, right].map(|side| std::mem::replace(side.as_mut(), Expr::Value(Value::Null.with_empty_span())));
        sides.iter_mut().for_each(first_field);
        *expr = function_call(name, sides.to_vec());
    }
}

fn typed_expr(left: &Expr, op: &BinaryOperator, right: &Expr) -> String {
    format!("{} {op} {}", typed(left), typed(right))
}

pub(super) fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let crosses = |word: &str| CROSSES.contains(&word);
    matches!(op, Eq | NotEq | Gt | GtEq | Lt | LtEq) || matches!(op, BinaryOperator::Custom(word) if crosses(word))
}

fn is_window_call(call: &Function) -> bool {
    let name = call.name.to_string().to_ascii_lowercase();
    let rolling = ROLLING.contains(&name.as_str()) && is_rolling(call);
    call.over.is_some() || rolling || is_shift(&name) || series_function(&name).is_some()
}

/// `lag`, `lead`, and these over bars.
fn is_shift(name: &str) -> bool {
    SHIFTS.iter().any(|(plain, bars)| name == *plain || name == *bars)
}

/// The n of `lag(x, n)`.
fn offset(call: &Function) -> Option<&Expr> {
    let args = &arguments(call)?.args;
    let named = args.iter().find_map(|arg| match arg {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } if normal(name) == "offset" => Some(e),
        _ => None,
    });
    named.or_else(|| match args.get(1)? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
        _ => None,
    })
}

/// The first window call in a piece of syntax, subqueries left out.
pub(super) fn window_call<V: Visit>(node: &V) -> Option<Function> {
    first_call(node, |expr| match expr {
        Expr::BinaryOp { op: BinaryOperator::Custom(word), .. } if CROSSES.contains(&word.as_str()) => {
            match function_call(word, vec![]) {
                Expr::Function(call) => Some(call),
                _ => None,
            }
        }
        Expr::Function(call) if is_window_call(call) => Some(call.clone()),
        _ => None,
    })
}

/// The first call that is looked for in a piece of syntax, subqueries left out.
pub(super) fn first_call<V: Visit>(node: &V, wanted: impl FnMut(&Expr) -> Option<Function>) -> Option<Function> {
    struct Find<F>(F, usize);
    impl<F: FnMut(&Expr) -> Option<Function>> Visitor for Find<F> {
        type Break = Function;
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Function> {
            self.1 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Function> {
            self.1 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Function> {
            match if self.1 == 0 { (self.0)(expr) } else { None } {
                Some(call) => ControlFlow::Break(call),
                None => ControlFlow::Continue(()),
            }
        }
    }
    match node.visit(&mut Find(wanted, 0)) {
        ControlFlow::Break(call) => Some(call),
        ControlFlow::Continue(()) => None,
    }
}

/// Whether an aggregate's name is used for a rolling function: a series, then a whole number, or the parameter that gives it.
fn is_rolling(call: &Function) -> bool {
    arguments(call).is_some_and(|list| match list.args.as_slice() {
        [FunctionArg::Unnamed(_), FunctionArg::Unnamed(FunctionArgExpr::Expr(n)), ..] => {
            let is_parameter = matches!(n, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)));
            is_parameter || matches!(literal(n), Some(ParamValue::Int(_)))
        }
        _ => false,
    })
}

/// Names that DataFusion's planner knows without a registry.
fn is_builtin(name: &str) -> bool {
    matches!(name, "unnest" | "unnest_outer" | "map" | "make_map" | "grouping" | "try_cast" | "coalesce" | "struct")
}

fn rename(call: &mut Function, name: &str) {
    let span = call.name.span();
    call.name = ObjectName::from(vec![Ident { value: name.to_string(), quote_style: None, span }]);
}

/// The series function that an expression calls.
pub(super) fn called(expr: &Expr) -> Option<&'static Arc<dyn SeriesFunction>> {
    match expr {
        Expr::Function(call) => series_function(&call.name.to_string()),
        Expr::Nested(inner) => called(inner),
        _ => None,
    }
}

fn subscript(field: &str) -> AccessExpr {
    let index = Expr::Value(Value::SingleQuotedString(field.to_string()).with_empty_span());
    AccessExpr::Subscript(Subscript::Index { index })
}

/// A bare struct in arithmetic or a comparison stands for its first field.
pub(super) fn first_field(expr: &mut Expr) {
    let Some(first) = called(expr).map(|f| f.signature()).filter(|s| s.outputs.len() > 1) else { return };
    let field = subscript(&first.outputs[0].name);
    let root = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
    *expr = Expr::CompoundFieldAccess { root: Box::new(nested(root)), access_chain: vec![field] };
}

/// `t.column['field']`, which the parser takes for a field of `t`.
fn qualified(root: &mut Expr, access: &mut Vec<AccessExpr>) {
    if let Expr::Identifier(table) = root
        && let Some(AccessExpr::Dot(Expr::Identifier(column))) = access.first()
        && access.len() > 1
    {
        *root = Expr::CompoundIdentifier(vec![table.clone(), column.clone()]);
        access.remove(0);
    }
}

fn nested(expr: Expr) -> Expr {
    if matches!(expr, Expr::Nested(_)) { expr } else { Expr::Nested(Box::new(expr)) }
}

/// `b` as a divisor: zero becomes null.
fn divisor(expr: &mut Expr) {
    let never_zero = literal(expr).and_then(|v| v.as_f64()).is_some_and(|v| v != 0.0);
    if never_zero {
        return;
    }
    let mut value = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
    let zero = Expr::Value(Value::Number("0".to_string(), false).with_empty_span());
    // What is computed may be -0.0, which does not equal 0 for DataFusion; -0.0 + 0 is 0.
    if !matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
        value = Expr::BinaryOp { left: Box::new(value), op: BinaryOperator::Plus, right: Box::new(zero.clone()) };
    }
    *expr = function_call("nullif", vec![value, zero]);
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
        let aggregate = |call: &Function| self.is_aggregate(call);
        let found = select::problems(select, &scope, &outer, &aggregate);
        self.problems.extend(found);
        select::without_series(select, &|call: &Function| self.is_aggregate(call));
        self.misplaced(select);
        self.warnings.extend(lint::cut_warm_up(select));
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
            Expr::Function(call) => self.function(call),
            Expr::CompoundFieldAccess { root, .. } if called(root).is_some() => {
                let inner = std::mem::replace(root.as_mut(), Expr::Value(Value::Null.with_empty_span()));
                **root = nested(inner);
            }
            Expr::BinaryOp { left, op, right } => {
                first_field(left);
                first_field(right);
                if matches!(op, BinaryOperator::Divide | BinaryOperator::Modulo) {
                    divisor(right);
                }
            }
            Expr::Between { expr, low, high, .. } => {
                [expr, low, high].into_iter().for_each(|e| first_field(e));
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
