//! The plan of a scan: every bar with what matches show, those before the range and those of faulty symbols left out.
//!
//! A formula is written into SQL and planned as such: there is no second compiler.

use super::{MATCH, MATCHES, NEWEST_BARS, Scan, named};
use crate::Session;
use crate::bounds::bounded;
use crate::quoting::quoted;
use crate::relation::{Relation, one};
use arrow::datatypes::Schema;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprFunctionExt, col};
use datafusion::prelude::DataFrame;
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Checked, Formula, Problems};
use tallow_engine::node::above;
use tallow_engine::tally::Tally;

/// The column with the time of a symbol's newest bar.
const NEWEST: &str = "(newest)";

impl Scan {
    /// The matches as they are shown, and what is allowed in the formula and probably not meant.
    pub(super) async fn plan(&self, session: &Session, from: &Relation) -> Result<(DataFrame, Problems)> {
        let (formula, Checked { columns, warnings, .. }) = self.checked(session, from).await?;
        let (sql, names) = self.base(&from.sql, &formula, &from.schema)?;
        let frame = self.guarded(session, &sql, from, columns).await?;
        let frame = self.newest(frame, self.oldest(session, from).await?)?;
        let frame = frame.filter(named(MATCH))?;
        let (state, plan) = frame.into_parts();
        let tally = Tally { name: MATCHES.to_string(), since: None, ordered: false };
        let matches = DataFrame::new(state, above(plan, Arc::new(tally))?);
        let matches = matches.select(names.iter().map(|n| named(n)).collect::<Vec<_>>())?;
        Ok((self.arranged(matches)?, warnings))
    }

    /// Whether a bar matches: by a formula, and its symbol at that time.
    pub(super) fn condition(&self, formula: &Formula) -> String {
        match &self.members {
            Some(members) => format!("(({formula}) and ({members}))"),
            None => format!("({formula})"),
        }
    }

    /// SQL for every bar with what matches show, and whether it matches.
    pub(super) fn base(&self, from: &str, formula: &Formula, schema: &Schema) -> Result<(String, Vec<String>)> {
        let plain = ["symbol", "ts", "close", "volume"].into_iter().filter(|c| schema.index_of(c).is_ok());
        let mut names: Vec<String> = plain.map(str::to_string).collect();
        let mut items = names.clone();
        let rank = self.ranked()?.map(|r| r.by.to_string());
        for value in formula.values().into_iter().chain(rank) {
            if !names.contains(&value) {
                items.push(format!("({value}) as {}", quoted(&value)));
                names.push(value);
            }
        }
        items.push(format!("{} as {}", self.condition(formula), quoted(MATCH)));
        Ok((format!("select {} from {from} as candles", items.join(", ")), names))
    }

    /// Plans a text of ours, cut to the range, with the guard above its table; the formula reads these columns.
    pub(super) async fn guarded(
        &self,
        session: &Session,
        sql: &str,
        from: &Relation,
        columns: BTreeSet<String>,
    ) -> Result<DataFrame> {
        // Places in this text mean nothing to whoever typed the formula.
        let frame = one(session, sql).await.map_err(|error| match error {
            Error::Text(problems) => {
                Error::invalid(problems.list.into_iter().map(|p| p.message).collect::<Vec<_>>().join("\n"))
            }
            other => other,
        })?;
        let (state, plan) = frame.into_parts();
        if !self.allow_lookahead {
            // Without other timeframes there is nothing in the plan that only the optimizer could make out.
            let formulas = [&self.formula].into_iter().chain(self.rank.as_ref().map(|rank| &rank.by));
            let one_timeframe = from.is_stored && formulas.into_iter().all(|f| f.timeframes().is_empty());
            let made_out = match one_timeframe {
                true => state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| ())?,
                false => session.optimized(&plan).await?,
            };
            self.refuse_lookahead(&from.reach(&made_out))?;
        }
        let frame = bounded(session, DataFrame::new(state, plan), self.range).await?;
        let (state, plan) = frame.into_parts();
        Ok(DataFrame::new(state, self.guard_tables(plan, &columns)?))
    }

    /// The newest bar of each symbol, where only that is wanted; none of symbols that ended before the oldest that counts.
    pub(super) fn newest(&self, frame: DataFrame, oldest: Option<i64>) -> Result<DataFrame> {
        if !self.last {
            return Ok(frame);
        }
        let newest = Expr::from(WindowFunction::new(max_udaf(), vec![col("ts")]));
        let newest = newest.partition_by(vec![col("symbol")]).build()?.alias(NEWEST);
        let frame = frame.window(vec![newest])?.filter(col("ts").eq(named(NEWEST)))?;
        let Some(oldest) = oldest else { return Ok(frame) };
        let (state, plan) = frame.into_parts();
        let tally = Tally { name: NEWEST_BARS.to_string(), since: Some(oldest), ordered: true };
        Ok(DataFrame::new(state, above(plan, Arc::new(tally))?))
    }
}
