//! Times as people read and write them.

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::{NaiveDate, Utc};

/// Microseconds since the epoch as `2024-01-31`, `2024-01-31 09:30` or `2024-01-31 09:30:05`, in UTC.
pub fn shown(micros: i64) -> String {
    let Some(time) = chrono::DateTime::from_timestamp_micros(micros) else { return micros.to_string() };
    let text = time.format("%Y-%m-%d %H:%M:%S").to_string();
    let minutes = text.strip_suffix(":00").unwrap_or(&text);
    minutes.strip_suffix(" 00:00").unwrap_or(minutes).to_string()
}

/// What a time in a query looks like.
pub const EXPECTED_TIME: &str = "expected a day such as '2018-01-31', or an instant such as '2018-01-31T09:30:00Z'";

/// Why a text is no time, as advice; `None` if it is one.
pub fn no_time(text: &str) -> Option<String> {
    let is_time = |text: &str| string_to_datetime(&Utc, text).is_ok();
    if is_time(text) {
        return None;
    }
    let meant = days(text);
    Some(match meant.as_slice() {
        [] if is_time(&format!("{text}:00")) => format!("write '{text}:00'"),
        [] => EXPECTED_TIME.to_string(),
        [day] => format!("write '{day}'"),
        days => {
            let days: Vec<_> = days.iter().map(|day| format!("'{day}'")).collect();
            format!("write the year first: {}", days.join(" or "))
        }
    })
}

/// The days that a text can mean.
fn days(text: &str) -> Vec<NaiveDate> {
    let read = |format: &str| NaiveDate::parse_from_str(text, format).ok();
    // A year of two digits would be one of the first century.
    let plausible = |day: &NaiveDate| (1800..2200).contains(&chrono::Datelike::year(day));
    let clear = ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%b %d, %Y", "%b %d %Y", "%d-%b-%Y"];
    let first = clear.iter().find_map(|format| read(format).filter(plausible));
    let month = || NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok().filter(plausible);
    let year = || NaiveDate::from_ymd_opt(text.parse().ok()?, 1, 1).filter(plausible);
    if let Some(day) = first.or_else(month).or_else(year) {
        return vec![day];
    }
    let mut days: Vec<NaiveDate> = ["%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y"]
        .iter()
        .filter_map(|format| read(format).filter(plausible))
        .collect();
    days.sort_unstable();
    days.dedup();
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_left_out() {
        const DAY: i64 = 19_753 * 86_400_000_000; // 2024-01-31
        assert_eq!(shown(DAY), "2024-01-31");
        assert_eq!(shown(DAY + 34_200_000_000), "2024-01-31 09:30");
        assert_eq!(shown(DAY + 34_205_000_000), "2024-01-31 09:30:05");
        assert_eq!(shown(DAY + 5_000_000), "2024-01-31 00:00:05");
    }

    #[test]
    fn a_time_in_another_form_is_told_as_it_must_be_written() {
        for (text, want) in [
            ("2018-2-7", "write '2018-02-07'"),
            ("2018/02/07", "write '2018-02-07'"),
            ("20180207", "write '2018-02-07'"),
            ("2018-02", "write '2018-02-01'"),
            ("2018", "write '2018-01-01'"),
            ("07/02/2018", "write the year first: '2018-02-07' or '2018-07-02'"),
            ("31/01/2018", "write '2018-01-31'"),
            ("01/31/2018", "write '2018-01-31'"),
            ("7 Feb 2018", "write '2018-02-07'"),
            ("2018-02-07 09:30", "write '2018-02-07 09:30:00'"),
            ("yesterday", EXPECTED_TIME),
            ("", EXPECTED_TIME),
            ("ü", EXPECTED_TIME),
        ] {
            assert_eq!(no_time(text).as_deref(), Some(want), "{text}");
        }
        for text in ["2018-02-07", "2018-02-07T09:30:00Z", "2018-02-07 09:30:00.5", "1500-01-01"] {
            assert_eq!(no_time(text), None, "{text}");
        }
    }
}
