//! Alerts: matches that are reported once, and then not again until a cool-down is over.
//!
//! An alert is claimed before it is reported, so that two runs at once do not report the same one, and settled afterwards. A claim
//! that nobody settled, because its process was killed, is void after a while: an alert comes twice rather than never.

use crate::Session;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use datafusion::common::internal_datafusion_err;
use std::collections::HashMap;
use std::time::Duration;
use tallow_common::Result;
use tallow_lake::StoredAlert;

/// When an alert is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alerts {
    /// How long a pattern stays silent about a symbol after an alert.
    pub cooldown: Duration,
    /// Microseconds since the epoch.
    pub now: i64,
}

/// How long a claim holds.
const CLAIM: Duration = Duration::from_secs(120);

/// What is to be reported.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Matches that whoever claimed them tells.
    pub rows: RecordBatch,
    /// Matches that are silent: reported within the cool-down, or of a bar that was reported already.
    pub silent: usize,
    /// Matches that another run has claimed and not yet settled.
    pub elsewhere: usize,
}

/// Whether a match is reported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Now,
    Silent,
    Elsewhere,
    /// Enough others are nearer.
    Beyond,
}

impl Alerts {
    fn due(self, last: &StoredAlert, found: &StoredAlert) -> Due {
        let micros = |time: Duration| time.as_micros().min(i64::MAX as u128) as i64;
        let since = self.now.saturating_sub(last.alerted_at);
        match last.pending {
            true if since < micros(self.cooldown.min(CLAIM)) => Due::Elsewhere,
            true => Due::Now,
            false if since < micros(self.cooldown) => Due::Silent,
            // A symbol that has no newer bar says nothing new.
            false if !self.cooldown.is_zero() && last.end_ts == found.end_ts => Due::Silent,
            false => Due::Now,
        }
    }
}

/// The nearest matches of each pattern that are due, claimed for whoever calls this: at most `most` of each timeframe.
pub async fn claim(session: &Session, matches: RecordBatch, most: usize, alerts: Alerts) -> Result<Claimed> {
    let all = alerts_of(&matches, alerts.now)?;
    if all.is_empty() {
        return Ok(Claimed { rows: matches, silent: 0, elsewhere: 0 });
    }
    let change = move |known: &mut Vec<StoredAlert>| {
        let key = |a: &StoredAlert| (a.symbol.clone(), a.timeframe.clone(), a.pattern.clone());
        let mut places: HashMap<_, usize> = known.iter().enumerate().map(|(i, a)| (key(a), i)).collect();
        let mut claimed: HashMap<(&str, &str), usize> = HashMap::new();
        let mut due = vec![];
        for alert in &all {
            let last = places.get(&key(alert)).copied();
            let count = claimed.entry((&alert.pattern, &alert.timeframe)).or_default();
            let verdict = match last.map_or(Due::Now, |i| alerts.due(&known[i], alert)) {
                Due::Now if *count >= most => Due::Beyond,
                other => other,
            };
            if verdict == Due::Now {
                *count += 1;
                match last {
                    Some(i) => known[i] = alert.clone(),
                    None => {
                        places.insert(key(alert), known.len());
                        known.push(alert.clone());
                    }
                }
            }
            due.push(verdict);
        }
        Ok(due)
    };
    let due = session.on_lake(|lake| async move { lake.change_records("CLAIM ALERTS", change).await }).await?;
    let count = |which: Due| due.iter().filter(|d| **d == which).count();
    let (silent, elsewhere) = (count(Due::Silent), count(Due::Elsewhere));
    let now: BooleanArray = due.iter().map(|d| Some(*d == Due::Now)).collect();
    Ok(Claimed { rows: filter_record_batch(&matches, &now)?, silent, elsewhere })
}

/// How many matches of one pattern and timeframe may be silent, at most.
pub async fn most_silent(session: &Session) -> Result<usize> {
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    for alert in session.lake().records::<StoredAlert>().await? {
        *counts.entry((alert.pattern, alert.timeframe)).or_default() += 1;
    }
    Ok(counts.into_values().max().unwrap_or_default())
}

/// Remembers that claimed alerts were delivered; those that could not be are forgotten, so that they are due again.
pub async fn settle(session: &Session, matches: &RecordBatch, alerts: Alerts, delivered: bool) -> Result<()> {
    let all = alerts_of(matches, alerts.now)?;
    if all.is_empty() {
        return Ok(());
    }
    let change = move |known: &mut Vec<StoredAlert>| {
        known.retain_mut(|alert| {
            let own = all.contains(alert);
            alert.pending &= !own;
            delivered || !own
        });
        Ok(())
    };
    session.on_lake(|lake| async move { lake.change_records("SETTLE ALERTS", change).await }).await
}

/// Forgets the alerts of a pattern that is gone: another of its name begins anew.
pub async fn forget(session: &Session, pattern: &str) -> Result<()> {
    let pattern = pattern.to_string();
    let change = move |known: &mut Vec<StoredAlert>| {
        known.retain(|alert| alert.pattern != pattern);
        Ok(())
    };
    session.on_lake(|lake| async move { lake.change_records("FORGET ALERTS", change).await }).await
}

fn alerts_of(matches: &RecordBatch, now: i64) -> Result<Vec<StoredAlert>> {
    let column = |name: &str| {
        matches.column_by_name(name).ok_or_else(|| internal_datafusion_err!("matches have a column {name}"))
    };
    let (symbols, timeframes) = (column("symbol")?.as_string::<i32>(), column("timeframe")?.as_string::<i32>());
    let patterns = column("pattern")?.as_string::<i32>();
    let ends = column("end_ts")?.as_primitive::<TimestampMicrosecondType>();
    let distances = column("distance")?.as_primitive::<Float64Type>();
    let percentiles = column("percentile")?.as_primitive::<Float64Type>();
    let alert = |row: usize| StoredAlert {
        symbol: symbols.value(row).to_string(),
        timeframe: timeframes.value(row).to_string(),
        pattern: patterns.value(row).to_string(),
        end_ts: ends.value(row),
        distance: distances.value(row),
        percentile: percentiles.is_valid(row).then(|| percentiles.value(row)),
        alerted_at: now,
        pending: true,
    };
    Ok((0..matches.num_rows()).map(alert).collect())
}
