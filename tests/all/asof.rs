//! `ASOF JOIN` against a search by hand, and the merge of ordered tables.

use crate::common::{batch, numbers, plan, query, session, settings, try_query, walk, write_parquet};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use std::sync::Arc;
use tallow::Settings;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

type Row = (Option<String>, Option<i64>, f64);

/// Rows of some symbols at times that may repeat, some of them null, in no order.
fn rows(random: &mut Random, count: usize) -> Vec<Row> {
    let mut next = 0.0;
    let row = |_| {
        next += 1.0;
        let symbol = (random.below(30) > 0).then(|| format!("S{}", random.below(4)));
        (symbol, (random.below(30) > 0).then(|| random.below(60) as i64), next)
    };
    (0..count).map(row).collect()
}

fn table(rows: &[Row], value: &str) -> RecordBatch {
    let symbols: StringArray = rows.iter().map(|r| r.0.as_deref()).collect();
    let times: TimestampMicrosecondArray = rows.iter().map(|r| r.1).collect();
    let values = Float64Array::from_iter_values(rows.iter().map(|r| r.2));
    let columns: [(&str, ArrayRef, bool); 3] =
        [("symbol", Arc::new(symbols), true), ("ts", Arc::new(times), true), (value, Arc::new(values), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The time of the nearest right row, or NaN: which of several at one time is not promised.
fn nearest(left: &Row, right: &[Row], op: &str) -> f64 {
    let (Some(symbol), Some(ts)) = (&left.0, left.1) else { return f64::NAN };
    let same = right.iter().filter(|r| r.0.as_ref() == Some(symbol)).filter_map(|r| r.1);
    let found = match op {
        ">=" => same.filter(|t| *t <= ts).max(),
        ">" => same.filter(|t| *t < ts).max(),
        "<=" => same.filter(|t| *t >= ts).min(),
        _ => same.filter(|t| *t > ts).min(),
    };
    found.map_or(f64::NAN, |t| t as f64)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_left_row_once_with_the_nearest_right_row() {
    let mut random = Random(7);
    for (sizes, batch_size) in [((200, 150), 7), ((1, 50), 3), ((60, 0), 8192), ((300, 3000), 16), ((3000, 40), 64)] {
        let (left, right) = (rows(&mut random, sizes.0), rows(&mut random, sizes.1));
        let session = tallow::open(Settings { batch_size, ..settings() }).await.unwrap();
        session.context().register_batch("l", table(&left, "n")).unwrap();
        session.context().register_batch("r", table(&right, "m")).unwrap();
        for op in [">=", ">", "<=", "<"] {
            let sql = format!(
                "select l.n, arrow_cast(r.ts, 'Int64') as at, r.symbol is null or r.symbol = l.symbol as own
                 from l asof join r match_condition (l.ts {op} r.ts) on l.symbol = r.symbol order by l.n"
            );
            let got = query(&session, &sql).await;
            let want: Vec<f64> = left.iter().map(|row| nearest(row, &right, op)).collect();
            let at = numbers(&got, "at");
            assert_eq!(at.len(), want.len());
            assert!(at.iter().zip(&want).all(|(a, b)| a == b || a.is_nan() && b.is_nan()), "{op} {sizes:?}");
            assert!(numbers(&got, "own").iter().all(|own| *own == 1.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_may_be_turned_around_and_filters_keep_their_side() {
    let session = session().await;
    session.context().register_batch("bars", batch(&walk(&["A", "B"], 50))).unwrap();
    let count = |condition: &str| {
        format!(
            "select count(*) as n, count(d.ts) as found, sum(d.close) as total
             from bars b asof join bars d match_condition ({condition}) on b.symbol = d.symbol"
        )
    };
    let a = query(&session, &count("b.ts > d.ts")).await;
    assert_eq!(a, query(&session, &count("d.ts < b.ts")).await);
    assert_eq!((numbers(&a, "n")[0], numbers(&a, "found")[0]), (100.0, 98.0));
    // A filter on the right may not change which row is nearest.
    let filtered = query(&session, &format!("{} where d.close < 100", count("b.ts >= d.ts"))).await;
    let bars = query(&session, "select count(*) as n from bars where close < 100").await;
    assert_eq!(numbers(&filtered, "n"), numbers(&bars, "n"));
    let text = plan(&session, &format!("{} where b.symbol = 'A'", count("b.ts >= d.ts"))).await;
    assert_eq!(text.matches("FilterExec: symbol@0 = A").count(), 2, "{text}");
}

#[tokio::test]
async fn what_is_no_as_of_join_is_told() {
    let session = session().await;
    session.context().register_batch("bars", batch(&walk(&["A"], 5))).unwrap();
    for (tail, expected) in [
        ("match_condition (b.ts = d.ts) on b.symbol = d.symbol", "does not compare"),
        ("match_condition (b.ts >= b.ts) on b.symbol = d.symbol", "does not compare"),
        ("match_condition (b.ts >= d.ts) on b.symbol <> d.symbol", "no equality"),
        ("match_condition (b.ts >= d.ts) using (symbol)", "needs ON"),
    ] {
        let sql = format!("select count(*) from bars b asof join bars d {tail}");
        let said = try_query(&session, &sql).await.unwrap_err().to_string();
        assert!(said.contains(expected), "{tail}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered_tables_are_joined_by_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_parquet(&path("a.parquet"), &batch(&walk(&["A", "B", "C", "D"], 300)), 300);
    write_parquet(&path("b.parquet"), &batch(&walk(&["A", "C", "D", "E"], 200)), 100);
    let session = session().await;
    let tables = format!("'{}' a join '{}' b", path("a.parquet").display(), path("b.parquet").display());
    let sql = format!(
        "select count(*) as n, sum(a.close - b.open) as s from {tables} on a.symbol = b.symbol and a.ts = b.ts"
    );
    let text = plan(&session, &sql).await;
    assert!(text.contains("SortMergeJoinExec") && !text.contains("SortExec") && !text.contains("HashJoin"), "{text}");
    let merged = query(&session, &sql).await;
    for join in ["left semi join", "left anti join"] {
        let sql = sql.replace(" join ", &format!(" {join} ")).replace("sum(a.close - b.open)", "sum(a.close)");
        assert!(numbers(&query(&session, &sql).await, "n")[0] == 600.0, "{join}");
    }
    session.context().register_batch("x", batch(&walk(&["A", "B", "C", "D"], 300))).unwrap();
    session.context().register_batch("y", batch(&walk(&["A", "C", "D", "E"], 200))).unwrap();
    let sql =
        "select count(*) as n, sum(a.close - b.open) as s from x a join y b on a.symbol = b.symbol and a.ts = b.ts";
    assert!(plan(&session, sql).await.contains("HashJoin"));
    let hashed = query(&session, sql).await;
    assert_eq!(numbers(&merged, "n"), [600.0]);
    assert_eq!(numbers(&merged, "n"), numbers(&hashed, "n"));
    crate::common::assert_close(&numbers(&merged, "s"), &numbers(&hashed, "s"), "sums");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_out_of_a_list_are_not_unique() {
    let session = session().await;
    session.context().register_batch("bars", batch(&walk(&["A", "B"], 10))).unwrap();
    let lists = "(select symbol, unnest(array_agg(close)) as c from bars group by symbol)";
    let by_symbol = query(&session, &format!("select symbol, count(*) as n from {lists} group by symbol")).await;
    assert_eq!(numbers(&by_symbol, "n"), [10.0, 10.0]);
    let by_both = query(&session, &format!("select symbol, c, count(*) as n from {lists} group by symbol, c")).await;
    assert_eq!(by_both.num_rows(), 20);
}
