//! The plan of a back-test: every bar with its signals, levels, size and rank.

use super::{Backtest, Distance, Size};
use crate::Session;
use crate::bounds::bounded;
use crate::quoting::{quoted, texts};
use crate::relation::{Relation, one};
use datafusion::logical_expr::col;
use datafusion::prelude::DataFrame;
use std::borrow::Cow;
use tallow_common::{Code, Error, Result};
use tallow_engine::dialect::{Formula, FormulaKind, Params};
use tallow_udfs::series::Bars;
use tallow_udfs::trade::backtest::rules::{Both, Fill, Trail};

/// The columns of the plan that formulas make.
pub(super) mod columns {
    pub const ENTRY: &str = "(entry)";
    pub const EXIT: &str = "(exit)";
    pub const SHORT_ENTRY: &str = "(short entry)";
    pub const SHORT_EXIT: &str = "(short exit)";
    pub const ENTRY_LIMIT: &str = "(entry limit)";
    pub const ENTRY_STOP: &str = "(entry stop)";
    pub const STOP: &str = "(stop)";
    pub const TARGET: &str = "(target)";
    pub const TRAIL: &str = "(trail)";
    pub const RANK: &str = "(rank)";
    pub const WEIGHT: &str = "(weight)";
    pub const SIZE: &str = "(size)";
    pub const FUNDING: &str = "(funding)";
}

/// Before the number of a feature: how its column is called.
pub(super) const FEATURES: &str = "(feature ";

/// What the formula of a column is for, in messages.
fn what(column: &str) -> &str {
    match column.starts_with(FEATURES) {
        true => "feature",
        false => column.trim_matches(['(', ')']),
    }
}

impl Distance {
    fn formula(&self) -> Option<&Formula> {
        match self {
            Distance::Price(formula) | Distance::Level(formula) => Some(formula),
            Distance::Fraction(_) => None,
        }
    }
}

/// A formula with those of the parameters that it has, after everything in it was checked against the table; `what` it is for.
///
/// # Errors
/// It does not fit the table, or is not of the kind.
pub(crate) fn bound(
    session: &Session,
    from: &Relation,
    what: &str,
    (formula, kind): (&Formula, FormulaKind),
    params: &Params,
) -> Result<Formula> {
    let mut own = Params::default();
    for parameter in formula.parameters() {
        if let Some(value) = params.get(&parameter.name) {
            own.set(&parameter.name, value);
        }
    }
    if formula.check_in(&session.context().state(), &from.schema, &own)?.kind != kind {
        return Err(Error::invalid(match kind {
            FormulaKind::Condition => {
                format!("the {what} `{formula}` is a number, not a condition: compare it, as `{formula} > 0`")
            }
            FormulaKind::Number => format!("the {what} `{formula}` is a condition, not a number"),
        }));
    }
    let bound = formula.bind(&own)?;
    Ok(if kind == FormulaKind::Number { bound.first_field() } else { bound })
}

/// What is said of a formula that looks so many bars ahead.
pub(crate) fn looks_ahead(what: &str, formula: &str, ahead: Bars) -> Error {
    let bars = if ahead == Bars::Count(1) { "1 bar".to_string() } else { format!("{ahead} bars") };
    let said =
        format!("the {what} `{formula}` looks into the future ({bars}): when its bar had closed, it was not known");
    Error::known(Code::LookAhead, said)
}

impl Backtest {
    /// The formulas, by the columns that they become, and of which kind each has to be.
    pub(super) fn formulas(&self) -> Vec<(&'static str, FormulaKind, &Formula)> {
        let size = match &self.size {
            Some(Size::Formula(formula)) => Some(formula),
            _ => None,
        };
        let (condition, number) = (FormulaKind::Condition, FormulaKind::Number);
        [
            (columns::ENTRY, condition, self.entry.as_ref()),
            (columns::EXIT, condition, self.exit.as_ref()),
            (columns::SHORT_ENTRY, condition, self.short_entry.as_ref()),
            (columns::SHORT_EXIT, condition, self.short_exit.as_ref()),
            (columns::ENTRY_LIMIT, number, self.entry_limit.as_ref().and_then(Distance::formula)),
            (columns::ENTRY_STOP, number, self.entry_stop.as_ref().and_then(Distance::formula)),
            (columns::STOP, number, self.stop.as_ref().and_then(Distance::formula)),
            (columns::TARGET, number, self.target.as_ref().and_then(Distance::formula)),
            (columns::TRAIL, number, self.trail.as_ref().and_then(Distance::formula)),
            (columns::RANK, number, self.rank.as_ref().map(|rank| &rank.by)),
            (columns::WEIGHT, number, self.weight.as_ref()),
            (columns::SIZE, number, size),
            (columns::FUNDING, number, self.funding.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, kind, formula)| Some((name, kind, formula?)))
        .collect()
    }

    /// SQL for every bar with what the formulas make of it.
    pub(super) fn sql(&self, session: &Session, from: &Relation, features: &[Formula]) -> Result<String> {
        let mut items: Vec<String> = ["symbol", "ts", "open", "high", "low", "close"].map(str::to_string).to_vec();
        for price in &items {
            if from.schema.index_of(price).is_err() {
                return Err(Error::invalid(format!("`{}` has no column {price}, which fills need", from.name)));
            }
        }
        let is_volume_read = self.rules.needs_volume || self.terms.lots.participation > 0.0;
        if is_volume_read {
            if from.schema.index_of("volume").is_err() {
                return Err(Error::invalid(format!("`{}` has no column volume", from.name)));
            }
            items.push("volume".to_string());
        }
        let mut unused: Vec<&str> = self.params.iter().map(|(name, _)| name).collect();
        let features = features.iter().enumerate().map(|(at, feature)| (format!("{FEATURES}{at})"), feature));
        let features = features.map(|(name, feature)| (Cow::Owned(name), FormulaKind::Number, feature));
        let own = self.formulas().into_iter().map(|(name, kind, formula)| (Cow::Borrowed(name), kind, formula));
        for (name, kind, formula) in own.chain(features) {
            formula.parameters().iter().for_each(|parameter| unused.retain(|unused| *unused != parameter.name));
            let bound = bound(session, from, what(&name), (formula, kind), &self.params)?;
            items.push(format!("({bound}) as {}", quoted(&name)));
        }
        if let Some(name) = unused.first() {
            return Err(Error::invalid(format!("no formula has a parameter `{name}`")));
        }
        Ok(format!("select {} from {} as candles{}", items.join(", "), from.sql, self.among()))
    }

    /// A query for what it acts on at each bar: conditions, levels, sizes and ranks, by name.
    pub(crate) async fn statement(&self, session: &Session) -> Result<String> {
        self.check()?;
        let (of, from) = self.with_query(session).await?;
        let names: Vec<&str> = of.formulas().into_iter().map(|(name, ..)| name).collect();
        let own = names.iter().map(|name| format!("{} as {}", quoted(name), quoted(what(name))));
        let own: Vec<String> = own.collect();
        Ok(format!("select symbol, ts, {} from ({})", own.join(", "), of.sql(session, &from, &[])?))
    }

    /// What of its rules is better than what can be had.
    pub(crate) fn caveats(&self) -> Vec<&'static str> {
        let mut caveats = vec![];
        if self.rules.fill == Fill::Close {
            caveats.push(
                "signals are filled at the close that they are made of: once it is known, nobody trades at it any more",
            );
        }
        if self.rules.both == Both::Target && self.detail.is_none() {
            caveats.push("where a bar touches stop and target, the target is taken to come first");
        }
        if self.rules.trail == Trail::HighFirst {
            caveats.push("a trailing stop is raised by the high of a bar before its low is looked at");
        }
        caveats
    }

    /// ` and ts >= .. and ts < ..`.
    pub(super) fn bounds(&self) -> String {
        let bounds = [self.range.from.map(|t| (">=", t)), self.range.to.map(|t| ("<", t))];
        let bounds = bounds.into_iter().flatten();
        bounds.map(|(than, t)| format!(" and ts {than} to_timestamp_micros({t})")).collect()
    }

    /// ` where symbol in (..)`.
    pub(crate) fn among(&self) -> String {
        let Some(symbols) = &self.symbols else { return String::new() };
        match symbols.is_empty() {
            true => " where false".to_string(),
            false => format!(" where symbol in ({})", texts(symbols)),
        }
    }

    /// The bars in the range, by symbol and time.
    pub(super) async fn bars(&self, session: &Session, from: &Relation) -> Result<DataFrame> {
        self.bars_with(session, from, &[]).await
    }

    /// The same with the values of other formulas.
    pub(super) async fn bars_with(
        &self,
        session: &Session,
        from: &Relation,
        features: &[Formula],
    ) -> Result<DataFrame> {
        let frame = one(session, &self.sql(session, from, features)?).await?;
        let (state, plan) = frame.into_parts();
        let reach = from.reach(&session.optimized(&plan).await?);
        let features = features.iter().enumerate().map(|(at, feature)| (format!("{FEATURES}{at})"), feature));
        let own = self.formulas().into_iter().map(|(name, _, formula)| (name.to_string(), formula));
        for (name, formula) in own.chain(features) {
            let sources = reach.columns.iter().find(|(column, _)| *column == name).map(|(_, sources)| sources);
            let ahead = sources.map_or(Bars::Count(0), |sources| sources.furthest().ahead);
            if ahead != Bars::Count(0) {
                return Err(looks_ahead(what(&name), &formula.to_string(), ahead));
            }
        }
        let bars = bounded(session, DataFrame::new(state, plan), self.range).await?;
        let is_cross_sectional = self.formulas().iter().any(|(_, _, formula)| formula.is_cross_sectional());
        match from.is_joined || is_cross_sectional {
            // Neither a join leaves the order of symbols, nor what looks at all of them.
            true => Ok(bars.sort(vec![col("symbol").sort(true, false), col("ts").sort(true, false)])?),
            false => Ok(bars),
        }
    }
}
