//! Calendars of exchanges: on which days there is a session, from when to when.

use super::rules;
use chrono::NaiveDate;
use chrono_tz::Tz;
use datafusion_common::{Result, plan_err};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, RwLock};

/// A day on which an exchange trades. Instants are microseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The date that it goes by.
    pub date: NaiveDate,
    /// When it begins.
    pub open: i64,
    /// When it ends. Of a session that was called off: when it would have ended.
    pub close: i64,
    /// Whether it took place: `false` where the exchange closed without having said so long before. What ends with such a day
    /// was not known to have ended earlier.
    pub held: bool,
}

/// Where and when the sessions of an exchange begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Local time; from noon on it is that of the evening before.
    pub time: chrono::NaiveTime,
    /// The zone.
    pub zone: Tz,
}

/// The sessions of an exchange between two dates. Nothing is known about days before the first and after the last of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Calendar {
    name: String,
    opening: Option<Opening>,
    /// In the order of time.
    sessions: Vec<Session>,
    /// For each day from the first on, how many sessions there are before it.
    before: Vec<u32>,
}

/// Those that tallow brings: their names, other names such as market identifier codes, and their rules.
const KNOWN: [(&str, &[&str], &str); 4] = [
    ("nyse", &["nasdaq", "xnys", "xnas"], include_str!("exchanges/nyse.toml")),
    ("lse", &["xlon"], include_str!("exchanges/lse.toml")),
    ("xetra", &["xetr", "xfra"], include_str!("exchanges/xetra.toml")),
    ("cme", &["cmes", "xcme"], include_str!("exchanges/cme.toml")),
];

/// By name, those that were asked for or registered. They stay for as long as the process does, because bars refer to them; there
/// are few of them.
static USED: LazyLock<RwLock<BTreeMap<String, &'static Calendar>>> = LazyLock::new(RwLock::default);

impl Calendar {
    /// The calendar with a name: one that was registered, or one that tallow brings.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<&'static Calendar> {
        let name = name.to_lowercase();
        if let Some(calendar) = used(&name) {
            return Ok(calendar);
        }
        let Some((known, _, text)) = KNOWN.iter().find(|(known, others, _)| *known == name || others.contains(&&*name))
        else {
            let names = Self::names().join(", ");
            return plan_err!(
                "unknown calendar '{name}'; expected one of {names}, or one of the lake's table `calendars`"
            );
        };
        if let Some(calendar) = used(known) {
            return Ok(calendar);
        }
        let rules = rules::Rules::parse(known, text)?;
        let sessions = rules.sessions()?;
        let opening = Opening { time: rules.open, zone: rules.zone };
        Ok(keep(Calendar::new(known, Some(opening), sessions)?))
    }

    /// Makes sessions known under a name, in the place of those that it had. Dates without a session that lie between others are
    /// holidays.
    ///
    /// # Errors
    /// The name is one of an exchange that tallow knows, or sessions overlap, or end before they begin.
    pub fn register(name: &str, sessions: Vec<Session>) -> Result<()> {
        let name = name.to_lowercase();
        if KNOWN.iter().any(|(known, others, _)| *known == name || others.contains(&&*name)) {
            return plan_err!("calendar '{name}': an exchange that is known already; expected another name");
        }
        let words = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(words) {
            return plan_err!("calendar '{name}': expected a name of letters, digits, - and _");
        }
        let calendar = Calendar::new(&name, None, sessions)?;
        if used(&name) != Some(&calendar) {
            keep(calendar);
        }
        Ok(())
    }

    /// Names of the calendars that there are.
    pub fn names() -> Vec<String> {
        let used = USED.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut names: Vec<String> = KNOWN.iter().map(|(name, ..)| (*name).to_string()).collect();
        names.extend(used.keys().filter(|name| !KNOWN.iter().any(|(known, ..)| known == name)).cloned());
        names
    }

    /// What an exchange that tallow knows is, in a sentence.
    pub fn about(&self) -> Option<String> {
        let (name, _, text) = KNOWN.iter().find(|(known, ..)| *known == self.name)?;
        rules::Rules::parse(name, text).ok().map(|rules| rules.about)
    }

    fn new(name: &str, opening: Option<Opening>, mut sessions: Vec<Session>) -> Result<Calendar> {
        sessions.sort_by_key(|session| session.date);
        for session in &sessions {
            if session.open >= session.close {
                return plan_err!("calendar '{name}': the session of {} closes before it opens", session.date);
            }
        }
        for (one, next) in sessions.iter().zip(sessions.iter().skip(1)) {
            if one.date == next.date {
                return plan_err!("calendar '{name}' has two sessions of {}; expected one a date", one.date);
            }
            if next.open < one.close {
                return plan_err!(
                    "calendar '{name}': the session of {} opens before that of {} closes",
                    next.date,
                    one.date
                );
            }
        }
        let (Some(first), Some(last)) = (sessions.first(), sessions.last()) else {
            return plan_err!("calendar '{name}' has no sessions");
        };
        let mut before = vec![];
        let mut count = 0;
        for date in first.date.iter_days().take_while(|date| *date <= last.date) {
            before.push(u32::try_from(count).unwrap_or(u32::MAX));
            count += usize::from(sessions.get(count).is_some_and(|session| session.date == date));
        }
        before.push(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(Calendar { name: name.to_string(), opening, sessions, before })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where and when sessions begin, if that is known.
    pub fn opening(&self) -> Option<Opening> {
        self.opening
    }

    /// All sessions, in the order of time.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The sessions from one date to before another; `None` where not all of these days are known about.
    pub fn between(&self, from: NaiveDate, to: NaiveDate) -> Option<&[Session]> {
        let first = self.sessions.first()?.date;
        let nth = |date: NaiveDate| usize::try_from(date.signed_duration_since(first).num_days()).ok();
        let (start, end) = (*self.before.get(nth(from)?)?, *self.before.get(nth(to)?)?);
        self.sessions.get(start as usize..end as usize)
    }

    /// The sessions that have a part in the time from one instant to before another; `None` where that is not known about.
    pub fn during(&self, from: i64, to: i64) -> Option<&[Session]> {
        if from < self.sessions.first()?.open || to > self.sessions.last()?.close {
            return None;
        }
        let start = self.sessions.partition_point(|session| session.close <= from);
        let end = start + self.sessions[start..].partition_point(|session| session.open < to);
        self.sessions.get(start..end)
    }
}

impl Hash for Calendar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn used(name: &str) -> Option<&'static Calendar> {
    USED.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(name).copied()
}

fn keep(calendar: Calendar) -> &'static Calendar {
    let calendar: &'static Calendar = Box::leak(Box::new(calendar));
    USED.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(calendar.name.clone(), calendar);
    calendar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn at(text: &str) -> i64 {
        chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp_micros()
    }

    fn of(calendar: &str, day: &str) -> Option<Session> {
        let next = date(day) + chrono::Days::new(1);
        Calendar::named(calendar).unwrap().between(date(day), next).unwrap().first().copied()
    }

    fn hours(calendar: &str, day: &str) -> Option<(i64, i64)> {
        of(calendar, day).filter(|session| session.held).map(|session| (session.open, session.close))
    }

    #[test]
    fn exchanges_close_on_their_holidays() {
        // New Year's Day on a Saturday: not made up for in New York, on Monday in London.
        assert!(hours("nyse", "2021-12-31").is_some() && hours("nyse", "2022-01-03").is_some());
        assert!(hours("lse", "2021-12-31").is_some() && hours("lse", "2022-01-03").is_none());
        assert!(hours("nyse", "2026-07-03").is_none() && hours("nyse", "2026-06-19").is_none());
        assert!(hours("xetra", "2020-06-01").is_none() && hours("xetra", "2022-06-06").is_some());
        assert!(hours("lse", "2020-05-08").is_none() && hours("lse", "2020-05-04").is_some());
        assert!(hours("cme", "2026-04-03").is_none() && hours("cme", "2026-06-19").is_some());
    }

    #[test]
    fn sessions_follow_daylight_saving_and_half_days() {
        assert_eq!(hours("nyse", "2024-03-08"), Some((at("2024-03-08 14:30"), at("2024-03-08 21:00"))));
        assert_eq!(hours("nyse", "2024-03-11"), Some((at("2024-03-11 13:30"), at("2024-03-11 20:00"))));
        assert_eq!(hours("nyse", "2024-11-29"), Some((at("2024-11-29 14:30"), at("2024-11-29 18:00"))));
        assert_eq!(hours("lse", "2024-12-24"), Some((at("2024-12-24 08:00"), at("2024-12-24 12:30"))));
        assert_eq!(hours("cme", "2024-01-02"), Some((at("2024-01-01 23:00"), at("2024-01-02 23:00"))));
    }

    #[test]
    fn what_closed_unexpectedly_was_no_session_but_was_to_be_one() {
        assert_eq!(hours("nyse", "2012-10-29"), None);
        assert_eq!(of("nyse", "2012-10-29").map(|session| session.close), Some(at("2012-10-29 20:00")));
    }

    #[test]
    fn days_outside_of_a_calendar_are_not_known() {
        let nyse = Calendar::named("XNYS").unwrap();
        assert_eq!(nyse.name(), "nyse");
        assert!(nyse.between(date("1989-12-25"), date("1990-01-05")).is_none());
        assert!(nyse.between(date("2035-12-31"), date("2036-01-01")).is_some());
        assert!(nyse.during(at("2036-01-02 12:00"), at("2036-01-02 16:00")).is_none());
        assert_eq!(nyse.during(at("2024-07-04 12:00"), at("2024-07-05 12:00")), Some([].as_slice()));
    }

    #[test]
    fn a_calendar_of_ones_own() {
        let session = |day: &str, from: i64| Session { date: date(day), open: from, close: from + 10, held: true };
        let days = [session("2024-01-01", 0), session("2024-01-03", 20)];
        Calendar::register("own", days.to_vec()).unwrap();
        let own = Calendar::named("own").unwrap();
        assert_eq!(own.between(date("2024-01-01"), date("2024-01-04")), Some(days.as_slice()));
        assert_eq!(own.between(date("2024-01-02"), date("2024-01-03")), Some([].as_slice()));
        assert_eq!(own.during(5, 25), Some(days.as_slice()));
        assert_eq!(own.during(10, 20), Some([].as_slice()));
        let said = |sessions: &[Session]| Calendar::register("own", sessions.to_vec()).unwrap_err().to_string();
        assert!(said(&[days[0], days[0]]).contains("two sessions of 2024-01-01"));
        assert!(said(&[session("2024-01-01", 0), session("2024-01-02", 5)]).contains("opens before"));
        assert!(said(&[]).contains("no sessions"));
        assert!(Calendar::register("NYSE", days.to_vec()).unwrap_err().to_string().contains("known already"));
        assert!(Calendar::named("tokyo").unwrap_err().to_string().contains("nyse, lse, xetra, cme"));
    }
}
