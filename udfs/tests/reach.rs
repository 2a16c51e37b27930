//! A declared reach holds whatever the prices do: where a series begins no longer shows once that many bars have passed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type};
use std::sync::Arc;
use tallow_udfs::all_series_functions;
use tallow_udfs::series::{Bars, InputKind, OutputBuilder, OutputSet, ParamValue, SeriesCall, SeriesFunction};

const BARS: usize = 15_000;

/// Open, high, low, close, volume.
type Candles = [Vec<f64>; 5];

struct Random(u64);

impl Random {
    /// From -0.5 to 0.5.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    }
}

/// What prices may do that a random walk does not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Market {
    /// A random walk.
    Walk,
    /// Prices on a coarse grid, so that neighbours are often equal.
    Coarse,
    /// Moves of a hundred-thousandth after moves of a hundredth.
    Calm,
    /// Every bar as much above the one before, for ten years of days, then as much below.
    Trend,
    /// The same twenty bars over and over.
    Sawtooth,
    /// Each bar encloses the one before or lies within it.
    Alternating,
    /// Ten years at one price without trades.
    Still,
    /// One price for 700 bars, then another.
    Steps,
}

const MARKETS: [Market; 8] = [
    Market::Walk,
    Market::Coarse,
    Market::Calm,
    Market::Trend,
    Market::Sawtooth,
    Market::Alternating,
    Market::Still,
    Market::Steps,
];

fn candles(market: Market) -> Candles {
    let mut random = Random(4217 + market as u64);
    let mut all: Candles = Default::default();
    let mut close: f64 = 100.0;
    let mut last = close;
    for i in 0..BARS {
        let open = close * (1.0 + 0.002 * random.next());
        close = (close * (1.0 + 0.03 * random.next())).clamp(20.0, 400.0);
        let [above, below] = [(); 2].map(|()| 0.01 * random.next().abs());
        let volume = (1e6 * (1.5 + random.next())).round();
        let walk = [open, open.max(close) * (1.0 + above), open.min(close) * (1.0 - below), close, volume];
        let second_half = (i / 2500) % 2 == 1;
        let bar = match market {
            Market::Coarse => walk.map(|v| (v / 10.0).round() * 10.0),
            Market::Calm if i % 5000 >= 1000 => {
                let [open, close] = [(); 2].map(|()| 100.0 + 1e-3 * random.next());
                [open, open.max(close) + 1e-4, open.min(close) - 1e-4, close, volume]
            }
            Market::Trend => {
                let steps = (i % 2500) as f64;
                let price = if second_half { 350.0 - steps * 0.1 } else { 100.0 + steps * 0.1 };
                [price - 0.02, price + 0.05, price - 0.05, price, 1000.0 + steps]
            }
            Market::Sawtooth => {
                let noise = if second_half { 5.0 * random.next() } else { 0.0 };
                let price = 100.0 + (i % 20) as f64 + noise;
                [price - 0.5, price + 1.0, price - 1.0, price, 1000.0 + (i % 20) as f64]
            }
            Market::Alternating if second_half => {
                let odd = (i % 2) as f64;
                [100.0 + odd, 103.0 + odd, 97.0 - odd, 101.0 + odd / 2.0, 1000.0 + odd]
            }
            Market::Still if (1000..3500).contains(&(i % 4000)) => [last, last, last, last, 0.0],
            Market::Steps => {
                let price = 100.0 + 10.0 * ((i / 700) % 7) as f64;
                [price, price, price, price, 1000.0 + ((i / 700) % 3) as f64]
            }
            _ => walk,
        };
        last = bar[3];
        all.iter_mut().zip(bar).for_each(|(column, value)| column.push(value));
    }
    all
}

/// Which column of the candles an input takes; `None` where it takes something else.
fn column_of(function: &dyn SeriesFunction, input: usize) -> Option<usize> {
    let described = &function.signature().inputs[input];
    if described.kind != InputKind::Number {
        return None;
    }
    match described.default.unwrap_or(&described.name) {
        "open" => Some(0),
        "high" => Some(1),
        "low" => Some(2),
        "volume" => Some(4),
        "periods" => None,
        _ if input == 0 => Some(3),
        _ => Some(0),
    }
}

fn arguments(function: &dyn SeriesFunction, candles: &Candles) -> Vec<ArrayRef> {
    let of = |(i, input): (usize, &tallow_udfs::series::SeriesInput)| -> ArrayRef {
        match (input.kind, column_of(function, i)) {
            (_, Some(column)) => Arc::new(Float64Array::from(candles[column].clone())),
            (InputKind::Time, _) => {
                let hours = (0..BARS as i64).map(|i| i * 3_600_000_000);
                Arc::new(TimestampMicrosecondArray::from_iter_values(hours).with_timezone("UTC"))
            }
            (InputKind::Condition, _) => {
                Arc::new(candles[3].iter().map(|close| Some(*close > 100.0)).collect::<BooleanArray>())
            }
            _ => Arc::new(Float64Array::from_iter_values((0..BARS).map(|i| 5.0 + (i % 20) as f64))),
        }
    };
    function.signature().inputs.iter().enumerate().map(of).collect()
}

/// The outputs as columns of numbers; NaN is null.
fn outputs(call: &SeriesCall, args: &[ArrayRef]) -> Vec<Vec<f64>> {
    numbers(call.evaluate(args, args[0].len()).unwrap())
}

fn numbers(result: ArrayRef) -> Vec<Vec<f64>> {
    let columns = result.as_struct_opt().map_or_else(|| vec![Arc::clone(&result)], |fields| fields.columns().to_vec());
    let numbers = columns.iter().filter(|c| c.data_type().is_primitive() || *c.data_type() == DataType::Boolean);
    let floats = numbers.filter_map(|c| arrow::compute::cast(c, &DataType::Float64).ok());
    floats.map(|c| c.as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(f64::NAN)).collect()).collect()
}

/// Calls with the default parameters, and with a short and a long period; labels, whose past is short, not among them.
fn calls() -> Vec<SeriesCall> {
    let mut calls = vec![];
    for function in all_series_functions().iter().filter(|f| f.signature().group != "Labels") {
        let signature = function.signature();
        let mut given = vec![vec![]];
        if signature.params.first().is_some_and(|p| p.name.contains("period")) {
            given.extend([vec![ParamValue::Int(5)], vec![ParamValue::Int(50)]]);
        }
        let params = given.iter().filter_map(|given| signature.resolve(given).ok());
        calls.extend(params.filter_map(|params| SeriesCall::try_new(Arc::clone(function), params).ok()));
    }
    calls
}

/// The largest difference, in the column's scale, that a start a reach before one of several bars makes after it.
fn worst(call: &SeriesCall, back: usize, candles: &Candles) -> f64 {
    let function = call.function().as_ref();
    let args = arguments(function, candles);
    let whole = outputs(call, &args);
    let read: Vec<usize> = (0..args.len()).filter_map(|i| column_of(function, i)).collect();
    let moves = |i: usize| read.iter().all(|&column| candles[column][i] != candles[column][i - 1]);
    let by_movement = function.fades_by_movement(call.params());
    let counted: Vec<usize> = (1..BARS).filter(|&i| !by_movement || moves(i)).collect();
    let mut worst: f64 = 0.0;
    for at in [1500, 2999, 3300, 3498, 3502, 3600, 4980, 6005, 7000, 7400, 9990, 11_300, 14_950, back + 20] {
        let before = counted.partition_point(|&i| i < at);
        if before < back || at < back || at + 30 > BARS {
            continue;
        }
        let start = if back == 0 { at } else { counted[before - back] };
        let slice: Vec<ArrayRef> = args.iter().map(|a| a.slice(start, at + 30 - start)).collect();
        for (whole, part) in whole.iter().zip(outputs(call, &slice)) {
            let scale = whole.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
            for row in at..at + 30 {
                let (want, got) = (whole[row], part[row - start]);
                let off = if want.is_nan() != got.is_nan() { f64::INFINITY } else { (want - got).abs() / scale };
                worst = worst.max(if want.is_nan() && got.is_nan() { 0.0 } else { off });
            }
        }
    }
    worst
}

#[test]
fn the_declared_reach_is_enough_in_every_market() {
    let markets = MARKETS.map(|market| (market, candles(market)));
    let mut wrong = vec![];
    for call in calls() {
        let Bars::Count(back) = call.reach().back else { continue };
        for (market, candles) in &markets {
            let worst = worst(&call, back, candles);
            if worst > 1e-9 {
                let params: Vec<_> = call.params().values().iter().map(ToString::to_string).collect();
                let name = &call.function().signature().name;
                wrong.push(format!("{name}({}) in {market:?}: {worst:.1e} after {back} bars", params.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_total_function_has_a_value_at_every_bar_after_the_warm_up() {
    // Values of both signs and zero, as other functions give them.
    let mut random = Random(9);
    let signed: Candles = std::array::from_fn(|_| (0..BARS).map(|_| (4.0 * random.next()).round()).collect());
    let markets: Vec<Candles> = MARKETS.map(candles).into_iter().chain([signed]).collect();
    for call in calls().iter().filter(|call| call.function().is_total()) {
        for candles in &markets {
            for (i, column) in outputs(call, &arguments(call.function().as_ref(), candles)).iter().enumerate() {
                let first = column.iter().position(|v| !v.is_nan()).unwrap_or(BARS);
                let holes = column[first..].iter().filter(|v| v.is_nan()).count();
                assert!(first < BARS && holes == 0, "{} output {i}: {holes} holes", call.function().signature().name);
            }
        }
    }
}

/// Labels among them, and bars without a value.
#[test]
fn rows_that_are_read_are_what_they_are_where_all_are_computed() {
    let mut candles = candles(Market::Walk);
    for row in (40..BARS).step_by(997) {
        candles.iter_mut().for_each(|column| column[row] = f64::NAN);
    }
    let candles: Candles = candles.map(|column| column[..3000].to_vec());
    for function in all_series_functions() {
        let signature = function.signature();
        let Ok(params) = signature.resolve(&signature.example_params()) else { continue };
        let call = SeriesCall::try_new(Arc::clone(function), params).unwrap();
        let Some((back, ahead)) = call.neighbours() else { continue };
        let args: Vec<ArrayRef> =
            arguments(function.as_ref(), &candles).into_iter().map(|array| array.slice(0, 3000)).collect();
        let all = outputs(&call, &args);
        let some = call.clone().with_in_some_rows(OutputSet::all(signature));
        for read in [0..1, 5..60, 1030..1040, 2200..2300, 2990..3000] {
            let mut out = OutputBuilder::with_capacity(&some, 3000);
            some.append_read(&args, 3000, &read, &mut out).unwrap();
            let mut only = OutputBuilder::with_capacity(&call, read.len());
            call.append_only(&args, 3000, &read, &mut only).unwrap();
            for ((all, some), only) in all.iter().zip(numbers(out.finish())).zip(numbers(only.finish())) {
                let scale = all.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
                for row in read.clone() {
                    for got in [some[row], only[row - read.start]] {
                        let same = (all[row] - got).abs() <= 1e-9 * scale || all[row].is_nan() && got.is_nan();
                        let name = &signature.name;
                        assert!(
                            same,
                            "{name} at {row} of {read:?}: {got}, not {} ({back} back, {ahead} ahead)",
                            all[row]
                        );
                    }
                }
                let elsewhere = (0..3000).filter(|row| !read.contains(row));
                assert!(elsewhere.into_iter().all(|row| some[row].is_nan()), "{}", signature.name);
            }
        }
    }
}
