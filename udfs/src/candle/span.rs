//! The bars between two instants: `bar_range` lists them, `missing_bars` counts those that a market should have had.

use super::CANDLES;
use super::alignment::ORIGINS;
use crate::calendar::{Calendar, Grid, Origin, Timeframe};
use crate::described::Described;
use crate::list::list_of;
use crate::series::InputKind;
use arrow::array::{ArrayRef, AsArray, Int64Array, ListBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Days, Weekday};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err, internal_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::str::FromStr;
use std::sync::Arc;

const DAY: i64 = 86_400_000_000;

/// More bars than this between two instants are a mistake in one of them.
const MOST: usize = 50_000_000;

/// When a market has bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Market {
    /// Always.
    Always,
    /// From Monday to Friday, by the dates of the days that a bar belongs to.
    Weekdays,
    /// In the sessions of an exchange.
    Sessions(&'static Calendar),
}

impl FromStr for Market {
    type Err = DataFusionError;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "24/7" => Ok(Market::Always),
            "weekdays" => Ok(Market::Weekdays),
            _ => match Calendar::named(name) {
                Ok(calendar) => Ok(Market::Sessions(calendar)),
                Err(error) => plan_err!("{}; 24/7 and weekdays are known too", error.message()),
            },
        }
    }
}

impl Market {
    fn has(self, grid: &Grid, ts: i64) -> bool {
        match self {
            Market::Always => true,
            Market::Weekdays => grid.has_weekday(ts),
            Market::Sessions(calendar) => grid.with_calendar(calendar).is_in_known_session(ts),
        }
    }
}

/// Which of the two functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum SpanKind {
    /// The openings of all bars from one to another, both included.
    Range,
    /// How many bars lie between two neighbours.
    Missing,
}

/// `bar_range(first, last, timeframe [, origin])`, `missing_bars(before, ts, timeframe, calendar [, origin])`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    kind: SpanKind,
    signature: Signature,
    documentation: Documentation,
}

impl Span {
    /// The bars of a range.
    pub fn range() -> Self {
        let described = Described {
            group: CANDLES,
            usage: "bar_range(first, last, timeframe, origin => 'utc')",
            doc: "Openings of all bars from first to last, as a list of timestamps; those in sessions where the origin has a calendar",
            nulls: "Null where first or last is null",
            source: "",
            arguments: &[
                ("first", "opening of the first bar"),
                ("last", "no bar opens later"),
                ("timeframe", Timeframe::NAMES),
                ("origin", ORIGINS),
            ],
            example: "SELECT symbol, bar_range(min(ts), max(ts), '1d') AS days FROM candles GROUP BY symbol",
        };
        Self { kind: SpanKind::Range, signature: described.signature(), documentation: described.documentation() }
    }

    /// The bars that are missing between two.
    pub fn missing() -> Self {
        let described = Described {
            group: CANDLES,
            usage: "missing_bars(before, ts, timeframe, calendar, origin => 'utc')",
            doc: "How many bars a market should have had between two that follow each other",
            nulls: "Null where before or ts is null",
            source: "",
            arguments: &[
                ("before", "opening of a bar"),
                ("ts", "opening of the bar that follows it"),
                ("timeframe", Timeframe::NAMES),
                ("calendar", "24/7, weekdays, or an exchange: nyse, lse, xetra, cme or one of the table `calendars`"),
                ("origin", ORIGINS),
            ],
            example: "SELECT symbol, ts, missing_bars(before, ts, '1d', 'weekdays') AS missing FROM \
                      (SELECT symbol, ts, lag(ts) OVER (PARTITION BY symbol ORDER BY ts) AS before FROM candles) AS bars",
        };
        Self { kind: SpanKind::Missing, signature: described.signature(), documentation: described.documentation() }
    }

    fn usage(&self) -> &str {
        &self.documentation.syntax_example
    }
}

impl ScalarUDFImpl for Span {
    fn name(&self) -> &str {
        match self.kind {
            SpanKind::Range => "bar_range",
            SpanKind::Missing => "missing_bars",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            SpanKind::Range => list_of(InputKind::Time.data_type()),
            SpanKind::Missing => DataType::Int64,
        })
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let fixed = if self.kind == SpanKind::Range { 3 } else { 4 };
        if arg_types.len() != fixed && arg_types.len() != fixed + 1 {
            return plan_err!("{} takes {fixed} or {} arguments: {}", self.name(), fixed + 1, self.usage());
        }
        let mut types = vec![InputKind::Time.data_type(), InputKind::Time.data_type()];
        types.resize(arg_types.len(), DataType::Utf8);
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |i: usize| match args.args.get(i) {
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) => Ok(Some(text.as_str())),
            None => Ok(None),
            _ => plan_err!("the texts of {} must be literals: {}", self.name(), self.usage()),
        };
        let timeframe = text(2)?.unwrap_or_default().parse()?;
        let (market, at) = match self.kind {
            SpanKind::Range => (Market::Always, 3),
            SpanKind::Missing => (text(3)?.unwrap_or_default().parse()?, 4),
        };
        let grid = Grid::new(timeframe, text(at)?.map_or(Ok(Origin::UTC), str::parse)?);
        let ends = args.args[..2].iter().map(|a| a.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let instants = |i: usize| {
            ends[i]
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| internal_datafusion_err!("{}: times were not coerced", self.name()))
        };
        let (from, to) = (instants(0)?, instants(1)?);
        let pairs = from.iter().zip(to.iter()).map(|(a, b)| a.zip(b));
        let array: ArrayRef = match self.kind {
            SpanKind::Range => {
                let values = TimestampMicrosecondBuilder::new().with_data_type(InputKind::Time.data_type());
                let mut lists = ListBuilder::new(values);
                for pair in pairs {
                    if let Some((first, last)) = pair {
                        each_bar(&grid, first, last, true, |ts| {
                            if grid.is_in_session(ts) {
                                lists.values().append_value(ts);
                            }
                        })?;
                    }
                    lists.append(pair.is_some());
                }
                Arc::new(lists.finish())
            }
            SpanKind::Missing => {
                let count = |pair: Option<(i64, i64)>| {
                    let Some((before, ts)) = pair else { return Ok(None) };
                    let mut missing = 0;
                    each_bar(&grid, grid.bar(before).1, ts, false, |at| missing += i64::from(market.has(&grid, at)))?;
                    Ok(Some(missing))
                };
                Arc::new(pairs.map(count).collect::<Result<Int64Array>>()?)
            }
        };
        Ok(ColumnarValue::Array(array))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Calls `f` with the opening of each bar from `first` up to `last`.
fn each_bar(grid: &Grid, first: i64, last: i64, inclusive: bool, mut f: impl FnMut(i64)) -> Result<()> {
    let mut ts = first;
    for _ in 0..MOST {
        if ts > last || (ts == last && !inclusive) {
            return Ok(());
        }
        f(ts);
        ts = grid.bar(ts).1;
    }
    let shown = |t: i64| DateTime::from_timestamp_micros(t).map(|t| t.to_rfc3339()).unwrap_or_default();
    exec_err!("more than {MOST} bars between {} and {}", shown(first), shown(last))
}

impl Grid {
    /// The date of the session that the bar of an instant belongs to. A bar belongs where its middle lies.
    fn session_date(&self, ts: i64) -> chrono::NaiveDate {
        let (open, end) = self.bar(ts);
        self.date((open + (end - open) / 2).min(open + DAY / 2))
    }

    /// Whether one of the sessions that the bar of an instant is made of lies between Monday and Friday.
    fn has_weekday(&self, ts: i64) -> bool {
        let ((open, end), first) = (self.bar(ts), self.session_date(ts));
        // Rounded, for days have 23 to 25 hours; of three days one is no weekend.
        let sessions = ((end - open + DAY / 2) / DAY).clamp(1, 3).unsigned_abs();
        (0..sessions).any(|day| !matches!((first + Days::new(day)).weekday(), Weekday::Sat | Weekday::Sun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn count(market: Market, timeframe: &str, origin: &str, before: &str, ts: &str) -> usize {
        let grid = Grid::new(timeframe.parse().unwrap(), origin.parse().unwrap());
        let mut n = 0;
        each_bar(&grid, grid.bar(at(before)).1, at(ts), false, |t| n += usize::from(market.has(&grid, t))).unwrap();
        n
    }

    #[test]
    fn weekends_count_only_where_the_market_never_closes() {
        let friday_to_monday = ("2020-01-03T00:00:00Z", "2020-01-06T00:00:00Z");
        let days = |c| count(c, "1d", "utc", friday_to_monday.0, friday_to_monday.1);
        assert_eq!((days(Market::Always), days(Market::Weekdays)), (2, 0));
        assert_eq!(count(Market::Weekdays, "1d", "utc", "2020-01-02T00:00:00Z", "2020-01-07T00:00:00Z"), 2);
        let hours = |c| count(c, "4h", "utc", "2020-01-03T20:00:00Z", "2020-01-06T04:00:00Z");
        assert_eq!((hours(Market::Always), hours(Market::Weekdays)), (13, 1));
        // The session that begins on Sunday at 17:00 in New York is Monday's.
        let sunday = ("2020-01-03T22:00:00Z", "2020-01-07T22:00:00Z");
        assert_eq!(count(Market::Weekdays, "1d", "ny_17", "2020-01-02T22:00:00Z", "2020-01-05T22:00:00Z"), 0);
        assert_eq!(count(Market::Weekdays, "1d", "ny_17", sunday.0, sunday.1), 2);
    }

    #[test]
    fn a_bar_of_several_days_counts_where_one_of_them_is_no_weekend() {
        // One bar is Saturday and Sunday, the next one Monday and Tuesday.
        let bars = |market| count(market, "2d", "utc", "2020-01-09T00:00:00Z", "2020-01-15T00:00:00Z");
        assert_eq!((bars(Market::Always), bars(Market::Weekdays)), (2, 1));
    }

    #[test]
    fn holidays_are_not_missing() {
        let nyse = || "nyse".parse::<Market>().unwrap();
        // Good Friday of 2024.
        assert_eq!(count(nyse(), "1d", "utc", "2024-03-28T00:00:00Z", "2024-04-02T00:00:00Z"), 1);
        assert_eq!(count(Market::Weekdays, "1d", "utc", "2024-03-28T00:00:00Z", "2024-04-02T00:00:00Z"), 2);
        // Seven hourly bars a day, three or four on a half day, by the clock of the exchange or of UTC.
        let hours = |origin| count(nyse(), "1h", origin, "2024-11-28T00:00:00Z", "2024-12-03T00:00:00Z");
        assert_eq!((hours("session:09:30@America/New_York"), hours("utc")), (4 + 7, 4 + 7));
        // Nothing is known about 1980.
        assert_eq!(count(nyse(), "1d", "utc", "1980-01-01T00:00:00Z", "1980-02-01T00:00:00Z"), 0);
        assert!("tokyo".parse::<Market>().unwrap_err().to_string().contains("24/7"));
    }

    #[test]
    fn months_have_their_own_lengths() {
        // February 2020 begins on a Saturday.
        assert_eq!(count(Market::Weekdays, "1mo", "utc", "2020-01-01T00:00:00Z", "2020-03-01T00:00:00Z"), 1);
        assert_eq!(count(Market::Always, "1mo", "utc", "2020-01-01T00:00:00Z", "2020-05-01T00:00:00Z"), 3);
    }
}
