//! What is added without a codec is found here, without a query that uses it.

use super::{session_of, travels, travels_in, tree};
use crate::common::{batch, settings, walk, write_csv, write_parquet};
use crate::similarity::{Random, lake, walks, write};
use datafusion::logical_expr::{Expr, ScalarUDF, col};
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use regex::Regex;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tallow::Control;
use tallow::pipeline::codec;
use tallow::{Params, Settings};
use tallow_common::Ranges;
use tallow_engine::within;
use tallow_lake::IngestOptions;

/// The sources of all floors.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("udfs/src")];
    let mut sources = vec![];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "rs") => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    sources.push((path, text));
                }
                false => {}
            }
        }
    }
    sources
}

/// The types that implement a trait, and the source of each. Those of tests are indented.
fn implementors(name: &str) -> Vec<(String, String)> {
    let pattern = Regex::new(&format!(r"(?m)^impl(?:<[^>]*>)? {name} for (\w+)")).unwrap();
    let in_source = |(_, text): (PathBuf, String)| {
        let names: Vec<String> = pattern.captures_iter(&text).map(|found| found[1].to_string()).collect();
        names.into_iter().map(move |name| (name, text.clone())).collect::<Vec<_>>()
    };
    sources().into_iter().flat_map(in_source).collect()
}

fn names(name: &str) -> BTreeSet<String> {
    implementors(name).into_iter().map(|(name, _)| name).collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_string).collect()
}

/// Our operators, what they are called in a plan, and a query that has it; files lie in `FOLDER`.
const OPERATORS: [(&str, &str, &str); 5] = [
    ("SeriesExec", "SeriesExec", "select symbol, ts, rsi(14) from candles order by symbol, ts limit 20"),
    ("AsofExec", "AsofExec", "select symbol, ts, rsi(14)@1w as w from candles where symbol = 'AAPL'"),
    ("InOrderExec", "InOrderExec", "select symbol, ts, sma(3) as s from 'FOLDER/bars/'"),
    ("OrderedUnionExec", "OrderedUnionExec", "select symbol, ts, sma(3) as s from 'FOLDER/months/'"),
    ("NodeExec", "SeriesAggregateExec", "select symbol, distance from dtw_search('candles', '1 3 2 4 3 5', k => 5)"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_operator_travels() {
    assert_eq!(names("ExecutionPlan"), set(OPERATORS.map(|(operator, ..)| operator)));
    let folder = tempfile::tempdir().unwrap();
    for (file, symbols) in [("1.csv", ["A", "B"]), ("2.csv", ["C", "D"])] {
        write_csv(&folder.path().join("bars").join(file), &batch(&walk(&symbols, 40)));
    }
    for month in ["1.parquet", "2.parquet"] {
        let bars = walk(&["A", "B", "C"], 40).into_iter().filter(|bar| (bar.1 < 20) == (month == "1.parquet"));
        write_parquet(&folder.path().join("months").join(month), &batch(&bars.collect::<Vec<_>>()), 30);
    }
    for (_, shown, text) in OPERATORS {
        let text = text.replace("FOLDER", &folder.path().display().to_string());
        let plan = tree(&travels(&text, &Params::default(), 2).await);
        assert!(plan.contains(shown), "{text}\n{plan}");
    }
}

/// Each node is read by its kind, each aggregate over series by its own; `src/engine/node.rs` writes and reads one of each.
#[test]
fn every_node_is_known_to_the_codec() {
    let mut nodes = names("UnaryNode");
    assert!(nodes.remove("SeriesAggregateNode"), "aggregates over series are nodes");
    nodes.extend(names("SeriesAggregate"));
    assert_eq!(codec().nodes().map(str::to_string).collect::<BTreeSet<_>>(), nodes);
}

#[test]
fn expressions_and_file_sources_of_ours_write_themselves() {
    for name in ["PhysicalExpr", "FileSource"] {
        let all = implementors(name);
        assert!(!all.is_empty(), "{name}");
        for (implementor, source) in all {
            assert!(source.contains("fn try_to_proto("), "{implementor}");
        }
    }
}

/// Functions that stand in plans only before these are analyzed.
const BEFORE_ANALYSIS: [&str; 1] = ["InnerCall"];

/// One of each function that plans make for themselves: no session has it.
fn made_by_plans() -> Vec<Arc<ScalarUDF>> {
    let mut ranges: Ranges = Ranges::everywhere([i64::MIN..5].into_iter().collect());
    ranges.add("A", &[10..20, 30..i64::MAX].into_iter().collect());
    let Expr::ScalarFunction(within) = within(col("symbol"), col("ts"), &Arc::new(ranges)) else { panic!("no call") };
    vec![within.func]
}

/// Every function that a session has is read in another session as an equal one.
#[tokio::test]
async fn every_function_travels() {
    let (here, there) = (session_of(&settings()).await, session_of(&settings()).await);
    let (state, theirs) = (here.context().state(), there.context().task_ctx());
    let mut types = vec![];
    let mut note = |function: &dyn Debug| types.push(format!("{function:?}"));
    for function in state.scalar_functions().values().chain(&made_by_plans()) {
        let (name, mut bytes) = (function.name(), vec![]);
        codec().try_encode_udf(function, &mut bytes).unwrap();
        let read = match bytes.is_empty() {
            true => theirs.scalar_functions().get(name).cloned(),
            false => codec().try_decode_udf(name, &bytes).ok(),
        };
        assert!(read.is_some_and(|read| read == *function), "{name}");
        note(function.inner());
    }
    for function in state.aggregate_functions().values() {
        let (name, mut bytes) = (function.name(), vec![]);
        codec().try_encode_udaf(function, &mut bytes).unwrap();
        assert!(bytes.is_empty() && theirs.aggregate_functions().get(name) == Some(function), "{name}");
        note(function.inner());
    }
    for function in state.window_functions().values() {
        let (name, mut bytes) = (function.name(), vec![]);
        codec().try_encode_udwf(function, &mut bytes).unwrap();
        assert!(bytes.is_empty() && theirs.window_functions().get(name) == Some(function), "{name}");
        note(function.inner());
    }
    // What is not registered would be looked for in vain.
    let kinds = ["ScalarUDFImpl", "AggregateUDFImpl", "WindowUDFImpl"].map(names);
    for implementor in kinds.iter().flatten().filter(|name| !BEFORE_ANALYSIS.contains(&name.as_str())) {
        assert!(
            types.iter().any(|of| of.starts_with(implementor.as_str())),
            "{implementor} is neither registered nor made by plans"
        );
    }
}

/// The table functions, each called as its documentation says.
const TABLE_FUNCTIONS: [(&str, &str); 10] = [
    ("query", "query('breadth')"),
    ("candles", "candles('1w')"),
    ("adjusted", "adjusted('1d', 'FOLDER/actions.csv')"),
    ("levels", "levels('1d')"),
    ("level_events", "level_events('1d')"),
    ("level_states", "level_states('1d')"),
    ("label_path", "label_path('1d')"),
    ("dtw_search", "dtw_search('candles', '1 3 2 4 3 5')"),
    ("changes", "changes('1d', from => 0)"),
    ("trade_labels", "trade_labels('FOLDER/trades.csv', '1d', horizons => '3d')"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_table_function_travels() {
    let documented = tallow::pipeline::functions::describe_all();
    let tables = documented.iter().filter(|f| f.kind == "table").map(|f| f.name.as_str());
    assert_eq!(set(tables), set(TABLE_FUNCTIONS.map(|(name, _)| name)));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("actions.csv"),
        "symbol,ts,split_ratio,dividend\nS001,2020-01-20,2,\nS002,2020-02-01,,0.5\n",
    )
    .unwrap();
    let trades = "symbol,side,entry_time\nS001,long,2020-01-20T10:00:00Z\nS002,short,2020-02-03T00:00:00Z\n";
    std::fs::write(folder.path().join("trades.csv"), trades).unwrap();
    let bars = walks(&mut Random(5), 4, 150);
    let session = lake(folder.path(), &bars).await;
    let more = folder.path().join("more.parquet");
    write(&more, &vec![(bars[0].0.clone(), bars[0].1[..3].to_vec(), vec![7.0, 8.0, 9.0])]);
    let options = IngestOptions { sources: vec![more.display().to_string()], ..IngestOptions::default() };
    session.ingest("1d".parse().unwrap(), options, &Control::default()).await.unwrap();
    let lake = folder.path().join("lake").display().to_string();
    let settings = Settings { lake, threads: 1, ..settings() };
    for (_, call) in TABLE_FUNCTIONS {
        let call = call.replace("FOLDER", &folder.path().display().to_string());
        travels_in(&settings, &format!("select * from {call}"), &Params::default()).await;
    }
}
