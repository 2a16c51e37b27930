//! The first look of a search at the newest bars: how the last closes of every symbol correlate with a pattern, and random
//! windows of all of them for percentiles.
//!
//! Correlation orders symbols as the Euclidean distance of z-normalised closes does, at a fraction of the cost of DTW.

use super::Watched;
use super::fold::{Samples, Sought, merge, samples, windows, with_close};
use arrow::array::{Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use std::sync::{Arc, Mutex, PoisonError};
use tallow_engine::cancellation::Cancellation;
use tallow_engine::fold::{Fold, Folding, Part};
use tallow_udfs::similarity::compare::null_distances;
use tallow_udfs::similarity::descriptor::resample;
use tallow_udfs::similarity::pearson::Correlator;
use tallow_udfs::similarity::random::{Null, RandomWindows};
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
    pub kept: Vec<String>,
    /// The distances of random windows, smallest first.
    pub null: Vec<f64>,
}

/// Looks at every symbol once.
#[derive(Debug)]
pub struct Prescreen {
    sought: Arc<Vec<Sought>>,
    null: Null,
    watched: Watched,
    told: Arc<Mutex<Vec<Screened>>>,
}

impl Prescreen {
    pub fn new(sought: &[Sought], null: Null, watched: &Watched) -> Prescreen {
        Prescreen { sought: Arc::new(sought.to_vec()), null, watched: watched.clone(), told: Arc::default() }
    }

    /// What was found of each pattern, once it is done.
    pub fn told(&self) -> Arc<Mutex<Vec<Screened>>> {
        Arc::clone(&self.told)
    }
}

impl Fold for Prescreen {
    fn describe(&self) -> String {
        format!("prescreen for {} patterns", self.sought.len())
    }

    fn columns(&self) -> &[&'static str] {
        &["close"]
    }

    fn schema(&self) -> SchemaRef {
        let field = |name: &str, kind| Field::new(name, kind, true);
        Arc::new(Schema::new(vec![
            field("pattern", DataType::Utf8),
            field("symbol", DataType::Utf8),
            field("correlation", DataType::Float64),
        ]))
    }

    fn begin(&self) -> Arc<dyn Folding> {
        let correlators = self.sought.iter().map(|s| Correlators::new(&s.reference)).collect();
        let samples = samples(&self.sought, self.null);
        let done = Mutex::new(Done { ranked: vec![vec![]; self.sought.len()], samples: samples.clone() });
        let (sought, schema, told) = (Arc::clone(&self.sought), self.schema(), self.told());
        let watched = self.watched.clone();
        Arc::new(Screening(Arc::new(Shared { sought, correlators, samples, done, schema, told, watched })))
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
    sought: Arc<Vec<Sought>>,
    correlators: Vec<Correlators>,
    /// Empty samples.
    samples: Samples,
    done: Mutex<Done>,
    schema: SchemaRef,
    told: Arc<Mutex<Vec<Screened>>>,
    watched: Watched,
}

/// What the parts that have ended found.
struct Done {
    /// Correlations with each pattern.
    ranked: Vec<Vec<(f64, String)>>,
    samples: Samples,
}

struct Screening(Arc<Shared>);

impl Folding for Screening {
    fn open(&self, _: &Cancellation) -> Box<dyn Part> {
        let ranked = vec![vec![]; self.0.sought.len()];
        let samples = self.0.samples.clone();
        Box::new(ScreenPart { shared: Arc::clone(&self.0), ranked, samples, product: vec![] })
    }

    fn finish(&self, _: &ExecutionPlanMetricsSet) -> Result<RecordBatch> {
        let (mut patterns, mut symbols, mut correlations, mut told) = (vec![], vec![], vec![], vec![]);
        let Done { ranked, samples } = {
            let mut done = self.0.done.lock().unwrap_or_else(PoisonError::into_inner);
            let ranked = vec![];
            std::mem::replace(&mut *done, Done { ranked, samples: self.0.samples.clone() })
        };
        let windows = windows(samples);
        for (mut ranked, sought) in ranked.into_iter().zip(self.0.sought.iter()) {
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            let seen = ranked.len();
            ranked.truncate(((seen as f64 * SHARE).ceil() as usize).max(LEAST));
            for (correlation, symbol) in ranked.iter() {
                patterns.push(sought.pattern.clone());
                symbols.push(symbol.clone());
                correlations.push(*correlation);
            }
            let kept = ranked.iter().map(|(_, symbol)| symbol.clone()).collect();
            let null = null_distances(&sought.reference, sought.excluded.as_ref(), &windows[&sought.reference.needs()]);
            told.push(Screened { seen, kept, null });
        }
        *self.0.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(StringArray::from(patterns)),
            Arc::new(StringArray::from(symbols)),
            Arc::new(Float64Array::from(correlations)),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.0.schema), columns)?)
    }
}

struct ScreenPart {
    shared: Arc<Shared>,
    ranked: Vec<Vec<(f64, String)>>,
    samples: Samples,
    product: Vec<f64>,
}

impl Part for ScreenPart {
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()> {
        let (mut times, mut closes) = (vec![], vec![]);
        with_close(ts, &columns[0], &mut times, &mut closes);
        self.samples.values_mut().for_each(|sample| sample.symbol(symbol, &times, &closes));
        for ((correlators, sought), ranked) in
            self.shared.correlators.iter().zip(self.shared.sought.iter()).zip(&mut self.ranked)
        {
            let Some(correlator) = correlators.of(closes.len()) else { continue };
            // A symbol whose newest window is the pattern itself takes nobody's place.
            let first = times[times.len() - correlators.shortest];
            let is_own =
                |e: &Excluded| e.symbol == symbol && first <= e.to && times.last().is_some_and(|t| *t >= e.from);
            if sought.excluded.as_ref().is_some_and(is_own) {
                continue;
            }
            correlator.rows(&closes[closes.len() - correlator.length()..], &mut self.product);
            ranked.extend(self.product.first().map(|r| (*r, symbol.to_string())));
        }
        self.shared.watched.symbol();
        Ok(())
    }

    fn unfit(&mut self, symbol: &str, reason: &str) -> Result<()> {
        self.shared.watched.leave_out(symbol, reason)
    }

    fn bytes(&self) -> usize {
        self.samples.values().map(RandomWindows::bytes).sum()
    }

    fn bytes_per_bar(&self) -> usize {
        32
    }

    fn end(self: Box<Self>) -> Result<()> {
        let mut done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.ranked.iter_mut().zip(self.ranked).for_each(|(all, own)| all.extend(own));
        merge(&mut done.samples, self.samples);
        Ok(())
    }
}
