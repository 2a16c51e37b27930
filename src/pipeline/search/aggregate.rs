//! The search as an aggregate over the series of all symbols.

use super::query_pattern::PatternSpec;
use super::samples::Samples;
use super::state::{self, Columns, StateRow, StateRows, kind, state_schema};
use super::{QueryPattern, SearchOptions};
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, Int64Builder, LargeListBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use tallow_common::time::timestamp_type;
use tallow_engine::cancellation::Cancellation;
use tallow_engine::node::{NodeKind, from_spec, to_spec};
use tallow_engine::series_aggregate::{Accumulator, Partitions, SeriesAggregate, node};
use tallow_udfs::similarity::compare::Distance;
use tallow_udfs::similarity::random::{Null, percentile};
use tallow_udfs::similarity::search::{Match, Search, Spacing, Stages, Windowing, Worker, keep_nearest};

/// Finds the nearest windows of each pattern.
#[derive(Debug)]
pub struct SearchAggregate {
    patterns: Arc<Vec<QueryPattern>>,
    windowing: Windowing,
    k: usize,
    thinned: bool,
    null: Null,
    /// Whether stages and symbols that cannot be used are rows beside the matches; otherwise such a symbol is an error.
    reports: bool,
}

#[derive(Serialize, Deserialize)]
struct Spec {
    patterns: Vec<PatternSpec>,
    latest: bool,
    k: usize,
    thinned: bool,
    null_size: usize,
    null_seed: u64,
    reports: bool,
}

impl SearchAggregate {
    pub const KIND: NodeKind = NodeKind {
        name: "SearchAggregate",
        decode: |spec| {
            let Spec { patterns, latest, k, thinned, null_size, null_seed, reports } = from_spec(spec)?;
            let patterns = patterns.into_iter().map(QueryPattern::of_spec).collect::<Result<_>>()?;
            Ok(node(Arc::new(SearchAggregate {
                patterns: Arc::new(patterns),
                windowing: if latest { Windowing::Latest } else { Windowing::History },
                k,
                thinned,
                null: Null { size: null_size, seed: null_seed },
                reports,
            })))
        },
    };

    /// Of these patterns; the options say how.
    pub fn new(patterns: Vec<QueryPattern>, options: &SearchOptions) -> SearchAggregate {
        SearchAggregate {
            patterns: Arc::new(patterns),
            windowing: options.windowing,
            k: options.k,
            thinned: options.thinned,
            null: options.null,
            reports: false,
        }
    }

    /// With what each pattern's search looked at and skipped as rows: see [`report_schema`].
    pub fn reporting(self) -> SearchAggregate {
        SearchAggregate { reports: true, ..self }
    }

    fn search(&self, pattern: &QueryPattern) -> Search {
        let search = Search::new(pattern.reference.clone(), self.windowing, self.k, pattern.excluded.clone());
        let bars = pattern.reference.length;
        match self.thinned {
            true => search.with_spacing(Spacing::Thinned { stride: (bars / 4).max(1), apart: (bars / 2).max(1) }),
            false => search,
        }
    }

    /// Random windows are sampled for those patterns whose distances from such are not known yet.
    fn samples(&self) -> Samples {
        let unknown = self.patterns.iter().any(|p| p.null.is_none());
        Samples::empty(&self.patterns, Null { size: if unknown { self.null.size } else { 0 }, ..self.null })
    }
}

/// The columns of matches.
pub fn matches_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = timestamp_type();
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

/// The columns of a search that reports: those of matches; then `kind`, which is `match`, `stages` of a `pattern` or a `skipped`
/// `symbol`; the `counts` of stages, see [`stages_of`]; and the `reason` why a symbol was skipped. What a kind does not have is null.
pub fn report_schema() -> SchemaRef {
    let counts = DataType::LargeList(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let own = [("kind", DataType::Utf8), ("counts", counts), ("reason", DataType::Utf8)];
    let matches = matches_schema();
    let own = own.map(|(name, kind)| Arc::new(Field::new(name, kind, true)));
    Arc::new(Schema::new(matches.fields().iter().cloned().chain(own).collect::<Vec<_>>()))
}

/// The counts of stages, in the order of the fields of [`Stages`].
fn counts_of(stages: &Stages) -> [i64; 8] {
    let Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole } = *stages;
    [symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole].map(|count| count as i64)
}

/// The stages of such counts.
pub fn stages_of(counts: &[i64]) -> Result<Stages> {
    let [symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole] =
        state::values::<i64, 8>(counts)?.map(|count| count as u64);
    Ok(Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole })
}

impl SeriesAggregate for SearchAggregate {
    fn name(&self) -> &'static str {
        Self::KIND.name
    }

    fn describe(&self) -> String {
        let patterns: Vec<_> = self.patterns.iter().map(|p| p.id.as_str()).take(3).collect();
        let more = if self.patterns.len() > 3 { ", ..." } else { "" };
        format!("dtw_search of {}{more}, k={}", patterns.join(", "), self.k)
    }

    fn columns(&self) -> &[&'static str] {
        &["close"]
    }

    fn state_schema(&self) -> SchemaRef {
        state_schema()
    }

    fn schema(&self) -> SchemaRef {
        if self.reports { report_schema() } else { matches_schema() }
    }

    fn begin(&self) -> Arc<dyn Partitions> {
        Arc::new(Searching(Arc::new(Shared {
            searches: self.patterns.iter().map(|p| self.search(p)).collect(),
            patterns: Arc::clone(&self.patterns),
            samples: self.samples(),
            reports: self.reports,
        })))
    }

    fn finish(&self, states: &[RecordBatch], metrics: &ExecutionPlanMetricsSet) -> Result<RecordBatch> {
        let found = self.merged(states)?;
        let total = found.stages.iter().fold(Stages::default(), |mut total, stages| {
            total.add(stages);
            total
        });
        for (name, count) in
            ["symbols", "too_short", "windows", "by_kim", "by_keogh", "by_keogh_reversed", "by_dtw", "whole_dtw"]
                .into_iter()
                .zip(counts_of(&total))
        {
            MetricBuilder::new(metrics).global_counter(name).add(count as usize);
        }
        let windows = found.samples.finish();
        let (mut patterns, mut matches, mut percentiles) = (vec![], vec![], vec![]);
        for (pattern, nearest) in self.patterns.iter().zip(found.nearest) {
            let sampled;
            let null: &[f64] = match &pattern.null {
                Some(known) => known,
                None => {
                    sampled = windows.distances(pattern);
                    &sampled
                }
            };
            for window in nearest {
                percentiles.push(percentile(null, window.distance.combined));
                patterns.push(pattern.id.as_str());
                matches.push(window);
            }
        }
        let matches = match_rows(&patterns, &matches, percentiles)?;
        if self.reports { self.report(&matches, &found.stages, &found.skipped) } else { Ok(matches) }
    }

    fn spec(&self) -> Result<Vec<u8>> {
        let SearchAggregate { patterns, windowing, k, thinned, null, reports } = self;
        to_spec(&Spec {
            patterns: patterns.iter().map(QueryPattern::spec).collect(),
            latest: *windowing == Windowing::Latest,
            k: *k,
            thinned: *thinned,
            null_size: null.size,
            null_seed: null.seed,
            reports: *reports,
        })
    }
}

/// What all partitions found.
struct Found {
    nearest: Vec<Vec<Match>>,
    stages: Vec<Stages>,
    samples: Samples,
    skipped: BTreeMap<String, String>,
}

impl SearchAggregate {
    fn merged(&self, states: &[RecordBatch]) -> Result<Found> {
        let count = self.patterns.len();
        let mut matches: Vec<Vec<Match>> = vec![vec![]; count];
        let mut stages = vec![Stages::default(); count];
        let (mut samples, mut skipped) = (self.samples(), BTreeMap::new());
        for batch in states {
            for row in Columns::of(batch)?.rows() {
                match row.kind {
                    kind::MATCH => state::at(&mut matches, row.position)?.push(read_match(&row)?),
                    kind::STAGES => state::at(&mut stages, row.position)?.add(&stages_of(row.integers)?),
                    kind::WINDOW => samples.read(&row)?,
                    kind::SKIPPED => {
                        skipped.insert(row.symbol.to_string(), row.reason.to_string());
                    }
                    other => return internal_err!("'{other}' is no state of a search"),
                }
            }
        }
        let nearest = matches.into_iter().map(|matches| {
            let mut nearest = vec![];
            keep_nearest(&mut nearest, matches, self.k);
            nearest
        });
        Ok(Found { nearest: nearest.collect(), stages, samples, skipped })
    }

    /// The matches, and what was counted and skipped below them.
    fn report(
        &self,
        matches: &RecordBatch,
        stages: &[Stages],
        skipped: &BTreeMap<String, String>,
    ) -> Result<RecordBatch> {
        let rows = [matches.num_rows(), stages.len(), skipped.len()];
        let below = |column: &ArrayRef, more: [ArrayRef; 2]| concat(&[column, &more[0], &more[1]]);
        let none = |kind: &DataType, rows| new_null_array(kind, rows);
        let text = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
        let mut columns = vec![];
        for (field, column) in matches.schema().fields().iter().zip(matches.columns()) {
            let kind = field.data_type();
            let ids = || text(self.patterns.iter().map(|p| p.id.as_str()).collect());
            let symbols = || text(skipped.keys().map(String::as_str).collect());
            columns.push(match field.name().as_str() {
                "pattern" => below(column, [ids(), none(kind, rows[2])])?,
                "symbol" => below(column, [none(kind, rows[1]), symbols()])?,
                _ => below(column, [none(kind, rows[1]), none(kind, rows[2])])?,
            });
        }
        let kinds = [kind::MATCH, kind::STAGES, kind::SKIPPED].into_iter().zip(rows);
        columns.push(text(kinds.flat_map(|(kind, rows)| std::iter::repeat_n(kind, rows)).collect()));
        let mut counts = LargeListBuilder::new(Int64Builder::new());
        (0..rows[0]).for_each(|_| counts.append(false));
        for stages in stages {
            counts.values().append_slice(&counts_of(stages));
            counts.append(true);
        }
        (0..rows[2]).for_each(|_| counts.append(false));
        columns.push(Arc::new(counts.finish()));
        let reasons = skipped.values().map(|reason| Some(reason.as_str()));
        columns.push(Arc::new(StringArray::from_iter(std::iter::repeat_n(None, rows[0] + rows[1]).chain(reasons))));
        Ok(RecordBatch::try_new(report_schema(), columns)?)
    }
}

fn match_rows(patterns: &[&str], matches: &[Match], percentiles: Vec<Option<f64>>) -> Result<RecordBatch> {
    let number =
        |of: fn(&Match) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(matches.iter().map(of))) };
    let time = |of: fn(&Match) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(matches.iter().map(of)).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(patterns.to_vec())),
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

fn read_match(row: &StateRow<'_>) -> Result<Match> {
    let [start, start_ts, end_ts, bars] = state::values(row.integers)?;
    let [scale, combined, price, averages, slopes] = state::values(row.numbers)?;
    let distance = Distance { combined, price, averages, slopes };
    let symbol = row.symbol.to_string();
    Ok(Match { symbol, start: start as usize, start_ts, end_ts, bars: bars as usize, scale, distance })
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

/// What partitions of one process share. The searches hold the distance beyond which nothing is of interest any more,
/// whichever partition found it.
struct Shared {
    searches: Vec<Search>,
    patterns: Arc<Vec<QueryPattern>>,
    /// Empty samples.
    samples: Samples,
    reports: bool,
}

struct Searching(Arc<Shared>);

impl Partitions for Searching {
    fn partition(&self, cancellation: &Cancellation) -> Box<dyn Accumulator> {
        let worker = || {
            let cancellation = cancellation.clone();
            Worker::default().stopped_by(move || cancellation.is_cancelled())
        };
        Box::new(SearchAccumulator {
            workers: self.0.searches.iter().map(|_| worker()).collect(),
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
        let searches = self.shared.searches.iter().zip(self.shared.patterns.iter());
        for ((search, pattern), worker) in searches.zip(&mut self.workers) {
            if pattern.only.as_ref().is_none_or(|only| only.contains(symbol)) {
                worker.symbol(search, symbol, &self.times, &self.closes);
            }
        }
        self.samples.symbol(symbol, &self.times, &self.closes);
        Ok(())
    }

    fn unfit(&mut self, symbol: &str, reason: &str) -> Result<()> {
        if !self.shared.reports {
            return exec_err!("{symbol}: {reason}; the operation `validate` shows where");
        }
        self.skipped.insert(symbol.to_string(), reason.to_string());
        Ok(())
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
            let integers = &counts_of(&worker.stages);
            state.push(StateRow { kind: kind::STAGES, position, integers, ..StateRow::default() });
        }
        self.samples.write(&mut state);
        state.skipped(&self.skipped);
        state.finish()
    }
}
