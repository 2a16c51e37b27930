//! Where bars begin: a timeframe laid over an origin.

use super::timeframe::Timeframe;
use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::Tz;
use datafusion_common::{DataFusionError, Result, plan_err};
use std::str::FromStr;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// The instant from which bars are counted.
///
/// * `utc`: midnight UTC.
/// * `forex_utc1`: 01:00 UTC, so that 4h bars open at 01, 05, 09, 13, 17, 21.
/// * `ny_17`: 17:00 in New York, through daylight saving.
/// * `session:09:30@America/New_York`: any time of day in any zone of the tz database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Microseconds after midnight UTC.
    Utc(i64),
    /// A time of day in a zone; the day begins there.
    Local(NaiveTime, Tz),
}

impl FromStr for Origin {
    type Err = DataFusionError;

    fn from_str(text: &str) -> Result<Self> {
        let seventeen = NaiveTime::from_hms_opt(17, 0, 0).unwrap_or_default();
        match text {
            "utc" => return Ok(Origin::Utc(0)),
            "forex_utc1" => return Ok(Origin::Utc(HOUR)),
            "ny_17" => return Ok(Origin::Local(seventeen, Tz::America__New_York)),
            _ => {}
        }
        let session = text.strip_prefix("session:").and_then(|rest| rest.split_once('@'));
        match session.map(|(time, zone)| (NaiveTime::parse_from_str(time, "%H:%M"), zone.parse::<Tz>())) {
            Some((Ok(time), Ok(zone))) => Ok(Origin::Local(time, zone)),
            _ => plan_err!(
                "unknown origin '{text}'; expected utc, forex_utc1, ny_17 or session:HH:MM@Zone such as \
                 session:09:30@America/New_York"
            ),
        }
    }
}

/// The bars of a timeframe over an origin. Instants are microseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    timeframe: Timeframe,
    origin: Origin,
}

impl Grid {
    /// Lays `timeframe` over `origin`.
    pub fn new(timeframe: Timeframe, origin: Origin) -> Self {
        Self { timeframe, origin }
    }

    /// The bar that contains `ts`, as `[open, end)`.
    pub fn bar(&self, ts: i64) -> (i64, i64) {
        match (self.timeframe, self.origin) {
            (Timeframe::Fixed(length), Origin::Utc(offset)) => {
                let open = ts - (ts - offset).rem_euclid(length);
                (open, open + length)
            }
            (Timeframe::Fixed(length), Origin::Local(..)) => {
                let (day, next) = self.day(ts);
                let open = day + (ts - day) / length * length;
                (open, next.min(open + length))
            }
            (Timeframe::Day, _) => self.day(ts),
            (Timeframe::Days(days), _) => {
                let date = self.date(ts);
                let since = date.signed_duration_since(DateTime::UNIX_EPOCH.date_naive()).num_days();
                let first = date - Days::new(since.rem_euclid(days.into()).unsigned_abs());
                (self.start(first), self.start(first + Days::new(days.into())))
            }
            (Timeframe::Week, _) => {
                let date = self.date(ts);
                let monday = date - Days::new(date.weekday().num_days_from_monday().into());
                (self.start(monday), self.start(monday + Days::new(7)))
            }
            (Timeframe::Month, _) => {
                let first = self.date(ts).with_day(1).unwrap_or_default();
                (self.start(first), self.start(first + chrono::Months::new(1)))
            }
        }
    }

    /// Months from the year 0 to that of an instant.
    pub fn months(&self, ts: i64) -> i64 {
        let date = self.date(ts);
        i64::from(date.year()) * 12 + i64::from(date.month0())
    }

    /// Opening instants of many bars.
    pub fn floor(&self, ts: &[i64]) -> Vec<i64> {
        self.map(ts, |_, open, _| open)
    }

    /// Ending instants of many bars: the open of the bar that follows without a gap.
    pub fn end(&self, ts: &[i64]) -> Vec<i64> {
        self.map(ts, |_, _, end| end)
    }

    /// Whether each instant is the opening of a bar.
    pub fn is_aligned(&self, ts: &[i64]) -> Vec<bool> {
        self.map(ts, |ts, open, _| ts == open)
    }

    /// Neighbouring instants mostly share a bar, or at least a day, so the last of each is kept.
    fn map<T>(&self, ts: &[i64], mut f: impl FnMut(i64, i64, i64) -> T) -> Vec<T> {
        if let (Timeframe::Fixed(length), Origin::Utc(offset)) = (self.timeframe, self.origin) {
            let (mut open, mut end) = (0, 0);
            return ts
                .iter()
                .map(|&ts| {
                    if ts < open || ts >= end {
                        open = ts - (ts - offset).rem_euclid(length);
                        end = open + length;
                    }
                    f(ts, open, end)
                })
                .collect();
        }
        let (mut open, mut end) = (0, 0);
        let (mut day, mut next) = (0, 0);
        ts.iter()
            .map(|&ts| {
                if ts < open || ts >= end {
                    if let Timeframe::Fixed(length) = self.timeframe {
                        if ts < day || ts >= next {
                            (day, next) = self.day(ts);
                        }
                        open = day + (ts - day) / length * length;
                        end = next.min(open + length);
                    } else {
                        (open, end) = self.bar(ts);
                    }
                }
                f(ts, open, end)
            })
            .collect()
    }

    /// The session day that contains `ts`.
    fn day(&self, ts: i64) -> (i64, i64) {
        match self.origin {
            Origin::Utc(offset) => {
                let open = ts - (ts - offset).rem_euclid(DAY);
                (open, open + DAY)
            }
            Origin::Local(..) => {
                let date = self.date(ts);
                (self.start(date), self.start(date + Days::new(1)))
            }
        }
    }

    /// The date that a session day goes by: a day that begins at noon or later is named after the next calendar day.
    pub(crate) fn date(&self, ts: i64) -> NaiveDate {
        match self.origin {
            Origin::Utc(offset) => utc(ts - offset).date_naive(),
            Origin::Local(begins, zone) => {
                let local = utc(ts).with_timezone(&zone).naive_local();
                let begun = if local.time() < begins { local.date() - Days::new(1) } else { local.date() };
                if evening(begins) { begun + Days::new(1) } else { begun }
            }
        }
    }

    /// The instant at which the session day that goes by `date` begins.
    pub(super) fn start(&self, date: NaiveDate) -> i64 {
        match self.origin {
            Origin::Utc(offset) => date.and_time(NaiveTime::MIN).and_utc().timestamp_micros() + offset,
            Origin::Local(begins, zone) => {
                let begun = if evening(begins) { date - Days::new(1) } else { date };
                let local = begun.and_time(begins);
                match zone.from_local_datetime(&local) {
                    LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_micros(),
                    // A time that the clocks skip: the hour before it, moved on by an hour.
                    LocalResult::None => match zone.from_local_datetime(&(local - chrono::TimeDelta::hours(1))) {
                        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_micros() + HOUR,
                        LocalResult::None => local.and_utc().timestamp_micros(),
                    },
                }
            }
        }
    }
}

fn evening(begins: NaiveTime) -> bool {
    NaiveTime::from_hms_opt(12, 0, 0).is_some_and(|noon| begins >= noon)
}

fn utc(ts: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_micros(ts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp_micros()
    }

    fn bar(ts: &str, timeframe: &str, origin: &str) -> (String, String) {
        let grid = Grid::new(timeframe.parse().unwrap(), origin.parse().unwrap());
        let show = |ts: i64| utc(ts).format("%Y-%m-%d %H:%M").to_string();
        let (open, end) = grid.bar(at(ts));
        assert_eq!(grid.floor(&[at(ts), at(ts)]), vec![open; 2]);
        assert_eq!(grid.end(&[at(ts)]), vec![end]);
        (show(open), show(end))
    }

    fn pair(open: &str, end: &str) -> (String, String) {
        (open.to_string(), end.to_string())
    }

    #[test]
    fn utc_is_the_default_grid() {
        assert_eq!(bar("2024-01-03 13:45", "4h", "utc"), pair("2024-01-03 12:00", "2024-01-03 16:00"));
        assert_eq!(bar("2024-01-03 13:45", "1w", "utc"), pair("2024-01-01 00:00", "2024-01-08 00:00"));
        assert_eq!(bar("2024-02-29 13:45", "1mo", "utc"), pair("2024-02-01 00:00", "2024-03-01 00:00"));
        assert_eq!(bar("1969-12-31 23:59", "1h", "utc"), pair("1969-12-31 23:00", "1970-01-01 00:00"));
    }

    #[test]
    fn bars_of_several_days_are_counted_from_1970() {
        // 2024-01-03 is day 19725 since 1970-01-01.
        assert_eq!(bar("2024-01-03 13:45", "2d", "utc"), pair("2024-01-02 00:00", "2024-01-04 00:00"));
        assert_eq!(bar("2024-01-03 13:45", "3d", "utc"), pair("2024-01-03 00:00", "2024-01-06 00:00"));
        assert_eq!(bar("2024-01-03 13:45", "7d", "utc"), pair("2023-12-28 00:00", "2024-01-04 00:00"));
        assert_eq!(bar("1969-12-31 23:59", "2d", "utc"), pair("1969-12-30 00:00", "1970-01-01 00:00"));
        // By the dates of the sessions: that of 2024-01-02 begins at 17:00 in New York on the evening before.
        assert_eq!(bar("2024-01-03 13:45", "2d", "ny_17"), pair("2024-01-01 22:00", "2024-01-03 22:00"));
        assert_eq!(bar("2024-03-09 12:00", "2d", "ny_17"), pair("2024-03-07 22:00", "2024-03-09 22:00"));
    }

    #[test]
    fn any_length_that_divides_a_day_is_counted_from_its_start() {
        assert_eq!(bar("2024-01-03 13:45", "3h", "utc"), pair("2024-01-03 12:00", "2024-01-03 15:00"));
        assert_eq!(bar("2024-01-03 13:44", "45m", "utc"), pair("2024-01-03 13:30", "2024-01-03 14:15"));
        assert_eq!(bar("2024-01-03 00:30", "3h", "forex_utc1"), pair("2024-01-02 22:00", "2024-01-03 01:00"));
        assert_eq!(bar("2024-01-03 12:00", "3h", "ny_17"), pair("2024-01-03 10:00", "2024-01-03 13:00"));
    }

    #[test]
    fn the_first_hour_belongs_to_the_evening_bar_in_forex_utc1() {
        assert_eq!(bar("2024-01-03 00:30", "4h", "forex_utc1"), pair("2024-01-02 21:00", "2024-01-03 01:00"));
        assert_eq!(bar("2024-01-03 01:00", "4h", "forex_utc1"), pair("2024-01-03 01:00", "2024-01-03 05:00"));
    }

    #[test]
    fn new_york_days_follow_daylight_saving() {
        assert_eq!(bar("2024-01-03 12:00", "1d", "ny_17"), pair("2024-01-02 22:00", "2024-01-03 22:00"));
        assert_eq!(bar("2024-07-03 12:00", "1d", "ny_17"), pair("2024-07-02 21:00", "2024-07-03 21:00"));
        // The clocks go forward on 2024-03-10: that day has 23 hours.
        assert_eq!(bar("2024-03-10 12:00", "1d", "ny_17"), pair("2024-03-09 22:00", "2024-03-10 21:00"));
        assert_eq!(bar("2024-03-10 20:30", "4h", "ny_17"), pair("2024-03-10 18:00", "2024-03-10 21:00"));
        // Sunday 17:00 opens the trading week.
        assert_eq!(bar("2024-01-03 12:00", "1w", "ny_17"), pair("2023-12-31 22:00", "2024-01-07 22:00"));
    }

    #[test]
    fn a_session_start_in_a_zone() {
        let origin = "session:09:30@America/New_York";
        assert_eq!(bar("2024-01-03 15:10", "1h", origin), pair("2024-01-03 14:30", "2024-01-03 15:30"));
        assert_eq!(bar("2024-01-03 14:29", "1d", origin), pair("2024-01-02 14:30", "2024-01-03 14:30"));
    }

    #[test]
    fn unknown_names_say_what_is_known() {
        assert!("2h30".parse::<Timeframe>().unwrap_err().to_string().contains("1m 3m 5m"));
        assert!("session:25:00@X".parse::<Origin>().unwrap_err().to_string().contains("ny_17"));
    }
}
