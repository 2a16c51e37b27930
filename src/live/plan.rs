//! What a live run computes: the plan of its text, over candles in memory in the place of one table.

use crate::series::Looks;
use crate::slot::Slot;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::reach::{MadeBars, Scope, reach, scope};
use tallow_lake::CandleTable;
use tallow_pipeline::Session;
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::series::Bars;

/// A plan that can run live.
pub(crate) struct LivePlan {
    /// The table that feeds deliver bars of, and their length.
    pub table: String,
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
        let (table, timeframe, candles) = fed(&optimized, timeframe)?;
        let looks = looks(&optimized, &table)?;
        let mut state = session.context().state();
        let options = state.config_mut().options_mut();
        // A worker computes alone, and its plan is run again and again.
        options.execution.target_partitions = 1;
        options.optimizer.enable_dynamic_filter_pushdown = false;
        Ok(LivePlan { table, timeframe, candles, looks, notes, plan, state })
    }

    /// A copy of the physical plan, with the place that it reads candles from.
    pub async fn copy(&self, session: &Session) -> Result<(Arc<dyn ExecutionPlan>, Arc<Slot>)> {
        let slot = Slot::new(Arc::clone(&self.candles));
        let source = provider_as_source(slot.table()?);
        let over_slot = self.plan.clone().transform_up_with_subqueries(|node| match &node {
            LogicalPlan::TableScan(scan) if scan.table_name.table() == self.table => {
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

/// The table that is fed.
fn fed(plan: &LogicalPlan, timeframe: Option<Timeframe>) -> Result<(String, Timeframe, SchemaRef)> {
    let mut tables: BTreeMap<String, SchemaRef> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = source_as_provider(&scan.source)?.downcast_ref::<CandleTable>()
        {
            tables.insert(scan.table_name.table().to_string(), datafusion::catalog::TableProvider::schema(table));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let bars = tables.into_iter().filter_map(|(name, schema)| {
        let of = name.strip_prefix("candles_").and_then(Timeframe::named)?;
        Some((name, of, schema))
    });
    let mut bars: Vec<_> = bars.collect();
    let names = bars.iter().map(|(name, ..)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(timeframe) = timeframe {
        bars.retain(|(_, of, _)| *of == timeframe);
    }
    match (bars.pop(), bars.is_empty(), timeframe) {
        (Some(only), true, _) => Ok(only),
        (Some(_), false, _) => {
            Err(Error::invalid(format!("it reads bars of several lengths, {names}: name the one that is fed"))
                .with_hint("the option `timeframe`"))
        }
        (None, _, Some(timeframe)) => {
            let reads = if names.is_empty() { "no candles of the lake".to_string() } else { names };
            Err(Error::invalid(format!("it reads {reads}: expected `candles_{timeframe}`, which is fed")))
        }
        (None, _, None) => Err(Error::invalid("it reads no candles of the lake")),
    }
}

/// How far results look in the table that is fed, if they can be computed from bars around them.
fn looks(plan: &LogicalPlan, table: &str) -> Result<Looks> {
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
    let of_table = total.tables().find(|(name, _)| *name == table).map(|(_, reach)| reach);
    let of_table = of_table.ok_or_else(|| refused(format!("nothing of `{table}` is in its result")))?;
    let back = match of_table.back {
        Bars::Count(bars) => Some(bars),
        Bars::Since(..) | Bars::Unbounded => None,
    };
    match of_table.ahead {
        Bars::Count(ahead) => Ok(Looks { back, ahead }),
        _ => Err(refused("it looks ahead to the end".to_string())),
    }
}
