//! Support and resistance levels, as SQL.

use super::quoting::quoted;
use super::resample::{self, Wanted};
use tallow_common::{Error, Result};
use tallow_lake::LakeSchema;
use tallow_udfs::candle::Timeframe;

/// How levels are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Bars on each side of a swing pivot.
    pub k: u32,
    /// A pivot this many average true ranges from an active level belongs to that level.
    pub cluster: f64,
    /// A level that no bar has touched for this many bars is given up.
    pub max_age: u32,
}

impl Default for Detection {
    fn default() -> Self {
        Self { k: 5, cluster: 0.25, max_age: 250 }
    }
}

/// Where levels come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Found in the bars themselves.
    Auto(Detection),
    /// A table with `symbol, level_id, price, initial_type, created_at` and, if it has them, `deactivated_at` and
    /// `timeframe`; flips come from a table of events with `level_id, ts, event`.
    Tables {
        /// The levels.
        levels: String,
        /// Their events.
        events: Option<String>,
    },
}

/// SQL for what happens to the levels found in a timeframe: `level_id, symbol, timeframe, ts, event, price`.
pub async fn events(lake: &LakeSchema, timeframe: Timeframe, detection: Detection) -> Result<String> {
    let Detection { k, cluster, max_age } = detection;
    let (bars, origin) = resample::sql(lake, Wanted::of(timeframe)).await?;
    Ok(format!(
        "select concat(symbol, '-{timeframe}-', e['level']) as level_id, symbol, '{timeframe}' as timeframe, e['ts'] as ts,
                e['event'] as event, e['price'] as price
         from (select symbol, unnest(level_events(bar_end(ts, '{timeframe}', '{origin}'), high, low, close, {k},
                             {cluster:?}, {max_age})) as e
               from ({bars}) group by symbol)"
    ))
}

/// SQL for the levels found in a timeframe, one row each:
/// `level_id, symbol, timeframe, price, initial_type, created_at, deactivated_at`.
pub async fn levels(lake: &LakeSchema, timeframe: Timeframe, detection: Detection) -> Result<String> {
    let events = events(lake, timeframe, detection).await?;
    let first = |what: &str| format!("min(ts) filter (where event like '{what}%')");
    Ok(format!(
        "select level_id, symbol, timeframe, min(price) as price,
                case when min(event) filter (where event like 'NEW%') = 'NEW_RESISTANCE' then 'resistance' else 'support' end
                  as initial_type,
                {} as created_at, {} as deactivated_at
         from ({events}) group by level_id, symbol, timeframe",
        first("NEW"),
        first("DEACTIVATE")
    ))
}

/// SQL for which levels are active from each change on: `symbol, ts, levels`, one row a change, in order.
pub async fn states(lake: &LakeSchema, timeframe: Timeframe, source: &Source) -> Result<String> {
    let events = match source {
        Source::Auto(detection) => events(lake, timeframe, *detection).await?,
        Source::Tables { levels, events } => told(lake, timeframe, levels, events.as_deref()).await?,
    };
    Ok(format!(
        "select symbol, s['ts'] as ts, s['levels'] as levels
         from (select symbol, unnest(level_states(ts, level_id, price, event)) as s from ({events}) group by symbol)"
    ))
}

/// Levels of a user's tables as events.
async fn told(lake: &LakeSchema, timeframe: Timeframe, levels: &str, events: Option<&str>) -> Result<String> {
    let columns = lake.columns(levels).await?;
    let has = |name: &str| columns.iter().any(|c| c == name);
    for needed in ["symbol", "level_id", "price", "initial_type", "created_at"] {
        if !has(needed) {
            return Err(Error::invalid(format!(
                "the levels in '{levels}' have no column `{needed}`: expected symbol, level_id, price, initial_type, \
                 created_at; found {}",
                columns.join(", ")
            )));
        }
    }
    let own = if has("timeframe") { format!(" where timeframe = '{timeframe}'") } else { String::new() };
    let table = quoted(levels);
    let time = |column: &str| format!("arrow_cast({column}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
    let row = |ts: &str, event: &str| {
        format!(
            "select symbol, {} as ts, cast(level_id as varchar) as level_id, price, {event} as event from {table}{own}",
            time(ts)
        )
    };
    let mut parts = vec![row("created_at", "concat('NEW_', upper(initial_type))")];
    if has("deactivated_at") {
        parts.push(format!("select * from ({}) where ts is not null", row("deactivated_at", "'DEACTIVATE'")));
    }
    if let Some(events) = events {
        let known = lake.columns(events).await?;
        if let Some(missing) = ["level_id", "ts", "event"].iter().find(|n| !known.iter().any(|c| c == **n)) {
            return Err(Error::invalid(format!(
                "the level events in '{events}' have no column `{missing}`: expected level_id, ts, event; found {}",
                known.join(", ")
            )));
        }
        parts.push(format!(
            "select l.symbol as symbol, {} as ts, cast(l.level_id as varchar) as level_id, l.price as price,
                    upper(e.event) as event
             from {} e join (select * from {table}{own}) l on e.level_id = l.level_id
             where upper(e.event) like 'FLIP%'",
            time("e.ts"),
            quoted(events)
        ));
    }
    Ok(parts.join(" union all "))
}
