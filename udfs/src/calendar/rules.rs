//! Rules by which an exchange trades, a TOML file each, and the sessions that follow from them.

use super::origin::{evening, instant};
use super::sessions::Session;
use chrono::{Datelike, Days, Month, NaiveDate, NaiveTime, TimeDelta, Weekday};
use chrono_tz::Tz;
use datafusion_common::{Result, plan_datafusion_err};
use serde::{Deserialize, Deserializer, de};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

/// The years that rules are stated for.
const YEARS: std::ops::RangeInclusive<i32> = 1990..=2035;

/// When an exchange trades, from Monday to Friday.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// What it is, and where its calendar is published.
    pub about: String,
    #[serde(deserialize_with = "parsed")]
    pub zone: Tz,
    /// Local time at which a session opens; from noon on it is that of the evening before.
    #[serde(deserialize_with = "time")]
    pub open: NaiveTime,
    /// Local time at which it closes.
    #[serde(deserialize_with = "time")]
    close: NaiveTime,
    /// Days without a session that was called off at short notice.
    #[serde(default, deserialize_with = "all_parsed")]
    unscheduled: Vec<NaiveDate>,
    /// Days without a session.
    closed: Vec<Rule>,
    /// Days on which it closes early.
    early: Vec<Rule>,
}

/// Some days of the years.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    /// A day that every year has.
    #[serde(deserialize_with = "some_parsed")]
    on: Option<Yearly>,
    /// So many days later.
    plus: i64,
    /// Only where that is one of these.
    #[serde(deserialize_with = "all_parsed")]
    only: Vec<Weekday>,
    /// Which day takes its place where it is on a weekend.
    weekend: Option<Weekend>,
    /// From this year on.
    since: Option<i32>,
    /// Up to this year.
    until: Option<i32>,
    /// In these years not.
    except: Vec<i32>,
    /// Days of single years.
    #[serde(deserialize_with = "all_parsed")]
    dates: Vec<NaiveDate>,
    /// When a session closes that closes early.
    #[serde(deserialize_with = "some_time")]
    close: Option<NaiveTime>,
}

/// A day that every year has.
#[derive(Debug, Clone, Copy)]
enum Yearly {
    /// `July 4`.
    Date(u32, u32),
    /// `third Monday of January`: the month, the day of the week, and which of them, from 1.
    Nth(u32, Weekday, u8),
    /// `last Monday of May`.
    Last(u32, Weekday),
    /// `Easter`: its Sunday.
    Easter,
}

/// Which day takes the place of one on a weekend.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Weekend {
    /// The Monday after it.
    Monday,
    /// The Friday before it.
    Friday,
    /// Friday for Saturday, Monday for Sunday.
    Nearest,
    /// Monday for Sunday, none for Saturday.
    #[serde(rename = "sunday to monday")]
    SundayToMonday,
}

impl Rules {
    pub fn parse(name: &str, text: &str) -> Result<Rules> {
        toml::from_str(text).map_err(|error| plan_datafusion_err!("calendar '{name}': {}", error.to_string().trim()))
    }

    /// The sessions of all years.
    pub fn sessions(&self) -> Result<Vec<Session>> {
        let closed: BTreeSet<NaiveDate> =
            self.closed.iter().flat_map(|rule| rule.days()).map(|(date, _)| date).collect();
        let early: BTreeMap<NaiveDate, NaiveTime> = self
            .early
            .iter()
            .flat_map(|rule| rule.days())
            .filter_map(|(date, close)| close.map(|close| (date, close)))
            .collect();
        let first = NaiveDate::from_ymd_opt(*YEARS.start(), 1, 1).unwrap_or_default();
        let dates = first.iter_days().take_while(|date| date.year() <= *YEARS.end());
        let session = |date: NaiveDate| {
            let held = !self.unscheduled.contains(&date);
            let opened = if evening(self.open) { date - Days::new(1) } else { date };
            let close = early.get(&date).copied().unwrap_or(self.close);
            Session {
                date,
                open: instant(opened.and_time(self.open), self.zone),
                close: instant(date.and_time(close), self.zone),
                held,
            }
        };
        let is_session = |date: &NaiveDate| !is_weekend(*date) && !closed.contains(date);
        Ok(dates.filter(is_session).map(session).collect())
    }
}

impl Rule {
    /// Its days, with the time at which they close early.
    fn days(&self) -> impl Iterator<Item = (NaiveDate, Option<NaiveTime>)> {
        let years = YEARS.filter(|year| {
            self.since.is_none_or(|since| *year >= since)
                && self.until.is_none_or(|until| *year <= until)
                && !self.except.contains(year)
        });
        let yearly = years.filter_map(|year| self.on.and_then(|on| self.of_year(on, year)));
        yearly.chain(self.dates.iter().copied()).map(|date| (date, self.close))
    }

    fn of_year(&self, on: Yearly, year: i32) -> Option<NaiveDate> {
        let date = on.of(year)? + TimeDelta::days(self.plus);
        if !self.only.is_empty() && !self.only.contains(&date.weekday()) {
            return None;
        }
        let moved = match (self.weekend, date.weekday()) {
            (Some(Weekend::Monday), Weekday::Sat) => 2,
            (Some(Weekend::Monday | Weekend::Nearest | Weekend::SundayToMonday), Weekday::Sun) => 1,
            (Some(Weekend::Friday | Weekend::Nearest), Weekday::Sat) => -1,
            (Some(Weekend::Friday), Weekday::Sun) => -2,
            _ => 0,
        };
        Some(date + TimeDelta::days(moved))
    }
}

impl Yearly {
    fn of(self, year: i32) -> Option<NaiveDate> {
        match self {
            Yearly::Date(month, day) => NaiveDate::from_ymd_opt(year, month, day),
            Yearly::Nth(month, day, nth) => NaiveDate::from_weekday_of_month_opt(year, month, day, nth),
            Yearly::Last(month, day) => {
                (1..=5).rev().find_map(|nth| NaiveDate::from_weekday_of_month_opt(year, month, day, nth))
            }
            Yearly::Easter => easter(year),
        }
    }
}

impl FromStr for Yearly {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let month = |text: &str| text.parse::<Month>().map(|month| month.number_from_month()).ok();
        let weekday = |text: &str| text.parse::<Weekday>().ok();
        let words: Vec<&str> = text.split(' ').collect();
        let day = match words.as_slice() {
            ["Easter"] => Some(Yearly::Easter),
            [of, day] => month(of).zip(day.parse().ok()).map(|(month, day)| Yearly::Date(month, day)),
            ["last", day, "of", of] => month(of).zip(weekday(day)).map(|(month, day)| Yearly::Last(month, day)),
            [nth, day, "of", of] => {
                let nth = ["first", "second", "third", "fourth"].iter().position(|known| known == nth);
                let nth = nth.and_then(|nth| u8::try_from(nth + 1).ok());
                month(of).zip(weekday(day)).zip(nth).map(|((month, day), nth)| Yearly::Nth(month, day, nth))
            }
            _ => None,
        };
        day.ok_or_else(|| {
            format!("'{text}': expected such as July 4, third Monday of January, last Monday of May or Easter")
        })
    }
}

/// Easter Sunday of the Gregorian calendar: the computation of Butcher, as in Meeus, Astronomical Algorithms, chapter 8.
fn easter(year: i32) -> Option<NaiveDate> {
    let (century, of_century) = (year / 100, year % 100);
    let golden = year % 19;
    let correction = (century - (century + 8) / 25 + 1) / 3;
    let epact = (19 * golden + century - century / 4 - correction + 15) % 30;
    let sunday = (32 + 2 * (century % 4) + 2 * (of_century / 4) - epact - of_century % 4) % 7;
    let late = (golden + 11 * epact + 22 * sunday) / 451;
    let days = epact + sunday - 7 * late + 114;
    NaiveDate::from_ymd_opt(year, u32::try_from(days / 31).ok()?, u32::try_from(days % 31 + 1).ok()?)
}

fn is_weekend(date: NaiveDate) -> bool {
    matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

fn parse<T: FromStr<Err: Display>, E: de::Error>(text: &str) -> Result<T, E> {
    text.parse().map_err(|error| E::custom(format!("'{text}': {error}")))
}

fn parse_time<E: de::Error>(text: &str) -> Result<NaiveTime, E> {
    NaiveTime::parse_from_str(text, "%H:%M").map_err(|error| E::custom(format!("'{text}': {error}; expected HH:MM")))
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<T, D::Error> {
    parse(&String::deserialize(from)?)
}

fn some_parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<Option<T>, D::Error> {
    parsed(from).map(Some)
}

fn all_parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<Vec<T>, D::Error> {
    Vec::<String>::deserialize(from)?.iter().map(|text| parse(text)).collect()
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<NaiveTime, D::Error> {
    parse_time(&String::deserialize(from)?)
}

fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NaiveTime>, D::Error> {
    time(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_a_year() {
        let of = |text: &str, year| text.parse::<Yearly>().unwrap().of(year).unwrap().to_string();
        assert_eq!(of("July 4", 2024), "2024-07-04");
        assert_eq!(of("fourth Thursday of November", 2024), "2024-11-28");
        assert_eq!(of("last Monday of May", 2021), "2021-05-31");
        let easters = [1990, 2000, 2008, 2011, 2019, 2024, 2035].map(|year| of("Easter", year));
        assert_eq!(
            easters,
            ["1990-04-15", "2000-04-23", "2008-03-23", "2011-04-24", "2019-04-21", "2024-03-31", "2035-03-25"]
        );
        assert!("fifth Monday of May".parse::<Yearly>().unwrap_err().contains("expected such as"));
    }

    #[test]
    fn a_wrong_rule_is_named() {
        let said = |rule: &str| {
            let text = format!(
                "about = 'x'\nzone = 'Europe/London'\nopen = '08:00'\nclose = '16:30'\nunscheduled = []\nearly = []\n\
                 [[closed]]\n{rule}"
            );
            Rules::parse("own", &text).unwrap_err().to_string()
        };
        assert!(said("on = 'Mayday'").contains("'Mayday'"));
        assert!(said("on = 'May 1'\nweekend = 'tuesday'").contains("tuesday"));
        assert!(said("On = 'May 1'").contains("unknown field"));
    }
}
