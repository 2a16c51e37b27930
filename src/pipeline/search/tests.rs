//! A search finds the same however the symbols are spread over partitions, and wherever these run.

use super::{NODES, Pattern, QueryPattern, SearchAggregate, SearchOptions};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect};
use proptest::prelude::*;
use std::sync::Arc;
use tallow_engine::node::{Phase, decode, encode};
use tallow_engine::series_aggregate::{SeriesAggregate, node};
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::search::{Excluded, Windowing};

const SYMBOLS: usize = 12;

/// A walk of its own for each symbol; the last has two bars of one time.
fn bars(symbol: usize) -> RecordBatch {
    let mut state = 17 + symbol as u64;
    let mut close = 100.0;
    let mut closes = vec![];
    for _ in 0..60 + 7 * symbol {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        close *= 1.0 + ((state >> 40) as f64 / (1 << 24) as f64 - 0.5) * 0.04;
        closes.push(close);
    }
    let twice = symbol + 1 == SYMBOLS;
    let time = |i: usize| (if twice && i == 9 { 8 } else { i }) as i64 * 60_000_000;
    let times = TimestampMicrosecondArray::from_iter_values((0..closes.len()).map(time)).with_timezone("UTC");
    let names = StringArray::from(vec![format!("S{symbol:02}"); closes.len()]);
    let close: ArrayRef = Arc::new(Float64Array::from(closes));
    RecordBatch::try_from_iter([("symbol", Arc::new(names) as ArrayRef), ("ts", Arc::new(times)), ("close", close)])
        .unwrap()
}

fn options() -> SearchOptions {
    SearchOptions { k: 7, null: Null { size: 40, seed: 5 }, ..SearchOptions::default() }
}

fn patterns() -> Vec<QueryPattern> {
    let origin = Excluded { symbol: "S01".to_string(), from: 0, to: 900_000_000 };
    let of =
        |id: &str, closes: Vec<f64>, origin| Pattern { id: id.to_string(), closes, lead: 0, origin, timeframe: None };
    let dip = of("dip", vec![9.0, 7.0, 6.0, 5.0, 6.0, 7.0, 9.0], None);
    let rise = of("rise", (0..15).map(|i| f64::from(i).sqrt() + 0.1).collect(), Some(origin));
    [dip, rise].iter().map(|pattern| options().prepare(pattern).unwrap()).collect()
}

fn search(windowing: Windowing, exact: bool) -> Arc<dyn SeriesAggregate> {
    Arc::new(SearchAggregate::new(patterns(), &SearchOptions { windowing, exact, ..options() }).reporting())
}

/// Sends the plan's own operators to another machine, as it were.
fn travelled(plan: &Arc<dyn ExecutionPlan>, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let bytes = encode(plan.as_ref()).unwrap().unwrap();
    let there = decode(&NODES, &bytes, input).unwrap();
    assert_eq!(encode(there.as_ref()).unwrap().unwrap(), bytes);
    there
}

/// The result over symbols that are spread like this.
fn result(function: &Arc<dyn SeriesAggregate>, partitions: &[Vec<usize>], travels: bool) -> RecordBatch {
    let partitions: Vec<Vec<RecordBatch>> =
        partitions.iter().map(|symbols| symbols.iter().map(|s| bars(*s)).collect()).collect();
    let input = MemorySourceConfig::try_new_exec(&partitions, bars(0).schema(), None).unwrap();
    let node = node(Arc::clone(function));
    let mut partial = node.operator(Phase::Partial, Arc::clone(&input) as _).unwrap();
    if travels {
        partial = travelled(&partial, input);
    }
    assert_eq!(partial.output_partitioning().partition_count(), partitions.len());
    let together = Arc::new(CoalescePartitionsExec::new(partial));
    let mut whole = node.operator(Phase::Final, Arc::clone(&together) as _).unwrap();
    if travels {
        whole = travelled(&whole, together);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let batches = runtime.block_on(collect(whole, Arc::new(TaskContext::default()))).unwrap();
    arrow::compute::concat_batches(&function.schema(), &batches).unwrap()
}

/// Without the counts of stages, which depend on what was found first.
fn found(result: &RecordBatch) -> RecordBatch {
    let columns: Vec<usize> =
        (0..result.num_columns()).filter(|i| result.schema().field(*i).name() != "counts").collect();
    result.project(&columns).unwrap()
}

fn one_partition() -> Vec<Vec<usize>> {
    vec![(0..SYMBOLS).collect()]
}

#[test]
fn any_cut_into_partitions_finds_what_one_partition_finds() {
    let (history, latest, screened) =
        (search(Windowing::History, true), search(Windowing::Latest, true), search(Windowing::Latest, false));
    for function in [history, latest, screened] {
        let whole = found(&result(&function, &one_partition(), false));
        assert!(whole.num_rows() > 10);
        proptest!(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }, |(
            places in prop::collection::vec(0usize..4, SYMBOLS), travels: bool
        )| {
            let mut partitions = vec![vec![]; 4];
            places.iter().enumerate().for_each(|(symbol, at)| partitions[*at].push(symbol));
            prop_assert_eq!(&found(&result(&function, &partitions, travels)), &whole);
        });
    }
}

#[test]
fn a_symbol_that_cannot_be_used_is_a_row_or_an_error() {
    let report = result(&search(Windowing::History, true), &one_partition(), false);
    let last = report.slice(report.num_rows() - 1, 1);
    let text = |name: &str| crate::rows::texts(last.column_by_name(name).unwrap()).unwrap().remove(0);
    let said = [text("kind"), text("symbol"), text("reason"), text("pattern")];
    assert_eq!(said, ["skipped", "S11", "two bars at 1970-01-01 00:08", ""]);
}

#[test]
fn a_pattern_is_all_of_its_spec() {
    let mut all = patterns();
    let nearer = SearchOptions { percentile: Some(0.1 + 0.2), ..options() };
    let skipped = vec![("S03".to_string(), "cannot be read".to_string())];
    let first = node(Arc::new(SearchAggregate::new(all.clone(), &nearer).without(skipped)));
    let again = (SearchAggregate::KIND.decode)(&first.spec().unwrap()).unwrap();
    assert_eq!(again.spec().unwrap(), first.spec().unwrap());
    all[1].excluded = None;
    let other = self::node(Arc::new(SearchAggregate::new(all, &options())));
    assert_ne!(other.spec().unwrap(), first.spec().unwrap());
}
