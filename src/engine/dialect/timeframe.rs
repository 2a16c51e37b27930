//! `x@1d`: an expression over the bars of another timeframe, as they were known when a bar closed.
//!
//! `select rsi(14)@1d from candles_4h` becomes an as-of join of the 4h bars with a subquery over the daily bars, whose
//! columns are the expressions before `@`; a bar sees the last day that had ended when it ended itself.

use super::call::{function_call, literal};
use super::calls::Calls;
use super::scope::normal;
use super::table_function::{TableFunctions, parse_query};
use super::walk::{change, change_statement, each_own_expr, look_at_statement};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, Ident, Join, JoinConstraint, JoinOperator,
    ObjectName, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableAlias,
    TableFactor, Value, Visit, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use tallow_common::Problem;
use tallow_common::{Error, readable};
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::series::ParamValue;

/// The bars of another timeframe beside those of a table.
#[derive(Debug, Clone)]
pub struct OtherBars {
    /// Timeframe and origin of the table's own bars.
    pub own: (String, String),
    /// SQL that yields the other bars.
    pub sql: String,
    /// Where they begin.
    pub origin: String,
}

/// The bars that a SELECT is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// Those of a table.
    Table(String),
    /// Those of `candles('4h')`.
    Lake(String),
}

type Found = BTreeMap<(Base, String), std::result::Result<OtherBars, String>>;

/// Puts as-of joins in the place of `@`; what cannot be is a problem.
pub(super) async fn join_timeframes(statements: &mut [Statement], lake: &dyn TableFunctions) -> Vec<Problem> {
    let mut asked = Asked::default();
    for statement in statements.iter() {
        look_at_statement(statement, &mut asked);
    }
    let mut found = Found::new();
    for (base, timeframe) in asked.0 {
        let other = match timeframe.parse::<Timeframe>() {
            Ok(known) => lake.other_bars(&base, known).await.map_err(|error| match error {
                Error::DataFusion(error) => readable(&error),
                other => other.to_string(),
            }),
            Err(error) => Err(readable(&error)),
        };
        found.insert((base, timeframe), other);
    }
    let mut joins = Joins { found, problems: vec![] };
    for statement in statements {
        change_statement(statement, &mut joins);
    }
    joins.problems
}

/// The timeframe of `x@1d`, as it was typed.
pub fn timeframe_of(expr: &Expr) -> Option<(&Expr, &str)> {
    let Expr::Cast { kind: CastKind::DoubleColon, expr, data_type: DataType::Custom(name, _), .. } = expr else {
        return None;
    };
    match name.0.as_slice() {
        [part] => Some((expr, part.as_ident()?.value.strip_prefix('@')?)),
        _ => None,
    }
}

/// The field of `x@1d.field`, which stands before the timeframe.
pub(super) fn late_field(expr: &Expr) -> Option<String> {
    let Expr::Cast { kind: CastKind::DoubleColon, expr, data_type: DataType::Custom(name, _), .. } = expr else {
        return None;
    };
    match name.0.as_slice() {
        [timeframe, field] if timeframe.as_ident()?.value.starts_with('@') => {
            Some(format!("{}.{field}{timeframe}", typed(expr)))
        }
        _ => None,
    }
}

/// An expression as it is typed: a cast to `@1d` is none.
pub fn typed(expr: &Expr) -> String {
    let shown = expr.to_string();
    if !shown.contains("::@") {
        return shown;
    }
    // Outside of quotes only: a doubled quote ends and begins them at once.
    let (mut text, mut quote) = (String::with_capacity(shown.len()), None);
    let mut rest = shown.as_str();
    while let Some(next) = rest.chars().next() {
        if quote.is_none() && rest.starts_with("::@") {
            rest = &rest[2..];
            continue;
        }
        match quote {
            None if matches!(next, '\'' | '"') => quote = Some(next),
            Some(open) if open == next => quote = None,
            _ => {}
        }
        text.push(next);
        rest = &rest[next.len_utf8()..];
    }
    text
}

fn timeframes_in(node: &impl Visit) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    each_own_expr(node, |expr| {
        all.extend(timeframe_of(expr).map(|(_, timeframe)| timeframe.to_string()));
        ControlFlow::Continue(())
    });
    all
}

/// Timeframes that a query's SELECT and ORDER BY name.
fn timeframes(query: &Query) -> BTreeSet<String> {
    let Some(select) = query.body.as_select() else { return BTreeSet::new() };
    let mut all = timeframes_in(select);
    all.extend(query.order_by.iter().flat_map(timeframes_in));
    all
}

/// The one relation of a SELECT and what it is called.
fn base_of(select: &Select) -> Option<Base> {
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name, args, .. } = &from.relation else { return None };
    if !from.joins.is_empty() {
        return None;
    }
    let parts: Vec<_> = name.0.iter().filter_map(|p| p.as_ident()).map(normal).collect();
    let name = parts.last()?.clone();
    let Some(args) = args else { return Some(Base::Table(name)) };
    match args.args.first()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if name == "candles" => match literal(expr)? {
            ParamValue::Text(timeframe) => Some(Base::Lake(timeframe)),
            _ => None,
        },
        _ => None,
    }
}

#[derive(Default)]
struct Asked(BTreeSet<(Base, String)>);

impl Visitor for Asked {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(base) = query.body.as_select().and_then(base_of) {
            self.0.extend(timeframes(query).into_iter().map(|timeframe| (base.clone(), timeframe)));
        }
        ControlFlow::Continue(())
    }
}

struct Joins {
    found: Found,
    problems: Vec<Problem>,
}

impl VisitorMut for Joins {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let timeframes = timeframes(query);
        if timeframes.is_empty() {
            return ControlFlow::Continue(());
        }
        let base = query.body.as_select().and_then(base_of);
        for timeframe in timeframes {
            let found = base.clone().map(|base| self.found.get(&(base, timeframe.clone())).cloned());
            let problem = match found {
                Some(Some(Ok(other))) => {
                    self.join(query, &timeframe, &other);
                    continue;
                }
                Some(Some(Err(said))) => Problem::new(format!("@{timeframe}: {said}"), removed(query, &timeframe)),
                _ => {
                    let said = format!("`@{timeframe}` needs one table of candles in FROM");
                    Problem::new(said, removed(query, &timeframe)).help(format!(
                        "write it in a subquery over that table: (select symbol, ts, x@{timeframe} as x from candles)"
                    ))
                }
            };
            self.problems.push(problem);
        }
        ControlFlow::Continue(())
    }
}

/// Puts null in the place of a timeframe's expressions, so that they are not reported again; where the first stood.
fn removed(query: &mut Query, timeframe: &str) -> Span {
    let mut cut = Cut::new(timeframe);
    cut.all(query);
    let mut nothing = Nothing(cut.exprs.into_iter().map(|(name, _)| name).collect());
    change(query, &mut nothing);
    cut.spans.first().copied().unwrap_or(Span::empty())
}

impl Joins {
    fn join(&mut self, query: &mut Query, timeframe: &str, other: &OtherBars) {
        let mut cut = Cut::new(timeframe);
        cut.all(query);
        self.problems.append(&mut cut.problems);
        let Some(select) = select_mut(query) else { return };
        let [from] = select.from.as_mut_slice() else { return };
        let name = name_relation(&mut from.relation);
        let key = |what: &str| format!("{timeframe} {what}");
        let sql = format!(
            "select {name}.symbol as \"{}\", bar_end({name}.ts, '{timeframe}', '{}') as \"{}\" from ({}) as {name}",
            key("symbol"),
            other.origin,
            key("closed"),
            other.sql
        );
        let mut bars = match parse_query(&sql) {
            Ok(bars) => bars,
            Err(said) => return self.problems.push(Problem::new(said, Span::empty())),
        };
        if let Some(bars) = select_mut(&mut bars) {
            bars.projection.extend(cut.exprs.into_iter().map(|(name, expr)| SelectItem::ExprWithAlias {
                expr,
                alias: Ident::with_quote('"', name.replace('"', "\"\"")),
            }));
        }
        let alias = Ident::with_quote('"', timeframe);
        let there = |what: &str| Expr::CompoundIdentifier(vec![alias.clone(), Ident::with_quote('"', key(what))]);
        let here = |column: &str| Expr::CompoundIdentifier(vec![name.clone(), Ident::new(column)]);
        let text = |t: &str| Expr::Value(Value::SingleQuotedString(t.to_string()).with_empty_span());
        let closed = function_call("bar_end", vec![here("ts"), text(&other.own.0), text(&other.own.1)]);
        let binary = |left: Expr, op, right: Expr| Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) };
        for item in &mut select.projection {
            if let SelectItem::Wildcard(options) = item {
                let kind = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![name.clone()]));
                *item = SelectItem::QualifiedWildcard(kind, options.clone());
            }
        }
        from.joins.push(Join {
            relation: TableFactor::Derived {
                lateral: false,
                subquery: Box::new(bars),
                alias: Some(TableAlias { explicit: true, name: alias.clone(), columns: vec![], at: None }),
                sample: None,
            },
            global: false,
            join_operator: JoinOperator::AsOf {
                match_condition: binary(closed, BinaryOperator::GtEq, there("closed")),
                constraint: JoinConstraint::On(binary(here("symbol"), BinaryOperator::Eq, there("symbol"))),
            },
        });
    }
}

fn select_mut(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// What a relation is called; one without a plain name is given one.
fn name_relation(factor: &mut TableFactor) -> Ident {
    let TableFactor::Table { name, alias, .. } = factor else { return Ident::new("bars") };
    if let Some(alias) = alias {
        return alias.name.clone();
    }
    let own = name.0.last().and_then(|p| p.as_ident()).filter(|i| i.quote_style.is_none()).cloned();
    let own = own.unwrap_or_else(|| Ident::new("bars"));
    *alias = Some(TableAlias { explicit: true, name: own.clone(), columns: vec![], at: None });
    own
}

/// Takes the expressions of one timeframe out of a query; columns stand in their place.
struct Cut<'a> {
    timeframe: &'a str,
    depth: usize,
    exprs: Vec<(String, Expr)>,
    spans: Vec<Span>,
    problems: Vec<Problem>,
}

impl<'a> Cut<'a> {
    fn new(timeframe: &'a str) -> Self {
        Cut { timeframe, depth: 0, exprs: vec![], spans: vec![], problems: vec![] }
    }

    fn all(&mut self, query: &mut Query) {
        if let Some(select) = select_mut(query) {
            change(select, self);
        }
        if let Some(order) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order.kind
        {
            for key in keys {
                change(&mut key.expr, self);
            }
        }
    }
}

impl VisitorMut for Cut<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some((inner, timeframe)) = timeframe_of(expr).filter(|_| self.depth == 0) else {
            return ControlFlow::Continue(());
        };
        if timeframe != self.timeframe {
            return ControlFlow::Continue(());
        }
        let span = inner.span();
        if let Some(other) = timeframes_in(inner).first() {
            let problem = Problem::new(format!("@{other} inside @{timeframe}: timeframes do not nest"), span);
            self.problems.push(problem.help("compute the inner one in a subquery"));
        }
        let name = typed(expr);
        let mut inner = inner.clone();
        Calls::default().first_field(&mut inner);
        if !self.exprs.iter().any(|(known, _)| *known == name) {
            self.exprs.push((name.clone(), inner));
        }
        self.spans.push(span);
        *expr = Expr::Identifier(Ident { value: name.replace('"', "\"\""), quote_style: Some('"'), span });
        ControlFlow::Continue(())
    }
}

/// Puts null in the place of columns that could not be made, so that they are not reported twice.
struct Nothing(Vec<String>);

impl VisitorMut for Nothing {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Identifier(ident) if ident.quote_style.is_some() && self.0.contains(&ident.value)) {
            *expr = Expr::Value(Value::Null.with_empty_span());
        }
        ControlFlow::Continue(())
    }
}
