//! Every series function over one series, every aggregate and scalar function by its example, and bar alignment:
//! nanoseconds a bar. One table of cases: the registry.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use arrow::array::{ArrayRef, BooleanArray, Float64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use std::hint::black_box;
use std::sync::Arc;
use tallow::pipeline::synth::Synth;
use tallow_udfs::calendar::Grid;
use tallow_udfs::series::{InputKind, ParamValue, SeriesCall, SeriesFunction};
use tallow_udfs::{all_aggregate_functions, all_scalar_functions, all_series_functions};

const BARS: usize = 10_000;

fn arguments(function: &Arc<dyn SeriesFunction>) -> Vec<ArrayRef> {
    let candles = Synth { symbols: 1, bars: BARS, ..Synth::default() }.candles(0).unwrap();
    let periods = Arc::new(Float64Array::from_iter_values((0..BARS).map(|i| 5.0 + (i % 20) as f64))) as ArrayRef;
    let inputs = &function.signature().inputs;
    let column = |name: &str| candles.column_by_name(name).unwrap().clone();
    inputs
        .iter()
        .map(|input| match (input.kind, input.default) {
            (InputKind::Condition, _) => {
                Arc::new((0..BARS).map(|i| Some(i % 7 == 0)).collect::<BooleanArray>()) as ArrayRef
            }
            (_, Some(name)) => column(name),
            (_, None) if input.name == "periods" => periods.clone(),
            (_, None) => column("close"),
        })
        .collect()
}

/// The parameters of a call. A reference is longer than in the documentation.
fn params(function: &Arc<dyn SeriesFunction>) -> Vec<ParamValue> {
    match function.signature().name.as_str() {
        "dtw_latest" => vec![ParamValue::Text((0..60).map(|i| format!("{} ", i % 13)).collect())],
        _ => function.signature().example_params(),
    }
}

/// The options without which a function has nothing to compute.
fn needed_options(function: &Arc<dyn SeriesFunction>) -> impl Iterator<Item = ArrayRef> {
    function.signature().options.iter().filter(|option| option.needed).map(|option| match option.kind {
        InputKind::Levels => levels(),
        _ => Arc::new(Float64Array::from(vec![10.0; BARS])) as ArrayRef,
    })
}

/// Ten levels around every bar.
fn levels() -> ArrayRef {
    let DataType::List(item) = InputKind::Levels.data_type() else { unreachable!("levels are lists") };
    let DataType::Struct(fields) = item.data_type().clone() else { unreachable!("of structs") };
    let prices = Float64Array::from_iter_values((0..10 * BARS).map(|i| 50.0 + 10.0 * (i % 10) as f64));
    let types =
        StringArray::from_iter_values((0..10 * BARS).map(|i| if i % 10 < 5 { "support" } else { "resistance" }));
    let items = StructArray::new(fields, vec![Arc::new(prices) as ArrayRef, Arc::new(types)], None);
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(vec![10; BARS]), Arc::new(items), None))
}

fn series(c: &mut Criterion) {
    let mut group = c.benchmark_group("series");
    group.throughput(Throughput::Elements(BARS as u64)).sample_size(20);
    for function in all_series_functions() {
        let signature = function.signature();
        let params = signature.resolve(&params(function)).unwrap();
        let given = signature.options.iter().map(|option| option.needed).collect();
        let call = SeriesCall::try_new(Arc::clone(function), params).unwrap().with_options(given);
        let mut args = arguments(function);
        args.extend(needed_options(function));
        group.bench_function(&signature.name, |b| b.iter(|| call.evaluate(black_box(&args), BARS).unwrap()));
    }
    group.finish();
}

/// The example of every aggregate and scalar function, planned and run over the candles of ten symbols.
#[allow(clippy::disallowed_methods, reason = "a session that knows only the functions")]
fn examples(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let session = SessionContext::new();
    tallow_udfs::register_all(&mut session.clone()).unwrap();
    let synth = Synth { symbols: 10, bars: BARS / 10, ..Synth::default() };
    let candles: Vec<_> = (0..synth.symbols).map(|symbol| synth.candles(symbol).unwrap()).collect();
    let table = MemTable::try_new(candles[0].schema(), vec![candles]).unwrap();
    session.register_table("candles", Arc::new(table)).unwrap();
    let mut group = c.benchmark_group("examples");
    group.throughput(Throughput::Elements(BARS as u64)).sample_size(20);
    let aggregates = all_aggregate_functions().into_iter().map(|f| (f.name().to_string(), f.documentation().cloned()));
    let scalars = all_scalar_functions().into_iter().map(|f| (f.name().to_string(), f.documentation().cloned()));
    for (name, documentation) in aggregates.chain(scalars) {
        let example = documentation.and_then(|d| d.sql_example).unwrap();
        let sql = example.trim_start_matches("```sql").trim_end_matches("```");
        let frame = runtime.block_on(session.sql(sql)).unwrap();
        group.bench_function(name, |b| b.iter(|| runtime.block_on(frame.clone().collect()).unwrap()));
    }
    group.finish();
}

fn alignment(c: &mut Criterion) {
    let minutes: Vec<i64> = (0..1_000_000).map(|i| 1_577_836_800_000_000 + i * 60_000_000).collect();
    let mut group = c.benchmark_group("bar_floor");
    group.throughput(Throughput::Elements(minutes.len() as u64)).sample_size(20);
    for (timeframe, origin) in [("1h", "utc"), ("4h", "utc"), ("1d", "utc"), ("4h", "ny_17"), ("1d", "ny_17")] {
        let grid = Grid::new(timeframe.parse().unwrap(), origin.parse().unwrap());
        group.bench_function(format!("{timeframe} {origin}"), |b| {
            b.iter_batched(|| &minutes, |ts| grid.floor(black_box(ts)), BatchSize::LargeInput);
        });
    }
    // Where no neighbour shares a bar.
    let n = minutes.len();
    let scattered: Vec<i64> = (0..n).map(|i| minutes[i * 7919 % n]).collect();
    let grid = Grid::new("4h".parse().unwrap(), "utc".parse().unwrap());
    group.bench_function("4h utc, any order", |b| b.iter(|| grid.floor(black_box(&scattered))));
    group.finish();
}

criterion_group!(benches, series, examples, alignment);
criterion_main!(benches);
