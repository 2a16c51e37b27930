//! Delta tables: versions, concurrent writers, killed writers, layouts, and what others' tables may not do to ours.

use crate::common::{batch, numbers, plan, query, settings, try_query, walk, write_csv};
use crate::ingest::{from, ingest, lake, walk_files};
use arrow::array::RecordBatch;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tallow::pipeline::Request;
use tallow::pipeline::control::Control;
use tallow::pipeline::query::{Executed, Query, QueryOptions};
use tallow::pipeline::resample::Resample;
use tallow::pipeline::synth::Synth;
use tallow_lake::IngestOptions;

const ROWS: &str = "select count(*) as n, sum(close) as s from candles";

/// Bars of many symbols in a CSV file.
fn delivery(folder: &Path, name: &str, symbols: std::ops::Range<usize>, bars: usize) -> std::path::PathBuf {
    let names: Vec<String> = symbols.map(|i| format!("S{i:04}")).collect();
    let path = folder.join(name);
    write_csv(&path, &batch(&walk(&names.iter().map(String::as_str).collect::<Vec<_>>(), bars)));
    path
}

/// Of pages, which hold several symbols or a part of one, only those are read that may hold a selected one.
#[tokio::test]
async fn lists_of_symbols_of_any_length_choose_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let all = delivery(folder.path(), "a.csv", 0..150, 1_300);
    ingest(&session, "1d", from(&all)).await.unwrap();
    let more = delivery(folder.path(), "b.csv", 140..160, 1_400);
    let values = "symbol, count(*) as n, sum(close) as c, min(ts) as f, max(r) as r from
                  (select symbol, ts, close, rsi(14) as r from candles) group by symbol";
    for beside in [false, true] {
        if beside {
            // A second file shares symbols with the first.
            let options = IngestOptions { rewrite_bytes: Some(1), ..from(&more) };
            ingest(&session, "1d", options).await.unwrap();
        }
        let whole = format!("select {values} order by symbol");
        let whole = query(&session, &whole).await;
        for (first, step, count) in
            [(7, 1, 1), (3, 31, 5), (0, 1, 25), (139, 1, 20), (1, 3, 50), (0, 1, 160), (159, 7, 1), (150, 1, 30)]
        {
            let chosen: Vec<usize> = (0..count).map(|i| first + i * step).collect();
            let names = chosen.iter().map(|i| format!("'S{i:04}'")).collect::<Vec<_>>().join(", ");
            let part = format!("select {values} having symbol in ({names}) order by symbol");
            let inside = part.replace("from candles)", &format!("from candles where symbol in ({names}))"));
            let (part, inside) = (query(&session, &part).await, query(&session, &inside).await);
            assert_eq!(part, inside, "{beside} {first} {step} {count}");
            let there = chosen.iter().filter(|i| **i < if beside { 160 } else { 150 }).count();
            assert_eq!(inside.num_rows(), there, "{beside} {first} {step} {count}");
        }
        assert_eq!(whole.num_rows(), if beside { 160 } else { 150 });
    }
}

#[tokio::test]
async fn a_running_query_is_not_disturbed_and_old_versions_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    ingest(&session, "1d", from(&delivery(folder.path(), "a.csv", 0..40, 600))).await.unwrap();
    let frame = session.sql("select symbol, close from candles").await.unwrap();
    let mut stream = session.execute(frame.create_physical_plan().await.unwrap()).unwrap();
    let mut seen = stream.next().await.unwrap().unwrap().num_rows();
    ingest(&session, "1d", from(&delivery(folder.path(), "b.csv", 20..60, 600))).await.unwrap();
    while let Some(batch) = stream.next().await {
        seen += batch.unwrap().num_rows();
    }
    assert_eq!(seen, 24_000);
    // The same session sees the new version with its next query.
    assert_eq!(numbers(&query(&session, ROWS).await, "n"), [36_000.0]);
    let old = query(&session, "select count(*) as n from \"candles_1d@v0\"").await;
    assert_eq!(numbers(&old, "n"), [24_000.0]);
    let at = |as_of: &str| session.for_request(&Request { as_of: Some(as_of.parse().unwrap()), memory: None }).unwrap();
    for (as_of, rows) in [("0", 24_000.0), ("v1", 36_000.0), ("2999-01-01", 36_000.0)] {
        assert_eq!(numbers(&query(&at(as_of), ROWS).await, "n"), [rows], "{as_of}");
    }
    for (as_of, said) in [("7", "no version 7"), ("2001-01-01", "did not exist")] {
        let error = try_query(&at(as_of), ROWS).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    // What a request sees, it sees wherever a table is named, and others see the newest version.
    session.sql("create view mine as select symbol from candles limit 3").await.unwrap();
    session.sql("set datafusion.execution.batch_size = 1000").await.unwrap();
    let first = at("0");
    let week = "select sum(bars) as n from (select count(*) as bars from candles('1d'))";
    assert_eq!(numbers(&query(&first, week).await, "n"), [24_000.0]);
    assert_eq!(numbers(&query(&first, "select count(*) as n from mine").await, "n"), [3.0]);
    let size = "select value from information_schema.df_settings where name = 'datafusion.execution.batch_size'";
    assert_eq!(text(&query(&first, size).await), "1000");
    first.sql("set datafusion.execution.batch_size = 500").await.unwrap();
    assert_eq!(text(&query(&session, size).await), "1000");
    assert_eq!(numbers(&query(&session, week).await, "n"), [36_000.0]);
    let options =
        QueryOptions { request: Request { as_of: Some("0".parse().unwrap()), memory: None }, ..Default::default() };
    let asked = Query { options, ..Query::of(ROWS) };
    let Some(Executed::Rows(outcome)) =
        asked.begin(&session).await.unwrap().next(&session, &Control::default()).await.unwrap()
    else {
        panic!("no rows")
    };
    assert_eq!(numbers(&outcome.rows().await.unwrap(), "n"), [24_000.0]);
}

fn text(rows: &RecordBatch) -> String {
    arrow::util::display::array_value_to_string(rows.column(0), 0).unwrap()
}

#[tokio::test]
async fn a_symbol_outside_of_all_row_groups_is_told_with_its_capitals() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    ingest(&session, "1d", from(&delivery(folder.path(), "a.csv", 0..40, 600))).await.unwrap();
    for (symbol, near) in [("s0017", Some("did you mean `S0017`?")), ("x", None)] {
        let sql = format!("select * from candles where symbol = '{symbol}'");
        let warnings = session.parse(&sql, &Default::default()).await.unwrap().warnings.list;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].message, format!("no symbol '{symbol}' in candles"));
        assert_eq!(warnings[0].help.as_deref(), near);
    }
    let known = session.parse("select * from candles where symbol = 'S0017'", &Default::default()).await.unwrap();
    assert!(known.warnings.list.is_empty());
}

#[tokio::test]
async fn counts_and_ends_come_from_statistics_and_a_symbol_reads_its_rows_only() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let path = folder.path().join("synthetic.parquet");
    Synth { symbols: 800, ..Synth::default() }.write_file(&path, |_| ()).unwrap();
    ingest(&session, "1d", from(&path)).await.unwrap();
    let plan_of = plan(&session, "select count(*), min(ts), max(ts) from candles").await;
    assert!(plan_of.contains("PlaceholderRowExec") && !plan_of.contains("DataSourceExec"), "{plan_of}");
    let whole = plan(&session, "select rsi(close, 14) from candles").await;
    for operator in ["SortExec", "RepartitionExec", "SortPreservingMergeExec", "WindowAggExec"] {
        assert!(!whole.contains(operator), "{whole}");
    }
    let all: u64 = walk_files(&folder.path().join("lake/candles")).iter().map(|f| f.metadata().unwrap().len()).sum();
    for (list, share) in [(1, 0.02), (50, 0.25)] {
        let symbols: Vec<String> = (0..list).map(|i| format!("'S{:05}'", i * 3)).collect();
        let session = lake(folder.path()).await;
        let before = session.bytes_read();
        let sql = format!("select sum(close) as s, count(*) as n from candles where symbol in ({})", symbols.join(","));
        assert_eq!(numbers(&query(&session, &sql).await, "n"), [1250.0 * list as f64]);
        let read = (session.bytes_read() - before) as f64 / all as f64;
        assert!(read < share, "{list} symbols read {read:.3} of the bytes");
    }
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = 0.0;
    let mut work = vec![];
    for i in 0..4usize {
        // Each pair of neighbours shares half of its symbols.
        let path = delivery(folder.path(), &format!("{i}.csv"), i * 10..i * 10 + 20, 100);
        let session = lake(folder.path()).await;
        work.push(async move { ingest(&session, "1d", from(&path)).await });
        expected = (i * 10 + 20) as f64 * 100.0;
    }
    let done = futures::future::join_all(work).await;
    let new: u64 = done.iter().map(|d| d.as_ref().unwrap().new).sum();
    assert_eq!(new as f64, expected);
    let session = lake(folder.path()).await;
    assert_eq!(numbers(&query(&session, ROWS).await, "n"), [expected]);
    let versions = session.on_lake(|lake| async move { lake.history("candles", None).await }).await.unwrap();
    assert_eq!(versions.len(), 4);
}

#[tokio::test]
async fn days_beside_a_large_table_are_merged_when_read_and_gathered_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let bars = walk(&["A", "B", "C", "D"], 60);
    let until = |day: i64| bars.iter().filter(|b| b.1 < day).cloned().collect::<Vec<_>>();
    let path = folder.path().join("x.csv");
    write_csv(&path, &batch(&until(40)));
    ingest(&session, "1d", from(&path)).await.unwrap();
    let whole = "select symbol, ts, ema(close, 5) as e from";
    let files = || walk_files(&folder.path().join("lake/candles")).len();
    for day in 40..60 {
        let one: Vec<_> = bars.iter().filter(|b| b.1 == day).cloned().collect();
        write_csv(&path, &batch(&one));
        let done = ingest(&session, "1d", IngestOptions { rewrite_bytes: Some(0), ..from(&path) }).await.unwrap();
        assert_eq!(done.new, 4);
        let reference = folder.path().join("all.csv");
        write_csv(&reference, &batch(&until(day + 1)));
        let expected = query(&session, &format!("{whole} '{}' order by 1, 2", reference.display())).await;
        std::fs::remove_file(&reference).unwrap();
        let session = lake(folder.path()).await;
        assert_eq!(query(&session, &format!("{whole} candles order by 1, 2")).await, expected);
        let table = session.lake().candle_table("candles").await.unwrap().unwrap().summary();
        assert!(table.files <= 9, "{} files beside each other", table.files);
        assert_eq!(table.symbols.unwrap_or(4), 4);
    }
    // A restated bar rewrites what it touches.
    let mut changed = bars[30].clone();
    changed.2 = 77.0;
    write_csv(&path, &batch(&[changed]));
    let done = ingest(&session, "1d", IngestOptions { rewrite_bytes: Some(0), ..from(&path) }).await.unwrap();
    assert_eq!((done.restated, done.new), (1, 0));
    let before = query(&session, ROWS).await;
    let done = session.on_lake(|lake| async move { lake.optimize("candles", None).await }).await.unwrap();
    assert_eq!(done.files.1, 1);
    assert_eq!(query(&session, ROWS).await, before);
    let again = session.on_lake(|lake| async move { lake.optimize("candles", None).await }).await.unwrap();
    assert_eq!(again.version, None);
    let kept = files();
    let gone = session.on_lake(|lake| async move { lake.vacuum("candles", chrono::Duration::zero(), false).await });
    let gone = gone.await.unwrap();
    assert!(!gone.is_empty() && files() < kept);
    assert_eq!(query(&lake(folder.path()).await, ROWS).await, before);
}

#[tokio::test]
async fn tables_that_would_be_read_wrongly_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    ingest(&session, "1d", from(&delivery(folder.path(), "a.csv", 0..3, 10))).await.unwrap();
    let log = folder.path().join("lake/candles/1d/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let vector = r#""deletionVector":{"storageType":"u","pathOrInlineDv":"ab^-aqEH.-t@S}K{vb[*k^","offset":4,"sizeInBytes":40,"cardinality":2},"dataChange":true,"stats""#;
    let protocol = r#"{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}"#;
    for (changed, said) in [
        (
            text.replace(r#""dataChange":true,"stats""#, vector)
                .replace(r#"{"minReaderVersion":1,"minWriterVersion":2}"#, protocol),
            "has a deletion vector",
        ),
        (
            text.replace(r#""tallow.origin":"utc""#, r#""delta.columnMapping.mode":"name","tallow.origin":"utc""#),
            "column mapping",
        ),
        (
            text.replace(r#""partitionColumns":[]"#, r#""partitionColumns":["symbol"]"#),
            "partitioned by columns (symbol)",
        ),
    ] {
        assert_ne!(changed, text, "{said}: the log looks different now");
        std::fs::write(&log, changed).unwrap();
        let error = try_query(&lake(folder.path()).await, ROWS).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn tables_of_others_are_written_to_only_in_their_own_types() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let path = delivery(folder.path(), "a.csv", 0..3, 10);
    ingest(&session, "1d", from(&path)).await.unwrap();
    let log = folder.path().join("lake/candles/1d/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let named =
        |name: &str, other: &str| text.replace(&format!(r#"\"name\":\"{name}\""#), &format!(r#"\"name\":\"{other}\""#));
    let volume = text.replace(r#"\"name\":\"volume\",\"type\":\"double\""#, r#"\"name\":\"volume\",\"type\":\"long\""#);
    for (changed, said) in
        [(named("symbol", "Ticker"), "columns symbol, ts, close"), (volume, "column `volume` is Int64")]
    {
        assert_ne!(changed, text, "{said}: the log looks different now");
        std::fs::write(&log, changed).unwrap();
        let session = lake(folder.path()).await;
        let error = ingest(&session, "1d", from(&path)).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        let optimize = session.on_lake(|lake| async move { lake.optimize("candles", Some(1)).await }).await;
        assert!(optimize.unwrap_err().to_string().contains(said));
    }
}

#[tokio::test]
async fn files_that_are_not_committed_are_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let path = delivery(folder.path(), "a.csv", 0..3, 10);
    ingest(&session, "1d", from(&path)).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("lake/candles/1d/_delta_log")).unwrap();
    let session = lake(folder.path()).await;
    assert!(try_query(&session, "select * from candles").await.is_err());
    // What a killed first ingest left behind does not stop the next one.
    assert_eq!(ingest(&session, "1d", from(&path)).await.unwrap().new, 30);
}

#[tokio::test]
async fn many_overlapping_files_are_merged_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let bars = walk(&["A", "B"], 40);
    let plain = folder.path().join("plain");
    for day in 0..40 {
        let one: Vec<_> = bars.iter().filter(|b| b.1 == (day * 7) % 40).cloned().collect();
        write_csv(&plain.join(format!("{day}.csv")), &batch(&one));
    }
    let path = folder.path().join("first.csv");
    write_csv(&path, &batch(&bars));
    ingest(&session, "1d", from(&path)).await.unwrap();
    let again = ingest(&session, "1d", from(&plain)).await.unwrap();
    assert_eq!((again.unchanged, again.version), (80, None));
    // The same days as files of a table that nobody has optimized.
    let state = session.context().state();
    let cache = tallow_lake::ProfileCache::new(None);
    let pattern = format!("{}/*.csv", plain.display());
    let table = tallow_lake::CandleTable::open(&std::sync::Arc::new(state), &pattern, None, &cache).await.unwrap();
    assert_eq!(table.unwrap().summary().files, 40);
}

#[tokio::test]
async fn resampled_bars_begin_where_their_source_does() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let rows: String =
        (1..20).map(|d| format!("E,2020-01-{d:02}T01:00:00Z,1\nE,2020-01-{d:02}T05:00:00Z,2\n")).collect();
    let path = folder.path().join("x.csv");
    std::fs::write(&path, format!("symbol,ts,close\n{rows}")).unwrap();
    let options = IngestOptions { origin: Some("forex_utc1".to_string()), ..from(&path) };
    ingest(&session, "4h", options).await.unwrap();
    let day = async || Resample::of("1d".parse().unwrap()).run(&session, &Control::default()).await.unwrap();
    let (first, second) = (day().await, day().await);
    assert_eq!((second.new, second.unchanged), (0, first.new));
    let origin = session.on_lake(|lake| async move { lake.origin("1d".parse()?).await }).await.unwrap();
    assert_eq!(origin.as_deref(), Some("forex_utc1"));
}

#[tokio::test]
async fn plain_files_are_not_hidden_by_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("lake/candles/1d");
    std::fs::create_dir_all(&plain).unwrap();
    delivery(&plain, "a.csv", 0..3, 10);
    let session = lake(folder.path()).await;
    let path = delivery(folder.path(), "b.csv", 3..5, 10);
    let error = ingest(&session, "1d", from(&path)).await.unwrap_err().to_string();
    assert!(error.contains("plain files without a transaction log"), "{error}");
    assert_eq!(numbers(&query(&session, ROWS).await, "n"), [30.0]);
}

#[tokio::test]
async fn resampled_bars_are_those_of_the_longer_timeframe() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    // Bars without trades set no price, but where there are no others.
    let text = "symbol,ts,open,high,low,close,volume\n\
                A,2020-01-01 00:00,10,10,10,10,0\nA,2020-01-01 01:00,12,13,11,12.5,5\nA,2020-01-01 02:00,12,14,12,13,1\n\
                A,2020-01-01 08:00,20,21,19,20,2\nA,2020-01-01 12:00,30,30,30,30,0\n";
    let path = folder.path().join("x.csv");
    std::fs::write(&path, text).unwrap();
    ingest(&session, "1h", from(&path)).await.unwrap();
    let bars = query(&session, "select * from candles('4h') order by ts").await;
    assert_eq!(numbers(&bars, "open"), [12.0, 20.0, 30.0]);
    assert_eq!(numbers(&bars, "high"), [14.0, 21.0, 30.0]);
    assert_eq!(numbers(&bars, "low"), [11.0, 19.0, 30.0]);
    assert_eq!(numbers(&bars, "close"), [13.0, 20.0, 30.0]);
    assert_eq!(numbers(&bars, "volume"), [6.0, 2.0, 0.0]);
    let filled = query(&session, "select * from candles('4h', fill => 'prev_close') order by ts").await;
    assert_eq!(numbers(&filled, "open"), [12.0, 13.0, 20.0, 30.0]);
    assert_eq!(numbers(&filled, "volume"), [6.0, 0.0, 2.0, 0.0]);
    let empty = query(&session, "select * from candles('4h', fill => 'null') order by ts").await;
    assert!(numbers(&empty, "close")[1].is_nan());
    let resample = Resample::of("4h".parse().unwrap());
    let done = resample.run(&session, &Control::default()).await.unwrap();
    assert_eq!((done.new, done.version), (3, Some(0)));
    let again = resample.run(&session, &Control::default()).await.unwrap();
    assert_eq!((again.unchanged, again.version), (3, None));
    let stored = plan(&session, "select * from candles('4h')").await;
    assert!(stored.contains("candles/4h") && !stored.contains("AggregateExec"), "{stored}");
    for (call, said) in [
        ("candles('3m')", "no stored timeframe divides 3m"),
        ("candles('4x')", "unknown timeframe '4x'"),
        ("candles('4h', fill => 'zero')", "unknown fill 'zero'"),
        ("candles('1d', from => '1w')", "no 1w bars"),
        ("candles('4h', colour => 'red')", "no argument `colour`"),
    ] {
        let error = try_query(&session, &format!("select * from {call}")).await.unwrap_err().to_string();
        assert!(error.contains(said), "{call}: {error}");
    }
}

/// Worked by hand: a filler above and below all trades, a bar without a close, a bar of fillers alone, no volume at all.
#[tokio::test]
async fn larger_bars_are_made_of_what_traded() {
    let folder = tempfile::tempdir().unwrap();
    let hours = folder.path().join("lake/candles/1h");
    std::fs::create_dir_all(&hours).unwrap();
    let head = "ts,open,high,low,close,volume\n";
    std::fs::write(
        hours.join("A.csv"),
        format!(
            "{head}2020-01-01T00:00:00,50,60,1,50,0\n2020-01-01T01:00:00,10,20,4,,3\n2020-01-01T02:00:00,11,12,10,11.5,5\n\
             2020-01-01T03:00:00,70,70,70,70,0\n2020-01-01T04:00:00,8,9,7,8,0\n2020-01-01T07:00:00,9,9.5,9,9,0\n"
        ),
    )
    .unwrap();
    std::fs::write(
        hours.join("B.csv"),
        format!("{head}2020-01-01T00:00:00,5,6.5,4,5,\n2020-01-01T01:00:00,6,7,3,6,\n2020-01-01T02:00:00,9,9,9,,1.5\n"),
    )
    .unwrap();
    let want = [[11.0, 8.0, 5.0], [20.0, 9.5, 9.0], [4.0, 7.0, 3.0], [11.5, 9.0, 6.0], [8.0, 0.0, 1.5]];
    let session = lake(folder.path()).await;
    let bars = query(&session, "select * from candles('4h') order by symbol, ts").await;
    for (column, want) in ["open", "high", "low", "close", "volume"].into_iter().zip(want) {
        assert_eq!(numbers(&bars, column), want, "{column}");
    }
    // The bars that the dialect makes are these: of the hour at 04:00, the one that had ended.
    let sql = "select high@4h as h, low@4h as l from candles_1h where ts = '2020-01-01T04:00:00Z' and symbol = 'A'";
    let made = query(&session, sql).await;
    assert_eq!((numbers(&made, "h"), numbers(&made, "l")), (vec![20.0], vec![4.0]));
}

/// h4 bars of the published files make up their d1 bars; `fx_d1.parquet` is cut from the published file.
#[tokio::test]
async fn real_four_hour_bars_make_up_the_published_daily_bars() {
    let session = tallow::open(settings()).await.unwrap();
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/fx_d1.parquet");
    let sql = format!(
        "select count(*) as n, sum(abs(a.open - b.open) + abs(a.high - b.high) + abs(a.low - b.low)
                + abs(a.close - b.close) + abs(a.volume - b.volume)) as off
         from candles('1d', from => '4h') a join '{published}' b on a.symbol = b.symbol and a.ts = b.ts"
    );
    let rows = query(&session, &sql).await;
    let n = numbers(&rows, "n")[0];
    assert!(n > 1600.0, "{n}");
    assert!(numbers(&rows, "off")[0] < 1e-6, "{rows:?}");
}

#[tokio::test]
async fn prices_are_adjusted_for_splits_as_the_publisher_did() {
    // Apple paid no dividend between 1996 and August 2012 and split its shares 2 for 1 twice.
    let session = tallow::open(settings()).await.unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/aapl_raw_adjusted.parquet");
    let folder = tempfile::tempdir().unwrap();
    let actions = folder.path().join("actions.csv");
    std::fs::write(&actions, "symbol,ts,split_ratio\nAAPL,2000-06-21,2\nAAPL,2005-02-28,2\n").unwrap();
    let sql = format!(
        "select min(r) as low, max(r) as high, count(*) as n from (
           select a.close / g.adj_close as r from adjusted('{golden}', '{}') a join '{golden}' g
           on a.symbol = g.symbol and a.ts = g.ts where a.ts < '2012-08-01')",
        actions.display()
    );
    let rows = query(&session, &sql).await;
    let (low, high) = (numbers(&rows, "low")[0], numbers(&rows, "high")[0]);
    assert!(numbers(&rows, "n")[0] > 3000.0 && (high / low - 1.0).abs() < 1e-4, "{low} {high}");
    // A dividend of 1 at a close of 10 takes a tenth off every price before it.
    let prices = folder.path().join("A.csv");
    std::fs::write(
        &prices,
        "ts,open,high,low,close,volume\n2020-01-01,8,8,8,8,1\n2020-01-02,10,10,10,10,1\n2020-01-06,9,9,9,9,1\n",
    )
    .unwrap();
    let actions = folder.path().join("dividends.csv");
    std::fs::write(&actions, "symbol,ts,dividend,split_ratio\nA,2020-01-04,0.5,0\nA,2020-01-04,0.5,0\n").unwrap();
    let sql = format!("select close from adjusted('{}', '{}') order by ts", prices.display(), actions.display());
    assert_eq!(
        numbers(&query(&session, &sql).await, "close").iter().map(|c| c.round()).collect::<Vec<_>>(),
        [7.0, 9.0, 9.0]
    );
}

#[tokio::test]
async fn validation_finds_what_is_known_to_be_wrong() {
    use tallow::pipeline::validate::{Expected, Validation};
    let session = tallow::open(settings()).await.unwrap();
    let of = |table: &str, timeframe: &str, expected| Validation {
        table: table.to_string(),
        timeframe: timeframe.to_string(),
        origin: "utc".to_string(),
        expected,
        jump: 1.5,
    };
    let stocks = of("candles", "1d", Expected::Observed);
    let sql = format!(
        "select sum(missing_bars) as missing, count(*) filter (where missing_bars > 0) as symbols, sum(errors) as errors,
                sum(zero_volume) as zeros from ({})",
        stocks.summary()
    );
    let found = query(&session, &sql).await;
    let number = |name: &str| numbers(&found, name)[0];
    assert_eq!((number("missing"), number("symbols"), number("errors"), number("zeros")), (51.0, 6.0, 12.0, 4.0));
    let sql = format!("select count(*) as n from ({}) where rule = 'incomplete'", stocks.issues());
    assert_eq!(numbers(&query(&session, &sql).await, "n"), [11.0]);
    let crypto = of("candles_4h", "4h", Expected::Always);
    let sql = format!("select count(*) as n from ({}) where rule = 'gap' and symbol like '%-USD'", crypto.issues());
    let around_the_clock = numbers(&query(&session, &sql).await, "n")[0];
    assert_eq!(around_the_clock, 2.0, "the two gaps of 2022 to 2025");
}

/// The files of a folder and their sizes.
fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut all = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return all };
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.metadata() {
            Ok(facts) if facts.is_dir() => all.extend(files(&path)),
            Ok(facts) => drop(all.insert(path, facts.len())),
            // It was there a moment ago.
            Err(_) => {}
        }
    }
    all
}

/// Kills the command at twenty moments; each time the table is what it was or what it is to become.
fn killed(lake: &Path, args: &[&str], allowed: &[(String, bool)]) {
    let tallow = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
        command
            .args(["--quiet", "--lake", lake.to_str().unwrap()])
            .args(args)
            .env("TALLOW_CACHE_DIR", lake.join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut done = false;
    for i in 0..20u64 {
        // At the first thing that it does to the lake, at the second, and so on.
        let (mut seen, mut changes) = (files(lake), 0);
        let mut child = tallow(args).spawn().unwrap();
        while changes < i && child.try_wait().unwrap().is_none() {
            let now = files(lake);
            changes += u64::from(now != seen);
            seen = now;
        }
        let _ = child.kill();
        let _ = child.wait();
        let sql = "select count(*) as n, round(sum(close)) as s from candles_1d";
        let out = tallow(&["query", "--format", "csv", "-c", sql]).output().unwrap();
        let said = String::from_utf8_lossy(if out.status.success() { &out.stdout } else { &out.stderr }).into_owned();
        let state = allowed.iter().find(|(text, _)| said.contains(text.as_str()));
        let (_, complete) = state.unwrap_or_else(|| panic!("kill {i}: {said}"));
        assert!(*complete || !done, "kill {i}: the table went back to {said}");
        done |= complete;
    }
    let out = tallow(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_killed_ingest_leaves_the_old_version_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let first = delivery(folder.path(), "a.csv", 0..250, 1000);
    let second = delivery(folder.path(), "b.csv", 150..400, 1000);
    let count = |n: usize| format!("n,s\n{n},");
    let ingest = |path: &Path| ["ingest".to_string(), path.display().to_string(), "-t".to_string(), "1d".to_string()];
    let args = ingest(&first);
    let none = ["unknown table `candles_1d`", "nothing to read"].map(|said| (said.to_string(), false));
    let states = [&none[..], &[(count(250_000), true)]].concat();
    killed(&lake, &args.each_ref().map(String::as_str), &states);
    let args = ingest(&second);
    let states = [(count(250_000), false), (count(400_000), true)];
    killed(&lake, &args.each_ref().map(String::as_str), &states);
    let args = ["optimize", "1d", "--file-size", "1m"];
    killed(&lake, &args, &[(count(400_000), true)]);
    let out = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["--lake", lake.to_str().unwrap(), "vacuum", "1d", "--keep", "0h"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
