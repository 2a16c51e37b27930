//! The lengths a bar can have.

use datafusion_common::{DataFusionError, Result, plan_err};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

const MINUTE: i64 = 60_000_000;
const NAMES: [(&str, Timeframe); 14] = [
    ("1m", Timeframe::Fixed(MINUTE)),
    ("3m", Timeframe::Fixed(3 * MINUTE)),
    ("5m", Timeframe::Fixed(5 * MINUTE)),
    ("15m", Timeframe::Fixed(15 * MINUTE)),
    ("30m", Timeframe::Fixed(30 * MINUTE)),
    ("1h", Timeframe::Fixed(60 * MINUTE)),
    ("2h", Timeframe::Fixed(120 * MINUTE)),
    ("4h", Timeframe::Fixed(240 * MINUTE)),
    ("6h", Timeframe::Fixed(360 * MINUTE)),
    ("8h", Timeframe::Fixed(480 * MINUTE)),
    ("12h", Timeframe::Fixed(720 * MINUTE)),
    ("1d", Timeframe::Day),
    ("1w", Timeframe::Week),
    ("1mo", Timeframe::Month),
];

/// The length of a bar. A month is `1mo`: names are case-insensitive, so `1M` is a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timeframe {
    /// Within a day; microseconds.
    Fixed(i64),
    /// A session day.
    Day,
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
}

impl Timeframe {
    /// Every timeframe, shortest first.
    pub fn all() -> impl Iterator<Item = Timeframe> {
        NAMES.iter().map(|(_, timeframe)| *timeframe)
    }

    /// Microseconds of a bar, where all are equally long by the clock: all but months.
    pub fn fixed_length(self) -> Option<i64> {
        match self {
            Timeframe::Fixed(length) => Some(length),
            Timeframe::Day => Some(24 * 60 * MINUTE),
            Timeframe::Week => Some(7 * 24 * 60 * MINUTE),
            Timeframe::Month => None,
        }
    }

    /// Whether bars of this length make up whole bars of a longer one.
    pub fn divides(self, longer: Timeframe) -> bool {
        match (self, longer) {
            (Timeframe::Fixed(a), Timeframe::Fixed(b)) => a < b && b % a == 0,
            (Timeframe::Fixed(_), _) | (Timeframe::Day, Timeframe::Week | Timeframe::Month) => true,
            _ => false,
        }
    }
}

impl FromStr for Timeframe {
    type Err = DataFusionError;

    fn from_str(name: &str) -> Result<Self> {
        match NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.trim())) {
            Some((_, timeframe)) => Ok(*timeframe),
            None => {
                let known: Vec<_> = NAMES.iter().map(|(n, _)| *n).collect();
                plan_err!("unknown timeframe '{name}'; expected one of {}", known.join(" "))
            }
        }
    }
}

impl Display for Timeframe {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let name = NAMES.iter().find(|(_, timeframe)| timeframe == self).map_or("?", |(name, _)| name);
        f.write_str(name)
    }
}
