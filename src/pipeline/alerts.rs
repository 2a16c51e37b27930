//! Alerts: matches that are told once, and then not again until a cool-down is over.
//!
//! An alert is claimed before it is told, so that two runs at once do not tell the same one, and settled afterwards. A claim
//! that nobody settled, because its process was killed, is void after a while: an alert comes twice rather than never.

use crate::Session;
use crate::error::Result;
use crate::lake::StoredAlert;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use datafusion::common::internal_datafusion_err;
use std::time::Duration;

/// When an alert is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alerts {
    /// How long a pattern stays silent about a symbol after an alert.
    pub cooldown: Duration,
    /// Microseconds since the epoch.
    pub now: i64,
}

/// How long a claim holds.
const CLAIM: Duration = Duration::from_secs(600);

/// The matches that no alert was given for within the cool-down, claimed for whoever calls this.
pub async fn claim(session: &Session, matches: RecordBatch, alerts: Alerts) -> Result<RecordBatch> {
    let all = alerts_of(&matches, alerts.now)?;
    let micros = |time: Duration| time.as_micros().min(i64::MAX as u128) as i64;
    let (cooldown, claim) = (micros(alerts.cooldown), micros(alerts.cooldown.min(CLAIM)));
    let change = move |known: &mut Vec<StoredAlert>| {
        let mut due = vec![];
        for alert in &all {
            let key = |a: &StoredAlert| (a.symbol.clone(), a.timeframe.clone(), a.pattern.clone());
            match known.iter_mut().find(|k| key(k) == key(alert)) {
                Some(last)
                    if alerts.now.saturating_sub(last.alerted_at) < if last.pending { claim } else { cooldown } =>
                {
                    due.push(false)
                }
                Some(last) => {
                    *last = alert.clone();
                    due.push(true);
                }
                None => {
                    known.push(alert.clone());
                    due.push(true);
                }
            }
        }
        Ok(due)
    };
    let due = session.care(|lake| async move { lake.change_records("CLAIM ALERTS", change).await }).await?;
    Ok(filter_record_batch(&matches, &BooleanArray::from(due))?)
}

/// Remembers that claimed alerts were told; those that could not be are forgotten, so that they are due again.
pub async fn settle(session: &Session, matches: &RecordBatch, alerts: Alerts, told: bool) -> Result<()> {
    let all = alerts_of(matches, alerts.now)?;
    if all.is_empty() {
        return Ok(());
    }
    let change = move |known: &mut Vec<StoredAlert>| {
        known.retain_mut(|alert| {
            let own = all.contains(alert);
            alert.pending &= !own;
            told || !own
        });
        Ok(())
    };
    session.care(|lake| async move { lake.change_records("SETTLE ALERTS", change).await }).await
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
