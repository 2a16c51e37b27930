//! Alerts: matches that are told once, and then not again until a cool-down is over.

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

/// The matches that no alert was given for within the cool-down. They are remembered in the lake before they are returned,
/// so that two runs at once do not tell the same one twice.
pub async fn due(session: &Session, matches: RecordBatch, alerts: Alerts) -> Result<RecordBatch> {
    let all = alerts_of(&matches, alerts.now)?;
    let cooldown = alerts.cooldown.as_micros().min(i64::MAX as u128) as i64;
    let change = move |known: &mut Vec<StoredAlert>| {
        let mut due = vec![];
        for alert in &all {
            let key = |a: &StoredAlert| (a.symbol.clone(), a.timeframe.clone(), a.pattern.clone());
            match known.iter_mut().find(|k| key(k) == key(alert)) {
                Some(last) if alerts.now.saturating_sub(last.alerted_at) < cooldown => due.push(false),
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
    let due = session.care(|lake| async move { lake.change_records("ALERT", change).await }).await?;
    Ok(filter_record_batch(&matches, &BooleanArray::from(due))?)
}

/// Forgets alerts that could not be told, so that they are due again.
pub async fn take_back(session: &Session, matches: &RecordBatch, alerts: Alerts) -> Result<()> {
    let all = alerts_of(matches, alerts.now)?;
    let change = move |known: &mut Vec<StoredAlert>| {
        known.retain(|k| !all.contains(k));
        Ok(())
    };
    session.care(|lake| async move { lake.change_records("TAKE BACK ALERT", change).await }).await
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
    };
    Ok((0..matches.num_rows()).map(alert).collect())
}
