//! Calls of series functions: arguments completed, windows given, misuse found.

use super::scope::normal;
use super::suggest::closest;
use super::walk::each_expr;
use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, OrderByExpr, OrderByOptions, Spanned, UnaryOperator, Value, WindowSpec, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use tallow_common::Problem;
use tallow_udfs::series::{OptionDefault, ParamValue, SeriesFunction, SeriesSignature};

/// The bars of the tables that a text reads: timeframe and origin.
pub(super) type Bars<'a> = Option<(&'a str, &'a str)>;

/// Arguments by name of a scalar function of ours: by position, with null for those that are left out.
pub(super) fn in_order(call: &mut Function, name: &str) {
    let FunctionArguments::List(list) = &mut call.args else { return };
    let named = |arg: &FunctionArg| matches!(arg, FunctionArg::Named { .. });
    if !list.args.iter().any(named) {
        return;
    }
    let all = tallow_udfs::all_scalar_functions();
    let Some(names) = all.iter().find(|f| f.name() == name).and_then(|f| f.signature().parameter_names.clone()) else {
        return;
    };
    let position = |arg: &FunctionArg| match arg {
        FunctionArg::Named { name, .. } => names.iter().position(|n| *n == normal(name)),
        _ => None,
    };
    let first = list.args.iter().position(named).unwrap_or_default();
    let places: Option<Vec<usize>> = list.args[first..].iter().map(position).collect();
    // What is wrong with the names, the planner says.
    let Some(places) =
        places.filter(|p| p.iter().all(|p| *p >= first) && p.iter().collect::<BTreeSet<_>>().len() == p.len())
    else {
        return;
    };
    let last = places.iter().max().copied().unwrap_or_default();
    let null = || FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(Value::Null.with_empty_span())));
    let mut ordered: Vec<FunctionArg> = (first..=last).map(|_| null()).collect();
    for (arg, place) in list.args.drain(first..).zip(places) {
        if let FunctionArg::Named { arg, .. } = arg {
            ordered[place - first] = FunctionArg::Unnamed(arg);
        }
    }
    list.args.extend(ordered);
}

/// The time of an aggregate that goes by it, where it is left out: `tail(close, 120)`, `dtw_best(close, [1, 3, 2])`.
pub(super) fn with_time(call: &mut Function, name: &str) {
    let table = qualifier(call);
    let FunctionArguments::List(list) = &mut call.args else { return };
    if list.args.iter().any(|arg| !matches!(arg, FunctionArg::Unnamed(_))) {
        return;
    }
    let is_list = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Array(_))));
    let place = match (name, list.args.as_slice()) {
        ("tail", [_, _]) => 1,
        ("dtw_best", [_, second, ..]) if is_list(second) => 0,
        _ => return,
    };
    let time = Ident::new("ts");
    let time = match table {
        Some(table) => Expr::CompoundIdentifier(vec![table, time]),
        None => Expr::Identifier(time),
    };
    list.args.insert(place, FunctionArg::Unnamed(FunctionArgExpr::Expr(time)));
}

/// The argument list of a call; `None` for calls without parentheses.
pub(super) fn arguments(function: &Function) -> Option<&FunctionArgumentList> {
    match &function.args {
        FunctionArguments::List(list) => Some(list),
        _ => None,
    }
}

/// Does something with each value of a call.
pub(super) fn each_argument(function: &mut Function, mut each: impl FnMut(&mut Expr)) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    for arg in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = arg {
            each(value);
        }
    }
}

/// Number of positional arguments.
pub(super) fn positional(function: &Function) -> usize {
    arguments(function).map_or(0, |l| l.args.iter().filter(|a| matches!(a, FunctionArg::Unnamed(_))).count())
}

/// The value of a literal, negated numbers included.
pub(super) fn literal(expr: &Expr) -> Option<ParamValue> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => match text.parse::<i64>() {
                Ok(whole) => Some(ParamValue::Int(whole)),
                Err(_) => text.parse::<f64>().ok().map(ParamValue::Real),
            },
            Value::SingleQuotedString(text) => Some(ParamValue::Text(text.clone())),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match literal(expr)? {
            ParamValue::Int(v) => Some(ParamValue::Int(-v)),
            ParamValue::Real(v) => Some(ParamValue::Real(-v)),
            ParamValue::Text(_) => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => literal(expr),
        _ => None,
    }
}

fn to_expr(value: &ParamValue) -> Expr {
    let value = match value {
        ParamValue::Int(v) => Value::Number(v.to_string(), false),
        ParamValue::Real(v) => Value::Number(v.to_string(), false),
        ParamValue::Text(v) => Value::SingleQuotedString(v.clone()),
    };
    Expr::Value(value.with_empty_span())
}

/// `name`, or `qualifier.name`.
fn column(name: &str, qualifier: Option<&Ident>) -> Expr {
    match qualifier {
        Some(q) => Expr::CompoundIdentifier(vec![q.clone(), Ident::new(name)]),
        None => Expr::Identifier(Ident::new(name)),
    }
}

/// The window of a series: `PARTITION BY symbol ORDER BY ts`.
pub(super) fn default_window(qualifier: Option<&Ident>) -> WindowType {
    WindowType::WindowSpec(WindowSpec {
        window_name: None,
        partition_by: vec![column("symbol", qualifier)],
        order_by: vec![OrderByExpr {
            expr: column("ts", qualifier),
            options: OrderByOptions { asc: None, nulls_first: None },
            with_fill: None,
        }],
        window_frame: None,
    })
}

/// The table that the first qualified column of the arguments belongs to.
pub(super) fn qualifier(function: &Function) -> Option<Ident> {
    let mut table = None;
    each_expr(arguments(function)?, |expr| match expr {
        Expr::CompoundIdentifier(parts) if parts.len() == 2 => {
            table = Some(parts[0].clone());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    table
}

/// Rewrites a call of a series function, which has its window, to the full form: canonical name, all series, positional
/// parameters, optional series that have a default.
pub(super) fn complete(
    call: &mut Function,
    function: &Arc<dyn SeriesFunction>,
    bars: Bars<'_>,
    problems: &mut Vec<Problem>,
) {
    let signature = function.signature();
    let span = call.name.span();
    let usage = usage(signature);
    let Some(list) = arguments(call) else {
        problems.push(Problem::new(format!("{} needs its arguments in parentheses", signature.name), span).help(usage));
        return;
    };
    if matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct)) {
        problems.push(Problem::new(format!("DISTINCT has no meaning in {}", signature.name), span).help(usage));
        return;
    }
    if call.filter.is_some() {
        problems.push(Problem::new(format!("FILTER has no meaning in {}", signature.name), span).help(usage));
        return;
    }
    let found = problems.len();
    let args = list.args.clone();
    let (mut given, mut named) = (vec![], vec![]);
    for arg in args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => given.push(expr),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => named.push((name, expr)),
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(expr), .. } => {
                named.push((name, expr));
            }
            other => {
                let problem = Problem::new(format!("`{other}` is no argument of {}", signature.name), span);
                problems.push(problem.help(usage.clone()));
                return;
            }
        }
    }
    let (series, params, mut options) = slots(signature, given, named, span, call, problems);
    check_params(function, &params, span, problems);
    if problems.len() > found {
        return;
    }
    let time = match &call.over {
        Some(WindowType::WindowSpec(spec)) => spec.order_by.first().map(|key| key.expr.clone()),
        _ => None,
    };
    for (slot, option) in options.iter_mut().zip(&signature.options).filter(|(slot, _)| slot.is_none()) {
        *slot = match (option.default, &time) {
            (OptionDefault::Time, Some(time)) => Some(time.clone()),
            (OptionDefault::TimeWith(param), Some(time)) => {
                let mut values = signature.params.iter().zip(&params);
                values.any(|(known, value)| known.name == param && value.is_some()).then(|| time.clone())
            }
            (OptionDefault::CloseTime, Some(time)) => bars.map(|(timeframe, origin)| bar_end(time, timeframe, origin)),
            _ => None,
        };
    }
    let mut args: Vec<Expr> = series.into_iter().flatten().collect();
    let last_option = options.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    let last = match last_option {
        0 => params.iter().rposition(Option::is_some).map_or(0, |i| i + 1),
        _ => params.len(),
    };
    for (param, value) in signature.params.iter().zip(params).take(last) {
        args.push(match (value, &param.default) {
            (Some(value), _) => value,
            (None, Some(default)) => to_expr(default),
            (None, None) => return,
        });
    }
    args.extend(options.into_iter().take(last_option).map(|o| o.unwrap_or(Expr::Value(Value::Null.with_empty_span()))));
    call.name = ObjectName::from(vec![Ident { value: signature.name.clone(), quote_style: None, span }]);
    call.args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(),
        clauses: vec![],
    });
}

fn usage(signature: &SeriesSignature) -> String {
    match signature.options_usage() {
        Some(options) => format!("usage: {}; optional series: {options}", signature.usage()),
        None => format!("usage: {}", signature.usage()),
    }
}

/// `bar_end(ts, '4h', 'utc')`.
fn bar_end(time: &Expr, timeframe: &str, origin: &str) -> Expr {
    let text = |t: &str| Expr::Value(Value::SingleQuotedString(t.to_string()).with_empty_span());
    function_call("bar_end", vec![time.clone(), text(timeframe), text(origin)])
}

/// A call of a function with positional arguments.
pub(super) fn function_call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

type Slots = Vec<Option<Expr>>;

/// Assigns arguments to the series, parameters and optional series of a signature.
fn slots(
    signature: &SeriesSignature,
    given: Vec<Expr>,
    named: Vec<(Ident, Expr)>,
    span: Span,
    call: &Function,
    problems: &mut Vec<Problem>,
) -> (Slots, Slots, Slots) {
    let usage = usage(signature);
    let mut series: Slots = vec![None; signature.inputs.len()];
    let mut params: Slots = vec![None; signature.params.len()];
    let mut options: Slots = vec![None; signature.options.len()];
    let names_series =
        named.iter().any(|(n, _)| signature.inputs.iter().any(|i| i.name.eq_ignore_ascii_case(&n.value)));
    // `rsi(14)`: literals alone are parameters, and the series are the candle's own.
    let all_literal = given.iter().all(|e| literal(e).is_some());
    let omitted = all_literal && given.len() <= params.len() && !names_series && signature.series_may_be_omitted();
    let count = given.len();
    let skip = if omitted { series.len() } else { 0 };
    for (i, expr) in given.into_iter().enumerate() {
        let at = i + skip;
        if at < series.len() {
            series[at] = Some(expr);
        } else if at < series.len() + params.len() {
            params[at - series.len()] = Some(expr);
        } else if at < series.len() + params.len() + options.len() {
            options[at - series.len() - params.len()] = Some(expr);
        } else {
            let most = series.len() + params.len() + options.len();
            let message = format!("{} takes at most {most} arguments, not {count}", signature.name);
            problems.push(Problem::new(message, span).help(usage.clone()));
            break;
        }
    }
    for (name, expr) in named {
        let same = |n: &str| n.eq_ignore_ascii_case(&name.value);
        let param = signature.params.iter().position(|p| same(&p.name)).map(|i| &mut params[i]);
        let option = signature.options.iter().position(|o| same(o.name)).map(|i| &mut options[i]);
        let series = signature.inputs.iter().position(|p| same(&p.name)).map(|i| &mut series[i]);
        let slot = param.or(option).or(series);
        match slot {
            Some(slot) if slot.is_none() => *slot = Some(expr),
            Some(_) => {
                problems.push(Problem::new(format!("`{name}` of {} is given twice", signature.name), name.span));
            }
            None => {
                let all = signature.params.iter().map(|p| p.name.as_str());
                let all = all.chain(signature.options.iter().map(|o| o.name));
                let all = all.chain(signature.inputs.iter().map(|i| i.name.as_str()));
                let similar = closest(&name.value, all).map(|n| format!("did you mean `{n}`?"));
                problems.push(
                    Problem::new(format!("{} has no parameter `{name}`", signature.name), name.span)
                        .help(similar.unwrap_or_else(|| usage.clone())),
                );
            }
        }
    }
    if series.iter().all(Option::is_none) && signature.series_may_be_omitted() {
        let from = qualifier(call);
        for (slot, input) in series.iter_mut().zip(&signature.inputs) {
            *slot = input.default.map(|name| column(name, from.as_ref()));
        }
    }
    let missing: Vec<_> =
        signature.inputs.iter().zip(&series).filter(|(_, s)| s.is_none()).map(|(i, _)| i.name.as_str()).collect();
    if !missing.is_empty() && problems.is_empty() {
        let message = format!("{} misses its series {}", signature.name, missing.join(", "));
        let all_or_none = signature.series_may_be_omitted();
        let hint = if all_or_none { "; give all of its series or none" } else { "; its series have no default" };
        problems.push(Problem::new(message, span).help(format!("{usage}{hint}")));
    }
    (series, params, options)
}

/// Literal, in range, and fitting together.
fn check_params(function: &Arc<dyn SeriesFunction>, params: &[Option<Expr>], span: Span, problems: &mut Vec<Problem>) {
    let signature = function.signature();
    let found = problems.len();
    let mut values = vec![];
    for (param, expr) in signature.params.iter().zip(params) {
        match (expr, &param.default) {
            (Some(expr), _) => match literal(expr) {
                Some(value) => {
                    let single = SeriesSignature { params: vec![param.clone()], ..signature.clone() };
                    if single.resolve(std::slice::from_ref(&value)).is_err() {
                        let message = format!("`{}` of {} is {value}", param.name, signature.name);
                        problems.push(
                            Problem::new(message, place(expr, span)).help(format!("expected {}", param.expected())),
                        );
                    }
                    values.push(value);
                }
                None => {
                    let message = format!("`{}` of {} must be a literal, not `{expr}`", param.name, signature.name);
                    problems
                        .push(Problem::new(message, place(expr, span)).help(format!("expected {}", param.expected())));
                }
            },
            (None, Some(default)) => values.push(default.clone()),
            (None, None) => {
                let message = format!("{} needs its `{}`", signature.name, param.name);
                problems.push(Problem::new(message, span).help(format!("usage: {}", signature.usage())));
            }
        }
    }
    if problems.len() == found
        && let Err(error) = signature.resolve(&values).and_then(|p| function.check(&p))
    {
        problems.push(Problem::new(tallow_common::Error::from(error).to_string(), span));
    }
}

fn place(expr: &Expr, otherwise: Span) -> Span {
    let span = expr.span();
    if span.start.line > 0 { span } else { otherwise }
}

/// What an explicit OVER of a series function may not say.
pub(super) fn check_window(call: &Function, spec: &WindowSpec, problems: &mut Vec<Problem>) {
    let name = call.name.to_string();
    let span = call.name.span();
    let problem = if spec.window_frame.is_some() {
        "a frame (ROWS, RANGE, GROUPS) has no meaning: the function sees the whole series"
    } else if spec.partition_by.is_empty() {
        "PARTITION BY is missing: a series is one symbol's bars"
    } else if spec.order_by.is_empty() {
        "ORDER BY is missing: a series is in time order"
    } else if spec.order_by.iter().any(|key| key.options.asc == Some(false)) {
        "ORDER BY must be ascending: a series runs forward in time"
    } else {
        return;
    };
    problems.push(
        Problem::new(format!("{name}: {problem}"), span)
            .help("leave OVER out, or write OVER (PARTITION BY symbol ORDER BY ts)"),
    );
}
