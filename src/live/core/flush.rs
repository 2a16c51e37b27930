//! When what has been computed is written to the lake.

use super::event::Micros;
use super::retry::{Breaker, FLUSH};
use super::settings::Settings;

/// What waits to be written, and whether it is being written.
#[derive(Default)]
pub(super) struct Flush {
    /// Rows that are not written, and since when the first of them waits.
    rows: usize,
    since: Option<Micros>,
    /// Rows that are being written; those that come meanwhile are counted above.
    running: Option<usize>,
    /// Somebody waits for it.
    is_asked: bool,
    tries: u32,
    not_before: Option<Micros>,
    breaker: Breaker,
}

impl Flush {
    /// Notes candles that gave some rows: also candles without rows are written, so that they are not computed again.
    pub fn add(&mut self, now: Micros, rows: usize, candles: usize) {
        self.rows += rows.max(candles);
        self.touch(now);
    }

    /// Something is to be written.
    pub fn touch(&mut self, now: Micros) {
        self.since.get_or_insert(now);
    }

    /// Somebody wants to read what is not written.
    pub fn ask(&mut self) {
        self.is_asked = self.since.is_some();
    }

    /// Rows that are not in the lake.
    pub fn unflushed(&self) -> usize {
        self.rows + self.running.unwrap_or_default()
    }

    /// Whether something is being written.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether something waits to be written.
    pub fn waits(&self) -> bool {
        self.since.is_some()
    }

    /// Whether everything is in the lake.
    pub fn is_clean(&self) -> bool {
        self.since.is_none() && self.running.is_none()
    }

    /// When to begin.
    pub fn due(&self, settings: &Settings) -> Option<Micros> {
        if self.running.is_some() {
            return None;
        }
        let at_once = self.is_asked || self.rows >= settings.flush_rows;
        let due = self.since.map(|since| if at_once { since } else { since + settings.flush_every })?;
        Some([self.not_before, self.breaker.until()].into_iter().flatten().fold(due, Micros::max))
    }

    /// Begins if it is time, or `at_once` if nothing more will come.
    pub fn begin(&mut self, now: Micros, at_once: bool, settings: &Settings) -> bool {
        let is_due = self.due(settings).is_some_and(|due| due <= now);
        let waits = self.not_before.is_some_and(|at| at > now) || self.breaker.until().is_some_and(|at| at > now);
        let begins = is_due || at_once && self.since.is_some() && self.running.is_none() && !waits;
        if begins {
            self.running = Some(std::mem::take(&mut self.rows));
            self.since = None;
            self.is_asked = false;
        }
        begins
    }

    /// It is written.
    pub fn done(&mut self) {
        self.running = None;
        self.tries = 0;
        self.not_before = None;
        self.breaker.succeeded();
    }

    /// It was not: the rows wait again.
    pub fn failed(&mut self, now: Micros, jitter: u32) {
        self.rows += self.running.take().unwrap_or_default();
        self.tries += 1;
        self.breaker.failed(now);
        self.not_before = Some(now + FLUSH.delay(self.tries, jitter));
        // What was due stays so.
        self.since = Some(Micros::MIN / 2);
    }
}
