//! Symbols that ended long ago: what was their newest bar says nothing of today.
//!
//! Age is counted in times at which the table has a bar of any symbol, so that nights, weekends and holidays do not count.

use super::Scan;
use crate::Session;
use crate::bounds::Range;
use crate::relation::{Relation, one};
use crate::rows::times;
use std::fmt::{Display, Formatter};
use std::str::FromStr;
use tallow_common::{Error, Result};

/// How old a symbol's newest bar may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxAge {
    /// The table has at most so many bar times after it.
    Bars(usize),
    /// Any age.
    All,
}

impl Default for MaxAge {
    fn default() -> Self {
        MaxAge::Bars(5)
    }
}

impl Display for MaxAge {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            MaxAge::Bars(bars) => write!(f, "{bars}"),
            MaxAge::All => f.write_str("all"),
        }
    }
}

impl FromStr for MaxAge {
    type Err = Error;

    fn from_str(text: &str) -> Result<MaxAge> {
        let wrong = || Error::invalid(format!("'{text}': expected a number of bars, such as 5, or all"));
        match text.trim() {
            "all" => Ok(MaxAge::All),
            number => number.parse().map(MaxAge::Bars).map_err(|_| wrong()),
        }
    }
}

/// The stretch before the newest bar in which bar times are looked for first.
const STRETCH: i64 = 10 * 86_400_000_000;

impl Scan {
    /// The time before which no symbol's newest bar counts; `None`: all count.
    pub(super) async fn oldest(&self, session: &Session, from: &Relation) -> Result<Option<i64>> {
        let MaxAge::Bars(bars) = self.max_age else { return Ok(None) };
        if !self.last {
            return Ok(None);
        }
        let all = async |what: &str, since: Option<i64>| -> Result<Vec<i64>> {
            let sql = format!("select {what} from {} as candles{}", from.sql, among(self.range, since));
            let mut found = vec![];
            for batch in session.collect(one(session, &sql).await?).await? {
                found.extend(times(batch.column(0))?);
            }
            Ok(found)
        };
        // Without a bar it is null, which reads as the epoch: no bar is left out then, and there is none.
        let Some(newest) = all("max(ts) as ts", None).await?.pop() else { return Ok(None) };
        let mut stretch = Some(STRETCH);
        loop {
            let since = stretch.and_then(|stretch| newest.checked_sub(stretch));
            let mut found = all("distinct ts", since).await?;
            found.sort_unstable_by(|a, b| b.cmp(a));
            if let Some(oldest) = found.get(bars) {
                return Ok(Some(*oldest));
            }
            if since.is_none() {
                return Ok(None);
            }
            // Ten days become 28 years in two more steps, and then everything.
            stretch = stretch.and_then(|stretch| stretch.checked_mul(32));
        }
    }
}

/// ` where ..` for the bars of a range, and not before an instant.
fn among(range: Range, since: Option<i64>) -> String {
    let from = range.from.into_iter().chain(since).max().map(|t| format!("ts >= to_timestamp_micros({t})"));
    let to = range.to.map(|t| format!("ts < to_timestamp_micros({t})"));
    let parts: Vec<String> = from.into_iter().chain(to).collect();
    if parts.is_empty() { String::new() } else { format!(" where {}", parts.join(" and ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_of_bars_or_any() {
        assert_eq!("12".parse::<MaxAge>().unwrap(), MaxAge::Bars(12));
        assert_eq!("all".parse::<MaxAge>().unwrap(), MaxAge::All);
        assert_eq!(MaxAge::default().to_string().parse::<MaxAge>().unwrap(), MaxAge::default());
        assert!("5d".parse::<MaxAge>().unwrap_err().to_string().contains("a number of bars"));
    }
}
