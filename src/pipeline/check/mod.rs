//! Does a query look into the future? Found out twice: from its plan, and by trying.
//!
//! The trial computes the query over everything, and again over what was known at several instants of the past. A value
//! of a bar that had ended by then must come out the same; where it does not, it depends on what came later.

mod cuts;
mod report;
mod rows;
mod trial;

use super::backtest::Backtest;
use super::bounds::{known_at, known_from, tables_of};
use super::control::Control;
use super::formulas;
use super::named::NamedQueries;
use super::strategies;
use crate::Session;
use cuts::{cuts, fitting, sample};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::DataFrame;
pub use report::{CheckReport, ColumnCheck, Verdict, WarmUp};
use rows::Rows;
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::Params;
use tallow_engine::reach::{MadeBars, reach};
use tallow_udfs::calendar::{Grid, Origin, Timeframe};
use trial::Trial;

/// How much is tried.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Instants at which the past is seen again, spread over the history.
    pub cuts: usize,
    /// Symbols whose rows are compared; the query itself runs over all.
    pub symbols: usize,
    /// Length of the result's bars, by default the longest of the tables read that fits its times.
    pub timeframe: Option<Timeframe>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { cuts: 8, symbols: 100, timeframe: None }
    }
}

/// A query to check.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// One statement; a text that is none is an expression over `candles`.
    pub text: String,
    /// Values for `:name` in it.
    pub params: Params,
    /// How much is tried.
    pub options: CheckOptions,
    /// What else is to be said of it.
    pub notes: Vec<String>,
}

impl Check {
    /// The check of a strategy: of the conditions, levels, sizes and ranks that it acts on.
    ///
    /// # Errors
    /// A formula that does not fit the table.
    pub async fn of_strategy(session: &Session, strategy: &Backtest) -> Result<Check> {
        let notes = strategy.caveats().into_iter().map(str::to_string).collect();
        Ok(Check { text: strategy.statement(session).await?, notes, ..Check::default() })
    }

    /// The check of a named query, of a formula or a strategy that the lake keeps, or else of the text itself.
    ///
    /// # Errors
    /// A parameter that the query does not have, or one that it needs is not given.
    pub async fn resolve(session: &Session, queries: &NamedQueries, text: &str, given: &Params) -> Result<Check> {
        if let Some(query) = queries.get(text.trim()) {
            return Ok(Check { text: query.sql.clone(), params: query.complete(given)?, ..Check::default() });
        }
        let stored = formulas::find(session, text).await?;
        if stored.is_none()
            && let Some(strategy) = strategies::find(session, text).await?
        {
            let mut strategy = strategies::options(&strategy)?.backtest(session).await?;
            given.iter().for_each(|(name, value)| strategy.params.set(name, value));
            return Check::of_strategy(session, &strategy).await;
        }
        let text = stored.map_or_else(|| text.to_string(), |stored| stored.formula);
        Ok(Check { text, params: given.clone(), ..Check::default() })
    }

    /// Checks it.
    ///
    /// # Errors
    /// It cannot be run, or its result is not about bars; or the check was stopped.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<CheckReport> {
        let checked = check(session, &self.text, &self.params, &self.options);
        let report = control.limit(&session.engine().clock()?, checked).await?;
        Ok(CheckReport { notes: self.notes.clone(), ..report })
    }
}

async fn check(session: &Session, text: &str, params: &Params, options: &CheckOptions) -> Result<CheckReport> {
    let statement = match first_word(text).as_str() {
        "" => {
            return Err(Error::invalid(
                "there is nothing to check: give a query, its name, or an expression".to_string(),
            ));
        }
        "select" | "with" | "values" => text.to_string(),
        _ => format!("select symbol, ts, ({text}) as value from candles"),
    };
    let frame = session.sql_with(&statement, params).await?;
    let (state, plan) = frame.into_parts();
    let plan = without_limit(plan)?;
    let optimized = session.optimized(&plan).await?;
    let (declared, made) = (reach(&optimized), MadeBars::of(&optimized)?);
    let schema = plan.schema();
    if !schema.fields().iter().any(|f| f.name() == "ts") {
        return Err(Error::invalid(
            "check needs a column `ts` in the result, the time of the bar that a row is about; it may be added to the query"
                .to_string(),
        ));
    }
    let tables = Arc::new(tables_of(session, &plan).await?);
    let run = |plan: LogicalPlan| DataFrame::new(state.clone(), plan);
    let sample = sample(session, &tables, options.symbols).await?;
    let mut whole = Rows::collect(session, run(only(plan.clone(), sample.as_ref())?), sample).await?;
    if whole.keys.is_empty() && whole.symbols.is_some() {
        // The query is about symbols that are not in the sample.
        whole = Rows::collect(session, run(plan.clone()), None).await?;
    }
    let bars = match options.timeframe {
        Some(timeframe) => {
            let known = tables.values().flatten().find(|(t, _)| *t == timeframe.to_string());
            Some((timeframe.to_string(), known.map_or_else(|| "utc".to_string(), |(_, origin)| origin.clone())))
        }
        None => match made {
            Some(MadeBars { bars, .. }) => Some((bars.timeframe.to_string(), bars.origin)),
            None => fitting(&whole, tables.values().flatten()),
        },
    };
    let grid = match &bars {
        Some((timeframe, origin)) => Some(Grid::new(timeframe.parse()?, origin.parse::<Origin>()?)),
        None => None,
    };
    let cuts = cuts(session, &tables, &whole, grid, options.cuts).await?;
    let mut trial = Trial::new(&whole, grid);
    for &cut in &cuts {
        let seen = known_at(session, plan.clone(), &tables, cut)?;
        let part = Rows::collect(session, run(only(seen, whole.symbols.as_ref())?), None).await?;
        trial.compare(&part, cut);
    }
    // Where data begins anew: at the first and at the middle one of these instants.
    for &from in cuts.first().into_iter().chain(cuts.get(cuts.len() / 2)) {
        let later = known_from(plan.clone(), from)?;
        let part = Rows::collect(session, run(only(later, whole.symbols.as_ref())?), None).await?;
        trial.compare_later(&part, from);
    }
    let mut columns: Vec<ColumnCheck> = vec![];
    for (i, name) in whole.names.iter().enumerate() {
        let of = name.split('.').next().unwrap_or(name);
        let exact = declared.columns.iter().find(|(n, _)| n == name);
        let source =
            exact.or_else(|| declared.columns.iter().find(|(n, _)| n == of || name.starts_with(&format!("{n}."))));
        columns.push(trial.column(i, name, source.map(|(_, s)| s)));
    }
    let newest_only = trial.is_newest_only();
    columns.push(trial.rows(&declared.rows, newest_only));
    Ok(CheckReport { columns, cuts, bars, notes: vec![], newest_only })
}

/// The first word of a text, comments and parentheses left out.
pub fn first_word(text: &str) -> String {
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    loop {
        let after = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(line), _) => line.split_once('\n').map_or("", |(_, after)| after),
            (_, Some(comment)) => comment.split_once("*/").map_or("", |(_, after)| after),
            _ => break,
        };
        rest = after.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    }
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_ascii_lowercase()
}

/// The plan without what only shortens or orders the result.
fn without_limit(plan: LogicalPlan) -> Result<LogicalPlan> {
    match &plan {
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => {
            let input = plan.inputs().first().map(|p| (*p).clone());
            input.map_or(Ok(plan), without_limit)
        }
        _ => Ok(plan),
    }
}

/// Restricts a result to some symbols.
fn only(plan: LogicalPlan, symbols: Option<&BTreeSet<String>>) -> Result<LogicalPlan> {
    let Some(symbols) = symbols else { return Ok(plan) };
    let Some(position) = plan.schema().fields().iter().position(|f| f.name() == "symbol") else { return Ok(plan) };
    let symbol = Expr::Column(Column::from(plan.schema().qualified_field(position)));
    let list = symbols.iter().map(|s| lit(s.as_str())).collect();
    Ok(LogicalPlanBuilder::from(plan).filter(symbol.in_list(list, false))?.build()?)
}
