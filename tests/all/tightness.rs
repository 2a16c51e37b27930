//! A run computes no more than a delivery affects: for every function, what one corrected bar can change, and nothing else.

use crate::common::{DAY, START, query};
use crate::edits::{Bars, assert_same, bar, deliver, session};
use crate::interpreter::Dice;
use std::sync::Arc;
use tallow::pipeline::control::Control;
use tallow::pipeline::incremental::{Definition, Done, Extent, Pipeline, RunOptions};
use tallow_udfs::all_series_functions;
use tallow_udfs::series::{Bars as Reached, InputKind, SeriesCall};

/// Bars of each symbol: more than most functions reach, so that what is computed again is a part of them.
const BARS: i64 = 700;
/// The bar that is corrected.
const CORRECTED: i64 = 400;

/// The call of a function over candles and how far it reaches back and ahead; `None`: not by a number of bars, or it reads others.
fn calls() -> Vec<(String, usize, usize)> {
    let call = |function: &Arc<_>| {
        let function: &Arc<dyn tallow_udfs::series::SeriesFunction> = function;
        let signature = function.signature();
        let is_of_candles = |kind| !matches!(kind, InputKind::SmallerBars | InputKind::Levels);
        let needed = signature.options.iter().filter(|option| option.needed).map(|option| option.kind);
        if !signature.inputs.iter().map(|input| input.kind).chain(needed).all(is_of_candles) {
            return None;
        }
        let params = signature.resolve(&signature.example_params()).ok()?;
        let reach = SeriesCall::try_new(Arc::clone(function), params).ok()?.reach();
        match (reach.back, reach.ahead) {
            (Reached::Count(back), Reached::Count(ahead)) => Some((signature.example_call(), back, ahead)),
            _ => None,
        }
    };
    all_series_functions().iter().filter_map(call).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_bar_is_computed_again_as_far_as_a_function_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("lake")).await;
    let mut dice = Dice::new(31);
    let mut known = Bars::new();
    for symbol in ["A", "B", "C"] {
        known.extend((0..BARS).map(|day| ((symbol.to_string(), START + day * DAY), bar(&mut dice))));
    }
    deliver(&session, folder.path(), "1d", &known).await;
    let calls = calls();
    assert!(calls.len() > 200, "{} functions", calls.len());
    let pipelines: Vec<_> = calls
        .iter()
        .enumerate()
        .map(|(i, (call, ..))| Pipeline {
            name: format!("p{i}"),
            definition: Definition::query(format!("select symbol, ts, {call} as x from candles")),
            into: format!("t{i}"),
        })
        .collect();
    for (pipeline, (call, ..)) in pipelines.iter().zip(&calls) {
        let run = pipeline.run(&session, RunOptions::default(), &Control::default()).await;
        run.unwrap_or_else(|e| panic!("{call}: {e}"));
    }
    let corrected = Bars::from([(("B".to_string(), START + CORRECTED * DAY), bar(&mut dice))]);
    deliver(&session, folder.path(), "1d", &corrected).await;
    for (i, (pipeline, (call, back, ahead))) in pipelines.iter().zip(&calls).enumerate() {
        let run = pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
        let Extent::Ranges { affected, .. } = &run.work.extent else { panic!("{call}: {:?}", run.work.extent) };
        let symbols: Vec<_> = affected.symbols().map(|(symbol, _)| symbol).collect();
        assert_eq!((symbols, affected.of_all().is_empty()), (vec!["B"], true), "{call}");
        let is_affected = |day: &i64| affected.contains("B", START + day * DAY);
        let days: Vec<i64> = (0..BARS).filter(is_affected).collect();
        let earliest = CORRECTED - i64::try_from(*ahead).unwrap();
        let latest = CORRECTED + i64::try_from(*back).unwrap();
        let reached: Vec<i64> = (earliest.max(0)..=latest.min(BARS - 1)).collect();
        assert_eq!(days, reached, "{call} reaches {back} back and {ahead} ahead");
        let Done::Written { rows, .. } = run.done else { panic!("{call}: {:?}", run.done) };
        assert_eq!(rows, reached.len() as u64, "{call}");
        let got = query(&session, &format!("select * from results_t{i} order by symbol, ts")).await;
        let want = query(&session, &format!("select symbol, ts, {call} as x from candles order by symbol, ts")).await;
        assert_same(&got, &want, call);
    }
}
