//! What passes a guard, and what it finds, however its input is cut.

use super::{Fault, Findings, SymbolGuard};
use crate::node::{NODES, UnaryNode, decode, encode};
use crate::observer::Observer;
use crate::tally::{Tally, counted, counts};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Float64Type;
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionConfig;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// A and D are fine, B steps back in time at its end, C has a NaN, E was not asked for.
fn bars() -> RecordBatch {
    let rows: Vec<(&str, i64, f64)> = [("A", 5), ("B", 4), ("C", 3), ("D", 1), ("E", 2)]
        .into_iter()
        .flat_map(|(symbol, bars)| (0..bars).map(move |bar| (symbol, bar, bar as f64)))
        .map(|(symbol, bar, close)| match (symbol, bar) {
            ("B", 3) => (symbol, 1, close),
            ("C", 1) => (symbol, bar, f64::NAN),
            _ => (symbol, bar, close),
        })
        .collect();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1 * 86_400_000_000));
    RecordBatch::try_from_iter_with_nullable([
        ("symbol", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0))) as ArrayRef, true),
        ("ts", Arc::new(times.with_timezone("UTC")), true),
        ("close", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.2))), true),
    ])
    .unwrap()
}

fn guard(beside: bool) -> SymbolGuard {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<BTreeSet<_>>();
    SymbolGuard { symbols: Some(set(&["A", "B", "C", "D"])), columns: set(&["close"]), beside }
}

/// A plan over batches of so many rows.
fn plan(node: &dyn UnaryNode, size: usize) -> Arc<dyn ExecutionPlan> {
    let all = bars();
    let batches = (0..all.num_rows()).step_by(size).map(|at| all.slice(at, size.min(all.num_rows() - at))).collect();
    let input = MemorySourceConfig::try_new_exec(&[batches], all.schema(), None).unwrap();
    let plan = node.plan(Arc::clone(&input) as _).unwrap();
    // As it would be elsewhere.
    decode(&NODES, &encode(plan.as_ref()).unwrap().unwrap(), input).unwrap()
}

fn run(plan: &Arc<dyn ExecutionPlan>, config: SessionConfig) -> Result<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = Arc::new(TaskContext::default().with_session_config(config));
    let batches = runtime.block_on(collect(Arc::clone(plan), context))?;
    Ok(concat_batches(&plan.schema(), &batches)?)
}

fn symbols(rows: &RecordBatch) -> String {
    rows.column(0).as_string::<i32>().iter().flatten().collect()
}

fn count(plan: &Arc<dyn ExecutionPlan>, name: &str) -> u64 {
    counted(plan, |_: &SymbolGuard| true, name)
}

#[test]
fn whole_symbols_pass_however_batches_are_cut() {
    for size in [1, 2, 3, 4, 6, 9, 15] {
        let (plan, done) = (plan(&guard(false), size), Arc::new(AtomicU64::new(0)));
        let seen = Arc::clone(&done);
        let observer = Observer::new(move |symbols| seen.store(symbols, Ordering::Relaxed));
        let rows = run(&plan, observer.extend(SessionConfig::new())).unwrap();
        assert_eq!(symbols(&rows), "AAAAACCCD", "{size}");
        let closes = rows.column(2).as_primitive::<Float64Type>();
        assert_eq!((0..closes.len()).filter(|row| closes.is_null(*row)).collect::<Vec<_>>(), [6]);
        let findings = Findings::of(&plan);
        assert_eq!(findings.symbols, ["A", "B", "C", "D"].map(String::from).into());
        let fault = |symbol: &str, reason: &str| Fault { symbol: symbol.to_string(), reason: reason.to_string() };
        let faults =
            [fault("B", "steps back in time to 1970-01-02"), fault("C", "1 bar with NaN in close, passed over")];
        assert_eq!(findings.faults, faults.into());
        assert_eq!((count(&plan, "bars"), count(&plan, "cut_short")), (13, 0));
        assert_eq!(done.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn beside_the_bars_faults_are_found_and_nothing_is_counted() {
    let plan = plan(&guard(true), 4);
    let rows = run(&plan, SessionConfig::new()).unwrap();
    let findings = Findings::of(&plan);
    assert_eq!(symbols(&rows), "AAAAACCCD");
    assert!(findings.faults.iter().all(|fault| fault.reason.starts_with("in another timeframe: ")));
    assert_eq!((findings.faults.len(), findings.symbols.len(), count(&plan, "bars")), (2, 0, 0));
}

#[test]
fn no_symbol_passes_that_may_not_have_been_read_to_its_end() {
    let stop = CancellationToken::new();
    let (plan, end) = (plan(&guard(false), 1), stop.clone());
    let observer = Observer::new(move |_| end.cancel()).stopped_by(stop);
    let rows = run(&plan, observer.extend(SessionConfig::new())).unwrap();
    assert_eq!((symbols(&rows).as_str(), count(&plan, "cut_short")), ("AAAAA", 1));
    assert_eq!(Findings::of(&plan).symbols, ["A".to_string()].into());
}

#[test]
fn a_tally_counts_what_passes_and_what_does_not() {
    for size in [1, 2, 4, 15] {
        let tally = Tally { name: "recent".to_string(), since: Some(86_400_000_000), ordered: true };
        let plan = plan(&tally, size);
        let rows = run(&plan, SessionConfig::new()).unwrap();
        assert_eq!(symbols(&rows), "AAAABBBCCE", "{size}");
        let counts = counts(&plan, "recent");
        assert_eq!((counts.rows, counts.symbols, counts.dropped), (10, 4, 5), "{size}");
    }
}
