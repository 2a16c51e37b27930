//! What must hold for every function of the registry.

use crate::common::{assert_close, batch, floats, query, session, walk};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionContext;
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_udfs::series::{Bars, InputKind, SeriesCall, SeriesFunction};
use tallow_udfs::{
    all_aggregate_functions, all_scalar_functions, all_series_functions, all_window_functions, series_function,
};

/// A session that knows nothing of tallow.
#[allow(clippy::disallowed_methods, reason = "somebody else's session")]
fn foreign() -> SessionContext {
    SessionContext::new()
}

#[tokio::test]
async fn no_name_exists_in_two_kinds() {
    let state = foreign().state();
    let windows: Vec<_> = all_window_functions();
    let mut names = BTreeSet::new();
    for name in windows.iter().flat_map(|w| std::iter::once(w.name()).chain(w.aliases().iter().map(String::as_str))) {
        assert!(names.insert(name.to_string()), "{name} is registered twice");
        assert!(!state.scalar_functions().contains_key(name), "{name} is a scalar function of DataFusion");
        assert!(!state.aggregate_functions().contains_key(name), "{name} is an aggregate of DataFusion");
        assert!(!state.window_functions().contains_key(name), "{name} is a window function of DataFusion");
    }
    for name in all_scalar_functions()
        .iter()
        .map(|f| f.name().to_string())
        .chain(all_aggregate_functions().iter().map(|f| f.name().to_string()))
    {
        assert!(names.insert(name.clone()), "{name} is registered twice");
        assert!(
            !state.scalar_functions().contains_key(&name) && !state.aggregate_functions().contains_key(&name),
            "{name}"
        );
    }
}

#[test]
fn all_of_talib_is_there_under_its_prefixed_name() {
    let talib: Vec<_> = ta_lib::abstract_api::FUNCS.iter().collect();
    assert_eq!(talib.len(), 237);
    for info in talib {
        let name = format!("ta_{}", info.name.to_ascii_lowercase());
        let signature = series_function(&name).unwrap_or_else(|| panic!("no {name}")).signature();
        // A running sum may also be told where it starts anew.
        let own = signature.params.iter().filter(|p| ["anchor", "origin"].contains(&p.name.as_str())).count();
        assert_eq!(signature.params.len() - own, info.opt_inputs.len(), "{name}: parameters");
        assert_eq!(signature.outputs.len(), info.outputs.len(), "{name}: outputs");
    }
}

#[test]
fn every_function_has_a_line_in_the_sql_contract() {
    let contract = include_str!("../slt/every_function.slt");
    for function in all_window_functions() {
        let name = function.name();
        assert!(contract.contains(&format!("select {name}(")), "{name}");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slt");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let contract: Vec<String> = files.collect();
    let is_called = |name: &str| {
        let call = format!("{name}(");
        let starts_word = |before: &str| !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        contract.iter().any(|text| text.match_indices(&call).any(|(at, _)| starts_word(&text[..at])))
    };
    for name in all_aggregate_functions().iter().map(|f| f.name().to_string()) {
        assert!(is_called(&name), "aggregate {name}");
    }
    for name in all_scalar_functions().iter().map(|f| f.name().to_string()) {
        assert!(is_called(&name), "scalar function {name}");
    }
}

/// The example of every function is a statement that runs in any session that has the functions and candles.
#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_in_a_foreign_session() {
    let foreign = foreign();
    tallow_udfs::register_all(&mut foreign.clone()).unwrap();
    foreign.register_batch("candles", batch(&walk(&["A", "B", "C"], 200))).unwrap();
    let windows = all_window_functions().into_iter().map(|f| f.documentation().cloned());
    let aggregates = all_aggregate_functions().into_iter().map(|f| f.documentation().cloned());
    let scalars = all_scalar_functions().into_iter().map(|f| f.documentation().cloned());
    for documentation in windows.chain(aggregates).chain(scalars) {
        let example = documentation.and_then(|d| d.sql_example).unwrap();
        let sql = example.trim_start_matches("```sql").trim_end_matches("```");
        let rows = match foreign.sql(sql).await {
            Ok(frame) => frame.collect().await,
            Err(error) => Err(error),
        };
        let rows: usize = rows.unwrap_or_else(|e| panic!("{sql}\n{e}")).iter().map(|batch| batch.num_rows()).sum();
        assert!(rows > 0 || sql.contains("WHERE"), "{sql}");
    }
}

/// Candles of one symbol long enough for every default period, as the arguments of a function.
fn arguments(function: &Arc<dyn SeriesFunction>, bars: usize) -> Vec<ArrayRef> {
    let mut seed = 42u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut close = 100.0;
    let mut columns: [Vec<f64>; 5] = Default::default();
    for _ in 0..bars {
        let open = close * (1.0 + 0.002 * random());
        close *= 1.0 + 0.03 * random();
        let high = f64::max(open, close) * (1.0 + 0.01 * random().abs());
        let low = f64::min(open, close) * (1.0 - 0.01 * random().abs());
        let volume = (1e6 * (1.5 + random())).round();
        columns.iter_mut().zip([open, high, low, close, volume]).for_each(|(c, v)| c.push(v));
    }
    let [open, high, low, close, volume] = columns.map(|c| Arc::new(Float64Array::from(c)) as ArrayRef);
    let periods = Arc::new(Float64Array::from_iter_values((0..bars).map(|i| 5.0 + (i % 20) as f64))) as ArrayRef;
    let required = function.signature().inputs.iter().enumerate().map(|(i, input)| {
        match (input.kind, input.default.unwrap_or(&input.name)) {
            (InputKind::Time, _) => {
                let ts = arrow::array::TimestampMicrosecondArray::from_iter_values(
                    (0..bars as i64).map(|i| i * 3_600_000_000),
                );
                Arc::new(ts.with_timezone("UTC")) as ArrayRef
            }
            (InputKind::Condition, _) => Arc::new(
                close
                    .as_primitive::<arrow::datatypes::Float64Type>()
                    .iter()
                    .map(|c| Some(c? > 100.0))
                    .collect::<arrow::array::BooleanArray>(),
            ),
            (_, "open") => open.clone(),
            (_, "high") => high.clone(),
            (_, "low") => low.clone(),
            (_, "volume") => volume.clone(),
            (_, "periods") => periods.clone(),
            _ if i == 0 => close.clone(),
            _ => open.clone(),
        }
    });
    let needed = function.signature().options.iter().filter(|option| option.needed);
    let optional = needed.map(|option| match option.kind {
        InputKind::Levels => levels(close.as_primitive()),
        _ => Arc::new(Float64Array::from_iter_values((0..bars).map(|i| (i % 7) as f64))) as ArrayRef,
    });
    required.chain(optional).collect()
}

/// A support and a resistance near every close.
fn levels(close: &Float64Array) -> ArrayRef {
    use arrow::array::{ListArray, StringArray, StructArray};
    use arrow::datatypes::{DataType, Field};
    let DataType::List(item) = InputKind::Levels.data_type() else { panic!("levels are lists") };
    let DataType::Struct(fields) = item.data_type().clone() else { panic!("of structs") };
    let prices = Float64Array::from_iter_values(close.values().iter().flat_map(|c| [c * 0.99, c * 1.01]));
    let types = StringArray::from_iter_values((0..close.len()).flat_map(|_| ["support", "resistance"]));
    let items = StructArray::new(fields, vec![Arc::new(prices) as ArrayRef, Arc::new(types)], None);
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(vec![2; close.len()]);
    Arc::new(ListArray::new(Arc::new(Field::clone(&item)), offsets, Arc::new(items), None))
}

fn default_call(function: &Arc<dyn SeriesFunction>) -> SeriesCall {
    let signature = function.signature();
    let params = signature.resolve(&signature.example_params()).unwrap();
    let needed = signature.options.iter().map(|option| option.needed).collect();
    SeriesCall::try_new(Arc::clone(function), params).unwrap().with_options(needed)
}

/// The outputs as columns of numbers.
fn outputs(call: &SeriesCall, args: &[ArrayRef]) -> Vec<Vec<f64>> {
    let rows = args[0].len();
    let result = call.evaluate(args, rows).unwrap();
    match result.as_struct_opt() {
        Some(fields) => {
            // Texts are told by another field, and of lists how long they are; an empty one is no value.
            let columns = fields.columns().iter().filter(|c| *c.data_type() != arrow::datatypes::DataType::Utf8View);
            let numbers = |column: &ArrayRef| match column.as_list_opt::<i32>() {
                Some(lists) => (0..rows)
                    .map(|row| f64::from(lists.value_length(row)))
                    .map(|length| if length > 0.0 { length } else { f64::NAN })
                    .collect(),
                None => floats(column),
            };
            columns.map(numbers).collect()
        }
        None => vec![floats(&result)],
    }
}

fn slice(args: &[ArrayRef], from: usize, to: usize) -> Vec<ArrayRef> {
    args.iter().map(|a| a.slice(from, to - from)).collect()
}

#[test]
fn warm_up_rows_are_null_and_nothing_else_is_lost() {
    for info in ta_lib::abstract_api::FUNCS {
        let function = series_function(&format!("ta_{}", info.name.to_ascii_lowercase())).unwrap();
        let call = default_call(function);
        let core = ta_lib::Core::new();
        let mut raw = info.id.new_call(&core);
        if function.signature().resolve(&[]).is_err() {
            raw.set_opt_input(0, 20).unwrap();
        }
        let lookback = raw.lookback().unwrap();
        for (i, column) in outputs(&call, &arguments(function, 400)).iter().enumerate() {
            assert!(column[..lookback].iter().all(|v| v.is_nan()), "{} output {i}: a value in the warm-up", info.name);
        }
    }
}

#[test]
fn no_function_sees_beyond_its_declared_reach() {
    for function in all_series_functions() {
        let name = &function.signature().name;
        let call = default_call(function);
        let is_label = function.signature().group == "Labels";
        let Bars::Count(ahead) = call.reach().ahead else {
            assert_eq!(name, "sample_weights", "{name} declares to see everything");
            continue;
        };
        assert_eq!(ahead > 0, is_label && name != "cusum_events", "{name} declares to look {ahead} bars ahead");
        let args = arguments(function, 400);
        let whole = outputs(&call, &args);
        for cut in [1, 37, 150, 251, 399] {
            let part = outputs(&call, &slice(&args, 0, cut));
            for (i, (part, whole)) in part.iter().zip(&whole).enumerate() {
                let known = cut.saturating_sub(ahead);
                assert_close(&part[..known], &whole[..known], &format!("{name} output {i} of the first {cut} bars"));
            }
        }
    }
}

#[test]
fn the_declared_reach_is_enough() {
    let bars = 3000;
    for function in all_series_functions() {
        let name = &function.signature().name;
        let call = default_call(function);
        let Bars::Count(back) = call.reach().back else { continue };
        assert!(back + 200 < bars, "{name}: reach of {back} bars cannot be checked on {bars}");
        let args = arguments(function, bars);
        let whole = outputs(&call, &args);
        for from in [1, 500, bars - back - 200] {
            let later = outputs(&call, &slice(&args, from, bars));
            for (i, (later, whole)) in later.iter().zip(&whole).enumerate() {
                let what = format!("{name} output {i}, started {from} bars later");
                assert_close(&later[back..], &whole[from + back..], &what);
            }
        }
    }
}

#[test]
fn a_bar_without_a_value_is_passed_over() {
    for function in all_series_functions() {
        let name = &function.signature().name;
        let call = default_call(function);
        let args = arguments(function, 300);
        // What is known of a label that never ends differs by where the series is cut, not by its gaps.
        let gap: Vec<usize> = vec![0, 100, 101, 250];
        let kept: Vec<usize> = (0..300).filter(|i| !gap.contains(i)).collect();
        let indices = arrow::array::UInt64Array::from_iter_values(kept.iter().map(|&i| i as u64));
        let without: Vec<ArrayRef> = args.iter().map(|a| arrow::compute::take(a, &indices, None).unwrap()).collect();
        let holes = arrow::array::BooleanArray::from_iter((0..300).map(|i| Some(gap.contains(&i))));
        if function.signature().options.iter().any(|option| option.needed) {
            continue;
        }
        let mut holed = args.clone();
        holed[0] = arrow::compute::nullif(&holed[0], &holes).unwrap();
        let (dense, sparse) = (outputs(&call, &without), outputs(&call, &holed));
        for (i, (dense, sparse)) in dense.iter().zip(&sparse).enumerate() {
            assert!(gap.iter().all(|&g| sparse[g].is_nan()), "{name} output {i}: a value where there is none");
            let sparse: Vec<f64> = kept.iter().map(|&k| sparse[k]).collect();
            assert_close(&sparse, dense, &format!("{name} output {i} around a gap"));
        }
    }
}

#[test]
fn positions_point_at_the_extreme() {
    let [max, min] = ["ta_max", "ta_min"].map(|n| default_call(series_function(n).unwrap()));
    for (name, extremes) in [("maxindex", vec![&max]), ("minindex", vec![&min]), ("minmaxindex", vec![&min, &max])] {
        let position = default_call(series_function(name).unwrap());
        let args = arguments(position.function(), 500);
        let close = floats(&args[0]);
        for (bars_ago, extreme) in outputs(&position, &args).iter().zip(extremes) {
            let extreme = &outputs(extreme, &args)[0];
            for row in 29..500 {
                let back = bars_ago[row];
                assert!((0.0..30.0).contains(&back), "{name}, row {row}: {back} bars ago");
                assert_eq!(close[row - back as usize], extreme[row], "{name}, row {row}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_session_gives_the_same_values() {
    let foreign = foreign();
    tallow_udfs::register_all(&mut foreign.clone()).unwrap();
    let bars = batch(&walk(&["A", "B", "C"], 120));
    foreign.register_batch("candles", bars.clone()).unwrap();
    let ours = session().await;
    ours.context().register_batch("bars", bars).unwrap();
    for function in all_series_functions() {
        let signature = function.signature();
        let call = format!("{} over (partition by symbol order by ts)", signature.example_call());
        let sql = |table: &str| format!("select symbol, ts, {call} v from {table} order by symbol, ts");
        // Without the engine nobody says when bars end, and what their times are.
        let times = signature.options.iter().any(|o| o.name == "close_time");
        let sql = |table: &str| match times {
            true => format!("select symbol, ts, v['horizon_complete'] v from ({})", sql(table)),
            false => sql(table),
        };
        let theirs = foreign.sql(&sql("candles")).await.unwrap().collect().await.unwrap();
        let theirs = arrow::compute::concat_batches(&theirs[0].schema(), &theirs).unwrap();
        let mine = query(&ours, &sql("bars")).await;
        assert_eq!(mine.column(2), theirs.column(2), "{}", signature.name);
    }
}

#[tokio::test]
async fn every_rule_of_datafusion_is_still_there_in_order() {
    let session = session().await;
    let state = session.context().state();
    let ours: Vec<_> = state
        .physical_optimizers()
        .iter()
        .map(|r| r.name().to_string())
        .filter(|n| !["series", "merge_join", "same_symbols", "cancel_joins", "large_top"].contains(&n.as_str()))
        .collect();
    let defaults: Vec<_> = PhysicalOptimizer::new().rules.iter().map(|r| r.name().to_string()).collect();
    assert_eq!(ours, defaults);
}
