//! What a run has to do: where its sources changed, which rows that affects, which bars it has to read.

use super::bars::TableBars;
use crate::Session;
use crate::bounds::{Read, time_column};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Error, Ranges, Result};
use tallow_engine::reach::{PlanScope, Scope, Sources, reach, scope};
use tallow_engine::within;
use tallow_lake::{CandleTable, Changed};
use tallow_udfs::series::Bars;

/// A table that a result is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub table: String,
    /// The version that the result was made from so far.
    pub from: Option<u64>,
    /// The version that it is made from now.
    pub to: u64,
    /// How many of its rows changed in between.
    pub changed: u64,
}

/// How much of a result is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Extent {
    /// Nothing: no source changed.
    Nothing,
    /// The rows in some ranges.
    Ranges {
        /// The rows that are replaced.
        affected: Arc<Ranges>,
        /// Of each table, what is read.
        needed: BTreeMap<String, Arc<Ranges>>,
        /// The columns that need a symbol's whole history, where some do.
        whole_history: Vec<String>,
    },
    /// Everything; with the reason.
    Whole(String),
}

/// What a run has to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The tables that are read.
    pub sources: Vec<Source>,
    /// How much is computed.
    pub extent: Extent,
}

/// The tables with candles that a plan reads, by name.
type Tables = BTreeMap<String, Arc<CandleTable>>;

impl Work {
    /// What is to be done to bring the result of a plan up to date, which was made from some versions of the tables that
    /// `made_from` is asked for.
    pub async fn of(
        session: &Session,
        plan: &LogicalPlan,
        made_from: impl AsyncFnOnce(Vec<String>) -> Result<BTreeMap<String, u64>>,
    ) -> Result<Work> {
        let optimized = session.optimized(plan).await?;
        let tables = tables(&optimized)?;
        let since = made_from(tables.keys().cloned().collect()).await?;
        let (mut sources, mut changes, mut whole) = (vec![], BTreeMap::new(), None);
        for (name, table) in &tables {
            let Some(to) = table.version() else {
                return Err(Error::invalid(format!(
                    "`{name}` is read from files without a transaction log, so that it is not known what changes in it"
                ))
                .with_hint("ingest them into a lake"));
            };
            let from = since.get(name).copied();
            let changed = match from {
                Some(from) => changed(session, name, from, to).await?,
                None => Changed::default(),
            };
            if from.is_none() {
                whole = Some("it was not made from these tables before".to_string());
            }
            sources.push(Source { table: name.clone(), from, to, changed: changed.rows });
            changes.insert(name.clone(), changed);
        }
        if sources.is_empty() {
            return Err(Error::invalid("it reads no table of candles"));
        }
        let extent = match whole {
            Some(reason) => Extent::Whole(reason),
            None => extent(session, &optimized, &tables, &changes).await?,
        };
        Ok(Work { sources, extent })
    }

    /// A plan that computes only what is to be done; its first columns are symbol and ts, and its rows are in their order.
    pub fn restrict(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let Extent::Ranges { affected, needed, .. } = &self.extent else { return in_order(plan) };
        let restricted = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            let Some(ranges) = needed.get(scan.table_name.table()) else { return Ok(Transformed::no(node)) };
            Ok(Transformed::yes(read_within(scan, ranges)?))
        });
        let plan = restricted?.data;
        let (symbol, ts) = keys(&plan)?;
        in_order(LogicalPlanBuilder::from(plan).filter(within(symbol, ts, affected))?.build()?)
    }
}

async fn changed(session: &Session, table: &str, from: u64, to: u64) -> Result<Changed> {
    let table = table.to_string();
    session.on_lake(move |lake| async move { lake.changed(&table, from, to).await }).await
}

/// How much of a result changes of these tables concern.
async fn extent(
    session: &Session,
    plan: &LogicalPlan,
    tables: &Tables,
    changes: &BTreeMap<String, Changed>,
) -> Result<Extent> {
    if changes.values().all(|changed| changed.ranges.is_empty()) {
        return Ok(Extent::Nothing);
    }
    let (found, PlanScope { scope, symbol, time }) = (reach(plan), scope(plan));
    let whole = match &scope {
        Scope::Anything(reason) => Some(reason.clone()),
        _ if symbol.is_none() => Some("its column symbol is not that of a table".to_string()),
        _ if time.is_none() || !found.is_of_bars => Some("its column ts is not the time of a table's bars".to_string()),
        _ => None,
    };
    if let Some(reason) = whole {
        return Ok(Extent::Whole(reason));
    }
    let (total, read) = (found.total(), Read::of(plan)?);
    let crosses = scope == Scope::CrossSection;
    let mut affected = Ranges::default();
    let mut bars: BTreeMap<&str, TableBars<'_>> = BTreeMap::new();
    let nothing = Read::default();
    for (name, changed) in changes {
        let mut symbols: BTreeSet<String> = changed.ranges.symbols().map(|(symbol, _)| symbol.to_string()).collect();
        if crosses {
            symbols.extend(all_symbols(session, name).await?);
        }
        let read = read.get(name).unwrap_or(&nothing);
        let mut of_table = TableBars::new(session, name, &tables[name], read, symbols);
        let reach = reach_of(&total, name);
        let mut of_changes = of_table.affected(&changed.ranges, reach).await?;
        if crosses {
            // Others are affected at these times, and through their own bars around them.
            let times = of_changes.symbols().flat_map(|(_, times)| times.iter().cloned()).collect();
            of_changes = of_table.affected(&Ranges::everywhere(times), reach).await?;
        }
        affected.extend(&of_changes);
        bars.insert(name, of_table);
    }
    let mut needed = BTreeMap::new();
    for name in tables.keys() {
        let reach = reach_of(&total, name);
        let symbols: BTreeSet<String> = match crosses {
            true => all_symbols(session, name).await?,
            false => affected.symbols().map(|(symbol, _)| symbol.to_string()).collect(),
        };
        let read = read.get(name).unwrap_or(&nothing);
        let mut known = match bars.remove(name.as_str()) {
            Some(known) if known.has(&symbols) => known,
            _ => TableBars::new(session, name, &tables[name], read, symbols),
        };
        let rows = match crosses {
            true => Ranges::everywhere(affected.symbols().flat_map(|(_, times)| times.iter().cloned()).collect()),
            false => affected.clone(),
        };
        needed.insert(name.clone(), Arc::new(known.needed(&rows, reach).await?));
    }
    let columns = found.columns.iter().filter(|(_, sources)| sources.furthest().back == Bars::Unbounded);
    let whole_history = columns.map(|(name, _)| name.clone()).collect();
    Ok(Extent::Ranges { affected: Arc::new(affected), needed, whole_history })
}

fn reach_of(total: &Sources, table: &str) -> tallow_udfs::series::Reach {
    let found = total.tables().find(|(name, _)| *name == table).map(|(_, reach)| reach);
    found.unwrap_or(tallow_udfs::series::Reach::NONE)
}

async fn all_symbols(session: &Session, table: &str) -> Result<BTreeSet<String>> {
    let table = table.to_string();
    let symbols = session.on_lake(move |lake| async move { lake.symbols(&table).await }).await?;
    Ok(symbols.map(|symbols| symbols.as_ref().clone()).unwrap_or_default())
}

/// The tables that a plan reads.
///
/// # Errors
/// One of them holds no candles.
fn tables(plan: &LogicalPlan) -> Result<Tables> {
    let mut tables = Tables::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let name = scan.table_name.table().to_string();
            let provider = source_as_provider(&scan.source)?;
            let Some(table) = provider.downcast_ref::<CandleTable>() else {
                let said = Error::invalid(format!("`{name}` holds no candles: what changes in it is not followed"));
                return Err(DataFusionError::from(said));
            };
            tables.insert(name, Arc::new(table.clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// A scan of the rows in some ranges.
fn read_within(scan: &TableScan, ranges: &Arc<Ranges>) -> datafusion::common::Result<LogicalPlan> {
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<CandleTable>() else {
        return Ok(LogicalPlan::TableScan(scan.clone()));
    };
    let source = provider_as_source(Arc::new(table.within(ranges)));
    let scan = LogicalPlan::TableScan(TableScan { source, ..scan.clone() });
    let (symbol, ts) = keys(&scan)?;
    LogicalPlanBuilder::from(scan).filter(within(symbol, ts, ranges))?.build()
}

/// The columns symbol and ts of a plan.
fn keys(plan: &LogicalPlan) -> Result<(Expr, Expr)> {
    let symbol = plan.schema().fields().iter().position(|field| field.name() == "symbol");
    let symbol = symbol.map(|position| Expr::Column(Column::from(plan.schema().qualified_field(position))));
    match (symbol, time_column(plan)) {
        (Some(symbol), Some(ts)) => Ok((symbol, ts)),
        _ => Err(Error::invalid("a result that is stored needs the columns `symbol` and `ts`")),
    }
}

/// Rows by symbol and ts, which are the first columns.
fn in_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    let (symbol, ts) = keys(&plan)?;
    let columns =
        plan.schema().columns().into_iter().map(Expr::Column).filter(|column| *column != symbol && *column != ts);
    let columns: Vec<Expr> = [symbol.clone(), ts.clone()].into_iter().chain(columns).collect();
    let ordered = LogicalPlanBuilder::from(plan).project(columns)?;
    Ok(ordered.sort([symbol.sort(true, false), ts.sort(true, false)])?.build()?)
}
