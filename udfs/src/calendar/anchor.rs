//! Periods at whose beginning a running sum starts anew.

use super::grid::Grid;
use super::origin::Origin;
use super::timeframe::Timeframe;
use chrono::{Datelike, Months};
use datafusion_common::{Result, plan_err};
use std::ops::Range;

/// The period of a running sum, laid over an origin: a session day, a week, a calendar month or a calendar year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Anchor {
    period: Period,
    origin: Origin,
}

/// In ascending length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Period {
    Session,
    Week,
    Month,
    Year,
}

/// Names, in ascending length.
const PERIODS: [(&str, Period); 4] =
    [("session", Period::Session), ("week", Period::Week), ("month", Period::Month), ("year", Period::Year)];

impl Anchor {
    /// The period with a name; `None` for `none`.
    ///
    /// # Errors
    /// There is no such period, or no such origin.
    pub fn parse(period: &str, origin: &str) -> Result<Option<Anchor>> {
        let origin = origin.parse()?;
        match PERIODS.into_iter().find(|(name, _)| *name == period) {
            Some((_, period)) => Ok(Some(Anchor { period, origin })),
            None if period == "none" => Ok(None),
            None => plan_err!("unknown anchor '{period}'; expected none, session, week, month or year"),
        }
    }

    /// A session day.
    pub fn session(origin: Origin) -> Anchor {
        Anchor { period: Period::Session, origin }
    }

    /// The period that contains an instant.
    pub fn around(&self, ts: i64) -> Range<i64> {
        let (start, end) = match self.period {
            Period::Session => Grid::new(Timeframe::Day, self.origin).bar(ts),
            Period::Week => Grid::new(Timeframe::Week, self.origin).bar(ts),
            Period::Month => Grid::new(Timeframe::Month, self.origin).bar(ts),
            Period::Year => {
                let first = self.origin.date(ts).with_month(1).and_then(|date| date.with_day(1)).unwrap_or_default();
                (self.origin.start(first), self.origin.start(first + Months::new(12)))
            }
        };
        start..end
    }

    /// The rows of each period, given their times in order.
    pub fn runs(&self, times: &[i64]) -> Vec<Range<usize>> {
        let mut runs = vec![];
        let mut start = 0;
        while let Some(first) = times.get(start) {
            let end = self.around(*first).end;
            let next = start + times[start..].partition_point(|time| *time < end).max(1);
            runs.push(start..next);
            start = next;
        }
        runs
    }

    /// A period that begins no later than both, where there is one: of those that begin together, the longer one.
    pub fn longer(self, other: Anchor) -> Option<Anchor> {
        let (shorter, longer) = if self.period <= other.period { (self, other) } else { (other, self) };
        let nests = shorter.period == longer.period || shorter.period != Period::Week;
        (shorter.origin == longer.origin && nests).then_some(longer)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        PERIODS.into_iter().find(|(_, period)| *period == self.period).map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn anchor(period: &str, origin: &str) -> Anchor {
        Anchor::parse(period, origin).unwrap().unwrap()
    }

    #[test]
    fn periods_contain_their_instants_and_follow_each_other() {
        for (period, origin) in [("session", "ny_17"), ("week", "utc"), ("month", "forex_utc1"), ("year", "ny_17")] {
            let anchor = anchor(period, origin);
            for ts in (0..3000).map(|i| i * 7 * DAY / 6) {
                let period = anchor.around(ts);
                assert!(period.contains(&ts), "{anchor:?} {ts}");
                assert_eq!(anchor.around(period.end).start, period.end);
            }
        }
        // 1972 is a leap year.
        assert_eq!(anchor("year", "utc").around(800 * DAY), 730 * DAY..1096 * DAY);
    }

    #[test]
    fn rows_are_cut_where_a_period_begins() {
        let times = [0, DAY - 1, DAY, 3 * DAY, 3 * DAY + 5];
        assert_eq!(anchor("session", "utc").runs(&times), [0..2, 2..3, 3..5]);
    }

    #[test]
    fn the_longer_of_two_is_known_where_they_begin_together() {
        let [day, week, month, year] = PERIODS.map(|(name, _)| anchor(name, "utc"));
        assert_eq!(day.longer(year), Some(year));
        assert_eq!(month.longer(day), Some(month));
        assert_eq!(week.longer(week), Some(week));
        assert_eq!(week.longer(month), None);
        assert_eq!(day.longer(anchor("session", "ny_17")), None);
    }

    #[test]
    fn an_unknown_period_is_an_error() {
        assert!(Anchor::parse("none", "utc").unwrap().is_none());
        let said = Anchor::parse("decade", "utc").unwrap_err().to_string();
        assert!(said.contains("'decade'") && said.contains("session, week, month or year"), "{said}");
    }
}
