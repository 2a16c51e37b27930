//! Support and resistance levels: as SQL, shown and stored.

use super::control::Control;
use super::materialize::{Materialization, ResultTable};
use super::query::Query;
use super::quoting::quoted;
use super::resample::{self, BarRequest};
use crate::Session;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tallow_common::time::TIMESTAMP;
use tallow_common::{Error, Result, readable};
use tallow_lake::{Lake, Written, tables_of_levels};
use tallow_udfs::calendar::Timeframe;

/// How levels are found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl Source {
    /// `none`, `auto` (levels are found in the bars), or a table of levels.
    ///
    /// # Errors
    /// Events without a table of levels.
    pub fn parse(text: &str, events: Option<String>) -> Result<Option<Source>> {
        match text {
            "none" | "auto" if events.is_some() => {
                Err(Error::Request("events of levels belong to a table of levels: name that too".to_string()))
            }
            "none" => Ok(None),
            "auto" => Ok(Some(Source::Auto(Detection::default()))),
            table => Ok(Some(Source::Tables { levels: table.to_string(), events })),
        }
    }
}

/// The levels of a timeframe.
#[derive(Debug, Clone)]
pub struct Levels {
    /// Length of the bars that they are found in.
    pub timeframe: Timeframe,
    /// How they are found.
    pub detection: Detection,
}

impl Levels {
    fn check(&self) -> Result<()> {
        let cluster = self.detection.cluster;
        if !(0.0..=1e6).contains(&cluster) {
            return Err(Error::Argument("cluster", format!(" {cluster}: expected a number from 0 up")));
        }
        Ok(())
    }

    /// The query for the levels, or for what happened to them.
    ///
    /// # Errors
    /// The lake has no such bars.
    pub async fn query(&self, session: &Session, of_events: bool) -> Result<Query> {
        self.check()?;
        let (lake, Levels { timeframe, detection }) = (session.lake(), self);
        Ok(Query::of(match of_events {
            true => format!("select * from ({}) order by symbol, ts", events(lake, *timeframe, *detection).await?),
            false => {
                format!("select * from ({}) order by symbol, created_at", levels(lake, *timeframe, *detection).await?)
            }
        }))
    }

    /// Writes the levels and their events as two tables, each in one commit; `each` is called after each.
    ///
    /// # Errors
    /// A name that cannot be that of such tables; something else is in their place; or computing or writing them failed.
    pub async fn write(
        &self,
        session: &Session,
        into: &str,
        control: &Control,
        mut each: impl FnMut(&str, &Written),
    ) -> Result<()> {
        self.check()?;
        let (lake, Levels { timeframe, detection }) = (session.lake(), self);
        let levels = levels(lake, *timeframe, *detection).await?;
        let events = events(lake, *timeframe, *detection).await?;
        let Detection { k, cluster, max_age } = *detection;
        let params = serde_json::json!({ "k": k, "cluster": cluster, "max_age": max_age });
        let properties: HashMap<String, String> = [
            ("tallow.levels.timeframe".to_string(), timeframe.to_string()),
            ("tallow.levels.params".to_string(), params.to_string()),
        ]
        .into();
        let tables = tables_of_levels(into).map_err(|error| Error::Request(readable(&error)))?;
        let tables = tables.map(|(kind, name)| ResultTable { name, kind, properties: properties.clone() });
        for table in &tables {
            table.check(session).await?;
        }
        for (table, sql) in tables.iter().zip([levels, events]) {
            let rows = Materialization::of_sql(session, &sql).await?;
            each(&table.name, &rows.overwrite(session, table, control).await?);
        }
        Ok(())
    }
}

/// SQL for what happens to the levels found in a timeframe: `level_id, symbol, timeframe, ts, event, price`.
pub async fn events(lake: &Lake, timeframe: Timeframe, detection: Detection) -> Result<String> {
    let Detection { k, cluster, max_age } = detection;
    let (bars, origin) = resample::sql(lake, BarRequest::of(timeframe)).await?;
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
pub async fn levels(lake: &Lake, timeframe: Timeframe, detection: Detection) -> Result<String> {
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
pub async fn states(lake: &Lake, timeframe: Timeframe, source: &Source) -> Result<String> {
    let events = match source {
        Source::Auto(detection) => events(lake, timeframe, *detection).await?,
        Source::Tables { levels, events } => stored(lake, timeframe, levels, events.as_deref()).await?,
    };
    Ok(format!(
        "select symbol, s['ts'] as ts, s['levels'] as levels
         from (select symbol, unnest(level_states(ts, level_id, price, event)) as s from ({events}) group by symbol)"
    ))
}

/// Levels of a user's tables as events.
async fn stored(lake: &Lake, timeframe: Timeframe, levels: &str, events: Option<&str>) -> Result<String> {
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
    let time = |column: &str| format!("arrow_cast({column}, '{TIMESTAMP}')");
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
