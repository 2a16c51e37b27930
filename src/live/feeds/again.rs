//! How long to wait before something is tried again: from one second, twice as long each time, to a minute.

use crate::run::now;
use std::time::Duration;

const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The waits of one connection.
pub(super) struct Again(Duration);

impl Default for Again {
    fn default() -> Self {
        Again(WAIT.0)
    }
}

impl Again {
    /// It worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.0 = WAIT.0;
    }

    /// The next wait, a little more than it has to be, so that not all come at the same moment.
    pub fn next(&mut self) -> Duration {
        let jitter = self.0.mul_f64(f64::from(now() as u32 % 1_000) / 4_000.0);
        let wait = self.0 + jitter;
        self.0 = (self.0 * 2).min(WAIT.1);
        wait
    }
}
