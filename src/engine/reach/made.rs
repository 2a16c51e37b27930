//! Bars that a plan makes of shorter ones, seen as bars of a table: a reach over them then counts them.

use super::shape::Values;
use arrow::datatypes::{Field, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::logical_plan::table_scan;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use std::collections::HashMap;
use tallow_udfs::calendar::{Grid, Origin, Timeframe};

/// Says of a column of a table that it holds made bars.
const MADE: &str = "tallow.made";

/// Bars that shorter ones make up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongerBars {
    /// Their length.
    pub timeframe: Timeframe,
    /// Where they begin, as it is written.
    pub origin: String,
    /// Both, for computing.
    pub grid: Grid,
}

impl LongerBars {
    /// Bars of a timeframe that begin by an origin.
    ///
    /// # Errors
    /// There is no such origin.
    pub fn new(timeframe: Timeframe, origin: &str) -> Result<LongerBars> {
        let grid = Grid::new(timeframe, origin.parse::<Origin>()?);
        Ok(LongerBars { timeframe, origin: origin.to_string(), grid })
    }
}

/// A plan that makes all the bars that it reads, of one length, of shorter ones.
#[derive(Debug, Clone)]
pub struct MadeBars {
    /// The plan as if the bars were those of the tables that they are made from: what it reaches is counted in made bars.
    pub plan: LogicalPlan,
    /// Which bars are made.
    pub bars: LongerBars,
}

impl MadeBars {
    /// `None`: the plan, which should be optimized, makes no bars, or bars of several lengths, or reads others too.
    pub fn of(plan: &LogicalPlan) -> Result<Option<MadeBars>> {
        let mut made: Vec<LongerBars> = vec![];
        let mut reads_others = false;
        let seen = plan.clone().transform_down_with_subqueries(|node| {
            if matches!(node, LogicalPlan::TableScan(_)) {
                reads_others = true;
            }
            let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
            let Some((table, bars)) = source_of(aggregate) else { return Ok(Transformed::no(node)) };
            made.push(bars);
            let stored = stored(aggregate, &table)?;
            Ok(Transformed::new(stored, true, TreeNodeRecursion::Jump))
        });
        let plan = seen?.data;
        let bars = made.pop().filter(|bars| !reads_others && made.iter().all(|other| other == bars));
        Ok(bars.map(|bars| MadeBars { plan, bars }))
    }
}

/// The table whose bars are made into longer ones, and into which.
fn source_of(aggregate: &Aggregate) -> Option<(String, LongerBars)> {
    let [symbol, floor] = aggregate.group_expr.as_slice() else { return None };
    if !matches!(symbol, Expr::Column(column) if column.name == "symbol") {
        return None;
    }
    let bars = bars_of(floor)?;
    let is_bar = |expr: &Expr| match expr {
        Expr::AggregateFunction(call) => call.func.name() == "candlestick",
        _ => false,
    };
    let makes_bars = !aggregate.aggr_expr.is_empty() && aggregate.aggr_expr.iter().all(is_bar);
    if makes_bars { Some((table_of(&aggregate.input)?, bars)) } else { None }
}

/// The table that a plan reads whose rows are some of the table's, each as it is there.
fn table_of(plan: &LogicalPlan) -> Option<String> {
    match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none().then(|| scan.table_name.table().to_string()),
        LogicalPlan::Filter(filter) => table_of(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => table_of(&alias.input),
        LogicalPlan::Projection(projection) => {
            let is_column = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(_));
            projection.expr.iter().all(is_column).then(|| table_of(&projection.input))?
        }
        _ => None,
    }
}

/// The bars that `bar_floor(ts, 'timeframe', 'origin')` gives the beginning of.
fn bars_of(floor: &Expr) -> Option<LongerBars> {
    let Expr::ScalarFunction(call) = floor else { return None };
    let [Expr::Column(time), Expr::Literal(timeframe, _), rest @ ..] = call.args.as_slice() else { return None };
    if call.name() != "bar_floor" || time.name != "ts" {
        return None;
    }
    let origin = match rest {
        [] => "utc",
        [Expr::Literal(origin, _)] => origin.try_as_str()??,
        _ => return None,
    };
    LongerBars::new(timeframe.try_as_str()??.parse().ok()?, origin).ok()
}

/// A scan of a table with the columns of the aggregate: symbol, time and bars.
fn stored(aggregate: &Aggregate, table: &str) -> Result<LogicalPlan> {
    let name = |i: usize| match i {
        0 => "symbol".to_string(),
        1 => "ts".to_string(),
        i => format!("bar_{i}"),
    };
    let is_made = HashMap::from([(MADE.to_string(), String::new())]);
    let fields = aggregate.schema.fields().iter().enumerate().map(|(i, field)| {
        let own = Field::new(name(i), field.data_type().clone(), true);
        if i < 2 { own } else { own.with_metadata(is_made.clone()) }
    });
    let scan = table_scan(Some(table), &Schema::new(fields.collect::<Vec<_>>()), None)?.build()?;
    let columns = scan.schema().columns().into_iter().zip(aggregate.schema.iter());
    let as_there = columns
        .map(|(column, (qualifier, field))| Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()));
    LogicalPlanBuilder::from(scan).project(as_there.collect::<Vec<_>>())?.build()
}

/// What is known of the values of a table's column.
pub(super) fn stored_values(field: &Field) -> Values {
    if field.metadata().contains_key(MADE) { Values::Stored } else { Values::stored(field.data_type()) }
}

/// Whether it is what a bar holds, which moves as a column of a table would.
pub(super) fn is_part_of_bar(function: &str) -> bool {
    matches!(function, "candle_open" | "candle_high" | "candle_low" | "candle_close" | "candle_volume")
}
