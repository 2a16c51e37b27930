//! Every series function over one series, and bar alignment: nanoseconds a bar. One table of cases: the registry.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use arrow::array::{ArrayRef, BooleanArray, Float64Array};
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

fn series(c: &mut Criterion) {
    let mut group = c.benchmark_group("series");
    group.throughput(Throughput::Elements(BARS as u64)).sample_size(20);
    for function in all_series_functions() {
        let signature = function.signature();
        let params = signature.resolve(&[]).or_else(|_| signature.resolve(&[ParamValue::Int(20)])).unwrap();
        let call = SeriesCall::try_new(Arc::clone(function), params).unwrap();
        let args = arguments(function);
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
