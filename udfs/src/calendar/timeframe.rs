//! The lengths a bar can have.

use datafusion_common::{DataFusionError, Result, plan_err};
use std::cmp::Ordering;
use std::fmt::{Display, Formatter};
use std::str::FromStr;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1440 * MINUTE;

/// The longest bar of days.
const MOST_DAYS: u32 = 366;

/// The length of a bar. A month is `1mo`: names are case-insensitive, so `1M` is a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timeframe {
    /// Within a day, which it divides; microseconds.
    Fixed(i64),
    /// A session day.
    Day,
    /// Several session days, counted from 1970-01-01.
    Days(u32),
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
}

/// What a length is counted in.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

impl Timeframe {
    /// What a name can be, for messages and documentation.
    pub const NAMES: &str = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 1w 1mo, other minutes or hours that divide a day (45m, \
                             3h), or days (2d)";

    /// The timeframe whose bars are as long as this many microseconds. Several days are none: whether they are counted
    /// from where [`Timeframe::Days`] are, their length alone does not say.
    pub fn of_length(length: i64) -> Option<Timeframe> {
        match length {
            DAY => Some(Timeframe::Day),
            _ if length == 7 * DAY => Some(Timeframe::Week),
            _ if length > 0 && length % MINUTE == 0 && DAY % length == 0 => Some(Timeframe::Fixed(length)),
            _ => None,
        }
    }

    /// The timeframe with exactly this name: `1d`, not `daily`.
    pub fn named(name: &str) -> Option<Timeframe> {
        name.parse().ok().filter(|timeframe: &Timeframe| timeframe.to_string() == name)
    }

    /// Microseconds of a bar, where all are equally long by the clock: all but months.
    pub fn fixed_length(self) -> Option<i64> {
        match self {
            Timeframe::Fixed(length) => Some(length),
            Timeframe::Day => Some(DAY),
            Timeframe::Days(days) => Some(i64::from(days) * DAY),
            Timeframe::Week => Some(7 * DAY),
            Timeframe::Month => None,
        }
    }

    /// Whether bars of this length make up whole bars of a longer one.
    pub fn divides(self, longer: Timeframe) -> bool {
        match (self, longer) {
            (Timeframe::Fixed(a), Timeframe::Fixed(b)) => a < b && b % a == 0,
            (Timeframe::Fixed(_), _) => true,
            (Timeframe::Day, Timeframe::Days(_) | Timeframe::Week | Timeframe::Month) => true,
            (Timeframe::Days(a), Timeframe::Days(b)) => a < b && b % a == 0,
            _ => false,
        }
    }

    /// `count` of a unit, if bars can be that long.
    fn of(count: u32, unit: Unit) -> Option<Timeframe> {
        let within_a_day = |minutes: u32| match minutes {
            1440 => Some(Timeframe::Day),
            minutes if minutes > 0 && 1440 % minutes == 0 => Some(Timeframe::Fixed(i64::from(minutes) * MINUTE)),
            _ => None,
        };
        match unit {
            Unit::Minute => within_a_day(count),
            Unit::Hour => within_a_day(count.checked_mul(60)?),
            Unit::Day if count == 1 => Some(Timeframe::Day),
            Unit::Day => (2..=MOST_DAYS).contains(&count).then_some(Timeframe::Days(count)),
            Unit::Week => (count == 1).then_some(Timeframe::Week),
            Unit::Month => (count == 1).then_some(Timeframe::Month),
        }
    }

    /// By how long bars are, and with equal length by how they are counted; a month lies between 30 and 31 days.
    fn rank(self) -> (i64, u8) {
        let kind = match self {
            Timeframe::Fixed(_) => 0,
            Timeframe::Day => 1,
            Timeframe::Days(_) => 2,
            Timeframe::Week => 3,
            Timeframe::Month => 4,
        };
        (self.fixed_length().unwrap_or(30 * DAY), kind)
    }
}

impl Ord for Timeframe {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Timeframe {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The unit by its usual names.
fn unit(name: &str) -> Option<Unit> {
    Some(match name {
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "wk" | "week" | "weeks" => Unit::Week,
        "mo" | "mn" | "month" | "months" => Unit::Month,
        _ => return None,
    })
}

/// Number and unit of `4h`, `4 hours`, `h4`, `daily`, `W`. A bare `M` is none: it is a minute to some and a month to others.
fn read(name: &str) -> Option<(u32, Unit)> {
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "m" => return None,
        "hourly" => return Some((1, Unit::Hour)),
        "daily" => return Some((1, Unit::Day)),
        "weekly" => return Some((1, Unit::Week)),
        "monthly" => return Some((1, Unit::Month)),
        _ => {}
    }
    let is_digit = |c: char| c.is_ascii_digit();
    let digits = name.find(|c| !is_digit(c)).unwrap_or(name.len());
    if digits > 0 {
        return Some((name[..digits].parse().ok()?, unit(name[digits..].trim_start_matches([' ', '-', '_']))?));
    }
    let letters = name.find(is_digit).unwrap_or(name.len());
    let count = if letters == name.len() { 1 } else { name[letters..].parse().ok()? };
    Some((count, unit(&name[..letters])?))
}

impl FromStr for Timeframe {
    type Err = DataFusionError;

    fn from_str(name: &str) -> Result<Self> {
        match read(name).and_then(|(count, unit)| Timeframe::of(count, unit)) {
            Some(timeframe) => Ok(timeframe),
            None => plan_err!("unknown timeframe '{name}'; expected one of {}", Timeframe::NAMES),
        }
    }
}

impl Display for Timeframe {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Timeframe::Fixed(length) if length % (60 * MINUTE) == 0 => write!(f, "{}h", length / (60 * MINUTE)),
            Timeframe::Fixed(length) => write!(f, "{}m", length / MINUTE),
            Timeframe::Day => f.write_str("1d"),
            Timeframe::Days(days) => write!(f, "{days}d"),
            Timeframe::Week => f.write_str("1w"),
            Timeframe::Month => f.write_str("1mo"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> String {
        name.parse::<Timeframe>().map_or_else(|_| "none".to_string(), |t| t.to_string())
    }

    #[test]
    fn usual_names_are_understood() {
        for (name, want) in [
            ("daily", "1d"),
            ("Day", "1d"),
            ("1day", "1d"),
            ("D1", "1d"),
            ("24h", "1d"),
            ("1440min", "1d"),
            ("W", "1w"),
            ("weekly", "1w"),
            ("7d", "7d"),
            ("60min", "1h"),
            ("1 hour", "1h"),
            ("H4", "4h"),
            ("240m", "4h"),
            ("M15", "15m"),
            ("15-min", "15m"),
            ("1M", "1m"),
            ("MN1", "1mo"),
            ("monthly", "1mo"),
            ("1month", "1mo"),
        ] {
            assert_eq!(shown(name), want, "{name}");
        }
        assert_eq!(Timeframe::named("1d"), Some(Timeframe::Day));
        assert_eq!((Timeframe::named("daily"), Timeframe::named("24h")), (None, None));
    }

    #[test]
    fn a_bar_divides_a_day_or_is_made_of_days() {
        for name in ["45m", "90m", "3h", "16m", "2d", "366d"] {
            assert_eq!(shown(name), name);
        }
        for name in ["7m", "5h", "0m", "0d", "367d", "2w", "2mo", "M", "", "1", "h", "1x", "4294967297m", "-1d", "día"]
        {
            let want = if name == "h" { "1h" } else { "none" };
            assert_eq!(shown(name), want, "{name}");
        }
        let message = "7m".parse::<Timeframe>().unwrap_err().to_string();
        assert!(message.contains("1m 3m 5m") && message.contains("45m") && message.contains("2d"), "{message}");
    }

    #[test]
    fn shorter_bars_make_up_longer_ones_where_both_begin_together() {
        let t = |name: &str| name.parse::<Timeframe>().unwrap();
        for (short, long) in [("45m", "3h"), ("3h", "1d"), ("90m", "2d"), ("1d", "2d"), ("2d", "4d"), ("1d", "1mo")] {
            assert!(t(short).divides(t(long)), "{short} {long}");
        }
        for (short, long) in [("45m", "2h"), ("2h", "3h"), ("2d", "3d"), ("7d", "1w"), ("2d", "1mo"), ("1d", "1d")] {
            assert!(!t(short).divides(t(long)), "{short} {long}");
        }
        let sorted = ["1m", "45m", "1h", "1d", "2d", "7d", "1w", "8d", "30d", "1mo", "31d"].map(t);
        assert!(sorted.is_sorted(), "{sorted:?}");
    }

    #[test]
    fn a_length_is_a_timeframe_where_it_tells_where_bars_begin() {
        let of = |length: i64| Timeframe::of_length(length).map(|t| t.to_string());
        assert_eq!(of(45 * MINUTE).as_deref(), Some("45m"));
        assert_eq!(of(7 * DAY).as_deref(), Some("1w"));
        assert_eq!((of(2 * DAY), of(7 * MINUTE), of(0), of(MINUTE / 2)), (None, None, None, None));
    }
}
