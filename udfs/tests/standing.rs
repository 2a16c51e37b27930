//! Bar by bar a function gives what it gives over the whole series, wherever the series is cut.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_udfs::all_series_functions;
use tallow_udfs::series::{
    Bars, InputKind, OptionDefault, OutputBuilder, ParamKind, ParamValue, Reach, SeriesCall, SeriesFunction,
    SeriesSignature,
};

const BARS: usize = 900;
/// Where the series is cut: single bars for a while, and pieces of all sizes.
const CUTS: [usize; 12] = [0, 1, 2, 60, 61, 62, 300, 301, 302, 303, 640, BARS];

/// Candles of a random walk; bars without a value among them.
fn candles() -> [Vec<f64>; 5] {
    let mut state = 4_217u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut all: [Vec<f64>; 5] = Default::default();
    let mut close: f64 = 100.0;
    for i in 0..BARS {
        let open = close * (1.0 + 0.002 * random());
        close = (close * (1.0 + 0.03 * random())).clamp(20.0, 400.0);
        let (high, low) =
            (open.max(close) * (1.0 + 0.01 * random().abs()), open.min(close) * (1.0 - 0.01 * random().abs()));
        let mut bar = [open, high, low, close, (1e6 * (1.5 + random())).round()];
        if i % 97 == 40 {
            bar = [f64::NAN; 5];
        }
        all.iter_mut().zip(bar).for_each(|(column, value)| column.push(value));
    }
    all
}

fn times() -> ArrayRef {
    let hours = (0..BARS as i64).map(|i| i * 3_600_000_000);
    Arc::new(TimestampMicrosecondArray::from_iter_values(hours).with_timezone("UTC"))
}

fn arguments(call: &SeriesCall, candles: &[Vec<f64>; 5], given: bool) -> Vec<ArrayRef> {
    let signature = call.function().signature();
    let mut args: Vec<ArrayRef> = vec![];
    for (i, input) in signature.inputs.iter().enumerate() {
        let column = match input.default.unwrap_or(&input.name) {
            "open" => 0,
            "high" => 1,
            "low" => 2,
            "volume" => 4,
            _ if i == 0 => 3,
            _ => 0,
        };
        args.push(match input.kind {
            InputKind::Number if input.name == "periods" => {
                Arc::new(Float64Array::from_iter_values((0..BARS).map(|i| 5.0 + (i % 20) as f64)))
            }
            InputKind::Condition => {
                Arc::new(candles[3].iter().map(|close| Some(*close > 100.0)).collect::<BooleanArray>())
            }
            InputKind::Time => times(),
            _ => Arc::new(Float64Array::from(candles[column].clone())),
        });
    }
    args.extend(given.then(times));
    args
}

fn numbers(result: &ArrayRef) -> Vec<Vec<f64>> {
    let columns = result.as_struct_opt().map_or_else(|| vec![Arc::clone(result)], |fields| fields.columns().to_vec());
    let of = |column: &ArrayRef| {
        let column = match column.data_type() {
            DataType::Timestamp(..) => cast(column, &DataType::Int64).unwrap(),
            _ => Arc::clone(column),
        };
        let numbers = cast(&column, &DataType::Float64).unwrap();
        numbers.as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(f64::NAN)).collect()
    };
    let all =
        columns.iter().filter(|column| column.data_type().is_primitive() || *column.data_type() == DataType::Boolean);
    all.map(of).collect()
}

/// The defaults, short and long periods, and every choice of every parameter that has some.
fn variants(signature: &SeriesSignature) -> Vec<Vec<ParamValue>> {
    let defaults = signature.example_params();
    let mut variants = vec![defaults.clone()];
    for (place, param) in signature.params.iter().enumerate() {
        let mut with = |value: ParamValue| {
            let mut variant = defaults.clone();
            variant[place] = value;
            variants.push(variant);
        };
        match &param.kind {
            ParamKind::Choice(choices) => choices.iter().for_each(|(number, _)| with(ParamValue::Int(*number))),
            ParamKind::Integer { .. } if param.name.contains("period") => {
                [1, 2, 50].map(|n| with(ParamValue::Int(n))).into_iter().collect()
            }
            _ if param.name == "anchor" => {
                ["session", "week"].map(|name| with(ParamValue::Text(name.to_string()))).into_iter().collect()
            }
            _ => {}
        }
    }
    variants
}

/// Every function in its variants.
fn calls() -> Vec<(SeriesCall, bool)> {
    let mut calls = vec![];
    for function in all_series_functions() {
        let signature = function.signature();
        for params in variants(signature).iter().filter_map(|params| signature.resolve(params).ok()) {
            let Ok(call) = SeriesCall::try_new(Arc::clone(function), params) else { continue };
            let takes_time = matches!(signature.options.as_slice(), [only] if only.default != OptionDefault::Nothing && only.kind == InputKind::Time);
            let given = vec![takes_time; signature.options.len()];
            calls.push((call.with_options(given), takes_time));
        }
    }
    calls
}

fn named(call: &SeriesCall) -> String {
    let params: Vec<_> = call.params().values().iter().map(ToString::to_string).collect();
    format!("{}({})", call.function().signature().name, params.join(", "))
}

#[test]
fn bar_by_bar_is_as_at_once() {
    let candles = candles();
    let mut stood = BTreeSet::new();
    for (call, given) in calls() {
        let Some(mut state) = call.begin() else { continue };
        let args = arguments(&call, &candles, given);
        let Ok(whole) = call.evaluate(&args, BARS) else { continue };
        let whole = numbers(&whole);
        let stands = call.function().stands_after(call.params()).is_some();
        for cut in CUTS.windows(2) {
            let rows = cut[1] - cut[0];
            let part: Vec<ArrayRef> = args.iter().map(|array| array.slice(cut[0], rows)).collect();
            let of = |state: &mut tallow_udfs::series::CallState| {
                let mut out = OutputBuilder::of_rows(&call, rows);
                state.push(&call, &call.arguments(&part, rows).unwrap(), 0..rows, &mut out).unwrap();
                numbers(&out.finish())
            };
            // A fork gives the same, and leaves the other as it is.
            let forked = of(&mut state.fork());
            for ((whole, got), forked) in whole.iter().zip(of(&mut state)).zip(forked) {
                // Sums that are begun anew are rounded otherwise.
                let scale = whole.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
                let allowed = if stands { 0.0 } else { 1e-9 * scale };
                for (row, (got, forked)) in got.iter().zip(&forked).enumerate() {
                    let want = whole[cut[0] + row];
                    for got in [got, forked] {
                        let same = (want - got).abs() <= allowed || want.is_nan() && got.is_nan();
                        assert!(same, "{} at {}: {got}, not {want}", named(&call), cut[0] + row);
                    }
                }
            }
        }
        stood.insert(call.function().signature().name.clone());
    }
    assert!(stood.len() >= 249, "{}", stood.len());
}

/// Whoever looks back to the beginning, or until a start has faded, has to stand.
#[test]
fn what_remembers_stands() {
    let is_talib = |function: &&Arc<dyn SeriesFunction>| function.signature().source == "TA-Lib";
    let mut standing = 0;
    for function in all_series_functions().iter().filter(is_talib) {
        let signature = function.signature();
        let params = signature.resolve(&signature.example_params()).unwrap();
        assert!(function.stands_after(&params).is_some(), "{}", signature.name);
        standing += 1;
    }
    assert_eq!(standing, 237);
    let cannot = |(call, _): &(SeriesCall, bool)| {
        matches!(call.reach(), Reach { back: Bars::Unbounded, ahead: Bars::Count(0) }) && call.begin().is_none()
    };
    let names: BTreeSet<String> =
        calls().iter().filter(|call| cannot(call)).map(|(call, _)| call.function().signature().name.clone()).collect();
    // Its account needs a state machine of its own.
    assert_eq!(names, ["backtest".to_string()].into());
}
