//! Symbols that ended long ago: what was their newest bar says nothing of today.
//!
//! Age is counted in times at which the table has a bar of any symbol, so that nights, weekends and holidays do not count.

use super::Scan;
use super::guard::{Guard, instants};
use crate::Session;
use crate::bounds::Range;
use crate::relation::{Relation, one};
use crate::rows::times;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::execution::TaskContext;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use std::fmt::{Debug, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_common::{Error, Result};
use tallow_engine::tap::{Tap, TapStream};

/// How old a symbol's newest bar may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxAge {
    /// The table has at most so many bar times after it.
    Bars(usize),
    /// Any age.
    All,
}

impl Default for MaxAge {
    fn default() -> Self {
        MaxAge::Bars(5)
    }
}

impl Display for MaxAge {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            MaxAge::Bars(bars) => write!(f, "{bars}"),
            MaxAge::All => f.write_str("all"),
        }
    }
}

impl FromStr for MaxAge {
    type Err = Error;

    fn from_str(text: &str) -> Result<MaxAge> {
        let wrong = || Error::invalid(format!("'{text}': expected a number of bars, such as 5, or all"));
        match text.trim() {
            "all" => Ok(MaxAge::All),
            number => number.parse().map(MaxAge::Bars).map_err(|_| wrong()),
        }
    }
}

/// The stretch before the newest bar in which bar times are looked for first.
const STRETCH: i64 = 10 * 86_400_000_000;

impl Scan {
    /// The time before which no symbol's newest bar counts; `None`: all count.
    pub(super) async fn oldest(&self, session: &Session, from: &Relation) -> Result<Option<i64>> {
        let MaxAge::Bars(bars) = self.max_age else { return Ok(None) };
        if !self.last {
            return Ok(None);
        }
        let all = async |what: &str, since: Option<i64>| -> Result<Vec<i64>> {
            let sql = format!("select {what} from {} as candles{}", from.sql, among(self.range, since));
            let mut found = vec![];
            for batch in session.collect(one(session, &sql).await?).await? {
                found.extend(times(batch.column(0))?);
            }
            Ok(found)
        };
        // Without a bar it is null, which reads as the epoch: no bar is left out then, and there is none.
        let Some(newest) = all("max(ts) as ts", None).await?.pop() else { return Ok(None) };
        let mut stretch = Some(STRETCH);
        loop {
            let since = stretch.and_then(|stretch| newest.checked_sub(stretch));
            let mut found = all("distinct ts", since).await?;
            found.sort_unstable_by(|a, b| b.cmp(a));
            if let Some(oldest) = found.get(bars) {
                return Ok(Some(*oldest));
            }
            if since.is_none() {
                return Ok(None);
            }
            // Ten days become 28 years in two more steps, and then everything.
            stretch = stretch.and_then(|stretch| stretch.checked_mul(32));
        }
    }
}

/// ` where ..` for the bars of a range, and not before an instant.
fn among(range: Range, since: Option<i64>) -> String {
    let from = range.from.into_iter().chain(since).max().map(|t| format!("ts >= to_timestamp_micros({t})"));
    let to = range.to.map(|t| format!("ts < to_timestamp_micros({t})"));
    let parts: Vec<String> = from.into_iter().chain(to).collect();
    if parts.is_empty() { String::new() } else { format!(" where {}", parts.join(" and ")) }
}

/// Leaves out the newest bars of symbols that ended before a time, and counts them.
pub(super) struct AgeTap {
    pub oldest: i64,
    pub too_old: Arc<AtomicU64>,
    /// Knows which symbols turned out not to be fit, and are named anyway.
    pub guard: Arc<Guard>,
}

impl Debug for AgeTap {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgeTap")
    }
}

impl Tap for AgeTap {
    fn name(&self) -> &'static str {
        "symbols that have not ended"
    }

    fn open(&self, schema: &SchemaRef, _: &TaskContext, _: usize) -> datafusion::common::Result<Box<dyn TapStream>> {
        let (symbol, ts) = (schema.index_of("symbol")?, schema.index_of("ts")?);
        let (too_old, guard) = (Arc::clone(&self.too_old), Arc::clone(&self.guard));
        Ok(Box::new(AgeStream { oldest: self.oldest, too_old, guard, symbol, ts }))
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

struct AgeStream {
    oldest: i64,
    too_old: Arc<AtomicU64>,
    guard: Arc<Guard>,
    symbol: usize,
    ts: usize,
}

impl TapStream for AgeStream {
    fn next(&mut self, batch: RecordBatch) -> datafusion::common::Result<Vec<RecordBatch>> {
        let times = instants(batch.column(self.ts))?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let counts: BooleanArray = times.iter().map(|t| Some(t.is_some_and(|t| t >= self.oldest))).collect();
        if counts.true_count() == counts.len() {
            return Ok(vec![batch]);
        }
        for row in (0..counts.len()).filter(|row| !counts.value(*row)) {
            let symbol = ScalarValue::try_from_array(batch.column(self.symbol), row)?;
            if !self.guard.is_unfit(&symbol) {
                self.too_old.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(vec![filter_record_batch(&batch, &counts)?])
    }

    fn end(&mut self) -> datafusion::common::Result<Vec<RecordBatch>> {
        Ok(vec![])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_of_bars_or_any() {
        assert_eq!("12".parse::<MaxAge>().unwrap(), MaxAge::Bars(12));
        assert_eq!("all".parse::<MaxAge>().unwrap(), MaxAge::All);
        assert_eq!(MaxAge::default().to_string().parse::<MaxAge>().unwrap(), MaxAge::default());
        assert!("5d".parse::<MaxAge>().unwrap_err().to_string().contains("a number of bars"));
    }
}
