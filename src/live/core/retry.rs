//! How often, and after how long, what failed is tried again.

use super::event::Micros;
use super::settings::SECOND;

/// A number of tries, with growing waits in between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub tries: u32,
    first: Micros,
    longest: Micros,
}

/// Of a batch that was not computed.
pub(super) const QUERY: Retry = Retry { tries: 3, first: SECOND, longest: 30 * SECOND };
/// Of results that were not written.
pub(super) const FLUSH: Retry = Retry { tries: 2, first: 2 * SECOND, longest: 10 * SECOND };

impl Retry {
    /// How long to wait after so many tries: doubled with each, and up to a quarter more by chance, so that not all come back at once.
    pub fn delay(&self, tries: u32, jitter: u32) -> Micros {
        let doubled = self.first.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(self.longest);
        doubled + doubled / 4 * Micros::from(jitter) / Micros::from(u32::MAX)
    }
}

/// A breaker: after some failures in a row nothing is tried for a while, then one by one until it works again.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    successes: u32,
    open_until: Option<Micros>,
}

/// Failures that open it, how long it stays open, and successes that close it.
const BREAKER: (u32, Micros, u32) = (5, 60 * SECOND, 3);

impl Breaker {
    /// Until when nothing is tried.
    pub fn until(&self) -> Option<Micros> {
        self.open_until
    }

    /// Notes a failure.
    pub fn failed(&mut self, now: Micros) {
        self.successes = 0;
        self.failures += 1;
        if self.failures >= BREAKER.0 || self.open_until.is_some() {
            self.open_until = Some(now + BREAKER.1);
        }
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        self.successes += 1;
        if self.open_until.is_none() || self.successes >= BREAKER.2 {
            *self = Breaker::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        assert_eq!([1, 2, 3, 6, 40].map(|tries| QUERY.delay(tries, 0) / SECOND), [1, 2, 4, 30, 30]);
        assert_eq!(QUERY.delay(1, u32::MAX), SECOND + SECOND / 4);
    }

    #[test]
    fn a_breaker_opens_after_five_failures_and_closes_after_three_successes() {
        let mut breaker = Breaker::default();
        (0..4).for_each(|_| breaker.failed(0));
        assert_eq!(breaker.until(), None);
        breaker.failed(0);
        assert_eq!(breaker.until(), Some(60 * SECOND));
        breaker.succeeded();
        breaker.failed(70 * SECOND);
        assert_eq!(breaker.until(), Some(130 * SECOND));
        (0..3).for_each(|_| breaker.succeeded());
        assert_eq!(breaker.until(), None);
    }
}
