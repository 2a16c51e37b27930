//! The settings of a live run that its decisions depend on.

use super::event::{Bar, Micros};
use super::instants::Gather;
use super::planted::PlantedFault;

/// Microseconds of a second.
pub(super) const SECOND: Micros = 1_000_000;

/// When a candle of a feed without offsets is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// Once the journal is on disk, which is waited for once for all that came meanwhile.
    Batch,
    /// At once; there is no journal.
    None,
}

/// The settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many workers compute.
    pub workers: usize,
    /// Candles of a batch, at most.
    pub batch: usize,
    /// How many candles may wait, at least.
    pub queue: usize,
    /// When a candle is accepted.
    pub durable: Durable,
    /// How long results wait to be written, in microseconds ...
    pub flush_every: Micros,
    /// ... and how many do.
    pub flush_rows: usize,
    /// Results that may wait to be written.
    pub most_unflushed: usize,
    /// How many dead letters are kept.
    pub dead_letters: usize,
    /// How long a dead letter waits to be tried again, and how often it is.
    pub dead_retry: (Micros, u32),
    /// Whether bars of one time are computed together, and how long they wait for each other.
    pub gather: Option<Gather>,
    /// From one bar to the next, where bars come without holes.
    pub step: Option<Micros>,
    pub(crate) rules: Rules,
    pub(crate) planted: PlantedFault,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            workers: 2,
            batch: 4_096,
            queue: 10_000,
            durable: Durable::Batch,
            flush_every: 60 * SECOND,
            flush_rows: 64 << 10,
            most_unflushed: 4 << 20,
            dead_letters: 100_000,
            dead_retry: (300 * SECOND, 3),
            gather: None,
            step: None,
            rules: Rules::default(),
            planted: PlantedFault::default(),
        }
    }
}

impl Settings {
    /// How many candles may wait, of so many symbols: all of them close in the same moment.
    pub(super) fn capacity(&self, symbols: usize) -> usize {
        self.queue.max(4 * symbols)
    }
}

/// What a candle must be like.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How far a bar may begin in the future: clocks differ.
    ahead: Micros,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { ahead: 5 * SECOND }
    }
}

impl Rules {
    /// The rule that a bar breaks; what has no value breaks none.
    pub(super) fn broken(&self, bar: &Bar, now: Micros) -> Option<&'static str> {
        let [open, high, low, close, volume] = bar.values;
        let prices = [open, high, low, close];
        match () {
            () if prices.iter().any(|price| price.is_infinite() || *price <= 0.0) => Some("prices are above 0"),
            () if prices.iter().any(|price| *price > high) => Some("`high` is the highest price"),
            () if prices.iter().any(|price| *price < low) => Some("`low` is the lowest price"),
            () if volume.is_infinite() || volume < 0.0 => Some("`volume` is not below 0"),
            () if bar.ts > now.saturating_add(self.ahead) => Some("`ts` is not in the future"),
            () => None,
        }
    }
}
