//! What is counted.

use super::event::Rejection;

/// Counts of what happened since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// Candles that came.
    pub received: u64,
    /// Candles that were taken, and are kept whatever happens.
    pub accepted: u64,
    /// Candles that were not, since as many waited as may.
    pub rejected_full: u64,
    /// ... since too many waited for their priority.
    pub rejected_throttled: u64,
    /// ... since they broke a rule.
    pub rejected_invalid: u64,
    /// ... since too many results waited to be written.
    pub rejected_store: u64,
    /// ... since the run was being stopped.
    pub rejected_shutdown: u64,
    /// Candles that came a second time.
    pub duplicates: u64,
    /// Candles that corrected others.
    pub restated: u64,
    /// Candles that came after later ones of their symbols.
    pub late: u64,
    /// Times at which bars were missing before one that came.
    pub holes: u64,
    /// Candles that were computed.
    pub answered: u64,
    /// Batches that were begun.
    pub batches: u64,
    /// Batches that failed.
    pub failures: u64,
    /// Batches that were tried again.
    pub retries: u64,
    /// Candles that became dead letters, each time that they did.
    pub dead: u64,
    /// Dead letters that were dropped, since there were too many.
    pub dead_dropped: u64,
    /// Dead letters that were tried again.
    pub revived: u64,
    /// Times at which results were written.
    pub flushes: u64,
    /// Times at which they could not be.
    pub flush_failures: u64,
}

impl Counters {
    pub(super) fn reject(&mut self, rejection: &Rejection) {
        *match rejection {
            Rejection::QueueFull => &mut self.rejected_full,
            Rejection::Throttled(_) => &mut self.rejected_throttled,
            Rejection::Invalid(_) => &mut self.rejected_invalid,
            Rejection::StoreBehind => &mut self.rejected_store,
            Rejection::ShuttingDown => &mut self.rejected_shutdown,
        } += 1;
    }

    /// Candles that were rejected, whatever the reason.
    pub fn rejected(&self) -> u64 {
        self.rejected_full
            + self.rejected_throttled
            + self.rejected_invalid
            + self.rejected_store
            + self.rejected_shutdown
    }
}
