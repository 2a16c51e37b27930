//! Where days begin, and which of them are sessions.

use super::sessions::Calendar;
use chrono::{DateTime, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use datafusion_common::{DataFusionError, Result, plan_err};
use std::fmt;
use std::str::FromStr;

pub(super) const HOUR: i64 = 3_600_000_000;
pub(super) const DAY: i64 = 24 * HOUR;

/// Where a day begins: the instant from which bars are counted.
///
/// * `utc`: midnight UTC.
/// * `forex_utc1`: 01:00 UTC, so that 4h bars open at 01, 05, 09, 13, 17, 21.
/// * `ny_17`: 17:00 in New York, through daylight saving.
/// * `session:09:30@America/New_York`: any time of day in any zone of the tz database.
/// * `session:nyse`: when an exchange opens, with its calendar.
///
/// A calendar follows a `+`, as in `utc+nyse`. A bar ends with the last session that it has a part of: a day when the exchange
/// closes, a week on Friday, or before where Friday is a holiday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    day: DayStart,
    calendar: Option<&'static Calendar>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum DayStart {
    /// Microseconds after midnight UTC.
    Utc(i64),
    /// A time of day in a zone; from noon on the day goes by the date that follows.
    Local(NaiveTime, Tz),
}

impl FromStr for Origin {
    type Err = DataFusionError;

    fn from_str(text: &str) -> Result<Self> {
        let (day, calendar) = match text.split_once('+') {
            Some((day, calendar)) => (day, Some(Calendar::named(calendar)?)),
            None => (text, None),
        };
        let seventeen = NaiveTime::from_hms_opt(17, 0, 0).unwrap_or_default();
        let start = match day {
            "utc" => Some(DayStart::Utc(0)),
            "forex_utc1" => Some(DayStart::Utc(HOUR)),
            "ny_17" => Some(DayStart::Local(seventeen, Tz::America__New_York)),
            _ => None,
        };
        if let Some(day) = start {
            return Ok(Origin { day, calendar });
        }
        match day.strip_prefix("session:").map(|session| session.split_once('@').ok_or(session)) {
            Some(Ok((time, zone))) => {
                if let (Ok(time), Ok(zone)) = (NaiveTime::parse_from_str(time, "%H:%M"), zone.parse::<Tz>()) {
                    return Ok(Origin { day: DayStart::Local(time, zone), calendar });
                }
            }
            Some(Err(name)) if calendar.is_none() => {
                let calendar = Calendar::named(name)?;
                let Some(origin) = Self::of_sessions(calendar) else {
                    return plan_err!(
                        "origin '{text}': when the days of this calendar begin is not known; expected such as \
                         session:09:00@Asia/Tokyo+{}",
                        calendar.name()
                    );
                };
                return Ok(origin);
            }
            _ => {}
        }
        plan_err!(
            "unknown origin '{text}'; expected utc, forex_utc1, ny_17 or session:HH:MM@Zone such as \
             session:09:30@America/New_York, each with or without a calendar such as +nyse; or session:nyse"
        )
    }
}

impl Origin {
    /// Midnight UTC, without a calendar.
    pub const UTC: Origin = Origin { day: DayStart::Utc(0), calendar: None };

    /// Days that begin when the sessions of a calendar do, if that is known.
    pub fn of_sessions(calendar: &'static Calendar) -> Option<Origin> {
        let opening = calendar.opening()?;
        Some(Origin { day: DayStart::Local(opening.time, opening.zone), calendar: Some(calendar) })
    }

    /// Whether days begin where those of another do, whatever their calendars.
    pub fn has_days_of(self, other: Origin) -> bool {
        self.day == other.day
    }

    /// The calendar that says which days are sessions.
    pub fn calendar(&self) -> Option<&'static Calendar> {
        self.calendar
    }

    /// The same days, with a calendar in the place of any that they had.
    #[must_use]
    pub fn with_calendar(self, calendar: &'static Calendar) -> Origin {
        Origin { calendar: Some(calendar), ..self }
    }

    /// Where days begin, without the calendar.
    pub(super) fn day(&self) -> DayStart {
        self.day
    }

    /// The date that the day of an instant goes by: one that begins at noon or later is named after the next calendar day.
    pub(crate) fn date(&self, ts: i64) -> NaiveDate {
        match self.day {
            DayStart::Utc(offset) => utc(ts - offset).date_naive(),
            DayStart::Local(begins, zone) => {
                let local = utc(ts).with_timezone(&zone).naive_local();
                let begun = if local.time() < begins { local.date() - Days::new(1) } else { local.date() };
                if evening(begins) { begun + Days::new(1) } else { begun }
            }
        }
    }

    /// The instant at which the day that goes by `date` begins.
    pub(super) fn start(&self, date: NaiveDate) -> i64 {
        match self.day {
            DayStart::Utc(offset) => date.and_time(NaiveTime::MIN).and_utc().timestamp_micros() + offset,
            DayStart::Local(begins, zone) => {
                let begun = if evening(begins) { date - Days::new(1) } else { date };
                instant(begun.and_time(begins), zone)
            }
        }
    }

    /// A session that does not lie within the day of its date.
    pub fn misplaced_session(&self) -> Option<NaiveDate> {
        let sessions = self.calendar.map_or(&[][..], Calendar::sessions);
        let fits = |date, open, close| self.start(date) <= open && close <= self.start(date + Days::new(1));
        sessions.iter().find(|session| !fits(session.date, session.open, session.close)).map(|session| session.date)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.day {
            DayStart::Utc(0) => write!(f, "utc")?,
            DayStart::Utc(_) => write!(f, "forex_utc1")?,
            DayStart::Local(begins, zone) => {
                let opening = self.calendar.and_then(Calendar::opening);
                if let Some((calendar, _)) =
                    self.calendar.zip(opening).filter(|(_, opening)| (opening.time, opening.zone) == (begins, zone))
                {
                    return write!(f, "session:{}", calendar.name());
                }
                if zone == Tz::America__New_York && begins.format("%H:%M").to_string() == "17:00" {
                    write!(f, "ny_17")?;
                } else {
                    write!(f, "session:{}@{zone}", begins.format("%H:%M"))?;
                }
            }
        }
        self.calendar.map_or(Ok(()), |calendar| write!(f, "+{}", calendar.name()))
    }
}

/// The instant of a local time in a zone.
pub(super) fn instant(local: NaiveDateTime, zone: Tz) -> i64 {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_micros(),
        // A time that the clocks skip: the hour before it, moved on by an hour.
        LocalResult::None => match zone.from_local_datetime(&(local - chrono::TimeDelta::hours(1))) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_micros() + HOUR,
            LocalResult::None => local.and_utc().timestamp_micros(),
        },
    }
}

/// Whether a day that begins at this time goes by the date that follows.
pub(super) fn evening(begins: NaiveTime) -> bool {
    NaiveTime::from_hms_opt(12, 0, 0).is_some_and(|noon| begins >= noon)
}

pub(super) fn utc(ts: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_micros(ts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_they_are_read() {
        for text in [
            "utc",
            "forex_utc1",
            "ny_17",
            "session:09:30@America/New_York",
            "utc+nyse",
            "session:nyse",
            "session:cme",
            "ny_17+nyse",
            "session:08:00@Asia/Tokyo+lse",
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
        assert_eq!("session:09:30@America/New_York+XNYS".parse::<Origin>().unwrap().to_string(), "session:nyse");
    }

    #[test]
    fn unknown_names_say_what_is_known() {
        let said = |text: &str| text.parse::<Origin>().unwrap_err().to_string();
        assert!(said("session:25:00@X").contains("ny_17"));
        assert!(said("utc+tokyo").contains("nyse, lse, xetra, cme"));
        assert!(said("session:nyse+lse").contains("unknown origin"));
    }

    #[test]
    fn sessions_lie_within_days_or_not() {
        let misplaced = |text: &str| text.parse::<Origin>().unwrap().misplaced_session().is_some();
        assert!(!misplaced("utc") && !misplaced("utc+nyse") && !misplaced("session:nyse") && !misplaced("session:cme"));
        assert!(!misplaced("ny_17+nyse") && misplaced("utc+cme") && misplaced("session:09:30@America/New_York+lse"));
    }
}
