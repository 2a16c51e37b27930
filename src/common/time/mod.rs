//! Times: their type in tables, as people write them, and as people read them.

mod format;

pub use format::{Order, TimeFormat, Zone};

use crate::{Error, Result};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{NaiveDate, Utc};
use std::time::Duration;

/// The type of all times in tables of candles, as SQL names it in `arrow_cast`; see [`timestamp_type`].
pub const TIMESTAMP: &str = "Timestamp(Microsecond, Some(\"UTC\"))";

/// The type of all times in tables of candles: microseconds in UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The unit of an epoch by its size: whole seconds reach 1e11 in the year 5138.
pub fn unit(epoch: i64) -> TimeUnit {
    match epoch.unsigned_abs() {
        0..100_000_000_000 => TimeUnit::Second,
        100_000_000_000..100_000_000_000_000 => TimeUnit::Millisecond,
        100_000_000_000_000..100_000_000_000_000_000 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

/// Microseconds since the epoch of a day or an instant as it is typed; `None` if it is neither.
///
/// A day is written `2024-01-31`, `2024/1/31`, `2024.01.31`, `20240131`, or with the year last where the order of day and
/// month is clear (`31.1.2024`, `1/31/2024`). A time of day may follow: `09:30`, `09:30:05.5`, `9:30 AM`, and then an offset
/// from UTC: `Z`, `+02:00`. `20240131 0930` and epochs in seconds, milliseconds, microseconds or nanoseconds are times too.
/// What names no offset is in UTC.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    typed_format(text)?.parse(text, &mut Zone::Fixed(0))
}

/// As [`parse`], but only of a day without a time of day.
pub fn parse_day(text: &str) -> Option<i64> {
    let text = text.trim();
    typed_format(text)?.parse_day(text)
}

/// As [`parse`]; what is no time is an error.
///
/// # Errors
/// The text is no time.
pub fn instant(text: &str) -> Result<i64> {
    parse(text).ok_or_else(|| {
        Error::invalid(format!("'{text}' is no time: expected a day such as 2024-01-31, or 2024-01-31T09:30Z"))
    })
}

/// A length of time as it is typed: `500ms`, `30s`, `5m`, `1.5h`, `2d`; `None` if it is none, or not above zero.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let number: f64 = number.parse().ok().filter(|n| *n > 0.0 && *n < 1e6)?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(seconds))
}

/// The format of one time as it is typed.
fn typed_format(text: &str) -> Option<TimeFormat> {
    // `2024` and `2024.01` are a year and a month to whoever types them, and no seconds since 1970.
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let is_small = digits < 8 && text.parse::<f64>().is_ok();
    // `24-01-31` is a day of 2024 to some and of 2031 to others.
    let is_short = |part: &str| part.bytes().take_while(u8::is_ascii_digit).count() <= 2;
    let has_short_year = text.splitn(3, '-').filter(|part| is_short(part)).count() == 3;
    if is_small || has_short_year {
        return None;
    }
    TimeFormat::detect(std::iter::once(text)).ok()
}

/// Microseconds since the epoch as `2024-01-31`, `2024-01-31 09:30` or `2024-01-31 09:30:05`, in UTC.
pub fn shown(micros: i64) -> String {
    let Some(time) = chrono::DateTime::from_timestamp_micros(micros) else { return micros.to_string() };
    let text = time.format("%Y-%m-%d %H:%M:%S").to_string();
    let minutes = text.strip_suffix(":00").unwrap_or(&text);
    minutes.strip_suffix(" 00:00").unwrap_or(minutes).to_string()
}

/// What a time in a query looks like.
pub const EXPECTED_TIME: &str = "expected a day such as '2018-01-31', or an instant such as '2018-01-31T09:30:00Z'";

/// A time of hours and minutes with seconds.
fn with_seconds(text: &str) -> String {
    text.strip_suffix('Z').map_or_else(|| format!("{text}:00"), |text| format!("{text}:00Z"))
}

/// Why a text is no time, as advice; `None` if it is one.
pub fn no_time(text: &str) -> Option<String> {
    let is_time = |text: &str| string_to_datetime(&Utc, text).is_ok();
    if is_time(text) {
        return None;
    }
    let meant = days(text);
    Some(match meant.as_slice() {
        [] if is_time(&with_seconds(text)) => format!("write '{}'", with_seconds(text)),
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
    fn the_type_has_one_name() {
        assert_eq!(TIMESTAMP.parse::<DataType>().unwrap(), timestamp_type());
    }

    #[test]
    fn the_size_of_an_epoch_gives_its_unit() {
        assert_eq!(unit(1_700_000_000), TimeUnit::Second);
        assert_eq!(unit(1_700_000_000_000), TimeUnit::Millisecond);
        assert_eq!(unit(1_700_000_000_000_000), TimeUnit::Microsecond);
        assert_eq!(unit(1_700_000_000_000_000_000), TimeUnit::Nanosecond);
    }

    #[test]
    fn a_time_is_typed_in_any_usual_form() {
        const DAY: i64 = 19_753 * 86_400_000_000; // 2024-01-31
        const HALF_PAST_NINE: i64 = DAY + 34_200_000_000;
        for text in ["2024-01-31", " 2024-1-31 ", "2024/01/31", "2024.01.31", "20240131", "1/31/2024", "31.1.2024"] {
            assert_eq!((parse(text), parse_day(text)), (Some(DAY), Some(DAY)), "{text}");
        }
        for text in [
            "2024-01-31T09:30",
            "2024-01-31 09:30",
            "2024-01-31T09:30Z",
            "2024-01-31 09:30:00Z",
            "2024-01-31T09:30:00.000Z",
            "2024-01-31t09:30:00z",
            "2024-01-31T11:30:00+02:00",
            "2024-01-31 04:30:00-0500",
            "1/31/2024 9:30 AM",
            "20240131 0930",
            "202401310930",
            "1706693400",
            "1706693400.0",
            "1706693400000",
        ] {
            assert_eq!((parse(text), parse_day(text)), (Some(HALF_PAST_NINE), None), "{text}");
        }
        assert_eq!(parse("2024-01-31T00:00:00.5+00:00"), Some(DAY + 500_000));
        assert_eq!((parse("2024-01-31 00:00"), parse_day("2024-01-31 00:00")), (Some(DAY), None));
    }

    #[test]
    fn what_may_mean_something_else_is_no_time() {
        for text in [
            "",
            "soon",
            "2024",
            "2024.01",
            "2024-01",
            "2024-13-01",
            "2023-02-29",
            "01/02/2024",
            "24-01-31",
            "-5",
            "v12",
        ] {
            assert_eq!((parse(text), parse_day(text)), (None, None), "{text}");
        }
        let said = instant("2024-13-01").unwrap_err().to_string();
        assert_eq!(said, "'2024-13-01' is no time: expected a day such as 2024-01-31, or 2024-01-31T09:30Z");
    }

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
            ("2018-02-07T09:30Z", "write '2018-02-07T09:30:00Z'"),
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
