//! Models of what stands around a live run: results, the store, the journal.

use crate::core::{Bar, Candle, DeadLetter, Feed, Micros, Sequence, Symbol};
use std::collections::BTreeMap;

/// A result looks back so many bars.
pub const WINDOW: usize = 5;

pub type Bars = BTreeMap<Micros, Bar>;
pub type Candles = BTreeMap<Symbol, Bars>;
pub type Results = BTreeMap<(Symbol, Micros), u64>;

fn mixed(state: u64, value: u64) -> u64 {
    (state ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17)
}

/// What the newest bars up to one give.
fn result(bars: &Bars, ts: Micros) -> u64 {
    let newest = bars.range(..=ts).rev().take(WINDOW);
    newest.fold(7, |state, (ts, bar)| mixed(mixed(state, *ts as u64), bar.values[3].to_bits()))
}

/// What all candles give at once.
pub fn batch(candles: &Candles) -> Results {
    let of_symbol = |(symbol, bars): (&Symbol, &Bars)| {
        bars.keys().map(|ts| ((*symbol, *ts), result(bars, *ts))).collect::<Vec<_>>()
    };
    candles.iter().flat_map(of_symbol).collect()
}

/// The rows that a bar changes, once it is among the others.
pub fn affected(symbol: Symbol, bars: &Bars, ts: Micros) -> Vec<((Symbol, Micros), u64)> {
    bars.range(ts..).take(WINDOW).map(|(at, _)| ((symbol, *at), result(bars, *at))).collect()
}

/// The lake: candles and results, and up to where they were made of what came.
#[derive(Debug, Clone, Default)]
pub struct Store {
    pub candles: Candles,
    pub results: Results,
    pub through: Sequence,
    pub offsets: BTreeMap<Feed, u64>,
    pub dead: Vec<DeadLetter>,
    pub flush: u64,
}

/// What is in memory and not in the lake.
#[derive(Debug, Clone, Default)]
pub struct Unflushed {
    pub candles: Candles,
    pub results: Results,
}

impl Store {
    /// The first step: what is dead, and the results.
    pub fn write_results(&mut self, rows: &Unflushed, dead: Vec<DeadLetter>) {
        self.dead = dead;
        self.results.extend(rows.results.iter().map(|(key, value)| (*key, *value)));
    }

    /// The letters that are not answered.
    pub fn dead(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dead.iter().filter(|letter| letter.gone_with.is_none_or(|flush| flush > self.flush))
    }

    /// The second: the candles, and with them how far the run has come. A candle whose results are not there is not there either.
    pub fn write_candles(&mut self, rows: &Unflushed, flush: u64, through: Sequence, offsets: &BTreeMap<Feed, u64>) {
        self.flush = flush;
        for (symbol, bars) in &rows.candles {
            self.candles.entry(*symbol).or_default().extend(bars.iter().map(|(ts, bar)| (*ts, *bar)));
        }
        self.through = self.through.max(through);
        self.offsets.extend(offsets.iter().map(|(feed, offset)| (*feed, *offset)));
    }
}

/// A journal, of which only what was synced surely outlives a crash.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    pub entries: Vec<(Sequence, Candle)>,
    pub synced: Sequence,
}

impl Journal {
    pub fn crash(&mut self, survive: usize) {
        let synced = self.entries.iter().filter(|(sequence, _)| *sequence <= self.synced).count();
        self.entries.truncate(synced + survive);
        self.synced = self.entries.last().map_or(self.synced, |(sequence, _)| *sequence);
    }

    pub fn truncate(&mut self, through: Sequence) {
        self.entries.retain(|(sequence, _)| *sequence > through);
    }
}
