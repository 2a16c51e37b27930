//! Larger bars from smaller ones: as SQL, and stored.

use super::control::Control;
use super::materialize::Materialization;
use crate::Session;
use crate::quoting::quoted;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use tallow_common::{Error, Result};
use tallow_lake::{IngestSummary, Lake, READABLE};
use tallow_udfs::calendar::{Origin, Timeframe};

/// What stands where no bar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// Nothing: a time without a trade has no row.
    #[default]
    None,
    /// A bar without volume at the close before it.
    PrevClose,
    /// A row without values.
    Null,
}

impl FromStr for Fill {
    type Err = Error;

    fn from_str(name: &str) -> Result<Fill> {
        match name {
            "none" => Ok(Fill::None),
            "prev_close" => Ok(Fill::PrevClose),
            "null" => Ok(Fill::Null),
            _ => Err(Error::invalid(format!("unknown fill '{name}': expected none, prev_close or null"))),
        }
    }
}

/// What becomes of the newest bar of a symbol, where the shorter bars that it is made of do not reach its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unfinished {
    /// It is a bar like others.
    #[default]
    Keep,
    /// A column `complete` is false.
    Mark,
    /// It is left out.
    Drop,
}

impl FromStr for Unfinished {
    type Err = Error;

    fn from_str(name: &str) -> Result<Unfinished> {
        match name {
            "keep" => Ok(Unfinished::Keep),
            "mark" => Ok(Unfinished::Mark),
            "drop" => Ok(Unfinished::Drop),
            _ => Err(Error::invalid(format!("unfinished '{name}': expected keep, mark or drop"))),
        }
    }
}

/// Which bars are asked for.
#[derive(Debug, Clone, Copy)]
pub struct BarRequest<'a> {
    /// Their length.
    pub timeframe: Timeframe,
    /// Make them from these; by default from the coarsest stored timeframe that divides theirs.
    pub from: Option<Timeframe>,
    /// Where bars begin; by default where those begin that they are made from.
    pub origin: Option<&'a str>,
    /// What stands where no bar is.
    pub fill: Fill,
    /// Make them even where they are stored.
    pub anew: bool,
    /// Without the files that cannot be read.
    pub readable: bool,
    /// What becomes of bars that are not finished.
    pub unfinished: Unfinished,
}

impl BarRequest<'_> {
    /// The bars of a timeframe, stored or made.
    pub fn of(timeframe: Timeframe) -> Self {
        BarRequest {
            timeframe,
            from: None,
            origin: None,
            fill: Fill::None,
            anew: false,
            readable: false,
            unfinished: Unfinished::Keep,
        }
    }
}

/// Bars that are made of shorter ones, to be stored in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resample {
    /// Their length.
    #[serde(with = "crate::as_text")]
    pub timeframe: Timeframe,
    /// Make them from these; by default from the longest stored that divide theirs.
    #[serde(default, with = "crate::as_text::optional")]
    pub from: Option<Timeframe>,
    /// Where bars begin; by default where those of the table do, or else those that they are made from.
    pub origin: Option<String>,
    /// What stands where no bar is.
    pub fill: Fill,
}

impl Resample {
    /// Bars of a timeframe from the longest that divide it, one wherever there is a shorter one.
    pub fn of(timeframe: Timeframe) -> Resample {
        Resample { timeframe, from: None, origin: None, fill: Fill::None }
    }

    /// Makes the bars that have ended and merges them into the lake's table; a second run changes nothing unless the
    /// shorter bars have changed.
    ///
    /// # Errors
    /// The lake has no bars that they can be made of; or computing or writing them failed or was stopped.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<IngestSummary> {
        let EndedBars { sql, origin } = self.sql(session).await?;
        let bars = Materialization::of_sql(session, &sql).await?;
        bars.merge(session, self.timeframe, origin, control).await
    }

    /// SQL for the bars that have ended, in order.
    pub(crate) async fn sql(&self, session: &Session) -> Result<EndedBars> {
        let Resample { timeframe, from, origin, fill } = self.clone();
        if fill == Fill::Null {
            return Err(Error::invalid("fill 'null': a bar without a close is not stored; use none or prev_close"));
        }
        let lake = session.lake();
        let own = if lake.timeframes().contains(&timeframe) { lake.origin(timeframe).await? } else { None };
        let origin = match (origin, own) {
            (None, Some(own)) => {
                let source = source(&lake.timeframes(), timeframe, from)?;
                Some(with_calendar(&own, lake.origin(source).await?.as_deref())?)
            }
            (given, _) => given,
        };
        let request = BarRequest { from, origin: origin.as_deref(), fill, anew: true, ..BarRequest::of(timeframe) };
        let (bars, origin) = sql(lake, request).await?;
        let ended = format!("bar_end(ts, '{timeframe}', '{origin}') <= now()");
        // A bar may have traded and yet have no close, where its smaller bars lack it; such are not stored.
        let sql = format!("select * from ({bars}) where {ended} and close is not null order by symbol, ts");
        Ok(EndedBars { sql, origin })
    }

    /// The table that the bars are stored in, which is that of their timeframe.
    ///
    /// # Errors
    /// Another one is named.
    pub(crate) fn table(&self, given: &str) -> Result<String> {
        let (own, timeframe) = (format!("candles_{}", self.timeframe), self.timeframe);
        match given == own || given.parse::<Timeframe>().is_ok_and(|given| given == timeframe) {
            true => Ok(own),
            false => Err(Error::invalid(format!("bars of {timeframe} are stored in `{own}`, not in `{given}`"))),
        }
    }

    /// What is made of what, in one line.
    pub(crate) fn describe(&self) -> String {
        let from = self.from.map(|from| format!(" from {from} bars")).unwrap_or_default();
        let origin = self.origin.as_ref().map(|origin| format!(", which begin by {origin}")).unwrap_or_default();
        let fill = if self.fill == Fill::PrevClose { ", filled with the close before" } else { "" };
        format!("{} bars{from}{origin}{fill}", self.timeframe)
    }
}

/// Bars that have ended.
pub(crate) struct EndedBars {
    pub sql: String,
    /// Where they begin.
    pub origin: String,
}

/// The columns of bars.
const COLUMNS: &str = "symbol, ts, open, high, low, close, volume";

/// SQL that yields bars, and where these begin. Smaller bars without trades set no price of a larger one that has trades
/// (see `candlestick`).
pub async fn sql(lake: &Lake, request: BarRequest<'_>) -> Result<(String, String)> {
    let BarRequest { timeframe, from, origin, fill, anew, readable, unfinished } = request;
    let table = |timeframe: Timeframe| match readable {
        true => quoted(&format!("candles_{timeframe}{READABLE}")),
        false => format!("candles_{timeframe}"),
    };
    let known = lake.timeframes();
    let own = if known.contains(&timeframe) { lake.origin(timeframe).await? } else { None };
    let origin = origin.map(|origin| origin.parse::<Origin>().map(|origin| origin.to_string())).transpose()?;
    let fits = origin.as_deref().is_none_or(|o| own.as_deref().unwrap_or("utc") == o);
    let (bars, origin) = if !anew && from.is_none() && known.contains(&timeframe) && fits {
        // What is stored had ended.
        let complete = if unfinished == Unfinished::Mark { ", true as complete" } else { "" };
        (format!("select {COLUMNS}{complete} from {}", table(timeframe)), own.unwrap_or_else(|| "utc".to_string()))
    } else {
        let source = source(&known, timeframe, from)?;
        let source_origin = lake.origin(source).await?.unwrap_or_else(|| "utc".to_string());
        let origin = origin.unwrap_or_else(|| source_origin.clone());
        (finished(&table(source), unfinished, (source, &source_origin), (timeframe, &origin))?, origin)
    };
    if fill == Fill::None {
        return Ok((bars, origin));
    }
    let last_close = "last_value(b.close) ignore nulls over (partition by g.symbol order by g.ts rows between unbounded preceding and current row)";
    let prices = ["open", "high", "low", "close"].map(|c| match fill {
        Fill::PrevClose => format!("coalesce(b.{c}, {last_close}) as {c}"),
        _ => format!("b.{c} as {c}"),
    });
    let volume = if fill == Fill::PrevClose { "coalesce(b.volume, 0.0) as volume" } else { "b.volume as volume" };
    let complete = if unfinished == Unfinished::Mark { ", coalesce(b.complete, true) as complete" } else { "" };
    // A bar outside of sessions stays, though none is missed there.
    let outside = match origin.parse::<Origin>()?.calendar() {
        Some(_) => " union select symbol, ts from bars",
        None => "",
    };
    let filled = format!(
        "with bars as ({bars}),
         spans as (select symbol, min(ts) as first, max(ts) as last from bars group by symbol),
         grid as (select symbol, unnest(bar_range(first, last, '{timeframe}', '{origin}')) as ts from spans{outside})
         select g.symbol as symbol, g.ts as ts, {}, {volume}{complete}
         from grid g left join bars b on g.symbol = b.symbol and g.ts = b.ts",
        prices.join(", ")
    );
    Ok((filled, origin))
}

/// The stored timeframe that has bars of a timeframe, or that they are made from, and where its bars begin.
pub async fn stored_source(lake: &Lake, timeframe: Timeframe) -> Result<(Timeframe, String)> {
    let source = source_of(lake, timeframe)?;
    Ok((source, lake.origin(source).await?.unwrap_or_else(|| "utc".to_string())))
}

/// The stored timeframe that has bars of a timeframe, or that they are made from.
pub fn source_of(lake: &Lake, timeframe: Timeframe) -> Result<Timeframe> {
    let known = lake.timeframes();
    if known.contains(&timeframe) { Ok(timeframe) } else { source(&known, timeframe, None) }
}

/// The stored timeframe to make bars from.
fn source(known: &[Timeframe], timeframe: Timeframe, from: Option<Timeframe>) -> Result<Timeframe> {
    let listed = || known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(from) = from {
        if !known.contains(&from) {
            return Err(Error::not_found(format!("the lake has no {from} bars; it has {}", listed())));
        }
        if !from.divides(timeframe) {
            return Err(Error::invalid(format!("{from} bars do not make up {timeframe} bars")));
        }
        return Ok(from);
    }
    known.iter().copied().filter(|t| t.divides(timeframe)).max().ok_or_else(|| {
        Error::not_found(match known.is_empty() {
            true => format!("the lake has no candles to make {timeframe} bars from"),
            false => format!("no stored timeframe divides {timeframe}; the lake has {}", listed()),
        })
    })
}

/// An origin with the calendar of another, where it has none itself.
fn with_calendar(origin: &str, other: Option<&str>) -> Result<String> {
    let own: Origin = origin.parse()?;
    let other = other.map(str::parse::<Origin>).transpose()?.and_then(|other| other.calendar());
    Ok(match (own.calendar(), other) {
        (None, Some(calendar)) => own.with_calendar(calendar).to_string(),
        _ => origin.to_string(),
    })
}

/// SQL for bars made from those of a table, whose timeframe divides theirs, each with its origin. With a calendar, bars outside
/// of its sessions are no part of longer ones: these have ended by then.
///
/// `volume`: whether they have one.
///
/// # Errors
/// An origin is none, or days that begin by it do not hold the sessions of its calendar.
pub fn made_from(table: &str, volume: bool, source: (Timeframe, &str), made: (Timeframe, &str)) -> Result<String> {
    let gathered = gathered(table, volume, source, made)?;
    Ok(format!("select symbol, ts, {} from ({gathered})", columns_of_bars()))
}

/// The same, each bar as a `candlestick`.
fn gathered(
    table: &str,
    volume: bool,
    (source, source_origin): (Timeframe, &str),
    (timeframe, origin): (Timeframe, &str),
) -> Result<String> {
    let floor = format!("bar_floor(ts, '{timeframe}', '{origin}')");
    let grid: Origin = origin.parse()?;
    let source_origin = with_calendar(source_origin, Some(origin))?;
    if let Some(calendar) = grid.calendar()
        && source < Timeframe::Day
        && timeframe >= Timeframe::Day
        && let Some(date) = grid.misplaced_session()
    {
        let name = calendar.name();
        let said = format!("the session of {name} on {date} does not lie within a day that begins by '{origin}'");
        let fitting = match calendar.opening() {
            Some(_) => format!("session:{name}"),
            None => format!("session:HH:MM@Zone+{name}"),
        };
        return Err(Error::invalid(said).with_hint(format!("the origin '{fitting}' begins days as its sessions do")));
    }
    let mut conditions = vec![];
    if grid.calendar().is_some() {
        conditions.push(format!("in_session(ts, '{source}', '{source_origin}')"));
    }
    // Where the grids may not nest, only bars that lie inside count.
    if source_origin != origin {
        conditions
            .push(format!("bar_end(ts, '{source}', '{source_origin}') <= bar_end(ts, '{timeframe}', '{origin}')"));
    }
    let inside = if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
    let volume = if volume { "volume" } else { "cast(null as double)" };
    Ok(format!(
        "select symbol, {floor} as ts, candlestick(ts, open, high, low, close, {volume}) as bar from {table}{inside} \
         group by symbol, {floor}"
    ))
}

/// The columns of bars of which each is a `candlestick`.
fn columns_of_bars() -> String {
    ["open", "high", "low", "close", "volume"].map(|c| format!("candle_{c}(bar) as {c}")).join(", ")
}

/// Bars made of a table's, and what becomes of those that are not finished: the shorter bars of one reach its end, or others
/// follow.
fn finished(
    table: &str,
    unfinished: Unfinished,
    (source, source_origin): (Timeframe, &str),
    (timeframe, origin): (Timeframe, &str),
) -> Result<String> {
    if unfinished == Unfinished::Keep {
        return made_from(table, true, (source, source_origin), (timeframe, origin));
    }
    let gathered = gathered(table, true, (source, source_origin), (timeframe, origin))?;
    let marked = format!(
        "select symbol, ts, {}, bar_end(candle_close_time(bar), '{source}', '{source_origin}') >= bar_end(ts, '{timeframe}', '{origin}')
                or lead(ts, 1) over (partition by symbol order by ts) is not null as complete from ({gathered})",
        columns_of_bars()
    );
    Ok(match unfinished {
        Unfinished::Drop => format!("select {COLUMNS} from ({marked}) where complete"),
        _ => marked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarsest_timeframe_that_divides_is_the_source() {
        let parse = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<Timeframe>>();
        let known = parse(&["1h", "4h", "1d"]);
        let pick = |t: &str| source(&known, t.parse().unwrap(), None).map(|t| t.to_string());
        assert_eq!(pick("12h").unwrap(), "4h");
        assert_eq!(pick("6h").unwrap(), "1h");
        assert_eq!(pick("1w").unwrap(), "1d");
        assert!(pick("30m").unwrap_err().to_string().contains("1h, 4h, 1d"));
        assert!(source(&known, known[2], Some(known[2])).is_err());
    }
}
