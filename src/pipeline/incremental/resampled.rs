//! Runs that make longer bars from shorter ones: a changed bar affects the longer one that it lies in.

use super::buckets::whole_bars;
use super::pipeline::{Done, FULL, Pipeline, Run, RunOptions};
use super::tables::Tables;
use super::work::{ByTable, Extent, Work};
use crate::Session;
use crate::query::Query;
use crate::resample::{Fill, Resample};
use chrono::Utc;
use datafusion::logical_expr::LogicalPlan;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::{Ranges, Result, Times};
use tallow_lake::{CandleTable, Merging};
use tallow_udfs::calendar::{Grid, Origin};

/// Bars to be made.
pub(super) struct Planned {
    pub work: Work,
    plan: LogicalPlan,
    origin: String,
}

/// What a run has to do.
pub(super) async fn planned(
    pipeline: &Pipeline,
    session: &Session,
    resample: &Resample,
    options: RunOptions,
) -> Result<Planned> {
    let (table, ended) = (pipeline.table()?, resample.sql(session).await?);
    let plan = pipeline.plan(session, &Query::of(ended.sql)).await?;
    let work = match options.full {
        true => Work::everything(session, &plan, FULL.to_string()).await?,
        false => {
            let made_from = async |names| pipeline.made_from(session, &table, names).await;
            let of = async |_: &LogicalPlan, tables: &Tables, changes: &ByTable| {
                let longer = Longer::of(session, resample, &ended.origin).await?;
                let mut changed = Ranges::default();
                changes.values().for_each(|of_table| changed.extend(&of_table.ranges));
                let shorter = tables.followed.values().map(|(table, _)| table.as_ref());
                Ok(if changed.is_empty() && !longer.ended_since(shorter) {
                    Extent::Nothing
                } else if resample.fill == Fill::None {
                    longer.extent(&changed, changes.keys())
                } else {
                    Extent::Everything("where there is no shorter bar, the one before it is repeated".to_string())
                })
            };
            Work::by(session, &plan, made_from, of).await?
        }
    };
    Ok(Planned { work, plan, origin: ended.origin })
}

/// Makes the bars and merges them into their table.
pub(super) async fn run(
    pipeline: &Pipeline,
    session: &Session,
    resample: &Resample,
    options: RunOptions,
) -> Result<Run> {
    let Planned { work, plan, origin } = planned(pipeline, session, resample, options).await?;
    if work.extent == Extent::Nothing {
        return Ok(Run { work, done: Done::Nothing, failed: vec![] });
    }
    let rows = session.physical(&work.restrict(plan, false)?).await?;
    let (timeframe, sources) = (resample.timeframe, pipeline.transactions(&work));
    let merged = session
        .on_lake(move |lake| async move {
            lake.merge(timeframe, &origin, rows, Merging { operation: "RESAMPLE", sources: &sources, only_if: None })
                .await
        })
        .await?;
    let done = match merged.version {
        Some(version) => Done::Written { rows: merged.new + merged.restated, version },
        None => Done::Nothing,
    };
    Ok(Run { work, done, failed: vec![] })
}

/// The longer bars.
struct Longer {
    grid: Grid,
    /// The newest that is stored.
    newest: Option<i64>,
}

impl Longer {
    async fn of(session: &Session, resample: &Resample, origin: &str) -> Result<Longer> {
        let grid = Grid::new(resample.timeframe, origin.parse::<Origin>()?);
        let name = format!("candles_{}", resample.timeframe);
        let table = session.on_lake(move |lake| async move { lake.candle_table(&name).await }).await?;
        let newest = table.and_then(|table| Some(table.summary().times?.1));
        Ok(Longer { grid, newest })
    }

    /// The bars that changes of shorter ones affect, and those that had not ended when the newest was stored.
    fn extent<'a>(&self, changed: &Ranges, tables: impl Iterator<Item = &'a String>) -> Extent {
        let open =
            self.newest.map_or_else(Times::all, |newest| [self.grid.bar(newest).1..i64::MAX].into_iter().collect());
        let mut affected = whole_bars(&self.grid, changed);
        affected.extend(&Ranges::everywhere(open));
        let affected = Arc::new(affected);
        let needed: BTreeMap<_, _> = tables.map(|table| (table.clone(), Arc::clone(&affected))).collect();
        Extent::Ranges { affected, needed, whole_history: vec![] }
    }

    /// Whether a bar has ended that is not stored and that some table has shorter bars of.
    fn ended_since<'a>(&self, mut tables: impl Iterator<Item = &'a CandleTable>) -> bool {
        let Some(newest) = self.newest else { return false };
        let next = self.grid.bar(newest).1;
        let has_ended = self.grid.end_of(next) <= Utc::now().timestamp_micros();
        has_ended && tables.any(|table| table.summary().times.is_some_and(|(_, last)| last >= next))
    }
}
