//! What a live run computes: the plan of its text, over candles in memory in the place of one table.

use crate::series::Looks;
use crate::slot::Slot;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::reach::{MadeBars, Scope, reach, scope};
use tallow_lake::CandleTable;
use tallow_lake::properties::{KIND, TIMEFRAME};
use tallow_pipeline::Session;
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::series::{Bars, Reach};

const CANDLES: &str = "candles";

/// A plan that can run live.
pub(crate) struct LivePlan {
    /// The table that feeds deliver bars of, and their length.
    pub table: String,
    /// What the text calls it.
    names: BTreeSet<String>,
    pub timeframe: Timeframe,
    /// Its columns.
    pub candles: SchemaRef,
    /// How far results look.
    pub looks: Looks,
    /// What of the text has no meaning where rows come as they happen.
    pub notes: Vec<String>,
    plan: LogicalPlan,
    state: SessionState,
}

impl LivePlan {
    /// Looks whether a plan can run live; `timeframe` says which of its tables is fed, where it reads several.
    pub async fn of(session: &Session, plan: LogicalPlan, timeframe: Option<Timeframe>) -> Result<LivePlan> {
        let mut notes = vec![];
        let plan = without_end(plan, &mut notes);
        let optimized = session.optimized(&plan).await?;
        let (names, timeframe, candles) = fed(&optimized, timeframe)?;
        let looks = looks(&optimized, &names)?;
        let mut state = session.context().state();
        let options = state.config_mut().options_mut();
        // A worker computes alone, and its plan is run again and again.
        options.execution.target_partitions = 1;
        options.optimizer.enable_dynamic_filter_pushdown = false;
        let table = format!("{CANDLES}_{timeframe}");
        Ok(LivePlan { table, names, timeframe, candles, looks, notes, plan, state })
    }

    /// A copy of the physical plan, with the place that it reads candles from.
    pub async fn copy(&self, session: &Session) -> Result<(Arc<dyn ExecutionPlan>, Arc<Slot>)> {
        let slot = Slot::new(Arc::clone(&self.candles));
        let source = provider_as_source(slot.table()?);
        let over_slot = self.plan.clone().transform_up_with_subqueries(|node| match &node {
            LogicalPlan::TableScan(scan) if self.names.contains(scan.table_name.table()) => {
                let scan = TableScan { source: Arc::clone(&source), ..scan.clone() };
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            _ => Ok(Transformed::no(node)),
        })?;
        let (state, plan) = (self.state.clone(), over_slot.data);
        let physical = session.engine().run(async move { state.create_physical_plan(&plan).await }).await??;
        Ok((physical, slot))
    }
}

/// A plan without the order and the limit of its rows.
fn without_end(plan: LogicalPlan, notes: &mut Vec<String>) -> LogicalPlan {
    match plan {
        LogicalPlan::Sort(sort) => {
            let dropped = if sort.fetch.is_some() { "ORDER BY and LIMIT" } else { "ORDER BY" };
            notes.push(format!("{dropped} at the end of the query is dropped: rows come as they happen"));
            without_end(Arc::unwrap_or_clone(sort.input), notes)
        }
        LogicalPlan::Limit(limit) => {
            notes.push("LIMIT at the end of the query is dropped: rows come as they happen".to_string());
            without_end(Arc::unwrap_or_clone(limit.input), notes)
        }
        other => other,
    }
}

/// The names under which the table is read that is fed, and the length of its bars.
fn fed(plan: &LogicalPlan, timeframe: Option<Timeframe>) -> Result<(BTreeSet<String>, Timeframe, SchemaRef)> {
    let mut tables: BTreeMap<Timeframe, (BTreeSet<String>, SchemaRef)> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = source_as_provider(&scan.source)?.downcast_ref::<CandleTable>()
            && let Some(of) = bars_of(scan.table_name.table(), table, timeframe)
        {
            let known = tables.entry(of).or_insert_with(|| (BTreeSet::new(), TableProvider::schema(table)));
            known.0.insert(scan.table_name.table().to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let read = tables.keys().map(Timeframe::to_string).collect::<Vec<_>>().join(", ");
    if let Some(timeframe) = timeframe {
        tables.retain(|of, _| *of == timeframe);
    }
    let only = tables.pop_first();
    match (only, tables.is_empty(), timeframe) {
        (Some((of, (names, schema))), true, _) => Ok((names, of, schema)),
        (Some(_), false, _) => Err(Error::invalid(format!(
            "it reads bars of several lengths, {read}: name that of the bars which are fed"
        ))
        .with_hint("the option `timeframe`")),
        (None, _, Some(timeframe)) if !read.is_empty() => {
            Err(Error::invalid(format!("it reads bars of {read}: expected {timeframe}, which are fed")))
        }
        (None, ..) => Err(Error::invalid("it reads no candles of the lake")),
    }
}

/// The length of the bars of a table, if it is one of candles.
fn bars_of(name: &str, table: &CandleTable, given: Option<Timeframe>) -> Option<Timeframe> {
    let by_name = || match name.strip_prefix(CANDLES)? {
        // The days of the lake, or what stands for them.
        "" => Some(given.unwrap_or(Timeframe::Day)),
        of => Timeframe::named(of.strip_prefix('_')?),
    };
    match (table.property(KIND), table.property(TIMEFRAME)) {
        (Some(_), _) => None,
        (None, Some(of)) => Timeframe::named(of),
        (None, None) => by_name(),
    }
}

/// How far results look in the table that is fed, if they can be computed from bars around them.
fn looks(plan: &LogicalPlan, names: &BTreeSet<String>) -> Result<Looks> {
    let refused = |reason: String| Error::invalid(format!("it cannot run live: {reason}"));
    if MadeBars::of(plan)?.is_some() {
        return Err(refused("it makes longer bars of those that are fed".to_string()));
    }
    let (found, scope) = (reach(plan), scope(plan));
    match &scope.scope {
        Scope::Anything(reason) => return Err(refused(reason.clone())),
        Scope::CrossSection => return Err(refused("it compares symbols at one time".to_string())),
        _ => {}
    }
    if scope.symbol.is_none() {
        return Err(refused("its column symbol is not that of a table".to_string()));
    }
    if scope.time.is_none() || !found.is_of_bars {
        return Err(refused("its column ts is not the time of a table's bars".to_string()));
    }
    let total = found.total();
    let of_table = total.tables().filter(|(name, _)| names.contains(*name)).map(|(_, reach)| reach);
    let of_table = of_table.reduce(Reach::and);
    let of_table = of_table.ok_or_else(|| refused("nothing of the bars that are fed is in its result".to_string()))?;
    let back = match of_table.back {
        Bars::Count(bars) => Some(bars),
        Bars::Since(..) | Bars::Unbounded => None,
    };
    match of_table.ahead {
        Bars::Count(ahead) => Ok(Looks { back, ahead }),
        _ => Err(refused("it looks ahead to the end".to_string())),
    }
}
