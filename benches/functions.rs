//! Every series function over one series, and bar alignment: nanoseconds a bar. One table of cases: the registry.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use arrow::array::{ArrayRef, BooleanArray, Float64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use tallow::pipeline::synth::Synth;
use tallow_udfs::all_series_functions;
use tallow_udfs::candle::Grid;
use tallow_udfs::series::{InputKind, ParamValue, SeriesCall, SeriesFunction};

const BARS: usize = 10_000;

fn arguments(function: &Arc<dyn SeriesFunction>) -> Vec<ArrayRef> {
    let candles = Synth { symbols: 1, bars: BARS, seed: 7 }.candles(0).unwrap();
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

/// Options without which a function has nothing to compute, by name.
fn options(function: &Arc<dyn SeriesFunction>) -> Vec<(&'static str, ArrayRef)> {
    match function.signature().name.as_str() {
        "sample_weights" => vec![("bars", Arc::new(Float64Array::from(vec![10.0; BARS])))],
        "level_labels" => vec![("levels", levels())],
        _ => vec![],
    }
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
        let required = match signature.name.as_str() {
            "dtw_latest" => ParamValue::Text((0..60).map(|i| format!("{} ", i % 13)).collect()),
            _ => ParamValue::Int(20),
        };
        let params = signature.resolve(&[]).or_else(|_| signature.resolve(&[required])).unwrap();
        let options = options(function);
        let given = signature.options.iter().map(|o| options.iter().any(|(name, _)| *name == o.name)).collect();
        let call = SeriesCall::try_new(Arc::clone(function), params).unwrap().with_options(given);
        let mut args = arguments(function);
        args.extend(options.into_iter().map(|(_, array)| array));
        group.bench_function(&signature.name, |b| b.iter(|| call.evaluate(black_box(&args), BARS).unwrap()));
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

criterion_group!(benches, series, alignment);
criterion_main!(benches);
