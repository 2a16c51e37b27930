//! What a run has to do: where its sources changed, which rows that affects, which bars it has to read.

use super::extent::extent;
use super::tables::Tables;
use crate::Session;
use crate::bounds::time_column;
use crate::range::time;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Sort, TableScan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::{Error, Ranges, Result};
use tallow_engine::within;
use tallow_lake::{CandleTable, Changed, HistoryEntry, ReadSize};

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
    /// About how much of it is read.
    pub read: ReadSize,
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
    Everything(String),
}

/// What a run has to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The tables that are read, of which it is known what changes in them.
    pub sources: Vec<Source>,
    /// How much is computed.
    pub extent: Extent,
    /// Whether it is known of all that is read what changes in it. Otherwise every run computes everything.
    pub is_followed: bool,
}

/// What changed of the tables of a plan.
pub(super) struct Changes {
    pub sources: Vec<Source>,
    /// By table; `None`: the result was not made from all of them before.
    pub by_table: Option<ByTable>,
}

/// What changed, by table.
pub(super) type ByTable = BTreeMap<String, Changed>;

impl Work {
    /// About how many bars are read.
    pub fn bars(&self) -> u64 {
        self.sources.iter().map(|source| source.read.rows as u64).sum()
    }

    /// About how long it takes, by what a run of about this size took: one of those that `history` tells of, the newest of which
    /// is the first.
    pub fn estimate(&self, history: &[HistoryEntry]) -> Option<Duration> {
        let bars = self.bars().max(1);
        // Which is how many times larger, or smaller.
        let apart = |of: u64| of.max(bars) as f64 / of.min(bars) as f64;
        let took = history.iter().filter_map(|commit| commit.took).map(|(of, took)| (of.max(1), took));
        let (of, took) = took.min_by(|(a, _), (b, _)| apart(*a).total_cmp(&apart(*b)))?;
        // Of a smaller run it may be the start that took so long.
        Some(if of < bars { took.mul_f64(bars as f64 / of as f64) } else { took })
    }

    /// What is to be done to bring the result of a plan up to date, which was made from some versions of the tables that
    /// `made_from` is asked for.
    pub async fn of(
        session: &Session,
        plan: &LogicalPlan,
        made_from: impl AsyncFnOnce(Vec<String>) -> Result<BTreeMap<String, u64>>,
    ) -> Result<Work> {
        let of = async |plan: &LogicalPlan, tables: &Tables, changes: &ByTable| {
            extent(session, plan, &tables.followed, changes).await
        };
        Work::by(session, plan, made_from, of).await
    }

    /// The same, where `extent` says what changes of the tables concern.
    pub(super) async fn by(
        session: &Session,
        plan: &LogicalPlan,
        made_from: impl AsyncFnOnce(Vec<String>) -> Result<BTreeMap<String, u64>>,
        extent: impl AsyncFnOnce(&LogicalPlan, &Tables, &ByTable) -> Result<Extent>,
    ) -> Result<Work> {
        let optimized = session.optimized(plan).await?;
        let tables = Tables::of(&optimized)?;
        let Changes { mut sources, by_table } = tables.changes(session, made_from).await?;
        let is_followed = tables.unfollowed.is_none();
        let extent = match (&tables.unfollowed, &by_table) {
            (Some(reason), _) => Extent::Everything(reason.clone()),
            (None, None) => Extent::Everything("it was not made from these tables before".to_string()),
            (None, Some(changes)) => extent(&optimized, &tables, changes).await?,
        };
        for source in &mut sources {
            let table = tables.followed.get(&source.table).map(|(table, _)| table);
            source.read = table.map(|table| read_size(table, &source.table, &extent)).unwrap_or_default();
        }
        Ok(Work { sources, extent, is_followed })
    }

    /// Everything is to be computed, whatever changed.
    pub async fn everything(session: &Session, plan: &LogicalPlan, reason: String) -> Result<Work> {
        let tables = Tables::of(&session.optimized(plan).await?)?;
        let source = |(name, (table, to)): (&String, &(Arc<CandleTable>, u64))| Source {
            table: name.clone(),
            from: None,
            to: *to,
            changed: 0,
            read: table.read_size(),
        };
        let sources = tables.followed.iter().map(source).collect();
        Ok(Work { sources, extent: Extent::Everything(reason), is_followed: tables.unfollowed.is_none() })
    }

    /// A plan that computes only what is to be done; its first columns are symbol and ts, and its rows are in their order: that of
    /// the plan's own Sort, where `is_ordered` says so.
    pub fn restrict(&self, plan: LogicalPlan, is_ordered: bool) -> Result<LogicalPlan> {
        let Extent::Ranges { affected, needed, .. } = &self.extent else {
            return if is_ordered { Ok(plan) } else { in_order(plan) };
        };
        let restricted = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            let Some(ranges) = needed.get(scan.table_name.table()) else { return Ok(Transformed::no(node)) };
            Ok(Transformed::yes(read_within(scan, ranges)?))
        });
        let plan = restricted?.data;
        if is_ordered {
            return filtered_before_sort(plan, affected);
        }
        let (symbol, ts) = keys(&plan)?;
        in_order(LogicalPlanBuilder::from(plan).filter(within(symbol, ts, affected))?.build()?)
    }
}

/// About how much of a table is read to compute so much.
fn read_size(table: &CandleTable, name: &str, extent: &Extent) -> ReadSize {
    match extent {
        Extent::Nothing => ReadSize::default(),
        Extent::Ranges { needed, .. } => {
            needed.get(name).map(|ranges| table.within(ranges).read_size()).unwrap_or_default()
        }
        Extent::Everything(_) => table.read_size(),
    }
}

/// A plan whose rows lie in some ranges, still in the order of its Sort.
fn filtered_before_sort(plan: LogicalPlan, ranges: &Arc<Ranges>) -> Result<LogicalPlan> {
    let filtered = plan.transform_down(|node| match node {
        LogicalPlan::Sort(sort) => {
            let (symbol, ts) = keys(&sort.input)?;
            let input = LogicalPlanBuilder::from(sort.input.as_ref().clone()).filter(within(symbol, ts, ranges))?;
            let sort = Sort { input: Arc::new(input.build()?), ..sort };
            Ok(Transformed::new(LogicalPlan::Sort(sort), true, TreeNodeRecursion::Stop))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(filtered?.data)
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
    LogicalPlanBuilder::from(scan).filter(rows_within(symbol, ts, ranges))?.build()
}

/// A filter for the rows in some ranges: also by the times of all, by which pages of files can be skipped.
pub(super) fn rows_within(symbol: Expr, ts: Expr, ranges: &Arc<Ranges>) -> Expr {
    let filter = within(symbol, ts.clone(), ranges);
    let Some(hull) = ranges.hull() else { return filter };
    let filter = if hull.start == i64::MIN { filter } else { filter.and(ts.clone().gt_eq(time(hull.start))) };
    if hull.end == i64::MAX { filter } else { filter.and(ts.lt(time(hull.end))) }
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
