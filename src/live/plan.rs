//! What a live run computes: the plan of its text, over candles in memory in the place of one table.

use crate::newest::each_is_newest;
use crate::others::Other;
use crate::series::Looks;
use crate::slot::Slot;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::reach::{MadeBars, Scope, Sources, reach, scope};
use tallow_engine::standing::Chain;
use tallow_engine::{ShiftingRanges, within_shifting};
use tallow_lake::CandleTable;
use tallow_lake::properties::{KIND, TIMEFRAME};
use tallow_pipeline::Session;
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::series::{Bars, Reach};

/// A copy of a plan.
pub(crate) struct Copied {
    pub plan: Arc<dyn ExecutionPlan>,
    /// The candles that are fed.
    pub slot: Arc<Slot>,
    /// Those of other lengths.
    pub others: Vec<Arc<Slot>>,
    /// The rows that are kept, where these are chosen by symbol.
    pub kept: Arc<ShiftingRanges>,
}

const CANDLES: &str = "candles";

/// What a text asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Rows of all bars.
    EachBar,
    /// Rows of the newest bar of each symbol, for which it is run over so many bars of each, or over all, whenever bars have come.
    Newest(Option<usize>),
}

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
    /// Whether they are computed of the bars of all symbols together.
    pub compares: bool,
    /// Whether they are of the newest bars alone.
    pub of_newest: bool,
    /// Bars of other lengths that it reads.
    pub others: Vec<Other>,
    /// What of the text has no meaning where rows come as they happen.
    pub notes: Vec<String>,
    plan: LogicalPlan,
    state: SessionState,
}

impl LivePlan {
    /// Looks whether a plan can run live; `timeframe` says which of its tables is fed, where it reads several.
    pub async fn of(
        session: &Session,
        plan: LogicalPlan,
        timeframe: Option<Timeframe>,
        asks: Asks,
    ) -> Result<LivePlan> {
        let mut notes = vec![];
        let plan = without_end(plan, &mut notes);
        let (plan, asked_for_newest) = each_is_newest(plan)?;
        if asked_for_newest {
            notes.push("the newest bar is each one when it comes".to_string());
        }
        let optimized = session.optimized(&plan).await?;
        let mut tables = tables(&optimized, timeframe)?;
        let (names, timeframe, candles) = fed(&mut tables, timeframe)?;
        let (total, compares, looks) = match asks {
            Asks::EachBar => {
                let (total, compares) = total(&optimized)?;
                let looks = looks(&total, &names)?;
                (total, compares, looks)
            }
            Asks::Newest(back) => (reach(&optimized).total(), true, Looks { back, ahead: 0 }),
        };
        if compares && looks.ahead > 0 {
            return Err(refused("it compares symbols, and looks ahead"));
        }
        let other = |(of, (names, schema)): (Timeframe, (BTreeSet<String>, SchemaRef))| {
            let looks = looks_beside(&total, &names);
            Other { table: format!("{CANDLES}_{of}"), names, schema, looks }
        };
        let others = tables.into_iter().map(other).collect();
        let mut state = session.context().state();
        let options = state.config_mut().options_mut();
        // A worker computes alone, and its plan is run again and again.
        options.execution.target_partitions = 1;
        options.optimizer.enable_dynamic_filter_pushdown = false;
        let table = format!("{CANDLES}_{timeframe}");
        Ok(LivePlan {
            table,
            names,
            timeframe,
            candles,
            looks,
            compares,
            of_newest: asks != Asks::EachBar,
            others,
            notes,
            plan,
            state,
        })
    }

    /// Whether its result has a column.
    pub fn has_column(&self, name: &str) -> bool {
        self.plan.schema().fields().iter().any(|field| field.name() == name)
    }

    /// The plan as a chain that bars are pushed through one by one.
    ///
    /// # Errors
    /// What of it cannot be computed so.
    pub async fn chain(&self, session: &Session) -> Result<Result<Arc<Chain>, String>> {
        if self.looks.ahead > 0 {
            return Ok(Err("results that look ahead".to_string()));
        }
        if self.compares {
            return Ok(Err("results that compare symbols".to_string()));
        }
        let (plan, ..) = self.over_slots()?;
        let state = self.state.clone();
        let plan = session.engine().run(async move { state.create_physical_plan(&plan).await }).await??;
        Ok(Chain::of(&plan).map(Arc::new))
    }

    /// A copy of the physical plan, with what is to be set before each run of it.
    pub async fn copy(&self, session: &Session) -> Result<Copied> {
        let (mut plan, slot, others) = self.over_slots()?;
        let kept = Arc::<ShiftingRanges>::default();
        if !self.compares {
            // The operators below compute what is kept, and nothing else.
            let [symbol, ts] = keys(&plan)?;
            plan = LogicalPlanBuilder::from(plan).filter(within_shifting(symbol, ts, &kept))?.build()?;
        }
        let state = self.state.clone();
        let plan = session.engine().run(async move { state.create_physical_plan(&plan).await }).await??;
        Ok(Copied { plan, slot, others, kept })
    }

    /// The plan over slots in the place of tables: of the one that is fed, and of the others.
    fn over_slots(&self) -> Result<(LogicalPlan, Arc<Slot>, Vec<Arc<Slot>>)> {
        let slot = Slot::new(Arc::clone(&self.candles));
        let others: Vec<Arc<Slot>> = self.others.iter().map(|other| Slot::new(Arc::clone(&other.schema))).collect();
        let mut sources = vec![(&self.names, provider_as_source(slot.table()?))];
        for (other, slot) in self.others.iter().zip(&others) {
            sources.push((&other.names, provider_as_source(slot.table()?)));
        }
        let over_slots = self.plan.clone().transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            match sources.iter().find(|(names, _)| names.contains(scan.table_name.table())) {
                Some((_, source)) => {
                    let scan = TableScan { source: Arc::clone(source), ..scan.clone() };
                    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
                }
                None => Ok(Transformed::no(node)),
            }
        })?;
        Ok((over_slots.data, slot, others))
    }
}

/// The columns symbol and ts of a plan.
fn keys(plan: &LogicalPlan) -> Result<[Expr; 2]> {
    let column = |name: &str| {
        let at = plan.schema().fields().iter().position(|field| field.name() == name);
        let at = at.ok_or_else(|| Error::invalid(format!("its result has no column {name}")))?;
        Ok::<_, Error>(Expr::Column(Column::from(plan.schema().qualified_field(at))))
    };
    Ok([column("symbol")?, column("ts")?])
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

/// Tables of candles by the length of their bars: the names under which they are read, and their columns.
type Tables = BTreeMap<Timeframe, (BTreeSet<String>, SchemaRef)>;

fn tables(plan: &LogicalPlan, timeframe: Option<Timeframe>) -> Result<Tables> {
    let mut tables = Tables::new();
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
    Ok(tables)
}

/// Takes the table out that is fed.
fn fed(tables: &mut Tables, timeframe: Option<Timeframe>) -> Result<(BTreeSet<String>, Timeframe, SchemaRef)> {
    let read = tables.keys().map(Timeframe::to_string).collect::<Vec<_>>().join(", ");
    let only = tables.keys().next().copied().filter(|_| tables.len() == 1);
    let taken = timeframe.or(only).and_then(|of| Some((of, tables.remove(&of)?)));
    match (taken, timeframe) {
        (Some((of, (names, schema))), _) => Ok((names, of, schema)),
        (None, _) if read.is_empty() => Err(Error::invalid("it reads no candles of the lake")),
        (None, Some(timeframe)) => {
            Err(Error::invalid(format!("it reads bars of {read}: expected {timeframe}, which are fed")))
        }
        (None, None) => {
            let said = "name that of the bars which are fed";
            Err(Error::invalid(format!("it reads bars of several lengths, {read}: {said}"))
                .with_hint("the option `timeframe`"))
        }
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

fn refused(reason: &str) -> Error {
    Error::invalid(format!("it cannot run live: {reason}"))
}

/// How far results look, if they can be computed from bars around them, and whether symbols are compared.
fn total(plan: &LogicalPlan) -> Result<(Sources, bool)> {
    if MadeBars::of(plan)?.is_some() {
        return Err(refused("it makes longer bars of those that are fed"));
    }
    let (found, scope) = (reach(plan), scope(plan));
    let compares = match &scope.scope {
        Scope::Anything(reason) => return Err(refused(reason)),
        Scope::Market(_) | Scope::CrossSection => true,
        Scope::Symbol => false,
    };
    if scope.symbol.is_none() && !compares {
        return Err(refused("its column symbol is not that of a table"));
    }
    if scope.time.is_none() || !found.is_of_bars {
        return Err(refused("its column ts is not the time of a table's bars"));
    }
    Ok((found.total(), compares))
}

/// How far results look in the tables of these names.
fn reach_in(total: &Sources, names: &BTreeSet<String>) -> Option<Reach> {
    total.tables().filter(|(name, _)| names.contains(*name)).map(|(_, reach)| reach).reduce(Reach::and)
}

fn back(reach: Reach) -> Option<usize> {
    match reach.back {
        Bars::Count(bars) => Some(bars),
        Bars::Since(..) | Bars::Unbounded => None,
    }
}

/// How far they look in the table that is fed.
fn looks(total: &Sources, names: &BTreeSet<String>) -> Result<Looks> {
    let reach = reach_in(total, names).ok_or_else(|| refused("nothing of the bars that are fed is in its result"))?;
    match reach.ahead {
        Bars::Count(ahead) => Ok(Looks { back: back(reach), ahead }),
        _ => Err(refused("it looks ahead to the end")),
    }
}

/// How far they look in another; what is not known is all.
fn looks_beside(total: &Sources, names: &BTreeSet<String>) -> Looks {
    Looks { back: reach_in(total, names).and_then(back), ahead: 0 }
}
