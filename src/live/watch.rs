//! What is watched of a run: how long candles wait and take, and whether that is as it should be.

use crate::core::{Counters, Micros, Work};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use tallow_common::{Error, Result};

/// The length of a window, and how many are kept: a minute.
pub(crate) const WINDOW: Micros = 5_000_000;
const WINDOWS: usize = 12;
/// The longest time that is told apart.
const LONGEST: u64 = 3_600_000_000;
const SECOND: f64 = 1e6;

/// Times, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// Their average.
    pub mean: f64,
    /// Half of them are not longer.
    pub p50: f64,
    /// 99 of 100 are not longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// How many are longer than the bound before and not longer than this one, of each of [`BOUNDS`]; at last those that are longer
    /// than all.
    pub buckets: Vec<u64>,
}

/// Bounds of a histogram of times, in milliseconds.
pub const BOUNDS: [f64; 14] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0, 30000.0];

impl Times {
    fn of(histogram: &Histogram<u64>) -> Times {
        let ms = |micros: u64| micros as f64 / 1e3;
        let mut buckets = vec![0; BOUNDS.len() + 1];
        for value in histogram.iter_recorded() {
            buckets[BOUNDS.partition_point(|bound| *bound < ms(value.value_iterated_to()))] += value.count_at_value();
        }
        Times {
            count: histogram.len(),
            mean: if histogram.is_empty() { 0.0 } else { histogram.mean() / 1e3 },
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            max: ms(histogram.max()),
            buckets,
        }
    }
}

/// How well a run is: 100 is best.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// 0.4 latency + 0.3 success + 0.2 hits + 0.1 throughput.
    pub score: f64,
    /// 100 less the milliseconds that 99 of 100 candles take at most, not below 0.
    pub latency: f64,
    /// Candles that were computed, of a hundred.
    pub success: f64,
    /// Candles for which no bars had to be read from the lake, of a hundred.
    pub hits: f64,
    /// A tenth of the candles a second, at most 100; 100 where none wait.
    pub throughput: f64,
}

/// How a run is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The table whose bars are fed.
    pub table: String,
    /// Seconds since it began.
    pub uptime: f64,
    /// Symbols that are known.
    pub symbols: usize,
    /// Whether results are computed bar by bar.
    pub bar_by_bar: bool,
    /// Candles that wait or are being computed.
    pub queue: usize,
    /// How many may.
    pub queue_capacity: usize,
    /// How long the candle waits that waits the longest, in milliseconds.
    pub oldest_ms: f64,
    /// Rows that are not in the lake.
    pub unflushed: usize,
    /// How old the oldest of them is, in seconds.
    pub flush_lag: f64,
    /// Candles that could not be computed.
    pub dead_letters: usize,
    /// Lines that were no candles.
    pub unreadable: u64,
    /// Rows that were emitted.
    pub rows: u64,
    /// Symbols whose bars were read again from the lake.
    pub rebuilds: u64,
    /// Connections to feeds that broke and were opened again.
    pub reconnects: u64,
    /// Counts since the beginning, by name.
    pub counters: BTreeMap<String, u64>,
    /// From when a candle came until it was answered, since the beginning.
    pub latency: Times,
    /// Until it began to be computed.
    pub queue_time: Times,
    /// The same over the last minute, or so much of it as there is.
    pub recent: Recent,
    /// Memory of the process, in MiB; 0 where that is not known.
    pub memory: f64,
    /// How well it is.
    pub health: Health,
    /// What is not as it should be.
    pub alerts: Vec<Alert>,
}

/// The last minute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// Its length, in seconds.
    pub seconds: f64,
    /// Candles a second.
    pub per_second: f64,
    /// From when a candle came until it was answered.
    pub latency: Times,
    /// Until it began to be computed.
    pub queue_time: Times,
    /// Candles that were computed, of a hundred.
    pub success: f64,
    /// Candles for which no bars had to be read, of a hundred.
    pub hits: f64,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It should be looked at.
    Warning,
    /// It should be mended now.
    Critical,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What.
    pub what: String,
    /// How bad.
    pub severity: Severity,
    /// What it is.
    pub value: f64,
    /// What it should not pass.
    pub limit: f64,
}

/// What is measured in a window.
struct Window {
    from: Micros,
    latency: Histogram<u64>,
    queue_time: Histogram<u64>,
    failed: u64,
    rebuilt: u64,
}

/// What is measured of a run.
pub(crate) struct Watch {
    pub begun: Micros,
    latency: Histogram<u64>,
    queue_time: Histogram<u64>,
    windows: VecDeque<Window>,
    pub rebuilds: u64,
    /// One without values, of which others are copies.
    empty: Histogram<u64>,
}

impl Watch {
    pub fn new(now: Micros) -> Result<Watch> {
        // Three digits, from a microsecond to an hour.
        let empty = Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| Error::invalid(error.to_string()))?;
        let (latency, queue_time) = (empty.clone(), empty.clone());
        Ok(Watch { begun: now, latency, queue_time, windows: VecDeque::new(), rebuilds: 0, empty })
    }

    fn window(&mut self, now: Micros) -> &mut Window {
        let is_over = self.windows.back().is_none_or(|window| now - window.from >= WINDOW);
        if is_over {
            let (latency, queue_time) = (self.empty.clone(), self.empty.clone());
            self.windows.push_back(Window { from: now, latency, queue_time, failed: 0, rebuilt: 0 });
            if self.windows.len() > WINDOWS {
                self.windows.pop_front();
            }
        }
        let last = self.windows.len() - 1;
        &mut self.windows[last]
    }

    /// A batch begins to be computed.
    pub fn begins(&mut self, now: Micros, batch: &[Work]) {
        for took in times(now, batch) {
            self.queue_time.saturating_record(took);
            self.window(now).queue_time.saturating_record(took);
        }
    }

    /// A batch was computed.
    pub fn answered(&mut self, now: Micros, batch: &[Work]) {
        for took in times(now, batch) {
            self.latency.saturating_record(took);
            self.window(now).latency.saturating_record(took);
        }
    }

    /// A batch could not be computed.
    pub fn failed(&mut self, now: Micros, batch: &[Work]) {
        self.window(now).failed += batch.len() as u64;
    }

    /// The bars of symbols were read again.
    pub fn rebuilt(&mut self, now: Micros, symbols: usize) {
        self.rebuilds += symbols as u64;
        self.window(now).rebuilt += symbols as u64;
    }

    /// What the last minute was like.
    pub fn recent(&self, now: Micros) -> Recent {
        let (mut latency, mut queue_time) = (self.empty.clone(), self.empty.clone());
        let (mut failed, mut rebuilt) = (0, 0);
        let windows = || self.windows.iter().filter(|window| now - window.from <= WINDOW * (WINDOWS as i64 + 1));
        for window in windows() {
            let _ = latency.add(&window.latency);
            let _ = queue_time.add(&window.queue_time);
            failed += window.failed;
            rebuilt += window.rebuilt;
        }
        let from = windows().map(|window| window.from).min().unwrap_or(now);
        let seconds = ((now - from) as f64 / SECOND).max(1e-3);
        let answered = latency.len();
        let part = |part: u64, of: u64| if of == 0 { 100.0 } else { 100.0 * part as f64 / of as f64 };
        Recent {
            seconds,
            per_second: answered as f64 / seconds,
            success: part(answered, answered + failed),
            hits: part(answered - rebuilt.min(answered), answered),
            latency: Times::of(&latency),
            queue_time: Times::of(&queue_time),
        }
    }

    /// The latencies of the last windows that are over, so many or fewer.
    pub fn last(&self, now: Micros, count: usize) -> Vec<Times> {
        let over = self.windows.iter().rev().filter(|window| now - window.from >= WINDOW).take(count);
        over.map(|window| Times::of(&window.latency)).collect()
    }

    pub fn latency(&self) -> Times {
        Times::of(&self.latency)
    }

    pub fn queue_time(&self) -> Times {
        Times::of(&self.queue_time)
    }
}

/// How long ago the candles of a batch came.
fn times(now: Micros, batch: &[Work]) -> impl Iterator<Item = u64> + '_ {
    batch.iter().map(move |work| (now - work.received).max(0).unsigned_abs().min(LONGEST))
}

/// How well a run is; `waits`: candles wait, so that it could do more.
pub(crate) fn health(recent: &Recent, waits: bool) -> Health {
    let latency = (100.0 - recent.latency.p99).clamp(0.0, 100.0);
    let throughput = if waits { (recent.per_second / 10.0).min(100.0) } else { 100.0 };
    let score = 0.4 * latency + 0.3 * recent.success + 0.2 * recent.hits + 0.1 * throughput;
    Health { score, latency, success: recent.success, hits: recent.hits, throughput }
}

/// Counts by their names.
pub(crate) fn named(counters: &Counters) -> BTreeMap<String, u64> {
    let Counters {
        received,
        accepted,
        rejected_full,
        rejected_throttled,
        rejected_invalid,
        rejected_store,
        rejected_shutdown,
        duplicates,
        restated,
        late,
        holes,
        answered,
        batches,
        failures,
        retries,
        dead,
        dead_dropped,
        revived,
        flushes,
        flush_failures,
    } = *counters;
    let all = [
        ("received", received),
        ("accepted", accepted),
        ("rejected_full", rejected_full),
        ("rejected_throttled", rejected_throttled),
        ("rejected_invalid", rejected_invalid),
        ("rejected_store", rejected_store),
        ("rejected_shutdown", rejected_shutdown),
        ("duplicates", duplicates),
        ("restated", restated),
        ("late", late),
        ("holes", holes),
        ("answered", answered),
        ("batches", batches),
        ("failures", failures),
        ("retries", retries),
        ("dead", dead),
        ("dead_dropped", dead_dropped),
        ("revived", revived),
        ("flushes", flushes),
        ("flush_failures", flush_failures),
    ];
    all.into_iter().map(|(name, count)| (name.to_string(), count)).collect()
}
