//! The patterns that a lake keeps: cut from its candles, or given as numbers.

use super::alerts;
use super::query::Query;
use crate::Session;
use crate::quoting;
use crate::relation::{Relation, despite_files, one, timeframe_of};
use crate::rows;
use crate::search::{Pattern, length};
use std::collections::BTreeSet;
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_engine::dialect::closest;
use tallow_lake::{Lake, StoredPattern};
use tallow_udfs::similarity::numbers_of;
use tallow_udfs::similarity::reference::{Channels, Reference, WARM_UP};
use tallow_udfs::similarity::search::Excluded;

/// The bars of a pattern at most.
const LONGEST: usize = 2_000;

/// Where a new pattern comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The bars of a symbol between two times, both included.
    Bars {
        /// The table.
        table: String,
        /// The length of its bars.
        timeframe: String,
        /// The symbol.
        symbol: String,
        /// Microseconds since the epoch.
        from: i64,
        /// Microseconds since the epoch.
        to: i64,
    },
    /// Closes, oldest first.
    Values(Vec<f64>),
}

impl Source {
    /// The bars of a symbol in a table, from one time to another, both included.
    pub async fn bars(session: &Session, table: String, symbol: String, from: i64, to: i64) -> Result<Source> {
        let timeframe = timeframe_of(session.lake(), &table).await?;
        Ok(Source::Bars { table, timeframe, symbol, from, to })
    }
}

/// Cuts a pattern out. It is not kept yet.
pub async fn cut(session: &Session, id: &str, source: Source) -> Result<StoredPattern> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.is_empty() || !id.starts_with(|c: char| c.is_ascii_alphabetic()) || !id.chars().all(fits) {
        return Err(Error::invalid(format!(
            "'{id}' cannot be a pattern's name: expected a letter, then letters, digits, _ and -"
        )));
    }
    let mut pattern = StoredPattern {
        id: id.to_string(),
        symbol: None,
        timeframe: None,
        start_ts: None,
        end_ts: None,
        label: String::new(),
        description: String::new(),
        active: true,
        bars: 0,
        closes: String::new(),
        created_at: chrono::Utc::now().timestamp_micros(),
    };
    let (closes, lead) = match source {
        Source::Values(values) => (values, 0),
        Source::Bars { table, timeframe, symbol, from, to } => {
            if from > to {
                return Err(Error::invalid(format!(
                    "the first bar of '{id}' must not come after its last: is the option `from` after the option `to`?"
                )));
            }
            // Another symbol's broken file is no reason not to cut.
            let read = async |from: &Relation| closes_of(session, from, &symbol).await;
            let (bars, (times, closes)) = despite_files(session, &table, read).await?;
            if times.is_empty() {
                return Err(unknown_symbol(session, &bars, &symbol).await?);
            }
            let first = times.partition_point(|t| *t < from);
            let end = times.partition_point(|t| *t <= to);
            let (Some(&start_ts), Some(&end_ts)) = (times.get(first), times[..end].last()) else {
                return Err(Error::invalid(no_bars(&symbol, &times)));
            };
            if first >= end {
                return Err(Error::invalid(no_bars(&symbol, &times)));
            }
            let lead = first.min(WARM_UP);
            pattern.symbol = Some(symbol);
            pattern.timeframe = Some(timeframe);
            (pattern.start_ts, pattern.end_ts) = (Some(start_ts), Some(end_ts));
            (closes[first - lead..end].to_vec(), lead)
        }
    };
    let bars = closes.len() - lead;
    if bars > LONGEST {
        return Err(Error::invalid(format!("a pattern of {bars} bars: expected at most {LONGEST}")));
    }
    Reference::new(&closes, lead, Channels::PRICE, &[1.0])
        .map_err(|said| Error::invalid(format!("pattern '{id}': {said}")))?;
    pattern.bars = bars as i64;
    pattern.closes = closes.iter().map(|c| format!("{c}")).collect::<Vec<_>>().join(" ");
    Ok(pattern)
}

/// Keeps a pattern. `false`: the lake has it already, as one has who asks again since the first time was interrupted.
///
/// # Errors
/// There is another pattern of that name.
pub async fn add(session: &Session, pattern: &StoredPattern) -> Result<bool> {
    let new = pattern.clone();
    let change = move |all: &mut Vec<StoredPattern>| {
        let known = all.iter().find(|known| known.id == new.id).cloned();
        if known.is_none() {
            all.push(new.clone());
        }
        Ok(known)
    };
    let known = session.on_lake(|lake| async move { lake.change_records("ADD PATTERN", change).await }).await?;
    let Some(known) = known else { return Ok(true) };
    let (active, created_at) = (known.active, known.created_at);
    if known == (StoredPattern { active, created_at, ..pattern.clone() }) {
        return Ok(false);
    }
    Err(Error::conflict(format!(
        "there is another pattern `{0}` already: the operation `pattern remove {0}` makes room",
        pattern.id
    )))
}

/// Whether runs that look for all active patterns look for this one.
///
/// # Errors
/// The lake has no such pattern.
pub async fn set_active(session: &Session, id: &str, active: bool) -> Result<()> {
    get(session.lake(), id).await?;
    let id = id.to_string();
    let change = move |all: &mut Vec<StoredPattern>| {
        all.iter_mut().filter(|p| p.id == id).for_each(|p| p.active = active);
        Ok(())
    };
    session.on_lake(|lake| async move { lake.change_records("CHANGE PATTERN", change).await }).await
}

/// Removes a pattern and what is remembered of its alerts.
///
/// # Errors
/// The lake has no such pattern.
pub async fn remove(session: &Session, id: &str) -> Result<()> {
    get(session.lake(), id).await?;
    let gone = id.to_string();
    let change = move |all: &mut Vec<StoredPattern>| {
        all.retain(|p| p.id != gone);
        Ok(())
    };
    session.on_lake(|lake| async move { lake.change_records("REMOVE PATTERN", change).await }).await?;
    alerts::forget(session, id).await
}

/// The query for the patterns that the lake keeps.
///
/// # Errors
/// It keeps none.
pub async fn list(session: &Session) -> Result<Query> {
    if session.lake().records::<StoredPattern>().await?.is_empty() {
        return Err(none());
    }
    Ok(Query::of(
        "select id, label, symbol, timeframe, start_ts, end_ts, bars, active, description from patterns order by id",
    ))
}

/// The active patterns, or those of some names, each once.
///
/// # Errors
/// The lake keeps none, or not one of these.
pub async fn chosen(lake: &Lake, names: &[String]) -> Result<Vec<StoredPattern>> {
    let all = lake.records::<StoredPattern>().await?;
    let mut chosen = vec![];
    match names.is_empty() {
        true => chosen.extend(all.into_iter().filter(|p| p.active)),
        false => {
            for name in names.iter().collect::<BTreeSet<_>>() {
                chosen.push(get(lake, name).await?);
            }
        }
    }
    if chosen.is_empty() { Err(none()) } else { Ok(chosen) }
}

/// The lake keeps no pattern.
pub(super) fn none() -> Error {
    Error::not_found("the lake keeps no pattern yet").with_hint("the operation `pattern add` makes one")
}

fn no_bars(symbol: &str, times: &[i64]) -> String {
    let day = |t: Option<&i64>| t.map(|t| shown(*t)).unwrap_or_default();
    format!("no bar of '{symbol}' in that time: its bars are from {} to {}", day(times.first()), day(times.last()))
}

async fn unknown_symbol(session: &Session, from: &Relation, symbol: &str) -> Result<Error> {
    if let Some(file) = from.skipped().into_iter().find(|file| file.symbol == symbol) {
        return Ok(Error::invalid(format!("there are no bars of '{symbol}': {}", file.reason)));
    }
    let sql = format!("select distinct symbol from {}", from.sql);
    let mut known = vec![];
    for batch in session.collect(one(session, &sql).await?).await? {
        known.extend(rows::texts(batch.column(0))?);
    }
    known.sort();
    let similar = known.iter().find(|k| k.eq_ignore_ascii_case(symbol)).map(String::as_str);
    let similar = similar.or_else(|| closest(symbol, known.iter().map(String::as_str)));
    let hint = similar.map_or_else(String::new, |similar| format!("; did you mean '{similar}'?"));
    Ok(Error::not_found(format!("there are no bars of '{symbol}'{hint}")))
}

/// Times and closes of the bars of a symbol that have a close.
async fn closes_of(session: &Session, from: &Relation, symbol: &str) -> Result<(Vec<i64>, Vec<f64>)> {
    let sql = format!(
        "select ts, cast(close as double) from {} where symbol = {} and close is not null order by ts",
        from.sql,
        quoting::text(symbol)
    );
    let (mut times, mut closes) = (vec![], vec![]);
    for batch in session.collect(one(session, &sql).await?).await? {
        for (time, close) in rows::times(batch.column(0))?.into_iter().zip(rows::numbers(batch.column(1))?) {
            if times.last() == Some(&time) {
                return Err(Error::invalid(format!("'{symbol}' has two bars at {}", shown(time))));
            }
            if close.is_finite() {
                times.push(time);
                closes.push(close);
            }
        }
    }
    Ok((times, closes))
}

impl TryFrom<&StoredPattern> for Pattern {
    type Error = Error;

    /// The pattern as it is searched for. Closes that cannot be read, which only another program can have written, are an
    /// error.
    fn try_from(stored: &StoredPattern) -> Result<Pattern> {
        let closes = numbers_of(&stored.closes).map_err(|e| Error::invalid(format!("pattern '{}': {e}", stored.id)))?;
        let lead = closes.len().saturating_sub(stored.bars.max(0) as usize);
        let origin = match (&stored.symbol, stored.start_ts, stored.end_ts) {
            (Some(symbol), Some(from), Some(last)) => {
                // Up to the end of the last bar: bars of other lengths share some of it, too.
                let to = last + stored.timeframe.as_deref().map_or(0, length) - 1;
                Some(Excluded { symbol: symbol.clone(), from, to: to.max(last) })
            }
            _ => None,
        };
        Ok(Pattern { id: stored.id.clone(), closes, lead, origin, timeframe: stored.timeframe.clone() })
    }
}

/// A pattern of the lake by its name.
pub async fn get(lake: &Lake, id: &str) -> Result<StoredPattern> {
    let all = lake.records::<StoredPattern>().await?;
    if let Some(found) = all.iter().find(|p| p.id == id) {
        return Ok(found.clone());
    }
    if id.trim().is_empty() {
        return Err(Error::invalid("expected the name of a pattern, or its closes: '1 3 2 4 3'".to_string()));
    }
    let hint = match closest(id, all.iter().map(|p| p.id.as_str())) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None if all.is_empty() => "the lake keeps none yet: the operation `pattern add` makes one".to_string(),
        None => "the operation `pattern list` shows all".to_string(),
    };
    Err(Error::not_found(format!("unknown pattern `{id}`")).with_hint(hint))
}

/// A name for a pattern of numbers, the same for the same numbers.
fn id_of(closes: &[f64]) -> String {
    let hash = closes
        .iter()
        .flat_map(|c| c.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("numbers-{:08x}", hash >> 32)
}

/// What a text stands for: numbers, or a pattern of the lake by its name.
pub async fn of_text(lake: &Lake, text: &str) -> Result<Pattern> {
    let numbers = text.trim_start().starts_with(['[', '+', '-', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    if numbers {
        let closes = numbers_of(text).map_err(|e| Error::invalid(format!("a pattern of numbers: {e}")))?;
        return Ok(Pattern { id: id_of(&closes), closes, lead: 0, origin: None, timeframe: None });
    }
    Pattern::try_from(&get(lake, text).await?)
}
