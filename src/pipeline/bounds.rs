//! Plans between two dates: enough bars before them are read that the first row is as in a run over everything.

use super::in_range;
use super::quoting::quoted;
pub use super::range::Range;
use super::range::time;
use crate::Session;
use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::Params;
use tallow_engine::reach::{MadeBars, fades_by_movement, reach};
use tallow_udfs::series::{Bars, InputKind};

/// Restricts a frame to a range. Each table is read from as many bars before the range as the result looks back, and to as
/// many after it as it looks ahead; whole, where the plan does not tell how many these are, or where the `ts` of the result
/// is not that of a table. `in_range(ts)` is true of the times in the range, wherever it stands.
pub async fn bounded(session: &Session, frame: DataFrame, range: Range) -> Result<DataFrame> {
    if range == Range::default() {
        return Ok(frame);
    }
    if let (Some(from), Some(to)) = (range.from, range.to)
        && from >= to
    {
        return Err(Error::invalid("the range is empty: its first day must lie before its last".to_string()));
    }
    let (state, plan) = frame.into_parts();
    let plan = in_range::bound(plan, range)?;
    let mut spans = BTreeMap::new();
    let optimized = session.optimized(&plan).await?;
    let (reached, read) = (reach(&optimized), Read::of(&optimized)?);
    for (table, reach) in reached.total().tables().filter(|_| reached.is_of_bars) {
        let of_table = read.get(table).cloned().unwrap_or_default();
        let from = match (range.from, reach.back) {
            (Some(from), Bars::Count(0)) => Some(from),
            (Some(_), Bars::Count(back)) => earlier(session, table, &of_table, range, back).await?,
            (Some(_), Bars::Since(back, anchor)) => {
                let first = earlier(session, table, &of_table, range, back).await?;
                let from = first.map(|first| anchor.around(first).start);
                earlier(session, table, &of_table, Range { from, ..range }, back).await?
            }
            _ => None,
        };
        let to = match (range.to, reach.ahead) {
            (Some(to), Bars::Count(0)) => Some(to),
            (Some(to), Bars::Count(ahead)) => later(session, table, &of_table, to, ahead).await?,
            _ => None,
        };
        spans.insert(table.to_string(), (from, to));
    }
    let scans = plan
        .transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            let name = scan.table_name.table().to_string();
            let Some(ts) = time_column(&node).filter(|_| spans.contains_key(&name)) else {
                return Ok(Transformed::no(node));
            };
            let (from, to) = spans[&name];
            match (Range { from, to }).holds(&ts) {
                Some(filter) => Ok(Transformed::yes(LogicalPlanBuilder::from(node).filter(filter)?.build()?)),
                None => Ok(Transformed::no(node)),
            }
        })
        .data()?;
    let plan = cut(scans, range)?;
    Ok(DataFrame::new(state, plan))
}

/// The column `ts` of a plan.
pub(super) fn time_column(plan: &LogicalPlan) -> Option<Expr> {
    let position = plan.schema().fields().iter().position(|f| f.name() == "ts")?;
    let (qualifier, field) = plan.schema().qualified_field(position);
    let is_time = matches!(field.data_type(), arrow::datatypes::DataType::Timestamp(_, _));
    is_time.then(|| Expr::Column(Column::from((qualifier, field))))
}

/// Cuts off the rows outside of the range, below what orders and limits the result.
fn cut(plan: LogicalPlan, range: Range) -> Result<LogicalPlan> {
    if let LogicalPlan::Limit(_) | LogicalPlan::Sort(_) = &plan {
        let input = plan.inputs().first().map(|p| (*p).clone());
        if let Some(input) = input {
            let below = cut(input, range)?;
            return Ok(plan.with_new_exprs(plan.expressions(), vec![below])?);
        }
    }
    let Some(ts) = time_column(&plan) else {
        return Err(Error::invalid(
            "the option `from` and the option `to` need a column `ts` in the result: add it, or bound the time in WHERE",
        ));
    };
    match range.holds(&ts) {
        Some(filter) => Ok(LogicalPlanBuilder::from(plan).filter(filter)?.build()?),
        None => Ok(plan),
    }
}

/// The time from which a table is read so that every symbol with bars in the range has `back` bars before it that count, or
/// all that it has.
async fn earlier(session: &Session, table: &str, read: &Read, range: Range, back: usize) -> Result<Option<i64>> {
    let Some(from) = range.from.filter(|_| back > 0) else { return Ok(range.from) };
    let name = quoted(table);
    let at = |t: i64| format!("to_timestamp_micros({t})");
    let in_range = range.to.map_or_else(String::new, |to| format!(" and ts < {}", at(to)));
    // The bar before the range is the first of those that are looked back at.
    let start = match back.saturating_sub(1) {
        0 => "ts".to_string(),
        steps => format!("lag(ts, {steps}) over (partition by symbol order by ts)"),
    };
    let sql = format!(
        "with here as (select distinct symbol from {name} where ts >= {from}{in_range}),
              counted as (select symbol, ts, {start} as start, lead(ts, 1) over (partition by symbol order by ts) as next
                          from ({counted})),
              first as (select symbol, min(ts) as ts from {name} where ts < {from} group by symbol)
         select cast(min(coalesce(counted.start, first.ts)) as timestamp) as start
         from first left join counted on counted.symbol = first.symbol and counted.next is null
         where first.symbol in (select symbol from here)",
        from = at(from),
        counted = read.counted(table, &format!("ts < {}", at(from))),
    );
    Ok(Some(one_time(session, &sql).await?.map_or(from, |start| start.min(from))))
}

/// The time up to which a table is read so that every symbol has `ahead` valid bars after the range, or all.
async fn later(session: &Session, table: &str, read: &Read, to: i64, ahead: usize) -> Result<Option<i64>> {
    let valid = Read { by_movement: false, ..read.clone() };
    let sql = format!(
        "with after as (select symbol, ts, lead(ts, {ahead}) over (partition by symbol order by ts) as stop,
                               lag(ts, 1) over (partition by symbol order by ts) as before
                        from ({counted}))
         select cast(max(stop) as timestamp) as stop from after where before is null
         having count(*) = count(stop)",
        counted = valid.counted(table, &format!("ts >= to_timestamp_micros({to})")),
    );
    one_time(session, &sql).await
}

/// What a plan reads of a table, and so which of its bars a reach counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    /// The columns with numbers.
    columns: BTreeSet<String>,
    /// Whether only bars count at which these move.
    by_movement: bool,
}

impl Read {
    /// What an optimized plan reads, by table.
    pub(super) fn of(plan: &LogicalPlan) -> Result<BTreeMap<String, Read>> {
        let by_movement = fades_by_movement(plan)?;
        let mut tables: BTreeMap<String, Read> = BTreeMap::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let read = tables.entry(scan.table_name.table().to_string()).or_default();
                let numbers = scan.projected_schema.fields().iter().filter(|f| f.data_type().is_numeric());
                read.columns.extend(numbers.map(|f| f.name().clone()));
                read.by_movement = by_movement;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(tables)
    }

    /// SQL: symbol and time of the bars under a condition that count. A column that never has a value there, or never moves,
    /// tells nothing of when it last did.
    pub(super) fn counted(&self, table: &str, condition: &str) -> String {
        self.counted_in(&quoted(table), condition)
    }

    /// The same of bars that stand in FROM as SQL.
    pub(super) fn counted_in(&self, bars: &str, condition: &str) -> String {
        let columns = || self.columns.iter().map(|c| quoted(c)).enumerate();
        let flag = |(i, c): (usize, String)| match self.by_movement {
            true => format!(
                ", {c} is not null and {c} is distinct from lag({c}) ignore nulls over (partition by symbol order by ts) \
                 as has{i}"
            ),
            false => format!(", {c} is not null as has{i}"),
        };
        let flags: String = columns().map(flag).collect();
        let counts: String = columns()
            .map(|(i, _)| format!(" and (has{i} or not bool_or(has{i}) over (partition by symbol))"))
            .collect();
        format!(
            "select symbol, ts from (select symbol, ts, true{counts} as counts from (select symbol, ts{flags} from {bars} \
             where {condition})) where counts"
        )
    }
}

async fn one_time(session: &Session, sql: &str) -> Result<Option<i64>> {
    let frame = session.sql_with(sql, &Params::default()).await?;
    let batches = session.collect(frame).await?;
    for batch in &batches {
        let column = arrow::compute::cast(batch.column(0), &InputKind::Time.data_type())?;
        let column = column.as_primitive::<TimestampMicrosecondType>();
        if let Some(value) = column.iter().flatten().next() {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Adds the column `available_at`: when a row was known, which is when the last bar that it looks at had ended.
pub async fn with_available_at(session: &Session, frame: DataFrame) -> Result<DataFrame> {
    let (state, plan) = frame.into_parts();
    if plan.schema().fields().iter().any(|f| f.name() == "available_at") {
        return Err(Error::invalid(
            "the option `available_at`: the result has a column available_at already".to_string(),
        ));
    }
    let optimized = session.optimized(&plan).await?;
    let made = MadeBars::of(&optimized)?;
    let reached = reach(made.as_ref().map_or(&optimized, |made| &made.plan));
    if !reached.is_of_bars {
        return Err(Error::invalid(
            "the option `available_at` needs the column `ts` of a table in the result, as it is there".to_string(),
        ));
    }
    let sources = reached.total();
    let tables: BTreeSet<&str> = sources.tables().map(|(name, _)| name).collect();
    let [table] = tables.into_iter().collect::<Vec<_>>()[..] else {
        return Err(Error::invalid(
            "the option `available_at` needs a result of one table; where there are several, write max(bar_end(..)) of theirs"
                .to_string(),
        ));
    };
    let Bars::Count(ahead) = sources.furthest().ahead else {
        return Err(Error::invalid(
            "the option `available_at`: how far the result looks ahead is not bounded (see the operation `explain`)"
                .to_string(),
        ));
    };
    let bars = match &made {
        Some(MadeBars { bars, .. }) => Some((bars.timeframe, bars.origin.clone())),
        None => session.lake().bars(table).await?,
    };
    let Some((timeframe, origin)) = bars else {
        return Err(Error::invalid(format!(
            "the option `available_at`: the length of the bars of `{table}` is not known"
        )));
    };
    let Some(ts) = time_column(&plan) else {
        return Err(Error::invalid("the option `available_at` needs a column `ts` in the result".to_string()));
    };
    let frame = DataFrame::new(state.clone(), plan.clone());
    if ahead == 0 {
        let end = session.context().udf("bar_end")?;
        let known = end.call(vec![ts, lit(timeframe.to_string()), lit(origin)]).alias("available_at");
        let all = plan.schema().columns().into_iter().map(Expr::Column).chain([known]);
        return Ok(frame.select(all.collect::<Vec<_>>())?);
    }
    if !plan.schema().fields().iter().any(|f| f.name() == "symbol") {
        return Err(Error::invalid(
            "the option `available_at` needs the columns `symbol` and `ts` in the result".to_string(),
        ));
    }
    let counted = match made {
        Some(_) => format!(
            "select distinct symbol, bar_floor(ts, '{timeframe}', '{origin}') as ts from {} where close is not null",
            quoted(table)
        ),
        None => {
            let read = Read::of(&optimized)?.remove(table).unwrap_or_default();
            Read { by_movement: false, ..read }.counted(table, "true")
        }
    };
    let later = session
        .sql(&format!(
            "select symbol as known_symbol, ts as known_ts,
                    lead(bar_end(ts, '{timeframe}', '{origin}'), {ahead}) over (partition by symbol order by ts) as available_at
             from ({counted})"
        ))
        .await?;
    let joined = frame.join(
        later,
        datafusion::common::JoinType::Left,
        &["symbol", "ts"],
        &["known_symbol", "known_ts"],
        None,
    )?;
    let all = plan.schema().columns().into_iter().map(Expr::Column);
    Ok(joined.select(all.chain([col("available_at")]).collect::<Vec<_>>())?)
}

/// Bars of the tables that a plan reads, by name: timeframe and origin.
pub(super) async fn tables_of(
    session: &Session,
    plan: &LogicalPlan,
) -> Result<BTreeMap<String, Option<(String, String)>>> {
    let mut names = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let reference: &TableReference = &scan.table_name;
            names.insert(reference.table().to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut tables = BTreeMap::new();
    for name in names {
        let bars = session.lake().bars(&name).await?.map(|(t, origin)| (t.to_string(), origin));
        tables.insert(name, bars);
    }
    Ok(tables)
}

/// A plan that sees only what was known at an instant: bars that had ended, other rows whose `available_at` had come, levels
/// that had been found.
pub(super) fn known_at(
    session: &Session,
    plan: LogicalPlan,
    tables: &Arc<BTreeMap<String, Option<(String, String)>>>,
    instant: i64,
) -> Result<LogicalPlan> {
    let end = session.context().udf("bar_end")?;
    let seen = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
        let column = |name: &str| {
            let position = node.schema().fields().iter().position(|f| f.name() == name)?;
            Some(Expr::Column(Column::from(node.schema().qualified_field(position))))
        };
        let filter = match (column("available_at"), time_column(&node), tables.get(scan.table_name.table())) {
            (Some(known), _, _) => known.lt_eq(time(instant)),
            (None, Some(ts), Some(Some((timeframe, origin)))) => {
                let ended = end.call(vec![ts.clone(), lit(timeframe.as_str()), lit(origin.as_str())]);
                ended.lt_eq(time(instant)).and(ts.lt(time(instant)))
            }
            (None, Some(ts), _) => ts.lt(time(instant)),
            // Levels: those that had been found, and of their end only what was known.
            (None, None, _) if column("created_at").is_some() => {
                let Some(created) = column("created_at") else { return Ok(Transformed::no(node)) };
                let columns = node.schema().iter().map(|(qualifier, field)| {
                    let own = Expr::Column(Column::from((qualifier, field)));
                    if field.name() != "deactivated_at" {
                        return Ok(own);
                    }
                    let known = datafusion::logical_expr::when(own.clone().lt_eq(time(instant)), own).end()?;
                    Ok(known.alias_qualified(qualifier.cloned(), field.name()))
                });
                let columns = columns.collect::<datafusion::common::Result<Vec<_>>>()?;
                let seen = LogicalPlanBuilder::from(node.clone()).filter(created.lt_eq(time(instant)))?;
                return Ok(Transformed::yes(seen.project(columns)?.build()?));
            }
            _ => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(LogicalPlanBuilder::from(node).filter(filter)?.build()?))
    });
    Ok(seen.data()?)
}

/// A plan that sees only rows from an instant on, as if nothing were stored before it.
pub(super) fn known_from(plan: LogicalPlan, instant: i64) -> Result<LogicalPlan> {
    let seen = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(_) = &node else { return Ok(Transformed::no(node)) };
        let Some(ts) = time_column(&node) else { return Ok(Transformed::no(node)) };
        Ok(Transformed::yes(LogicalPlanBuilder::from(node).filter(ts.gt_eq(time(instant)))?.build()?))
    });
    Ok(seen.data()?)
}
