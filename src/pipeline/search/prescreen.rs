//! The first look of a search at the newest bars: how the last closes of every symbol correlate with a pattern, and random
//! windows of all of them for percentiles.
//!
//! Correlation orders symbols as the Euclidean distance of z-normalised closes does, at a fraction of the cost of DTW.

use super::aggregate::with_close;
use super::query_pattern::PatternSpec;
use super::samples::Samples;
use super::state::{self, Columns, StateRow, StateRows, kind, state_schema};
use super::{QueryPattern, SearchOptions};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_err};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_engine::cancellation::Cancellation;
use tallow_engine::node::{NodeKind, from_spec, to_spec};
use tallow_engine::series_aggregate::{Accumulator, Partitions, SeriesAggregate, node};
use tallow_udfs::similarity::descriptor::resample;
use tallow_udfs::similarity::pearson::Correlator;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::reference::Reference;
use tallow_udfs::similarity::search::Excluded;

/// The share of symbols that is looked at more closely, and how many at least.
const SHARE: f64 = 0.2;
const LEAST: usize = 10;

/// What the first look at one pattern found.
#[derive(Debug, Clone, Default)]
pub struct Screened {
    /// Symbols that had bars enough for a window.
    pub seen: usize,
    /// Those that correlate best.
    pub kept: BTreeSet<String>,
    /// The distances of random windows, smallest first.
    pub null: Vec<f64>,
}

/// Looks at every symbol once. Its result has the columns of [`state_schema`]: of each pattern the symbols that correlate best,
/// how many were seen, and the distances of random windows; and the symbols that cannot be used.
#[derive(Debug)]
pub struct Prescreen {
    patterns: Arc<Vec<QueryPattern>>,
    null: Null,
}

#[derive(Serialize, Deserialize)]
struct Spec {
    patterns: Vec<PatternSpec>,
    null_size: usize,
    null_seed: u64,
}

impl Prescreen {
    pub const KIND: NodeKind = NodeKind {
        name: "Prescreen",
        decode: |spec| {
            let Spec { patterns, null_size, null_seed } = from_spec(spec)?;
            let patterns = Arc::new(patterns.into_iter().map(QueryPattern::of_spec).collect::<Result<_>>()?);
            Ok(node(Arc::new(Prescreen { patterns, null: Null { size: null_size, seed: null_seed } })))
        },
    };

    pub fn new(patterns: &[QueryPattern], options: &SearchOptions) -> Prescreen {
        Prescreen { patterns: Arc::new(patterns.to_vec()), null: options.null }
    }
}

/// What a result says of so many patterns, and the symbols that cannot be used.
pub fn screened(result: &[RecordBatch], patterns: usize) -> Result<(Vec<Screened>, BTreeMap<String, String>)> {
    let (mut all, mut skipped) = (vec![Screened::default(); patterns], BTreeMap::new());
    for batch in result {
        for row in Columns::of(batch)?.rows() {
            if row.kind == kind::SKIPPED {
                skipped.insert(row.symbol.to_string(), row.reason.to_string());
                continue;
            }
            let screened = state::at(&mut all, row.position)?;
            match row.kind {
                kind::CORRELATION => {
                    screened.kept.insert(row.symbol.to_string());
                }
                kind::SEEN => screened.seen = state::values::<i64, 1>(row.integers)?[0] as usize,
                kind::NULL => screened.null = row.numbers.to_vec(),
                other => return internal_err!("'{other}' is no result of a prescreen"),
            }
        }
    }
    Ok((all, skipped))
}

impl SeriesAggregate for Prescreen {
    fn name(&self) -> &'static str {
        Self::KIND.name
    }

    fn describe(&self) -> String {
        format!("prescreen for {} patterns", self.patterns.len())
    }

    fn columns(&self) -> &[&'static str] {
        &["close"]
    }

    fn state_schema(&self) -> SchemaRef {
        state_schema()
    }

    fn schema(&self) -> SchemaRef {
        state_schema()
    }

    fn begin(&self) -> Arc<dyn Partitions> {
        Arc::new(Screening(Arc::new(Shared {
            patterns: Arc::clone(&self.patterns),
            correlators: self.patterns.iter().map(|p| Correlators::new(&p.reference)).collect(),
            samples: Samples::empty(&self.patterns, self.null),
        })))
    }

    fn finish(&self, states: &[RecordBatch], _: &ExecutionPlanMetricsSet) -> Result<RecordBatch> {
        let mut ranked: Vec<Vec<(f64, String)>> = vec![vec![]; self.patterns.len()];
        let (mut samples, mut skipped) = (Samples::empty(&self.patterns, self.null), BTreeMap::new());
        for batch in states {
            for row in Columns::of(batch)?.rows() {
                match row.kind {
                    kind::CORRELATION => {
                        let [correlation] = state::values(row.numbers)?;
                        state::at(&mut ranked, row.position)?.push((correlation, row.symbol.to_string()));
                    }
                    kind::WINDOW => samples.read(&row)?,
                    kind::SKIPPED => {
                        skipped.insert(row.symbol.to_string(), row.reason.to_string());
                    }
                    other => return internal_err!("'{other}' is no state of a prescreen"),
                }
            }
        }
        let windows = samples.finish();
        let mut result = StateRows::default();
        for (position, (mut ranked, pattern)) in ranked.into_iter().zip(self.patterns.iter()).enumerate() {
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            let (seen, of_pattern) = (ranked.len(), StateRow { position, ..StateRow::default() });
            result.push(StateRow { kind: kind::SEEN, integers: &[seen as i64], ..of_pattern });
            ranked.truncate(((seen as f64 * SHARE).ceil() as usize).max(LEAST));
            write_correlations(&mut result, position, &ranked);
            result.push(StateRow { kind: kind::NULL, numbers: &windows.distances(pattern), ..of_pattern });
        }
        result.skipped(&skipped);
        result.finish()
    }

    fn spec(&self) -> Result<Vec<u8>> {
        let Prescreen { patterns, null } = self;
        let patterns = patterns.iter().map(QueryPattern::spec).collect();
        to_spec(&Spec { patterns, null_size: null.size, null_seed: null.seed })
    }
}

fn write_correlations(state: &mut StateRows, position: usize, ranked: &[(f64, String)]) {
    for (correlation, symbol) in ranked {
        let (kind, numbers) = (kind::CORRELATION, &[*correlation]);
        state.push(StateRow { kind, position, symbol, numbers, ..StateRow::default() });
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
    /// Empty samples.
    samples: Samples,
}

struct Screening(Arc<Shared>);

impl Partitions for Screening {
    fn partition(&self, _: &Cancellation) -> Box<dyn Accumulator> {
        Box::new(ScreenAccumulator {
            ranked: vec![vec![]; self.0.patterns.len()],
            samples: self.0.samples.clone(),
            shared: Arc::clone(&self.0),
            skipped: BTreeMap::new(),
            product: vec![],
        })
    }
}

struct ScreenAccumulator {
    shared: Arc<Shared>,
    /// Correlations with each pattern.
    ranked: Vec<Vec<(f64, String)>>,
    samples: Samples,
    skipped: BTreeMap<String, String>,
    product: Vec<f64>,
}

impl Accumulator for ScreenAccumulator {
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()> {
        let (mut times, mut closes) = (vec![], vec![]);
        with_close(ts, &columns[0], &mut times, &mut closes);
        self.samples.symbol(symbol, &times, &closes);
        for ((correlators, pattern), ranked) in
            self.shared.correlators.iter().zip(self.shared.patterns.iter()).zip(&mut self.ranked)
        {
            let Some(correlator) = correlators.of(closes.len()) else { continue };
            // A symbol whose newest window is the pattern itself takes nobody's place.
            let first = times[times.len() - correlators.shortest];
            let is_own =
                |e: &Excluded| e.symbol == symbol && first <= e.to && times.last().is_some_and(|t| *t >= e.from);
            if pattern.excluded.as_ref().is_some_and(is_own) {
                continue;
            }
            correlator.rows(&closes[closes.len() - correlator.length()..], &mut self.product);
            ranked.extend(self.product.first().map(|r| (*r, symbol.to_string())));
        }
        Ok(())
    }

    fn unfit(&mut self, symbol: &str, reason: &str) -> Result<()> {
        self.skipped.insert(symbol.to_string(), reason.to_string());
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.samples.bytes()
    }

    fn bytes_per_bar(&self) -> usize {
        32
    }

    fn state(self: Box<Self>) -> Result<RecordBatch> {
        let mut state = StateRows::default();
        for (position, ranked) in self.ranked.iter().enumerate() {
            write_correlations(&mut state, position, ranked);
        }
        self.samples.write(&mut state);
        state.skipped(&self.skipped);
        state.finish()
    }
}
