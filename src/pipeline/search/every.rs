//! The partial phase of a search that compares every symbol.

use super::report::numbers_of;
use super::samples::Samples;
use super::state::{self, StateRow, StateRows, kind, with_close};
use arrow::array::RecordBatch;
use datafusion::common::Result;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_engine::cancellation::Cancellation;
use tallow_engine::series_aggregate::{Accumulator, Partitions};
use tallow_udfs::similarity::compare::Distance;
use tallow_udfs::similarity::search::{Match, Search, Worker};

/// Bytes that a bar takes while its symbol is searched: four channels with their envelopes, normalised windows, candidates.
const BYTES_PER_BAR: usize = 4 * (8 + 16) + 16 + 16 + 48;

/// What partitions of one process share. The searches hold the distance beyond which nothing is of interest any more,
/// whichever partition found it.
struct Shared {
    searches: Vec<Search>,
    /// Empty samples.
    samples: Samples,
}

/// The partial phase.
pub struct Searching(Arc<Shared>);

impl Searching {
    pub fn new(searches: Vec<Search>, samples: Samples) -> Searching {
        Searching(Arc::new(Shared { searches, samples }))
    }
}

/// One that looks at symbols as long as an execution goes on.
pub fn worker(cancellation: &Cancellation) -> Worker {
    let cancellation = cancellation.clone();
    Worker::default().stopped_by(move || cancellation.is_cancelled())
}

impl Partitions for Searching {
    fn partition(&self, cancellation: &Cancellation) -> Box<dyn Accumulator> {
        Box::new(SearchAccumulator {
            workers: self.0.searches.iter().map(|_| worker(cancellation)).collect(),
            samples: self.0.samples.clone(),
            shared: Arc::clone(&self.0),
            skipped: BTreeMap::new(),
            times: vec![],
            closes: vec![],
        })
    }
}

struct SearchAccumulator {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    samples: Samples,
    skipped: BTreeMap<String, String>,
    times: Vec<i64>,
    closes: Vec<f64>,
}

impl Accumulator for SearchAccumulator {
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()> {
        with_close(ts, &columns[0], &mut self.times, &mut self.closes);
        for (search, worker) in self.shared.searches.iter().zip(&mut self.workers) {
            worker.symbol(search, symbol, &self.times, &self.closes);
        }
        self.samples.symbol(symbol, &self.times, &self.closes);
        Ok(())
    }

    fn unfit(&mut self, symbol: &str, reason: &str) {
        self.skipped.insert(symbol.to_string(), reason.to_string());
    }

    fn bytes(&self) -> usize {
        self.samples.bytes()
    }

    fn bytes_per_bar(&self) -> usize {
        BYTES_PER_BAR
    }

    fn state(self: Box<Self>) -> Result<RecordBatch> {
        let mut state = StateRows::default();
        for (position, worker) in self.workers.iter().enumerate() {
            worker.nearest.iter().for_each(|window| write_match(&mut state, position, window));
            let integers = &numbers_of(&worker.stages);
            state.push(StateRow { kind: kind::STAGES, position, integers, ..StateRow::default() });
        }
        self.samples.write(&mut state);
        state.skipped(&self.skipped);
        state.finish()
    }
}

fn write_match(state: &mut StateRows, position: usize, window: &Match) {
    let Match { symbol, start, start_ts, end_ts, bars, scale, distance } = window;
    let Distance { combined, price, averages, slopes } = *distance;
    state.push(StateRow {
        kind: kind::MATCH,
        position,
        symbol,
        integers: &[*start as i64, *start_ts, *end_ts, *bars as i64],
        numbers: &[*scale, combined, price, averages, slopes],
        ..StateRow::default()
    });
}

/// The match that was written.
pub fn read_match(row: &StateRow<'_>) -> Result<Match> {
    let [start, start_ts, end_ts, bars] = state::values(row.integers)?;
    let [scale, combined, price, averages, slopes] = state::values(row.numbers)?;
    let distance = Distance { combined, price, averages, slopes };
    let symbol = row.symbol.to_string();
    Ok(Match { symbol, start: start as usize, start_ts, end_ts, bars: bars as usize, scale, distance })
}
