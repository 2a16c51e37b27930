//! Which origin would fit times that are off the grid.

use datafusion::common::{Result, plan_err};
use std::collections::HashMap;
use tallow_udfs::calendar::{Grid, Origin, Timeframe};

/// Origins that real files have, tried in this order.
const USUAL: [&str; 6] = [
    "utc",
    "forex_utc1",
    "ny_17",
    "session:09:30@America/New_York",
    "session:00:00@America/New_York",
    "session:00:00@Europe/Berlin",
];

/// Says what is wrong with times that are mostly off the grid, and which origin would fit them.
pub(super) fn explain(timeframe: Timeframe, times: &[i64], off: u64, rows: u64) -> Result<()> {
    let shown = times.first().and_then(|t| chrono::DateTime::from_timestamp_micros(*t));
    let shown = shown.map(|t| t.format("%Y-%m-%d %H:%M").to_string()).unwrap_or_default();
    let fits = |origin: &str| {
        let Ok(origin) = origin.parse::<Origin>() else { return false };
        let aligned = Grid::new(timeframe, origin).is_aligned(times);
        aligned.iter().filter(|a| **a).count() * 100 >= times.len() * 99
    };
    let own = constant_offset(times).map(|(hour, minute)| format!("session:{hour:02}:{minute:02}@UTC"));
    let origin = USUAL.iter().map(|o| o.to_string()).chain(own).find(|o| fits(o));
    let advice = match origin {
        Some(origin) => format!("they fit the option `origin '{origin}'`"),
        None => {
            "they fit no usual origin: is the timeframe right, or are they times of the close (the option `close_as_ts`)?"
                .into()
        }
    };
    plan_err!(
        "{off} of {rows} times are no opening of a {timeframe} bar, such as {shown} UTC; {advice}. Nothing was written"
    )
}

/// The time of day that most times have.
fn constant_offset(times: &[i64]) -> Option<(i64, i64)> {
    let mut count: HashMap<i64, usize> = HashMap::new();
    times.iter().for_each(|t| *count.entry(t.rem_euclid(86_400_000_000) / 60_000_000).or_default() += 1);
    let (minute, _) = count.into_iter().max_by_key(|(_, n)| *n)?;
    Some((minute / 60, minute % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn the_origin_that_fits_is_named() {
        let said = |timeframe: &str, times: &[&str]| {
            let times: Vec<i64> = times.iter().map(|t| at(t)).collect();
            explain(timeframe.parse().unwrap(), &times, 9, 10).unwrap_err().to_string()
        };
        let daily = said("1d", &["2020-01-02T05:00:00Z", "2020-07-02T04:00:00Z"]);
        assert!(daily.contains("the option `origin 'session:00:00@America/New_York'`"), "{daily}");
        let hourly = said("1h", &["2020-01-02T14:30:00Z", "2020-07-02T13:30:00Z", "2020-07-02T14:30:00Z"]);
        assert!(hourly.contains("the option `origin 'session:09:30@America/New_York'`"), "{hourly}");
        assert!(said("4h", &["2020-01-02T01:00:00Z", "2020-01-02T05:00:00Z"]).contains("'forex_utc1'"));
        assert!(said("1d", &["2020-01-02T22:00:00Z", "2020-07-02T21:00:00Z"]).contains("'ny_17'"));
        assert!(said("1d", &["2020-01-02T03:00:00Z"]).contains("'session:03:00@UTC'"));
        assert!(said("1d", &["2020-01-02T03:00:00Z", "2020-01-02T07:13:00Z"]).contains("the option `close_as_ts`"));
    }
}
