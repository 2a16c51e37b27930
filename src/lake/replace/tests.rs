//! Replacing rows again and again gives the table that the last replacement of each range says.

use super::*;
use crate::sorted_rows::Cursor;
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::Float64Type;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::SessionStateBuilder;
use futures::TryStreamExt;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use tallow_common::Times;

type Rows = BTreeMap<(String, i64), f64>;

fn state() -> Arc<SessionState> {
    Arc::new(SessionStateBuilder::new().with_default_features().build())
}

fn batch(rows: &Rows) -> RecordBatch {
    let symbols: StringViewArray = rows.keys().map(|(symbol, _)| Some(symbol.as_str())).collect();
    let times: TimestampMicrosecondArray = rows.keys().map(|(_, ts)| Some(*ts)).collect();
    let values: Float64Array = rows.values().map(|v| Some(*v)).collect();
    let columns: [(&str, ArrayRef); 3] =
        [("symbol", Arc::new(symbols)), ("ts", Arc::new(times.with_timezone("UTC"))), ("value", Arc::new(values))];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn replacement(rows: &Rows, ranges: Ranges, version: u64, once: bool) -> Replacement {
    let batch = batch(rows);
    Replacement {
        effort: Effort::begin(0),
        rows: MemorySourceConfig::try_new_exec(&[vec![batch.clone()]], batch.schema(), None).unwrap(),
        ranges: Arc::new(ranges),
        kind: ResultKind::Labels,
        properties: HashMap::new(),
        sources: vec![("tallow/p/candles".to_string(), version)],
        whole_symbols: false,
        open_from: if version.is_multiple_of(2) { i64::MAX } else { 15 },
        once,
        progress: Box::new(|_| {}),
    }
}

async fn read(state: &Arc<SessionState>, folder: &Path) -> Rows {
    let log = Log::at(state.as_ref(), &folder.display().to_string()).unwrap();
    let base = log.snapshot(None).await.unwrap().unwrap();
    let mut rows = Rows::new();
    let Some(table) = CandleTable::of_snapshot(state, &log, &base, &ProfileCache::new(None)).await.unwrap() else {
        return rows;
    };
    if base.files.is_empty() {
        return rows;
    }
    let all: Vec<usize> = (0..base.files.len()).collect();
    let plan = table.read_in_order(state, &all, None).await.unwrap();
    let batches: Vec<_> = execute_stream(plan, state.task_ctx()).unwrap().try_collect().await.unwrap();
    for batch in batches {
        let values = batch.column(2).as_primitive::<Float64Type>().clone();
        let mut cursor = Cursor::default();
        cursor.set(batch).unwrap();
        while let Some((symbol, ts)) = cursor.key() {
            let known = rows.insert((symbol.to_string(), ts), values.value(cursor.at));
            assert_eq!(known, None, "{symbol} {ts} twice");
            cursor.at += 1;
        }
    }
    rows
}

fn run<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// Which ranges of which symbols are replaced by which rows.
fn step() -> impl Strategy<Value = Vec<(u8, Range<i64>, Vec<i64>)>> {
    let one = (0u8..4, 0i64..60, 1i64..30, prop::collection::vec(0i64..30, 0..8));
    let one = one.prop_map(|(symbol, from, length, rows)| {
        (symbol, from..from + length, rows.into_iter().map(|r| from + r % length).collect())
    });
    prop::collection::vec(one, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_table_holds_what_the_last_replacement_says(steps in prop::collection::vec(step(), 1..8)) {
        run(async {
            let (state, folder) = (state(), tempfile::tempdir().unwrap());
            let log = Log::at(state.as_ref(), &folder.path().display().to_string()).unwrap();
            let mut expected = Rows::new();
            for (version, step) in steps.into_iter().enumerate() {
                let (mut ranges, mut rows) = (Ranges::default(), Rows::new());
                for (symbol, times, instants) in step {
                    let symbol = format!("S{symbol}");
                    let times: Times = [times].into_iter().collect();
                    ranges.add(&symbol, &times);
                    rows.extend(instants.into_iter().map(|ts| ((symbol.clone(), ts), version as f64)));
                }
                expected.retain(|(symbol, ts), _| !ranges.contains(symbol, *ts));
                expected.extend(rows.clone());
                let done = replace(&state, &ProfileCache::new(None), &log, replacement(&rows, ranges, version as u64, true)).await;
                assert!(matches!(done, Ok(Replaced::Written(_))), "{done:?}");
                assert_eq!(read(&state, folder.path()).await, expected);
            }
        });
    }
}

#[test]
fn work_that_is_done_is_not_done_again() {
    run(async {
        let (state, folder) = (state(), tempfile::tempdir().unwrap());
        let log = Log::at(state.as_ref(), &folder.path().display().to_string()).unwrap();
        let rows: Rows = [(("A".to_string(), 1), 1.0)].into();
        let cache = ProfileCache::new(None);
        let replace = |version, once| replace(&state, &cache, &log, replacement(&rows, Ranges::all(), version, once));
        assert!(matches!(replace(3, true).await.unwrap(), Replaced::Written(Written { version: 0, .. })));
        assert_eq!(replace(3, true).await.unwrap(), Replaced::UpToDate { version: 0 });
        assert_eq!(replace(2, true).await.unwrap(), Replaced::UpToDate { version: 0 });
        assert!(matches!(replace(3, false).await.unwrap(), Replaced::Written(Written { version: 1, .. })));
        assert!(matches!(replace(4, true).await.unwrap(), Replaced::Written(Written { version: 2, .. })));
    });
}

#[test]
fn the_newest_rows_lie_together_and_old_ones_by_symbol() {
    run(async {
        let (state, folder) = (state(), tempfile::tempdir().unwrap());
        let log = Log::at(state.as_ref(), &folder.path().display().to_string()).unwrap();
        let cache = ProfileCache::new(None);
        let rows = |symbols: &[&str], times: Range<i64>| -> Rows {
            symbols.iter().flat_map(|s| times.clone().map(|ts| ((s.to_string(), ts), 0.0))).collect()
        };
        let ranges = |symbols: &[&str], times: Range<i64>| {
            let mut ranges = Ranges::default();
            let times: Times = [times].into_iter().collect();
            symbols.iter().for_each(|symbol| ranges.add(symbol, &times));
            ranges
        };
        let tiers = || async {
            let base = log.snapshot(None).await.unwrap().unwrap();
            let mut tiers: Vec<_> = base.files.iter().map(|f| crate::writer::tier_of(&f.add)).collect();
            tiers.sort();
            (tiers, base.files.iter().map(|f| f.add.path.clone()).collect::<Vec<_>>())
        };
        replace(&state, &cache, &log, replacement(&rows(&["A", "B"], 0..100), Ranges::all(), 0, true)).await.unwrap();
        let (kinds, old) = tiers().await;
        assert_eq!(kinds, [None]);
        // New bars, and the rows before them that look ahead.
        for day in 0..3i64 {
            let times = 100 + day..101 + day;
            let new = rows(&["A", "B"], times.clone());
            replace(&state, &cache, &log, replacement(&new, ranges(&["A", "B"], times), 1 + day as u64, true))
                .await
                .unwrap();
            let (kinds, files) = tiers().await;
            assert_eq!(kinds, [None, Some(0)]);
            assert!(files.contains(&old[0]), "the old file was rewritten");
        }
        // A correction long ago rewrites the file by symbol, and the rows that follow there stay in it.
        let late = replacement(&rows(&["A"], 50..103), ranges(&["A"], 50..i64::MAX), 9, true);
        replace(&state, &cache, &log, late).await.unwrap();
        let (kinds, files) = tiers().await;
        assert_eq!(kinds, [None, Some(0)]);
        assert!(!files.contains(&old[0]));
        let expected: Rows = rows(&["A", "B"], 0..103);
        assert_eq!(read(&state, folder.path()).await, expected);
    });
}
