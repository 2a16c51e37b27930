//! Which calls are of series, of groups, or of neither.

use super::call::{arguments, function_call, literal};
use super::cross_section;
use super::scope::normal;
use super::syntax::{first_call, nested, subscript};
use super::tokens::CROSSES;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{AggregateUDF, WindowUDF};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, Value, Visit};
use std::collections::HashMap;
use std::sync::Arc;
use tallow_udfs::series::{ParamValue, SeriesFunction, SeriesWindow};
use tallow_udfs::series_function;

/// Aggregates that, called with a literal number as second argument, mean TA-Lib's rolling function.
pub(super) const ROLLING: [&str; 6] = ["max", "min", "sum", "stddev", "var", "median"];

/// DataFusion's own window functions that need no OVER here either, and what they are then: SQL's count rows, ours bars with
/// a value.
pub(super) const SHIFTS: [(&str, &str); 2] = [("lag", "lag_bars"), ("lead", "lead_bars")];

/// The functions of a session, those among them that its user registered too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls<'a> {
    windows: Option<&'a HashMap<String, Arc<WindowUDF>>>,
    aggregates: Option<&'a HashMap<String, Arc<AggregateUDF>>>,
}

impl<'a> Calls<'a> {
    pub fn of(state: &'a SessionState) -> Calls<'a> {
        Calls { windows: Some(state.window_functions()), aggregates: Some(state.aggregate_functions()) }
    }

    /// The series function with this name or alias, in any case.
    pub fn series(self, name: &str) -> Option<&'a Arc<dyn SeriesFunction>> {
        if let Some(own) = series_function(name) {
            return Some(own);
        }
        let window = self.windows?.get(&name.to_ascii_lowercase())?;
        window.inner().downcast_ref::<SeriesWindow>().map(SeriesWindow::function)
    }

    /// All series functions.
    pub fn all_series(self) -> impl Iterator<Item = &'a Arc<dyn SeriesFunction>> {
        let windows = self.windows.into_iter().flat_map(HashMap::values);
        let registered = windows.filter_map(|w| w.inner().downcast_ref::<SeriesWindow>()).map(SeriesWindow::function);
        let of_users = registered.filter(|function| series_function(&function.signature().name).is_none());
        tallow_udfs::all_series_functions().iter().chain(of_users)
    }

    /// The series function that an expression calls.
    pub fn called(self, expr: &Expr) -> Option<&'a Arc<dyn SeriesFunction>> {
        match expr {
            Expr::Function(call) => self.series(&call.name.to_string()),
            Expr::Nested(inner) => self.called(inner),
            _ => None,
        }
    }

    /// A bare struct in arithmetic or a comparison stands for its first field.
    pub fn first_field(self, expr: &mut Expr) {
        let signature = self.called(expr).map(|function| function.signature());
        let Some(first) = signature.filter(|s| s.outputs.len() > 1) else { return };
        let field = subscript(&first.outputs[0].name);
        let root = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
        *expr = Expr::CompoundFieldAccess { root: Box::new(nested(root)), access_chain: vec![field] };
    }

    /// Whether a call is of a window, or has one where none is typed.
    pub fn is_window(self, call: &Function) -> bool {
        let name = call.name.to_string().to_ascii_lowercase();
        let rolling = ROLLING.contains(&name.as_str()) && is_rolling(call);
        call.over.is_some()
            || rolling
            || is_shift(&name)
            || cross_section::is_one(&name)
            || self.series(&name).is_some()
    }

    /// Whether a call is an aggregate over rows, not a window nor a rolling function of that name.
    pub fn is_aggregate(self, call: &Function) -> bool {
        let name = call.name.to_string().to_ascii_lowercase();
        self.aggregates.is_some_and(|known| known.contains_key(&name)) && !self.is_window(call)
    }

    /// The first window call in a piece of syntax, subqueries left out.
    pub fn first_window<V: Visit>(self, node: &V) -> Option<Function> {
        first_call(node, |expr| match expr {
            Expr::BinaryOp { op: BinaryOperator::Custom(word), .. } if CROSSES.contains(&word.as_str()) => {
                match function_call(word, vec![]) {
                    Expr::Function(call) => Some(call),
                    _ => None,
                }
            }
            Expr::Function(call) if self.is_window(call) => Some(call.clone()),
            _ => None,
        })
    }
}

/// `lag`, `lead`, and these over bars.
pub(super) fn is_shift(name: &str) -> bool {
    SHIFTS.iter().any(|(plain, bars)| name == *plain || name == *bars)
}

/// The n of `lag(x, n)`.
pub(super) fn offset(call: &Function) -> Option<&Expr> {
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

/// Whether an aggregate's name is used for a rolling function: a series, then a whole number, or the parameter that gives it.
pub(super) fn is_rolling(call: &Function) -> bool {
    arguments(call).is_some_and(|list| match list.args.as_slice() {
        [FunctionArg::Unnamed(_), FunctionArg::Unnamed(FunctionArgExpr::Expr(n)), ..] => {
            let is_parameter = matches!(n, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)));
            is_parameter || matches!(literal(n), Some(ParamValue::Int(_)))
        }
        _ => false,
    })
}
