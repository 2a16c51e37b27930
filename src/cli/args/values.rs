//! Values of options. What is wrong with one is reported together with the option's name, before anything is done.

use crate::Error;
use std::str::FromStr;
use tallow_common::time;
use tallow_udfs::calendar::Origin;

/// A value of a type that knows how it is written.
pub(in crate::cli) fn parsed<T>(text: &str) -> Result<T, Error>
where
    T: FromStr,
    Error: From<T::Err>,
{
    Ok(text.trim().parse()?)
}

/// A number from 1 up.
pub(in crate::cli) fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number from 1".to_string())
}

/// A day or an instant, in microseconds since the epoch.
pub(in crate::cli) fn time(text: &str) -> Result<i64, Error> {
    time::instant(text.trim())
}

/// A day or an instant, as [`time`]; the end of a day that is given without a time.
pub(in crate::cli) fn end(text: &str) -> Result<i64, Error> {
    const DAY: i64 = 86_400_000_000;
    match time::parse_day(text) {
        Some(day) => Ok(day + DAY - 1),
        None => time(text),
    }
}

/// Where bars begin, as it is written. Which calendars there are is known once the lake is open.
pub(in crate::cli) fn origin(text: &str) -> Result<String, Error> {
    let days = text.split_once('+').map_or(text, |(days, _)| days);
    let _: Origin = days.parse()?;
    Ok(text.to_string())
}

/// What to write in place of `--to`, which is the end of a time range wherever there is one.
pub(in crate::cli) fn into_instead(table: &str) -> Result<String, String> {
    Err(format!("--to is the end of a time range; the table to write is named by --into {table}"))
}
