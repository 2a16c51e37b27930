//! What is given on the command line, as what it stands for.

use super::args::{RangeArgs, SymbolsArgs};
use super::{Failure, usage};
use crate::Session;
use crate::pipeline::bounds::Range;
use crate::pipeline::query::QueryOptions;
use crate::pipeline::{When, is_dated, symbols_where};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use tallow_common::time::parse_duration;
use tallow_engine::dialect::{Formula, Params};

/// Values of parameters, each given once.
pub(super) fn params<'a>(given: impl IntoIterator<Item = &'a String>) -> Result<Params, Failure> {
    let mut params = Params::default();
    for pair in given {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
            return Err(Failure::Usage(format!("parameter '{pair}': expected NAME=VALUE, such as level=20")));
        };
        let name = name.trim();
        if let Some(first) = params.get(name) {
            return Err(Failure::Usage(format!("parameter `{name}` is given twice, as '{first}' and as '{value}'")));
        }
        params.set(name, value);
    }
    Ok(params)
}

/// `NAME=VALUE` pairs; a name that is given twice has the last value.
pub(super) fn assignments(option: &str, given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = given.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_string()))
        }
        _ => Err(Failure::Usage(format!("{option} '{pair}': expected NAME=VALUE"))),
    });
    pairs.collect()
}

/// The times from one up to another.
pub(super) fn times(from: Option<i64>, to: Option<i64>) -> Result<Range, Failure> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => {
            Err(Failure::Usage("the range is empty: --from must lie before --to".to_string()))
        }
        _ => Ok(Range { from, to }),
    }
}

impl SymbolsArgs {
    /// The symbols that are asked for, each once; `None`: all.
    pub(super) async fn chosen(&self, session: &Session, when: When) -> Result<Option<Vec<String>>, Failure> {
        let named = symbols(&self.symbols)?;
        let Some(condition) = self.condition() else { return Ok(named) };
        let mut fulfilling = symbols_where(session, &condition, when).await?;
        if let Some(named) = named {
            fulfilling.retain(|symbol| named.contains(symbol));
            if fulfilling.is_empty() {
                return Err(Failure::Usage(format!("--symbols: of none of them is `{condition}` true")));
            }
        }
        Ok(Some(fulfilling))
    }

    /// What has to be true at each bar, where the table of symbols has dates.
    pub(super) async fn members(&self, session: &Session) -> Result<Option<Formula>, Failure> {
        match self.condition() {
            Some(condition) if is_dated(session).await? => Ok(Some(Formula::parse(&condition)?)),
            _ => Ok(None),
        }
    }

    fn condition(&self) -> Option<String> {
        match self.conditions.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            all => Some(all.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" and ")),
        }
    }
}

/// The symbols of `--symbols`, each once; `None` where it is not given.
pub(super) fn symbols(given: &[String]) -> Result<Option<Vec<String>>, Failure> {
    let mut seen = HashSet::new();
    let names = given.iter().map(|s| s.trim()).filter(|s| !s.is_empty() && seen.insert(*s));
    let names: Vec<String> = names.map(str::to_string).collect();
    match (given.is_empty(), names.is_empty()) {
        (true, _) => Ok(None),
        (false, true) => Err(Failure::Usage("--symbols names none".to_string())),
        (false, false) => Ok(Some(names)),
    }
}

/// The times and symbols that a query is for, beside its other options.
pub(super) async fn options(
    session: &Session,
    range: &RangeArgs,
    others: QueryOptions,
) -> Result<QueryOptions, Failure> {
    let times = times(range.from, range.to)?;
    let symbols = range.symbols.chosen(session, When::Newest(range.to)).await?;
    Ok(QueryOptions { range: times, symbols, available_at: range.available_at, ..others })
}

/// The table of a timeframe; a table's name, a path or URL is taken as it is.
pub(super) fn table_of(text: Option<&str>) -> Result<String, Failure> {
    text.map_or_else(|| Ok("candles".to_string()), |text| crate::pipeline::table_of(text).map_err(usage))
}

/// `500ms`, `30s`, `5m`.
pub(super) fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::Usage(format!("{option} '{text}': expected a time such as 500ms, 30s or 5m"));
    parse_duration(text).ok_or_else(wrong)
}

/// `7d`, `12h`, `30m`.
pub(super) fn age(option: &str, text: &str) -> Result<chrono::Duration, Failure> {
    let wrong = || Failure::Usage(format!("{option} '{text}': expected an age such as 7d, 12h or 30m"));
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let number: i64 = number.parse().ok().filter(|n| (0..=100_000).contains(n)).ok_or_else(wrong)?;
    match unit {
        "d" => Ok(chrono::Duration::days(number)),
        "h" => Ok(chrono::Duration::hours(number)),
        "m" => Ok(chrono::Duration::minutes(number)),
        _ => Err(wrong()),
    }
}
