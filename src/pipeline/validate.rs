//! `Validate`: what is wrong with stored candles: one row an issue, or a summary of each symbol.

use super::outcome::Skipped;
use super::query::Query;
use super::relation::table_named;
use crate::Session;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use std::str::FromStr;
use tallow_common::{Error, Result};
use tallow_udfs::calendar::{Calendar, Origin, Timeframe};

/// Which bars a market should have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expected {
    /// Those that more than half of the symbols have that trade at the time.
    #[default]
    Observed,
    /// All.
    Always,
    /// From Monday to Friday.
    Weekdays,
    /// In the sessions of a calendar.
    Sessions(&'static Calendar),
}

impl FromStr for Expected {
    type Err = Error;

    fn from_str(name: &str) -> Result<Expected> {
        match name {
            "observed" => Ok(Expected::Observed),
            "24/7" => Ok(Expected::Always),
            "weekdays" => Ok(Expected::Weekdays),
            _ => match Calendar::named(name) {
                Ok(calendar) => Ok(Expected::Sessions(calendar)),
                Err(error) => Err(Error::invalid(format!("{}; or observed, 24/7 or weekdays", error.message()))),
            },
        }
    }
}

/// How candles are judged.
#[derive(Debug, Clone)]
pub struct Validation {
    /// The table: a name, path or URL.
    pub table: String,
    /// The length of its bars.
    pub timeframe: String,
    /// Where they begin.
    pub origin: String,
    /// Which bars it should have.
    pub expected: Expected,
    /// A one-bar move larger than this ratio is a jump.
    pub jump: f64,
}

/// Candles to validate.
#[derive(Debug, Clone)]
pub struct Validate {
    /// The table: a name, a timeframe, a path or URL.
    pub table: String,
    /// The length of its bars; by default as the table says, or else days.
    pub timeframe: Option<Timeframe>,
    /// Where they begin; by default as the table says, or else in UTC.
    pub origin: Option<String>,
    /// Which bars it should have: observed (those that most symbols have), 24/7, weekdays, or a calendar; by default that of the
    /// table, else observed.
    pub calendar: Option<String>,
    /// A one-bar move larger than this ratio is a jump.
    pub jump: f64,
}

/// Candles that are ready to be validated.
#[derive(Debug, Clone)]
pub struct Validated {
    /// How they are judged.
    pub validation: Validation,
    /// Rows of the table.
    pub rows: usize,
    /// Files that cannot be read, which the table is read without.
    pub skipped: Vec<Skipped>,
}

impl Validate {
    /// Finds the table.
    ///
    /// # Errors
    /// There is no such table of candles.
    pub async fn prepare(self, session: &Session) -> Result<Validated> {
        let jump = self.jump;
        if !jump.is_finite() || jump <= 1.0 {
            return Err(Error::Argument("jump", format!(" {jump}: expected a ratio above 1, such as 1.5")));
        }
        let name = table_named(&self.table);
        let by_name = name.strip_prefix("candles_").map(str::to_string);
        let Some((name, found)) = session.lake().candle_table_despite_files(&name).await? else {
            let missing = Error::not_found(format!("no candle table `{name}`"));
            return Err(missing.with_hint("the operation `tables` lists what there is"));
        };
        let known = found.summary();
        let timeframe: Timeframe = match self.timeframe {
            Some(timeframe) => timeframe,
            None => known.timeframe.or(by_name).unwrap_or_else(|| "1d".to_string()).parse()?,
        };
        let timeframe = timeframe.to_string();
        let origin = self.origin.or(known.origin).unwrap_or_else(|| "utc".to_string());
        let expected = match (self.calendar, origin.parse::<Origin>()?.calendar()) {
            (Some(calendar), _) => calendar.parse()?,
            (None, Some(own)) => Expected::Sessions(own),
            (None, None) => Expected::Observed,
        };
        let validation = Validation { table: name, timeframe, origin, expected, jump };
        let skipped = found.unreadable().iter().map(Skipped::from).collect();
        Ok(Validated { validation, rows: known.rows, skipped })
    }
}

impl Validated {
    /// The query for the issues, or for a summary of each symbol.
    pub fn query(&self, summary: bool) -> Query {
        Query::of(if summary { self.validation.summary() } else { self.validation.issues() })
    }

    /// How many errors and warnings there are.
    pub async fn counts(&self, session: &Session) -> Result<(i64, i64)> {
        let of = |severity: &str| format!("count(*) filter (where severity = '{severity}')");
        let sql = format!("select {}, {} from ({})", of("error"), of("warning"), self.validation.issues());
        let batches = session.collect(session.sql(&sql).await?).await?;
        let number = |i: usize| batches.first().map_or(0, |b| b.column(i).as_primitive::<Int64Type>().value(0));
        Ok((number(0), number(1)))
    }
}

/// Share of missing bars above which a symbol is not valid.
const MANY_GAPS: f64 = 0.05;

impl Validation {
    fn table(&self) -> String {
        format!("\"{}\"", self.table.replace('"', "\"\""))
    }

    /// Common parts: `bars` with the bar before, and `gaps`, one row for each stretch of missing bars.
    fn common(&self) -> String {
        let (table, timeframe, origin) = (self.table(), &self.timeframe, &self.origin);
        let bars = format!(
            "bars as (
               select symbol, ts, close, volume,
                      validate_candle(ts, open, high, low, close, volume, '{timeframe}', '{origin}') as fault,
                      lag(ts, 1) over (partition by symbol order by ts) as before,
                      lag(close, 1) over (partition by symbol order by ts) as last_close
               from {table})"
        );
        let spaced = |calendar: &str| {
            format!(
                "spaced as (
                   select symbol, ts, missing_bars(before, ts, '{timeframe}', '{calendar}', '{origin}') as missing from bars),
                 gaps as (select symbol, ts, missing from spaced where missing > 0)"
            )
        };
        let gaps = match &self.expected {
            Expected::Observed => format!(
                "spans as (select symbol, min(ts) as first, max(ts) as last from {table} group by symbol),
                 times as (select ts, count(*) as present from {table} group by ts),
                 begins as (select first as ts, count(*) as n from spans group by first),
                 ends as (select last as ts, count(*) as n from spans group by last),
                 counts as (
                   select t.ts as ts, t.present as present, coalesce(b.n, 0) as begun, coalesce(e.n, 0) as ended
                   from times t left join begins b on t.ts = b.ts left join ends e on t.ts = e.ts),
                 running as (
                   select ts, present, sum(begun) over (order by ts) - sum(ended) over (order by ts) + ended as trading
                   from counts),
                 marked as (select ts, case when 2 * present > trading then 1 else 0 end as expected from running),
                 days as (select ts, expected, sum(expected) over (order by ts) as so_far from marked),
                 placed as (
                   select b.symbol as symbol, b.ts as ts, d.expected as expected, d.so_far as so_far,
                          lag(d.so_far, 1) over (partition by b.symbol order by b.ts) as so_far_before
                   from {table} b join days d on b.ts = d.ts),
                 gaps as (
                   select symbol, ts, so_far - so_far_before - expected as missing from placed
                   where so_far - so_far_before - expected > 0)"
            ),
            Expected::Always => spaced("24/7"),
            Expected::Weekdays => spaced("weekdays"),
            Expected::Sessions(calendar) => spaced(calendar.name()),
        };
        format!("with {bars},\n{gaps}")
    }

    /// Symbols that miss bars, with their number, most first.
    pub fn missing(&self) -> String {
        format!(
            "{} select symbol, sum(missing) as missing from gaps group by symbol order by missing desc, symbol",
            self.common()
        )
    }

    /// One row an issue: symbol, ts, rule, severity, column, value, expected.
    pub fn issues(&self) -> String {
        let jump = self.jump.ln();
        let ratio = self.jump;
        format!(
            "{common}
             select * from (
               select symbol, ts, fault['rule'] as rule, fault['severity'] as severity, fault['column'] as \"column\",
                      fault['value'] as value, fault['expected'] as expected
               from bars where fault is not null
               union all
               select symbol, ts, 'duplicate', 'warning', 'ts', cast(null as double), 'one row a bar' from bars where ts = before
               union all
               select symbol, ts, 'gap', 'warning', 'ts', cast(missing as double), 'no missing bars before it' from gaps
               union all
               select symbol, ts, 'jump', 'warning', 'close', close / last_close, 'a move of less than {ratio} x'
               from bars where close > 0 and last_close > 0 and abs(ln(close / last_close)) > {jump}
               {outside}
             ) order by symbol, ts, rule",
            common = self.common(),
            outside = match self.outside() {
                Some((outside, name)) => format!(
                    "union all
                     select symbol, ts, 'session', 'warning', 'ts', cast(null as double), 'a bar in a session of {name}'
                     from bars where {outside}"
                ),
                None => String::new(),
            }
        )
    }

    /// The condition of a bar outside of sessions, and whose these are.
    fn outside(&self) -> Option<(String, &str)> {
        let Expected::Sessions(calendar) = &self.expected else { return None };
        let origin = self.origin.parse::<Origin>().ok()?.with_calendar(calendar);
        Some((format!("not in_session(ts, '{}', '{origin}')", self.timeframe), calendar.name()))
    }

    /// One row a symbol.
    pub fn summary(&self) -> String {
        let jump = self.jump.ln();
        format!(
            "{common},
             missing as (select symbol, count(*) as gaps, sum(missing) as missing from gaps group by symbol),
             each as (
               select symbol, count(*) as rows, min(ts) as first, max(ts) as last,
                      count(*) filter (where fault['severity'] = 'error') as errors,
                      count(*) filter (where fault['severity'] = 'warning') as warnings,
                      count(*) filter (where ts = before) as duplicates,
                      {outside} as outside,
                      count(*) filter (where close > 0 and last_close > 0 and abs(ln(close / last_close)) > {jump}) as jumps,
                      count(*) filter (where volume = 0) as zero_volume
               from bars group by symbol),
             newest as (select max(ts) as ts from bars)
             select e.symbol as symbol, rows, first, last, date_part('epoch', n.ts - last) / 86400 as days_behind,
                    coalesce(gaps, 0) as gaps, coalesce(missing, 0) as missing_bars, errors,
                    warnings + duplicates + jumps + outside + coalesce(gaps, 0) as warnings, jumps, zero_volume,
                    errors = 0 and coalesce(missing, 0) <= {MANY_GAPS} * (rows + coalesce(missing, 0)) as is_valid
             from each e left join missing m on e.symbol = m.symbol cross join newest n
             order by e.symbol",
            common = self.common(),
            outside = match self.outside() {
                Some((outside, _)) => format!("count(*) filter (where {outside})"),
                None => "0".to_string(),
            }
        )
    }
}
