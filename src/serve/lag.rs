//! How late the threads of connections are: how much longer than it should a short sleep takes.

use hdrhistogram::Histogram;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(20);
/// What is told is of the last so many looks: a minute.
const LOOKS: u64 = 3_000;

/// Lateness over the last minute or two.
#[derive(Debug, Default)]
pub(crate) struct Lag(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    now: Option<Histogram<u64>>,
    before: Option<Histogram<u64>>,
}

impl Lag {
    /// Looks, for ever.
    pub async fn watch(&self) {
        loop {
            let begun = Instant::now();
            tokio::time::sleep(EVERY).await;
            self.add(begun.elapsed().saturating_sub(EVERY));
        }
    }

    fn add(&self, late: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.now.as_ref().is_none_or(|now| now.len() >= LOOKS) {
            times.before = times.now.take();
            times.now = Histogram::new(2).ok();
        }
        if let Some(now) = &mut times.now {
            let _ = now.record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Milliseconds that it was late at most: half of the time, 95 times of a hundred, and 99.
    pub fn quantiles(&self) -> [f64; 3] {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut all) = times.now.clone() else { return [0.0; 3] };
        if let Some(before) = &times.before {
            let _ = all.add(before);
        }
        [0.5, 0.95, 0.99].map(|quantile| all.value_at_quantile(quantile) as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_of_the_last_looks() {
        let lag = Lag::default();
        assert_eq!(lag.quantiles(), [0.0; 3]);
        (0..LOOKS).for_each(|_| lag.add(Duration::from_millis(50)));
        (0..2 * LOOKS).for_each(|at| lag.add(Duration::from_millis(at % 10)));
        let [p50, p95, _] = lag.quantiles();
        assert!((p50 - 4.0).abs() < 0.2 && (p95 - 9.0).abs() < 0.2, "{p50} {p95}");
    }
}
