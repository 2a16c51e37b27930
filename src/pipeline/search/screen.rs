//! The first look of a search at the newest bars: how the last closes of every symbol correlate with a pattern. Only the symbols
//! that correlate best are compared.
//!
//! Correlation orders symbols as the Euclidean distance of z-normalised closes does, at a fraction of the cost of DTW. Which
//! symbols are kept is known when all have been seen. So the partial phase puts out the last bars of each symbol, as many as the
//! longest window needs, and the final one compares those of the symbols that it keeps: no bar is read twice.

use super::QueryPattern;
use super::samples::Samples;
use super::state::{self, StateRow, StateRows, kind, with_close};
use arrow::array::RecordBatch;
use datafusion::common::Result;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tallow_engine::cancellation::Cancellation;
use tallow_engine::series_aggregate::{Accumulator, Partitions};
use tallow_udfs::similarity::descriptor::resample;
use tallow_udfs::similarity::pearson::Correlator;
use tallow_udfs::similarity::reference::Reference;
use tallow_udfs::similarity::search::{Excluded, Search, Worker};

/// The share of symbols that is compared, and how many at least.
const SHARE: f64 = 0.2;
const LEAST: usize = 10;

/// The last bars of a symbol.
type Tail<'a> = (&'a [i64], &'a [f64]);

/// What all partitions saw of the symbols.
#[derive(Default)]
pub struct Seen<'a> {
    /// Correlations with each pattern.
    ranked: Vec<Vec<(f64, &'a str)>>,
    tails: HashMap<&'a str, Tail<'a>>,
}

impl<'a> Seen<'a> {
    pub fn of(patterns: usize) -> Seen<'a> {
        Seen { ranked: vec![vec![]; patterns], tails: HashMap::new() }
    }

    /// Takes in a correlation that was written.
    pub fn correlation(&mut self, row: &StateRow<'a>) -> Result<()> {
        let [correlation] = state::values(row.numbers)?;
        state::at(&mut self.ranked, row.position)?.push((correlation, row.symbol));
        Ok(())
    }

    /// Takes in the last bars of a symbol that were written.
    pub fn tail(&mut self, row: &StateRow<'a>) {
        self.tails.insert(row.symbol, (row.integers, row.numbers));
    }

    /// Compares the symbols that correlate best with a pattern; returns how many were seen and kept.
    ///
    /// # Errors
    /// The execution is over.
    pub fn compare(
        &mut self,
        position: usize,
        search: &Search,
        worker: &mut Worker,
        cancellation: &Cancellation,
    ) -> Result<(usize, usize)> {
        let ranked = state::at(&mut self.ranked, position)?;
        // The best first: what is near soon is a bound for the others.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let seen = ranked.len();
        ranked.truncate(((seen as f64 * SHARE).ceil() as usize).max(LEAST));
        for (_, symbol) in ranked.iter() {
            cancellation.check()?;
            let (ts, closes) = self.tails.get(symbol).copied().unwrap_or_default();
            worker.symbol(search, symbol, ts, closes);
        }
        Ok((seen, ranked.len()))
    }
}

/// What the last closes of a symbol are correlated with.
struct Correlators {
    /// The pattern.
    whole: Correlator,
    /// The pattern at the length of the shortest window, for symbols that have no more bars.
    short: Correlator,
    /// The bars of that window.
    shortest: usize,
    /// The bars that it needs with those before it.
    least: usize,
}

impl Correlators {
    fn new(reference: &Reference) -> Correlators {
        let shortest = reference.scales.iter().map(|s| s.bars).min().unwrap_or_default();
        Correlators {
            whole: Correlator::new(&reference.closes),
            short: Correlator::new(&resample(&reference.closes, shortest)),
            shortest,
            least: reference.needs().0,
        }
    }

    /// For a symbol of so many bars; `None`: too few for any window.
    fn of(&self, bars: usize) -> Option<&Correlator> {
        match bars {
            _ if bars < self.least => None,
            _ if bars < self.whole.length() => Some(&self.short),
            _ => Some(&self.whole),
        }
    }
}

struct Shared {
    patterns: Arc<Vec<QueryPattern>>,
    correlators: Vec<Correlators>,
    /// Bars that the longest window of any pattern needs.
    most: usize,
    /// Empty samples.
    samples: Samples,
}

/// The partial phase.
pub struct Screening(Arc<Shared>);

impl Screening {
    pub fn new(patterns: &Arc<Vec<QueryPattern>>, samples: Samples) -> Screening {
        let (patterns, all) = (Arc::clone(patterns), patterns.iter());
        let most = all.clone().map(|p| p.reference.needs().1).max().unwrap_or_default();
        let correlators = all.map(|p| Correlators::new(&p.reference)).collect();
        Screening(Arc::new(Shared { patterns, correlators, most, samples }))
    }
}

impl Partitions for Screening {
    fn partition(&self, _: &Cancellation) -> Box<dyn Accumulator> {
        Box::new(ScreenAccumulator {
            state: StateRows::default(),
            samples: self.0.samples.clone(),
            shared: Arc::clone(&self.0),
            skipped: BTreeMap::new(),
            times: vec![],
            closes: vec![],
            product: vec![],
        })
    }
}

struct ScreenAccumulator {
    shared: Arc<Shared>,
    /// Correlations and last bars.
    state: StateRows,
    samples: Samples,
    skipped: BTreeMap<String, String>,
    times: Vec<i64>,
    closes: Vec<f64>,
    product: Vec<f64>,
}

impl Accumulator for ScreenAccumulator {
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()> {
        let ScreenAccumulator { shared, state, samples, times, closes, product, .. } = self;
        with_close(ts, &columns[0], times, closes);
        samples.symbol(symbol, times, closes);
        let mut is_seen = false;
        for (position, (correlators, pattern)) in shared.correlators.iter().zip(shared.patterns.iter()).enumerate() {
            let Some(correlator) = correlators.of(closes.len()) else { continue };
            // A symbol whose newest window is the pattern itself takes nobody's place.
            let first = times[times.len() - correlators.shortest];
            let is_own =
                |e: &Excluded| e.symbol == symbol && first <= e.to && times.last().is_some_and(|t| *t >= e.from);
            if pattern.excluded.as_ref().is_some_and(is_own) {
                continue;
            }
            correlator.rows(&closes[closes.len() - correlator.length()..], product);
            if let Some(correlation) = product.first() {
                let (kind, numbers) = (kind::CORRELATION, &[*correlation]);
                state.push(StateRow { kind, position, symbol, numbers, ..StateRow::default() });
                is_seen = true;
            }
        }
        if is_seen {
            let from = closes.len().saturating_sub(shared.most);
            let (kind, integers, numbers) = (kind::TAIL, &times[from..], &closes[from..]);
            state.push(StateRow { kind, symbol, integers, numbers, ..StateRow::default() });
        }
        Ok(())
    }

    fn unfit(&mut self, symbol: &str, reason: &str) {
        self.skipped.insert(symbol.to_string(), reason.to_string());
    }

    fn bytes(&self) -> usize {
        self.samples.bytes() + self.state.bytes()
    }

    fn bytes_per_bar(&self) -> usize {
        32
    }

    fn state(self: Box<Self>) -> Result<RecordBatch> {
        let mut state = self.state;
        self.samples.write(&mut state);
        state.skipped(&self.skipped);
        state.finish()
    }
}
