//! The forms that times are written in: epochs, ISO, `YYYYMMDD`, day or month first, with and without a zone.

use super::unit;
use arrow::datatypes::TimeUnit;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone};
use chrono_tz::Tz;
use std::fmt::{Display, Formatter};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// How the times of a column are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    /// Ticks since 1970 of this many to the second.
    Epoch(i64),
    /// A date whose parts stand in this order, and maybe a time of day.
    Date(Order),
    /// `YYYYMMDD`, maybe followed by `HHMM` or `HHMMSS`.
    Compact,
    /// A strftime pattern.
    Pattern(String),
}

/// The order of a date's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `2024-01-31`.
    YearMonthDay,
    /// `01/31/2024`.
    MonthDayYear,
    /// `31/01/2024`.
    DayMonthYear,
}

/// The zone of times that do not name one.
#[derive(Debug, Clone)]
pub enum Zone {
    /// Always as many microseconds before UTC.
    Fixed(i64),
    /// A zone with clock changes.
    Named {
        /// The zone.
        zone: Tz,
        /// The day that was asked about last.
        day: i64,
        /// The zone's offset on that day, where the clocks do not change.
        offset: Option<i64>,
    },
}

impl Zone {
    /// A zone by name (`America/New_York`), or an offset (`+02:00`).
    pub fn parse(text: &str) -> Option<Zone> {
        if text.eq_ignore_ascii_case("utc") || text == "Z" {
            return Some(Zone::Fixed(0));
        }
        if let Some(offset) = parse_offset(text.as_bytes()) {
            return Some(Zone::Fixed(offset));
        }
        text.parse().ok().map(|zone| Zone::Named { zone, day: i64::MIN, offset: None })
    }

    /// Local microseconds to UTC; `None` for a time that the zone skips. Of a time that comes twice, the first.
    pub fn utc(&mut self, local: i64) -> Option<i64> {
        match self {
            Zone::Fixed(offset) => Some(local - *offset),
            Zone::Named { zone, day, offset } => {
                let today = local.div_euclid(DAY);
                if *day != today {
                    let (start, end) = (offset_at(*zone, today * DAY), offset_at(*zone, (today + 1) * DAY));
                    (*day, *offset) = (today, start.filter(|_| start == end));
                }
                match offset {
                    Some(offset) => Some(local - *offset),
                    None => offset_at(*zone, local).map(|offset| local - offset),
                }
            }
        }
    }
}

fn offset_at(zone: Tz, local: i64) -> Option<i64> {
    let naive = DateTime::from_timestamp_micros(local)?.naive_utc();
    let at = zone.from_local_datetime(&naive).earliest()?;
    Some(i64::from(at.offset().fix().local_minus_utc()) * SECOND)
}

impl Display for TimeFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TimeFormat::Epoch(1) => "an epoch in seconds",
            TimeFormat::Epoch(1_000) => "an epoch in milliseconds",
            TimeFormat::Epoch(SECOND) => "an epoch in microseconds",
            TimeFormat::Epoch(_) => "an epoch in nanoseconds",
            TimeFormat::Date(Order::YearMonthDay) => "year-month-day",
            TimeFormat::Date(Order::MonthDayYear) => "month/day/year",
            TimeFormat::Date(Order::DayMonthYear) => "day/month/year",
            TimeFormat::Compact => "YYYYMMDD",
            TimeFormat::Pattern(pattern) => pattern,
        })
    }
}

impl TimeFormat {
    /// Recognises the format of some values of one column.
    ///
    /// # Errors
    /// They are no times, or their day and month cannot be distinguished.
    pub fn detect<'a>(samples: impl Iterator<Item = &'a str> + Clone) -> Result<TimeFormat, String> {
        let filled = samples.map(str::trim).filter(|s| !s.is_empty());
        let dated = || filled.clone().filter(|s| s.as_bytes()[0].is_ascii_digit());
        let Some(first) = dated().next() else {
            return Err(match filled.clone().next() {
                Some(text) => {
                    format!("'{text}' is no time: expected an epoch, ISO, YYYYMMDD, or the option `time_format`")
                }
                None => "the time column is empty".to_string(),
            });
        };
        let digits = first.bytes().take_while(u8::is_ascii_digit).count();
        let rest = &first[digits..];
        if rest.is_empty() || rest.starts_with('.') && rest.matches('.').count() == 1 {
            let compact = matches!(digits, 8 | 12 | 14) && parse_compact(first.as_bytes()).is_some();
            if compact && rest.is_empty() {
                return Ok(TimeFormat::Compact);
            }
            let largest = dated().filter_map(|s| s.parse::<f64>().ok()).fold(0.0f64, |a, b| a.max(b.abs()));
            return Ok(TimeFormat::Epoch(ticks_per_second(largest)));
        }
        if digits == 8 {
            return Ok(TimeFormat::Compact);
        }
        if digits == 4 {
            return Ok(TimeFormat::Date(Order::YearMonthDay));
        }
        let (mut day_first, mut month_first, mut ambiguous) = (false, false, first);
        for text in dated() {
            match leading_numbers(text.as_bytes()) {
                Some((a, b)) if a > 12 && b <= 12 => day_first = true,
                Some((a, b)) if b > 12 && a <= 12 => month_first = true,
                _ => ambiguous = text,
            }
        }
        match (day_first, month_first) {
            (true, false) => Ok(TimeFormat::Date(Order::DayMonthYear)),
            (false, true) => Ok(TimeFormat::Date(Order::MonthDayYear)),
            (false, false) => Err(format!(
                "'{ambiguous}' may be day/month or month/day: say which, as the option `time_format '%d/%m/%Y'` or '%m/%d/%Y'"
            )),
            (true, true) => {
                Err(format!("'{first}': the column mixes day/month and month/day: give the option `time_format`"))
            }
        }
    }

    /// Microseconds of a whole number.
    pub fn parse_epoch(&self, value: i64) -> Option<i64> {
        match self {
            TimeFormat::Epoch(ticks) => rescale(value, *ticks),
            _ => None,
        }
    }

    /// Microseconds UTC of a day without a time of day; `None` if the text is something else.
    pub(super) fn parse_day(&self, text: &str) -> Option<i64> {
        let bytes = text.as_bytes();
        match self {
            TimeFormat::Date(order) => {
                parse_date(bytes, *order).filter(|(_, rest)| rest.is_empty()).map(|(day, _)| day * DAY)
            }
            TimeFormat::Compact => parse_compact(bytes).filter(|_| bytes.len() == "20240131".len()),
            TimeFormat::Epoch(_) | TimeFormat::Pattern(_) => None,
        }
    }

    /// Microseconds UTC of a text; `None` if it is no time of this format.
    pub fn parse(&self, text: &str, zone: &mut Zone) -> Option<i64> {
        let text = text.trim();
        let bytes = text.as_bytes();
        match self {
            TimeFormat::Epoch(ticks) => match text.parse::<i64>() {
                Ok(value) => rescale(value, *ticks),
                Err(_) => {
                    let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite())? / *ticks as f64;
                    Some((seconds * SECOND as f64).round() as i64)
                }
            },
            TimeFormat::Compact => zone.utc(parse_compact(bytes)?),
            TimeFormat::Date(order) => {
                let (day, rest) = parse_date(bytes, *order)?;
                let (time, offset) = parse_time_of_day(rest)?;
                let local = day * DAY + time;
                match offset {
                    Some(offset) => Some(local - offset),
                    None => zone.utc(local),
                }
            }
            TimeFormat::Pattern(pattern) => {
                if let Ok(at) = DateTime::<FixedOffset>::parse_from_str(text, pattern) {
                    return Some(at.timestamp_micros());
                }
                let local = NaiveDateTime::parse_from_str(text, pattern)
                    .or_else(|_| NaiveDate::parse_from_str(text, pattern).map(|d| d.and_time(NaiveTime::MIN)))
                    .ok()?;
                zone.utc(local.and_utc().timestamp_micros())
            }
        }
    }
}

fn ticks_per_second(value: f64) -> i64 {
    match unit(value as i64) {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => SECOND,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn rescale(value: i64, ticks: i64) -> Option<i64> {
    if ticks <= SECOND { value.checked_mul(SECOND / ticks) } else { Some(value.div_euclid(ticks / SECOND)) }
}

/// Takes a number of at most `most` digits off the front.
fn take_number(bytes: &[u8], most: usize) -> Option<(i64, &[u8])> {
    let digits = bytes.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
    let value = bytes[..digits].iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
    (digits > 0).then_some((value, &bytes[digits..]))
}

fn leading_numbers(bytes: &[u8]) -> Option<(i64, i64)> {
    let (a, rest) = take_number(bytes, 4)?;
    let (b, _) = take_number(rest.get(1..)?, 2)?;
    Some((a, b))
}

/// Days since 1970 of a date of the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=length).contains(&day) || !(1..=9999).contains(&year) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// `2024-01-31`, as most files write days.
fn parse_iso_date(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let ([y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1], rest) = bytes.split_first_chunk::<10>()? else { return None };
    if [y0, y1, y2, y3, m0, m1, d0, d1].iter().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    Some((days(two(y0, y1) * 100 + two(y2, y3), two(m0, m1), two(d0, d1))?, rest))
}

fn parse_date(bytes: &[u8], order: Order) -> Option<(i64, &[u8])> {
    if order == Order::YearMonthDay
        && let Some(parsed) = parse_iso_date(bytes)
    {
        return Some(parsed);
    }
    let (a, rest) = take_number(bytes, 4)?;
    let (b, rest) = take_number(after_separator(rest)?, 2)?;
    let (c, rest) = take_number(after_separator(rest)?, 4)?;
    let (year, month, day) = match order {
        Order::YearMonthDay => (a, b, c),
        Order::MonthDayYear => (c, a, b),
        Order::DayMonthYear => (c, b, a),
    };
    let year = match (order, year) {
        (Order::YearMonthDay, year) | (_, year @ 100..) => year,
        (_, year @ 0..=68) => year + 2000,
        (_, year) => year + 1900,
    };
    Some((days(year, month, day)?, rest))
}

fn after_separator(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [b'-' | b'/' | b'.' | b' ', rest @ ..] => Some(rest),
        _ => None,
    }
}

fn parse_compact(bytes: &[u8]) -> Option<i64> {
    let (year, rest) = take_number(bytes, 4)?;
    let (month, rest) = take_number(rest, 2)?;
    let (day, rest) = take_number(rest, 2)?;
    if !(1800..2200).contains(&year) {
        return None;
    }
    let rest = rest.strip_prefix(b" ").or_else(|| rest.strip_prefix(b"T")).unwrap_or(rest);
    let mut time = 0;
    let mut rest = rest;
    for unit in [3600, 60, 1] {
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(b":").unwrap_or(rest);
        let (value, after) = take_number(rest, 2)?;
        if value >= if unit == 3600 { 24 } else { 60 } {
            return None;
        }
        time += value * unit;
        rest = after;
    }
    rest.is_empty().then_some(())?;
    Some(days(year, month, day)? * DAY + time * SECOND)
}

/// What follows a date: nothing, or a time of day in microseconds and maybe an offset from UTC.
fn parse_time_of_day(bytes: &[u8]) -> Option<(i64, Option<i64>)> {
    let bytes = match bytes {
        [] => return Some((0, None)),
        [b'T' | b't' | b' ', rest @ ..] => rest,
        _ => return None,
    };
    let (hour, rest) = take_number(bytes, 2)?;
    let (minute, mut rest) = take_number(rest.strip_prefix(b":")?, 2)?;
    let mut second = 0;
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix(b":") {
        (second, rest) = take_number(after, 2)?;
        if let Some(after) = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b",")) {
            let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
            let (value, _) = take_number(after, digits.min(6))?;
            fraction = value * 10i64.pow(6u32.saturating_sub(digits as u32));
            rest = &after[digits..];
        }
    }
    let mut hour = hour;
    let text = rest.trim_ascii_start();
    let text = match text {
        [b'A' | b'a', b'M' | b'm', after @ ..] => {
            hour %= 12;
            after.trim_ascii_start()
        }
        [b'P' | b'p', b'M' | b'm', after @ ..] => {
            hour = hour % 12 + 12;
            after.trim_ascii_start()
        }
        other => other,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let time = ((hour * 60 + minute) * 60 + second) * SECOND + fraction;
    match text {
        [] => Some((time, None)),
        b"Z" | b"z" | b"UTC" | b"GMT" => Some((time, Some(0))),
        text => parse_offset(text).map(|offset| (time, Some(offset))),
    }
}

/// `+02:00`, `-0530`, `+02` in microseconds.
fn parse_offset(bytes: &[u8]) -> Option<i64> {
    let (sign, rest) = match bytes {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = take_number(rest, 2)?;
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let (minutes, rest) = if rest.is_empty() { (0, rest) } else { take_number(rest, 2)? };
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60 * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn read(text: &str) -> Option<i64> {
        TimeFormat::detect(std::iter::once(text)).ok()?.parse(text, &mut Zone::Fixed(0))
    }

    #[test]
    fn usual_forms_are_recognised() {
        let at = utc("2017-01-31T09:30:00Z");
        let day = utc("2017-01-31T00:00:00Z");
        for text in ["2017-01-31", "2017/01/31", "2017.01.31", "20170131", "01/31/2017", "1/31/17", "31.1.2017"] {
            assert_eq!(read(text), Some(day), "{text}");
        }
        for text in [
            "2017-01-31 09:30",
            "2017-01-31T09:30:00Z",
            "2017-01-31 09:30:00.000",
            "2017-01-31T04:30:00-05:00",
            "2017-01-31 15:00:00+0530",
            "20170131 093000",
            "201701310930",
            "1485855000",
            "1485855000000",
            "1485855000000000",
            "1485855000.0",
            "1/31/2017 9:30 AM",
        ] {
            assert_eq!(read(text), Some(at), "{text}");
        }
    }

    #[test]
    fn the_order_of_day_and_month_is_told_by_the_column_or_asked_for() {
        let column = ["01/02/2017", "01/13/2017"];
        assert_eq!(TimeFormat::detect(column.into_iter()), Ok(TimeFormat::Date(Order::MonthDayYear)));
        let column = ["01/02/2017", "13/02/2017"];
        assert_eq!(TimeFormat::detect(column.into_iter()), Ok(TimeFormat::Date(Order::DayMonthYear)));
        let said = TimeFormat::detect(["01/02/2017"].into_iter()).unwrap_err();
        assert!(said.contains("the option `time_format '%d/%m/%Y'`"), "{said}");
        let mixed = TimeFormat::detect(["13/02/2017", "02/13/2017"].into_iter()).unwrap_err();
        assert!(mixed.contains("mixes"), "{mixed}");
    }

    #[test]
    fn what_is_no_date_is_no_time() {
        let format = TimeFormat::Date(Order::YearMonthDay);
        for text in ["2017-02-29", "2017-13-01", "2017-01-31x", "2017-01-31 25:00", "", "date"] {
            assert_eq!(format.parse(text, &mut Zone::Fixed(0)), None, "{text}");
        }
        assert_eq!(format.parse("2016-02-29", &mut Zone::Fixed(0)), Some(utc("2016-02-29T00:00:00Z")));
    }

    #[test]
    fn local_times_follow_daylight_saving() {
        let mut zone = Zone::parse("America/New_York").unwrap();
        let format = TimeFormat::Date(Order::YearMonthDay);
        let mut read = |text: &str| format.parse(text, &mut zone);
        assert_eq!(read("2020-01-15 09:30"), Some(utc("2020-01-15T14:30:00Z")));
        assert_eq!(read("2020-07-15 09:30"), Some(utc("2020-07-15T13:30:00Z")));
        // Clocks went from 02:00 to 03:00 that morning, and came back on 1 November.
        assert_eq!(read("2020-03-08 01:30"), Some(utc("2020-03-08T06:30:00Z")));
        assert_eq!(read("2020-03-08 02:30"), None);
        assert_eq!(read("2020-03-08 03:30"), Some(utc("2020-03-08T07:30:00Z")));
        assert_eq!(read("2020-11-01 01:30"), Some(utc("2020-11-01T05:30:00Z")));
    }

    #[test]
    fn days_agree_with_the_calendar() {
        for (y, m, d) in [(1970, 1, 1), (1969, 12, 31), (2000, 2, 29), (1900, 3, 1), (2024, 12, 31), (1, 1, 1)] {
            let date = NaiveDate::from_ymd_opt(y, m, d).unwrap();
            let expected = date.and_time(NaiveTime::MIN).and_utc().timestamp() / 86_400;
            assert_eq!(days(y.into(), m.into(), d.into()), Some(expected));
        }
    }
}
