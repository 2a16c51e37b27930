//! Calls: their windows, and what of them is left out.

use super::Rewriter;
use crate::dialect::call::{
    arguments, check_window, complete, default_window, in_order, literal, positional, qualifier, with_time,
};
use crate::dialect::calls::{ROLLING, SHIFTS, is_rolling, is_shift, offset};
use crate::dialect::cross_section;
use crate::dialect::habits;
use crate::dialect::scope::normal;
use crate::dialect::suggest::{closest, closest_name};
use crate::dialect::syntax::rename;
use datafusion::sql::sqlparser::ast::{Expr, Function, Select, Spanned, WindowType};
use tallow_common::Problem;
use tallow_udfs::series::ParamValue;

impl Rewriter<'_> {
    /// A call of any function.
    pub(super) fn function(&mut self, call: &mut Function) {
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
        match self.calls.series(&name) {
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
                let series = || self.calls.all_series().map(|f| f.signature());
                let aliases = series().flat_map(|s| &s.aliases).map(String::as_str);
                let similar = closest_name(&name, series().map(|s| s.name.as_str()), aliases)
                    .or_else(|| closest(&name, self.functions.iter().copied()));
                let problem = Problem::new(format!("unknown function `{name}`"), ident.span);
                self.problems.push(match (habits::instead_of(&name), similar) {
                    (Some(other), _) => problem.help(other),
                    (None, Some(similar)) => problem.maybe(Some(similar)),
                    (None, None) => problem.help("the operation `functions` lists all"),
                });
            }
        }
    }

    pub(super) fn is_function(&self, name: &str) -> bool {
        is_shift(name)
            || cross_section::is_one(name)
            || self.calls.series(name).is_some()
            || self.functions.contains(name)
            || is_builtin(name)
    }

    /// What to write where a function's name stands alone.
    pub(super) fn without_parentheses(&self, name: &str) -> Option<String> {
        let call = match self.calls.series(name) {
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
    pub(super) fn misplaced(&mut self, select: &Select) {
        let clauses = [("WHERE", &select.selection), ("HAVING", &select.having)];
        for (clause, expr) in clauses.into_iter().filter_map(|(c, e)| Some((c, e.as_ref()?))) {
            if let Some(call) = self.calls.first_window(expr) {
                let problem = Problem::new(format!("{} cannot stand in {clause}", call.name), call.name.span());
                self.problems.push(problem.help(format!("write QUALIFY instead of {clause}: it filters by series")));
            }
        }
    }

    /// `avg(rsi(14))`: a group is formed after the series, so the series needs a query of its own.
    fn aggregate_of_series(&mut self, call: &Function, name: &str) {
        let is_aggregate = self.calls.is_aggregate(call);
        let inner = arguments(call).filter(|_| is_aggregate).and_then(|list| self.calls.first_window(list));
        if let Some(inner) = inner {
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
                    let similar = closest(&name.value, known.iter().map(String::as_str));
                    let problem = Problem::new(format!("unknown window `{name}`"), name.span);
                    self.problems.push(match similar {
                        Some(similar) => problem.maybe(Some(similar)),
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
}

/// Names that DataFusion's planner knows without a registry.
fn is_builtin(name: &str) -> bool {
    matches!(name, "unnest" | "unnest_outer" | "map" | "make_map" | "grouping" | "try_cast" | "coalesce" | "struct")
}
