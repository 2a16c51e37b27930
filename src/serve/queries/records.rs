//! What queries and other requests did.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// So many are kept.
const KEPT: usize = 10_000;

/// A query, as far as it is known.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Its name.
    pub id: String,
    /// By which door it was asked.
    pub door: &'static str,
    /// Whose key it was.
    pub who: String,
    /// What was asked.
    pub text: String,
    /// When it came, in microseconds since the epoch.
    pub time: i64,
    /// `waiting`, `running`, `done`, or the code of its error.
    pub state: &'static str,
    /// Microseconds until it had its turn, to plan it, and to run it.
    pub wait_us: u64,
    /// See above.
    pub plan_us: u64,
    /// See above.
    pub run_us: u64,
    /// Rows of its result so far.
    pub rows: u64,
    /// Bytes that were handed on, before they were compressed.
    pub bytes: u64,
    /// Bytes that were read from files.
    pub scanned_bytes: u64,
    /// Bytes that were spilled to disk.
    pub spilled_bytes: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// Something that a server was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Operation {
    /// What it is called.
    pub operation: String,
    /// When it came, in microseconds since the epoch.
    pub time: i64,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
}

/// How long operations of one name took.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its name.
    pub operation: String,
    /// How many there were.
    pub count: u64,
    /// The share of them that were done, of a hundred.
    pub success: f64,
    /// Milliseconds.
    pub mean: f64,
    /// See above.
    pub p50: f64,
    /// See above.
    pub p95: f64,
    /// See above.
    pub p99: f64,
    /// See above.
    pub max: f64,
    /// Which of the limits for p50, p95 and p99 are kept: 100, 300 and 500 ms.
    pub within: [bool; 3],
}

/// Milliseconds that half, 95 of a hundred and 99 of a hundred should not take longer than.
const GOALS: [f64; 3] = [100.0, 300.0, 500.0];

/// The last queries and operations.
#[derive(Debug, Default)]
pub struct Records {
    queries: Mutex<VecDeque<Record>>,
    operations: Mutex<VecDeque<Operation>>,
    totals: Mutex<Totals>,
}

/// Seconds up to which queries are counted apart.
pub(crate) const QUERY_BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What all queries add up to, those that are not kept any more too.
#[derive(Debug, Default)]
struct Totals {
    ended: BTreeMap<&'static str, u64>,
    times: [u64; QUERY_BOUNDS.len() + 1],
    seconds: f64,
}

pub(crate) fn micros_of_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn push<T>(to: &Mutex<VecDeque<T>>, one: T) {
    let mut all = to.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() == KEPT {
        all.pop_front();
    }
    all.push_back(one);
}

impl Records {
    pub(super) fn add(&self, record: Record) {
        let seconds = (record.wait_us + record.plan_us + record.run_us) as f64 / 1e6;
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        *totals.ended.entry(record.state).or_default() += 1;
        totals.times[QUERY_BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        totals.seconds += seconds;
        drop(totals);
        push(&self.queries, record);
    }

    /// How many queries ended, by how they did.
    pub(crate) fn ended(&self) -> BTreeMap<&'static str, u64> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).ended.clone()
    }

    /// How many of them took how long, and all of them together, in seconds.
    pub(crate) fn times(&self) -> ([u64; QUERY_BOUNDS.len() + 1], f64) {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        (totals.times, totals.seconds)
    }

    /// Adds something that was asked for.
    pub fn add_operation(&self, operation: Operation) {
        push(&self.operations, operation);
    }

    /// The last queries that ended, the oldest first.
    pub fn queries(&self) -> Vec<Record> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The last operations, the newest first.
    pub fn operations(&self, last: usize) -> Vec<Operation> {
        let all = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().take(last).cloned().collect()
    }

    /// Those of the last while by their names.
    pub fn summaries(&self, window: Duration) -> Vec<Summary> {
        let from = micros_of_now().saturating_sub(i64::try_from(window.as_micros()).unwrap_or(i64::MAX));
        let all = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_name: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in all.iter().filter(|operation| operation.time >= from) {
            by_name.entry(&operation.operation).or_default().push(operation);
        }
        by_name.into_iter().filter_map(|(name, operations)| summary(name, &operations)).collect()
    }

    /// Forgets operations.
    pub fn clear(&self) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn summary(name: &str, operations: &[&Operation]) -> Option<Summary> {
    let mut times = Histogram::<u64>::new(3).ok()?;
    for operation in operations {
        times.record((operation.ms * 1e3) as u64).ok()?;
    }
    let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    let (count, good) = (operations.len(), operations.iter().filter(|operation| operation.ok).count());
    let quantiles = [0.5, 0.95, 0.99].map(ms);
    let [p50, p95, p99] = quantiles;
    let within = [0, 1, 2].map(|at| quantiles[at] <= GOALS[at]);
    Some(Summary {
        operation: name.to_string(),
        count: count as u64,
        success: 100.0 * good as f64 / count as f64,
        mean: operations.iter().map(|operation| operation.ms).sum::<f64>() / count as f64,
        p50,
        p95,
        p99,
        max: operations.iter().map(|operation| operation.ms).fold(0.0, f64::max),
        within,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_summed_up_by_name_and_the_oldest_go() {
        let records = Records::default();
        for at in 0..KEPT + 100 {
            let time = micros_of_now() - if at % 2 == 0 { 3_600_000_000 } else { 0 };
            let ok = at % 10 != 1;
            let (operation, error) = ("sql".to_string(), (!ok).then(|| "no".to_string()));
            records.add_operation(Operation { operation, time, ms: (at % 100) as f64, ok, error });
        }
        assert_eq!(records.operations(usize::MAX).len(), KEPT);
        assert_eq!(records.operations(1)[0].ms, 99.0);
        let of = &records.summaries(Duration::from_secs(60))[0];
        assert_eq!((of.operation.as_str(), of.count, of.success, of.mean), ("sql", 5_000, 80.0, 50.0));
        assert!((of.p50 - 49.0).abs() < 0.1 && of.max == 99.0 && of.within == [true; 3], "{of:?}");
        records.clear();
        assert!(records.summaries(Duration::from_secs(60)).is_empty());
    }
}
