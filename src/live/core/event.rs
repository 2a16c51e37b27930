//! What happens in a live run, and what is to be done.

use std::collections::BTreeMap;

/// A time or a length of time in microseconds.
pub type Micros = i64;

/// The number of an accepted candle: they are numbered as they come.
pub type Sequence = u64;

/// A symbol, by its number in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

/// A feed, by its number in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Feed(pub u32);

/// A bar: when it begins, and open, high, low, close, volume; NaN: no value.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    pub ts: Micros,
    pub values: [f64; 5],
}

impl PartialEq for Bar {
    fn eq(&self, other: &Bar) -> bool {
        self.ts == other.ts && self.values.map(f64::to_bits) == other.values.map(f64::to_bits)
    }
}

/// A bar of a symbol as a feed delivers it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candle {
    pub feed: Feed,
    /// Its place in a feed that can deliver again from there; a feed without has a journal.
    pub offset: Option<u64>,
    pub symbol: Symbol,
    pub bar: Bar,
    /// From 0, the lowest, to 10.
    pub priority: u8,
}

/// A candle that is to be computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    pub sequence: Sequence,
    pub candle: Candle,
    /// When it came.
    pub received: Micros,
    /// How often it was computed in vain.
    pub tries: u32,
    /// Whether bars of other symbols may be missing that it is compared with.
    pub is_partial: bool,
}

/// Candles that are computed together; those of a symbol in the order in which they came.
pub type Batch = Vec<Work>;

/// Why a batch could not be computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Whether it may work out the next time.
    pub is_transient: bool,
    pub message: String,
}

/// Why a candle was not accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rejection {
    /// As many candles wait as may.
    QueueFull,
    /// So many per cent of what may wait do, which is too many for its priority.
    Throttled(u8),
    /// It breaks this rule.
    Invalid(&'static str),
    /// Too many results wait to be written.
    StoreBehind,
    ShuttingDown,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Candle(Candle),
    /// A candle that a run before this one accepted and had not written.
    Replayed {
        sequence: Sequence,
        candle: Candle,
    },
    /// All that had happened has been told.
    Turn,
    /// The journal is on disk up to a candle.
    Synced {
        through: Sequence,
    },
    /// A batch gave so many rows.
    Computed {
        worker: usize,
        batch: Batch,
        rows: usize,
    },
    Failed {
        worker: usize,
        batch: Batch,
        failure: Failure,
        jitter: u32,
    },
    /// What had been computed is in the lake, all candles up to one among it.
    Flushed {
        through: Sequence,
    },
    FlushFailed {
        jitter: u32,
    },
    /// What stands at an offset of a feed is no candle.
    Skipped {
        feed: Feed,
        offset: u64,
    },
    /// Somebody waits until what was computed is in the lake.
    Flush,
    /// Dead letters are to be tried again now, of one symbol or all.
    Retry {
        symbol: Option<Symbol>,
    },
    /// They are to be forgotten.
    Drop {
        symbol: Option<Symbol>,
    },
    /// Nothing more is accepted; what is not done by the deadline is left.
    Stop {
        deadline: Micros,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The candle is kept whatever happens.
    Accepted {
        sequence: Sequence,
        feed: Feed,
    },
    Rejected {
        candle: Candle,
        rejection: Rejection,
    },
    /// Bars are missing before one that came, between these times.
    Hole {
        symbol: Symbol,
        from: Micros,
        until: Micros,
    },
    Append {
        sequence: Sequence,
        candle: Candle,
    },
    Sync {
        through: Sequence,
    },
    Compute {
        worker: usize,
        batch: Batch,
    },
    /// Write what has been computed, with its number and the positions of the journal and of feeds: first the dead letters, then
    /// the results, and at last, with number and positions, the candles.
    Flush {
        flush: u64,
        through: Sequence,
        offsets: BTreeMap<Feed, u64>,
    },
    /// A feed need not deliver again up to here.
    Ack {
        feed: Feed,
        offset: u64,
    },
    /// The journal is not needed up to here.
    Truncate {
        through: Sequence,
    },
    /// The run is over; so much of it is left.
    Finished {
        pending: usize,
        unflushed: usize,
    },
}
