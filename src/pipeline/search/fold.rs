//! The search as a fold over the series of all symbols.

use super::{SearchOptions, Watched};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::Result;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use tallow_engine::cancellation::Cancellation;
use tallow_engine::fold::{Fold, Folding, Part};
use tallow_udfs::similarity::compare::null_distances;
use tallow_udfs::similarity::random::{Null, RandomWindow, RandomWindows, percentile};
use tallow_udfs::similarity::reference::Reference;
use tallow_udfs::similarity::search::{Excluded, Search, Spacing, Stages, Worker};

/// A pattern that is searched for, prepared.
#[derive(Debug, Clone)]
pub struct Sought {
    /// What it is called.
    pub pattern: String,
    /// What windows are compared with.
    pub reference: Reference,
    /// Windows that do not count.
    pub excluded: Option<Excluded>,
    /// The distances of random windows, smallest first, where they are known already.
    pub null: Option<Arc<Vec<f64>>>,
    /// Only these symbols.
    pub only: Option<Arc<HashSet<String>>>,
}

/// Where the counts of a finished search are left.
pub type Told = Arc<Mutex<Vec<(String, Stages)>>>;

/// Finds the nearest windows of each pattern.
#[derive(Debug)]
pub struct SearchFold {
    sought: Arc<Vec<Sought>>,
    options: SearchOptions,
    watched: Watched,
    told: Told,
}

impl SearchFold {
    pub fn new(sought: Vec<Sought>, options: &SearchOptions) -> SearchFold {
        SearchFold {
            sought: Arc::new(sought),
            options: options.clone(),
            watched: Watched::default(),
            told: Told::default(),
        }
    }

    /// Tells how far it is.
    pub fn watched(self, watched: &Watched) -> SearchFold {
        SearchFold { watched: watched.clone(), ..self }
    }

    /// What was looked at, once the search is done.
    pub fn told(&self) -> Told {
        Arc::clone(&self.told)
    }
}

/// The columns of matches.
pub fn matches_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let field = |name: &str, kind: &DataType| Field::new(name, kind.clone(), true);
        let number = DataType::Float64;
        Arc::new(Schema::new(vec![
            field("pattern", &DataType::Utf8),
            field("symbol", &DataType::Utf8),
            field("start_ts", &time),
            field("end_ts", &time),
            field("bars", &DataType::Int64),
            field("scale", &number),
            field("distance", &number),
            field("price_distance", &number),
            field("averages_distance", &number),
            field("slopes_distance", &number),
            field("score", &number),
            field("percentile", &number),
        ]))
    });
    Arc::clone(&SCHEMA)
}

impl Fold for SearchFold {
    fn describe(&self) -> String {
        let patterns: Vec<_> = self.sought.iter().map(|s| s.pattern.as_str()).take(3).collect();
        let more = if self.sought.len() > 3 { ", ..." } else { "" };
        format!("dtw_search of {}{more}, k={}", patterns.join(", "), self.options.k)
    }

    fn columns(&self) -> &[&'static str] {
        &["close"]
    }

    fn schema(&self) -> SchemaRef {
        matches_schema()
    }

    fn begin(&self) -> Arc<dyn Folding> {
        let search = |s: &Sought| {
            let search = Search::new(s.reference.clone(), self.options.windowing, self.options.k, s.excluded.clone());
            let bars = s.reference.length;
            match self.options.thinned {
                true => search.with_spacing(Spacing::Thinned { stride: (bars / 4).max(1), apart: (bars / 2).max(1) }),
                false => search,
            }
        };
        let searches: Vec<Search> = self.sought.iter().map(search).collect();
        let wanted = self.sought.iter().any(|s| s.null.is_none());
        let samples =
            samples(&self.sought, Null { size: if wanted { self.options.null.size } else { 0 }, ..self.options.null });
        let done = Mutex::new(Done { stages: vec![Stages::default(); searches.len()], samples: samples.clone() });
        let (sought, told, watched) = (Arc::clone(&self.sought), self.told(), self.watched.clone());
        Arc::new(Searching(Arc::new(Shared { searches, sought, samples, done, told, watched })))
    }
}

struct Shared {
    searches: Vec<Search>,
    sought: Arc<Vec<Sought>>,
    /// Empty samples.
    samples: Samples,
    done: Mutex<Done>,
    told: Told,
    watched: Watched,
}

/// What the parts that have ended counted and sampled.
struct Done {
    stages: Vec<Stages>,
    samples: Samples,
}

/// Random windows for patterns by what these need: those of one pattern do not depend on which others are searched for.
pub type Samples = BTreeMap<(usize, usize), RandomWindows>;

/// Empty samples for all patterns.
pub fn samples(sought: &[Sought], null: Null) -> Samples {
    let sample = |s: &Sought| {
        let (least, most) = s.reference.needs();
        ((least, most), RandomWindows::new(null, least, most))
    };
    sought.iter().map(sample).collect()
}

/// Takes in what another part sampled.
pub fn merge(samples: &mut Samples, other: Samples) {
    for (sample, own) in samples.values_mut().zip(other.into_values()) {
        sample.merge(own);
    }
}

/// The windows of finished samples.
pub fn windows(samples: Samples) -> BTreeMap<(usize, usize), Vec<RandomWindow>> {
    samples.into_iter().map(|(needs, sample)| (needs, sample.into_windows())).collect()
}

struct Searching(Arc<Shared>);

impl Folding for Searching {
    fn open(&self, cancellation: &Cancellation) -> Box<dyn Part> {
        let worker = || {
            let cancellation = cancellation.clone();
            Worker::default().stopped_by(move || cancellation.is_cancelled())
        };
        let workers = self.0.searches.iter().map(|_| worker()).collect();
        let samples = self.0.samples.clone();
        Box::new(SearchPart { shared: Arc::clone(&self.0), workers, samples, times: vec![], closes: vec![] })
    }

    fn finish(&self, metrics: &ExecutionPlanMetricsSet) -> Result<RecordBatch> {
        let shared = &self.0;
        let (mut patterns, mut matches, mut percentiles) = (vec![], vec![], vec![]);
        let (mut told, mut total) = (vec![], Stages::default());
        let Done { stages, samples } = {
            let mut done = shared.done.lock().unwrap_or_else(PoisonError::into_inner);
            let stages = vec![];
            std::mem::replace(&mut *done, Done { stages, samples: shared.samples.clone() })
        };
        let windows = windows(samples);
        for ((search, sought), stages) in shared.searches.iter().zip(shared.sought.iter()).zip(stages) {
            let sampled;
            let null: &[f64] = match &sought.null {
                Some(known) => known,
                None => {
                    sampled = null_distances(
                        &sought.reference,
                        sought.excluded.as_ref(),
                        &windows[&sought.reference.needs()],
                    );
                    &sampled
                }
            };
            for found in search.best() {
                percentiles.push(percentile(null, found.distance.combined));
                patterns.push(sought.pattern.as_str());
                matches.push(found);
            }
            total.add(&stages);
            told.push((sought.pattern.clone(), stages));
        }
        *shared.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        let Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole } = total;
        for (name, count) in [
            ("symbols", symbols),
            ("too_short", short),
            ("windows", windows),
            ("by_kim", kim),
            ("by_keogh", keogh),
            ("by_keogh_reversed", keogh_reversed),
            ("by_dtw", abandoned),
            ("whole_dtw", whole),
        ] {
            MetricBuilder::new(metrics).global_counter(name).add(count as usize);
        }
        let number = |of: fn(&tallow_udfs::similarity::search::Match) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(matches.iter().map(of)))
        };
        let time = |of: fn(&tallow_udfs::similarity::search::Match) -> i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_iter_values(matches.iter().map(of)).with_timezone("UTC"))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(patterns)),
            Arc::new(StringArray::from_iter_values(matches.iter().map(|m| &m.symbol))),
            time(|m| m.start_ts),
            time(|m| m.end_ts),
            Arc::new(Int64Array::from_iter_values(matches.iter().map(|m| m.bars as i64))),
            number(|m| m.scale),
            number(|m| m.distance.combined),
            number(|m| m.distance.price),
            number(|m| m.distance.averages),
            number(|m| m.distance.slopes),
            number(|m| (-m.distance.combined).exp()),
            Arc::new(Float64Array::from(percentiles)),
        ];
        Ok(RecordBatch::try_new(matches_schema(), columns)?)
    }
}

/// The bars that have a close.
pub fn with_close(ts: &[i64], close: &[f64], times: &mut Vec<i64>, closes: &mut Vec<f64>) {
    times.clear();
    closes.clear();
    for (time, close) in ts.iter().zip(close).filter(|(_, close)| close.is_finite()) {
        times.push(*time);
        closes.push(*close);
    }
}

/// Bytes that a bar takes while its symbol is searched: four channels with their envelopes, normalised windows, candidates.
const BYTES_PER_BAR: usize = 4 * (8 + 16) + 16 + 16 + 48;

struct SearchPart {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    samples: Samples,
    times: Vec<i64>,
    closes: Vec<f64>,
}

impl Part for SearchPart {
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()> {
        with_close(ts, &columns[0], &mut self.times, &mut self.closes);
        let searches = self.shared.searches.iter().zip(self.shared.sought.iter());
        for ((search, sought), worker) in searches.zip(&mut self.workers) {
            if sought.only.as_ref().is_none_or(|only| only.contains(symbol)) {
                worker.symbol(search, symbol, &self.times, &self.closes);
            }
        }
        self.samples.values_mut().for_each(|sample| sample.symbol(symbol, &self.times, &self.closes));
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
        BYTES_PER_BAR
    }

    fn end(self: Box<Self>) -> Result<()> {
        let mut done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.stages.iter_mut().zip(&self.workers).for_each(|(stages, worker)| stages.add(&worker.stages));
        merge(&mut done.samples, self.samples);
        Ok(())
    }
}
