//! The search as an aggregate over the series of all symbols.

use super::every::{Searching, read_match, worker};
use super::query_pattern::PatternSpec;
use super::report::{Counts, match_rows, matches_schema, numbers_of, report_rows, report_schema, stages_of};
use super::samples::Samples;
use super::screen::{Screening, Seen};
use super::state::{self, Columns, kind, state_schema};
use super::{QueryPattern, SearchOptions};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_engine::cancellation::Cancellation;
use tallow_engine::node::{Exact, NodeKind, from_spec, to_spec};
use tallow_engine::series_aggregate::{Execution, Partitions, SeriesAggregate, node};
use tallow_engine::symbol_guard::Fault;
use tallow_udfs::similarity::random::{Null, percentile};
use tallow_udfs::similarity::search::{Match, Search, Spacing, Stages, Windowing, keep_nearest};

/// Finds the nearest windows of each pattern.
#[derive(Debug)]
pub struct SearchAggregate {
    patterns: Arc<Vec<QueryPattern>>,
    windowing: Windowing,
    /// Of the newest bars, only those of symbols that correlate best with a pattern are compared with it.
    screens: bool,
    k: usize,
    thinned: bool,
    null: Null,
    /// Only matches that are nearer than this share of random windows.
    least: Option<f64>,
    /// What cannot be used for reasons that are known before, such as files that cannot be read.
    skipped: Vec<(String, String)>,
    /// Whether counts and symbols that were skipped are rows beside the matches. Otherwise the latter are findings of the execution.
    reports: bool,
}

#[derive(Serialize, Deserialize)]
struct Spec {
    patterns: Vec<PatternSpec>,
    latest: bool,
    screens: bool,
    k: usize,
    thinned: bool,
    null_size: usize,
    null_seed: u64,
    least: Option<Exact>,
    skipped: Vec<(String, String)>,
    reports: bool,
}

impl SearchAggregate {
    pub const KIND: NodeKind = NodeKind {
        name: "SearchAggregate",
        decode: |spec| {
            let Spec { patterns, latest, screens, k, thinned, null_size, null_seed, least, skipped, reports } =
                from_spec(spec)?;
            let patterns = patterns.into_iter().map(QueryPattern::of_spec).collect::<Result<_>>()?;
            Ok(node(Arc::new(SearchAggregate {
                patterns: Arc::new(patterns),
                windowing: if latest { Windowing::Latest } else { Windowing::History },
                screens,
                k,
                thinned,
                null: Null { size: null_size, seed: null_seed },
                least: least.map(f64::from),
                skipped,
                reports,
            })))
        },
    };

    /// Of these patterns; the options say how.
    pub fn new(patterns: Vec<QueryPattern>, options: &SearchOptions) -> SearchAggregate {
        SearchAggregate {
            patterns: Arc::new(patterns),
            windowing: options.windowing,
            screens: options.windowing == Windowing::Latest && !options.exact,
            k: options.k,
            thinned: options.thinned,
            null: options.null,
            least: options.percentile,
            skipped: vec![],
            reports: false,
        }
    }

    /// With what is known to be skipped, and why.
    pub fn without(self, skipped: Vec<(String, String)>) -> SearchAggregate {
        SearchAggregate { skipped, ..self }
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

    fn samples(&self) -> Samples {
        Samples::empty(&self.patterns, self.null)
    }
}

impl SeriesAggregate for SearchAggregate {
    fn name(&self) -> &'static str {
        Self::KIND.name
    }

    fn describe(&self) -> String {
        let patterns: Vec<_> = self.patterns.iter().map(|p| p.id.as_str()).take(3).collect();
        let more = if self.patterns.len() > 3 { ", ..." } else { "" };
        let screens = if self.screens { ", prescreened" } else { "" };
        format!("dtw_search of {}{more}, k={}{screens}", patterns.join(", "), self.k)
    }

    fn columns(&self) -> Vec<&str> {
        vec!["close"]
    }

    fn state_schema(&self) -> SchemaRef {
        state_schema()
    }

    fn schema(&self) -> SchemaRef {
        if self.reports { report_schema() } else { matches_schema() }
    }

    fn begin(&self) -> Arc<dyn Partitions> {
        match self.screens {
            true => Arc::new(Screening::new(&self.patterns, self.samples())),
            false => Arc::new(Searching::new(self.patterns.iter().map(|p| self.search(p)).collect(), self.samples())),
        }
    }

    fn finish(&self, states: &[RecordBatch], execution: &Execution<'_>) -> Result<RecordBatch> {
        let found = self.merged(states, &execution.cancellation)?;
        count(execution.metrics, &found.counts);
        let windows = found.samples.finish();
        let mut matches = vec![];
        for (pattern, nearest) in self.patterns.iter().zip(found.nearest) {
            let null = windows.distances(pattern);
            let rated = nearest.into_iter().map(|window| {
                let percentile = percentile(&null, window.distance.combined);
                (pattern.id.as_str(), window, percentile)
            });
            let is_near = |p: &Option<f64>| self.least.is_none_or(|least| p.is_some_and(|p| p >= least));
            matches.extend(rated.filter(|(.., percentile)| is_near(percentile)));
        }
        let matches = match_rows(&matches)?;
        let skipped: Vec<_> = self.skipped.iter().cloned().chain(found.skipped.clone()).collect();
        if self.reports {
            return report_rows(&matches, &self.patterns, &found.counts, &skipped);
        }
        // Nothing is skipped that nobody learns of, but for what was to be skipped from the start.
        if let Some((symbol, reason)) = found.skipped.first_key_value().filter(|_| !execution.faults_are_read) {
            return exec_err!("{symbol}: {reason}; the operation `validate` shows where");
        }
        skipped.into_iter().for_each(|(symbol, reason)| execution.fault(Fault { symbol, reason }));
        Ok(matches)
    }

    fn spec(&self) -> Result<Vec<u8>> {
        let SearchAggregate { patterns, windowing, screens, k, thinned, null, least, skipped, reports } = self;
        to_spec(&Spec {
            patterns: patterns.iter().map(QueryPattern::spec).collect(),
            latest: *windowing == Windowing::Latest,
            screens: *screens,
            k: *k,
            thinned: *thinned,
            null_size: null.size,
            null_seed: null.seed,
            least: least.map(Exact::from),
            skipped: skipped.clone(),
            reports: *reports,
        })
    }
}

/// What all partitions found.
struct Found {
    nearest: Vec<Vec<Match>>,
    counts: Vec<Counts>,
    samples: Samples,
    /// Symbols that turned out to be of no use, and why.
    skipped: BTreeMap<String, String>,
}

impl SearchAggregate {
    fn merged(&self, states: &[RecordBatch], cancellation: &Cancellation) -> Result<Found> {
        let count = self.patterns.len();
        let mut matches: Vec<Vec<Match>> = vec![vec![]; count];
        let mut counts = vec![Counts::default(); count];
        let (mut samples, mut skipped) = (self.samples(), BTreeMap::new());
        let mut seen = Seen::of(count);
        let states = states.iter().map(Columns::of).collect::<Result<Vec<_>>>()?;
        for row in states.iter().flat_map(Columns::rows) {
            match row.kind {
                kind::MATCH => state::at(&mut matches, row.position)?.push(read_match(&row)?),
                kind::STAGES => state::at(&mut counts, row.position)?.stages.add(&stages_of(row.integers)?),
                kind::CORRELATION => seen.correlation(&row)?,
                kind::TAIL => seen.tail(&row),
                kind::WINDOW => samples.read(&row)?,
                kind::SKIPPED => {
                    skipped.insert(row.symbol.to_string(), row.reason.to_string());
                }
                other => return internal_err!("'{other}' is no state of a search"),
            }
        }
        if self.screens {
            for (position, pattern) in self.patterns.iter().enumerate() {
                let mut worker = worker(cancellation);
                let screened = seen.compare(position, &self.search(pattern), &mut worker, cancellation)?;
                counts[position] = Counts { prescreened: Some(screened), stages: worker.stages };
                matches[position] = worker.nearest;
            }
        }
        let nearest = matches.into_iter().map(|matches| {
            let mut nearest = vec![];
            keep_nearest(&mut nearest, matches, self.k);
            nearest
        });
        Ok(Found { nearest: nearest.collect(), counts, samples, skipped })
    }
}

/// What was looked at for all patterns, as metrics.
fn count(metrics: &ExecutionPlanMetricsSet, counts: &[Counts]) {
    let (mut total, mut screened) = (Stages::default(), (0, 0));
    for Counts { stages, prescreened } in counts {
        total.add(stages);
        let (seen, kept) = prescreened.unwrap_or_default();
        screened = (screened.0 + seen, screened.1 + kept);
    }
    let stages = ["symbols", "too_short", "windows", "by_kim", "by_keogh", "by_keogh_reversed", "by_dtw", "whole_dtw"];
    let stages = stages.into_iter().zip(numbers_of(&total).map(|count| count as usize));
    let screened = [("prescreened", screened.0), ("kept", screened.1)].into_iter().filter(|(_, count)| *count > 0);
    for (name, count) in stages.chain(screened) {
        MetricBuilder::new(metrics).global_counter(name).add(count);
    }
}
