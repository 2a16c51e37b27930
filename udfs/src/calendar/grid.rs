//! Where bars begin: a timeframe laid over an origin.

use super::origin::{DAY, DayStart, Origin};
use super::sessions::{Calendar, Session};
use super::timeframe::Timeframe;
use chrono::{DateTime, Datelike, Days, NaiveDate};

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

    /// The bar that contains `ts`, as `[open, next)`: from where it opens to where the one that follows does.
    pub fn bar(&self, ts: i64) -> (i64, i64) {
        match (self.timeframe, self.origin.day()) {
            (Timeframe::Fixed(length), DayStart::Utc(offset)) => {
                let open = ts - (ts - offset).rem_euclid(length);
                (open, open + length)
            }
            (Timeframe::Fixed(length), DayStart::Local(..)) => {
                let (day, next) = self.day(ts);
                let open = day + (ts - day) / length * length;
                (open, next.min(open + length))
            }
            (Timeframe::Day, _) => self.day(ts),
            (Timeframe::Days(days), _) => {
                let date = self.origin.date(ts);
                let since = date.signed_duration_since(DateTime::UNIX_EPOCH.date_naive()).num_days();
                let first = date - Days::new(since.rem_euclid(days.into()).unsigned_abs());
                (self.origin.start(first), self.origin.start(first + Days::new(days.into())))
            }
            (Timeframe::Week, _) => {
                let date = self.origin.date(ts);
                let monday = date - Days::new(date.weekday().num_days_from_monday().into());
                (self.origin.start(monday), self.origin.start(monday + Days::new(7)))
            }
            (Timeframe::Month, _) => {
                let first = self.origin.date(ts).with_day(1).unwrap_or_default();
                (self.origin.start(first), self.origin.start(first + chrono::Months::new(1)))
            }
        }
    }

    /// Months from the year 0 to that of an instant.
    pub fn months(&self, ts: i64) -> i64 {
        let date = self.date(ts);
        i64::from(date.year()) * 12 + i64::from(date.month0())
    }

    /// The date that the day of an instant goes by.
    pub(crate) fn date(&self, ts: i64) -> NaiveDate {
        self.origin.date(ts)
    }

    /// Opening instants of many bars.
    pub fn floor(&self, ts: &[i64]) -> Vec<i64> {
        self.map(ts, |_, open, _| open)
    }

    /// When the bar that contains `ts` ends: where the next one opens or, with a calendar, where the last session ends that it has
    /// a part of. What it holds is known from then on.
    pub fn end_of(&self, ts: i64) -> i64 {
        let (open, next) = self.bar(ts);
        self.end_between(open, next)
    }

    /// When the `n`-th bar ends from the one that contains `ts` on, which is the first; bars outside of sessions do not count.
    pub fn nth_end(&self, ts: i64, n: u32) -> i64 {
        let mut bar = ts;
        for _ in 1..n {
            bar = self.bar(bar).1;
            while !self.is_in_session(bar) {
                bar = self.bar(bar).1;
            }
        }
        self.end_of(bar)
    }

    /// Ending instants of many bars.
    pub fn end(&self, ts: &[i64]) -> Vec<i64> {
        if self.origin.calendar().is_none() {
            return self.map(ts, |_, _, next| next);
        }
        let (mut last, mut end) = (None, 0);
        self.map(ts, |_, open, next| {
            if last != Some(open) {
                (last, end) = (Some(open), self.end_between(open, next));
            }
            end
        })
    }

    fn end_between(&self, open: i64, next: i64) -> i64 {
        let sessions = self.sessions(open, next);
        sessions
            .and_then(|all| all.last())
            .map_or(next, |last| if last.close > open { last.close.min(next) } else { next })
    }

    /// Whether the calendar has a session that the bar which contains `ts` has a part of; without a calendar, and where it knows
    /// nothing of that time, all bars do.
    pub fn is_in_session(&self, ts: i64) -> bool {
        let (open, next) = self.bar(ts);
        self.sessions(open, next).is_none_or(|all| all.iter().any(|session| session.held))
    }

    /// Whether the calendar has such a session, and knows.
    pub(crate) fn is_in_known_session(&self, ts: i64) -> bool {
        let (open, next) = self.bar(ts);
        self.sessions(open, next).is_some_and(|all| all.iter().any(|session| session.held))
    }

    /// The same bars with a calendar.
    pub(crate) fn with_calendar(&self, calendar: &'static Calendar) -> Grid {
        Grid { origin: self.origin.with_calendar(calendar), ..*self }
    }

    /// The same of many bars.
    pub fn are_in_session(&self, ts: &[i64]) -> Vec<bool> {
        let (mut last, mut is) = (None, true);
        self.map(ts, |ts, open, _| {
            if last != Some(open) {
                (last, is) = (Some(open), self.is_in_session(ts));
            }
            is
        })
    }

    /// The sessions that a bar has a part of, as far as that is known. A day has that of its date, for daily bars are stamped with
    /// instants that say no more than a date.
    fn sessions(&self, open: i64, next: i64) -> Option<&'static [Session]> {
        let calendar = self.origin.calendar()?;
        match self.timeframe {
            Timeframe::Fixed(_) => calendar.during(open, next),
            _ => calendar.between(self.origin.date(open), self.origin.date(next)),
        }
    }

    /// Whether each instant is the opening of a bar.
    pub fn is_aligned(&self, ts: &[i64]) -> Vec<bool> {
        self.map(ts, |ts, open, _| ts == open)
    }

    /// Neighbouring instants mostly share a bar, or at least a day, so the last of each is kept.
    fn map<T>(&self, ts: &[i64], mut f: impl FnMut(i64, i64, i64) -> T) -> Vec<T> {
        if let (Timeframe::Fixed(length), DayStart::Utc(offset)) = (self.timeframe, self.origin.day()) {
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
        match self.origin.day() {
            DayStart::Utc(offset) => {
                let open = ts - (ts - offset).rem_euclid(DAY);
                (open, open + DAY)
            }
            DayStart::Local(..) => {
                let date = self.origin.date(ts);
                (self.origin.start(date), self.origin.start(date + Days::new(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::utc;
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

    fn end(ts: &str, timeframe: &str, origin: &str) -> String {
        let grid = Grid::new(timeframe.parse().unwrap(), origin.parse().unwrap());
        let end = grid.end_of(at(ts));
        assert_eq!(grid.end(&[at(ts), at(ts)]), vec![end; 2]);
        utc(end).format("%Y-%m-%d %H:%M").to_string()
    }

    #[test]
    fn bars_end_with_the_last_session_that_they_have_a_part_of() {
        // Thursday before Good Friday of 2024; the clocks went forward in America, not yet in Europe.
        assert_eq!(end("2024-03-28 00:00", "1d", "utc+nyse"), "2024-03-28 20:00");
        assert_eq!(end("2024-03-28 00:00", "1w", "utc+nyse"), "2024-03-28 20:00");
        assert_eq!(end("2024-03-26 00:00", "1w", "utc+lse"), "2024-03-28 16:30");
        assert_eq!(end("2024-03-26 00:00", "1mo", "utc+xetra"), "2024-03-28 16:30");
        assert_eq!(end("2024-03-26 00:00", "1w", "utc"), "2024-04-01 00:00");
        // A half day.
        assert_eq!(end("2024-11-29 14:30", "1w", "session:nyse"), "2024-11-29 18:00");
        assert_eq!(end("2024-11-29 17:40", "1h", "session:nyse"), "2024-11-29 18:00");
        assert_eq!(end("2024-11-29 17:10", "1h", "session:nyse"), "2024-11-29 17:30");
        // Of bars of two days, one with a session, and of days without one.
        assert_eq!(end("2024-01-05 00:00", "2d", "utc+nyse"), "2024-01-05 21:00");
        assert_eq!(end("2024-01-06 00:00", "1d", "utc+nyse"), "2024-01-07 00:00");
        // After the session, and after the last year that is known.
        assert_eq!(end("2024-01-05 21:30", "1h", "session:nyse"), "2024-01-05 22:30");
        assert_eq!(end("2036-01-07 00:00", "1w", "utc+nyse"), "2036-01-14 00:00");
        assert_eq!(end("2035-12-31 00:00", "1w", "utc+nyse"), "2036-01-07 00:00");
        assert_eq!(end("2035-12-31 00:00", "1mo", "utc+nyse"), "2035-12-31 21:00");
        // The attacks of 2001: on Monday nobody knew that it was the last session of its week.
        assert_eq!(end("2001-09-10 00:00", "1w", "utc+nyse"), "2001-09-14 20:00");
        // The session of the evening before.
        assert_eq!(end("2024-01-01 23:00", "1d", "session:cme"), "2024-01-02 23:00");
        assert_eq!(end("2024-01-02 00:00", "1d", "utc+cme"), "2024-01-02 23:00");
    }

    #[test]
    fn later_bars_are_counted_over_sessions() {
        let nth = |ts: &str, timeframe: &str, origin: &str, n| {
            let grid = Grid::new(timeframe.parse().unwrap(), origin.parse().unwrap());
            utc(grid.nth_end(at(ts), n)).format("%Y-%m-%d %H:%M").to_string()
        };
        // Thursday before Good Friday, Monday, Tuesday.
        assert_eq!(nth("2024-03-28 00:00", "1d", "utc+nyse", 3), "2024-04-02 20:00");
        assert_eq!(nth("2024-03-28 00:00", "1d", "utc", 3), "2024-03-31 00:00");
        assert_eq!(nth("2024-03-28 18:45", "1h", "session:nyse", 1), "2024-03-28 19:30");
        assert_eq!(nth("2024-03-28 18:45", "1h", "session:nyse", 2), "2024-03-28 20:00");
        assert_eq!(nth("2024-03-28 18:45", "1h", "session:nyse", 3), "2024-04-01 14:30");
    }

    #[test]
    fn bars_are_in_a_session_or_not() {
        let has = |ts: &str, timeframe: &str, origin: &str| {
            Grid::new(timeframe.parse().unwrap(), origin.parse().unwrap()).is_in_session(at(ts))
        };
        assert!(has("2024-07-03 00:00", "1d", "utc+nyse") && !has("2024-07-04 00:00", "1d", "utc+nyse"));
        assert!(has("2024-07-04 00:00", "1w", "utc+nyse") && has("2024-07-04 00:00", "1d", "utc"));
        // Half an hour of the session is a part of it.
        assert!(has("2024-07-03 13:00", "1h", "utc+nyse") && !has("2024-07-03 17:00", "1h", "utc+nyse"));
        assert!(!has("2001-09-11 00:00", "1d", "utc+nyse"));
    }

    #[test]
    fn unknown_names_say_what_is_known() {
        assert!("2h30".parse::<Timeframe>().unwrap_err().to_string().contains("1m 3m 5m"));
    }
}
