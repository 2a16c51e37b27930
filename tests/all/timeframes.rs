//! `x@1w` where the lake stores weeks of some symbols only.

use crate::common::{assert_close, batch, numbers, plan, query, settings, walk, write_parquet};
use crate::ingest::{from, ingest, lake};
use std::path::Path;
use tallow::pipeline::control::Control;
use tallow::pipeline::resample::Resample;
use tallow::{Session, Settings};

const WEEKS: &str = "select symbol, ts, close@1w as week, sma(3)@1w as average from candles_1d order by symbol, ts";

/// The plan over the stored weeks, whose values must be those of weeks that are made of days.
async fn as_made(session: &Session, made: &Session, what: &str) -> String {
    let (got, want) = (query(session, WEEKS).await, query(made, WEEKS).await);
    for column in ["week", "average"] {
        assert_close(&numbers(&got, column), &numbers(&want, column), &format!("{column}, {what}"));
    }
    assert!(numbers(&got, "average").iter().filter(|v| !v.is_nan()).count() > got.num_rows() / 2);
    plan(session, WEEKS).await
}

async fn open(lake: &Path) -> Session {
    tallow::open(Settings { lake: lake.display().to_string(), ..settings() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_that_are_not_stored_are_made_without_a_join_of_bars() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let days = batch(&walk(&["A", "B", "C", "D"], 120));
    write_parquet(&made.join("candles/1d/days.parquet"), &days, 100);
    let made = open(&made).await;
    let weeks = "select symbol, ts, open, high, low, close, volume from candles('1w')";
    let cases = [
        ("symbol <> 'C'", true),
        ("symbol in ('A', 'D')", true),
        ("symbol = 'B'", true),
        ("true", false),
        // As many symbols, of which the first and the last are the same.
        ("symbol <> 'C' union all select 'AB', ts, open, high, low, close, volume from weeks where symbol = 'A'", true),
    ];
    for (i, (stored, missing)) in cases.into_iter().enumerate() {
        let lake = folder.path().join(format!("lake{i}"));
        write_parquet(&lake.join("candles/1d/days.parquet"), &days, 100);
        let sql =
            format!("select * from (with weeks as ({weeks}) select * from weeks where {stored}) order by symbol, ts");
        write_parquet(&lake.join("candles/1w/weeks.parquet"), &query(&made, &sql).await, 50);
        let plan = as_made(&open(&lake).await, &made, stored).await;
        assert!(!plan.contains("JoinExec"), "{stored}\n{plan}");
        assert_eq!(plan.contains("UnionExec"), missing, "{stored}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_of_a_lake_are_read_where_its_log_does_not_tell_them() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..60).map(|i| format!("S{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bars = walk(&names, 120);
    let made = folder.path().join("made");
    write_parquet(&made.join("candles/1d/days.parquet"), &batch(&bars), 5_000);
    let made = open(&made).await;

    let session = lake(folder.path()).await;
    let (first, rest) = (folder.path().join("first.parquet"), folder.path().join("rest.parquet"));
    let of = |range: std::ops::Range<usize>| {
        batch(&bars.iter().filter(|b| range.contains(&b.0[1..].parse().unwrap())).cloned().collect::<Vec<_>>())
    };
    write_parquet(&first, &of(0..50), 5_000);
    write_parquet(&rest, &of(50..60), 5_000);
    ingest(&session, "1d", from(&first)).await.unwrap();
    Resample::of("1w".parse().unwrap()).run(&session, &Control::default()).await.unwrap();
    let plan = plan(&session, WEEKS).await;
    assert!(!plan.contains("UnionExec"), "{plan}");
    // The same session sees that there are more symbols by now.
    ingest(&session, "1d", from(&rest)).await.unwrap();
    let plan = as_made(&session, &made, "a lake").await;
    assert!(!plan.contains("JoinExec") && plan.contains("UnionExec"), "{plan}");
}
