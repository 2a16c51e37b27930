//! Tables that are read together are cut at the same symbols, and what they give does not depend on where.

use crate::common::{Bar, DAY, START, batch, numbers, plan, query, settings, walk, write_parquet};
use proptest::prelude::*;
use std::path::Path;
use tallow::pipeline::control::Control;
use tallow::{Session, Settings};
use tallow_lake::IngestOptions;

async fn session_over(lake: &Path, threads: usize) -> Session {
    tallow::open(Settings { lake: lake.display().to_string(), threads, ..settings() }).await.unwrap()
}

/// A lake of days of all symbols, and of hours of some of them.
async fn lake(folder: &Path) {
    let symbols: Vec<String> = (0..9).map(|s| format!("S{s}")).collect();
    let days: Vec<Bar> = walk(&symbols.iter().map(String::as_str).collect::<Vec<_>>(), 60);
    let hours: Vec<Bar> = walk(&["S1", "S4", "S5"], 60 * 24);
    let session = session_over(&folder.join("lake"), 1).await;
    for (timeframe, bars, day) in [("1d", days, DAY), ("1h", hours, DAY / 24)] {
        let file = folder.join(format!("{timeframe}.csv"));
        let mut text = "symbol,ts,open,high,low,close,volume\n".to_string();
        for (symbol, bar, close) in bars {
            let ts = (START + bar * day) / 1_000_000;
            text += &format!("{symbol},{ts},{close},{},{},{close},1\n", close * 1.01, close * 0.99);
        }
        std::fs::write(&file, text).unwrap();
        let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
        session.ingest(timeframe.parse().unwrap(), options, &Control::default()).await.unwrap();
    }
}

/// Labels that walk hours where there are any, as sums: a join, a union of what has hours and what has none.
const PATHS: &str = "select symbol, count(*) n, sum(l.bars_to_hit) b, sum(l.hit_price) p from (select symbol, triple_barrier(horizon => 5) l \
                     from label_path('1d')) group by symbol order by symbol";
const LAST_WEEK: &str = "select symbol, ts, close, rsi(14)@1h h from candles_1d order by symbol, ts";

#[tokio::test(flavor = "multi_thread")]
async fn shorter_bars_are_joined_without_an_exchange() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path()).await;
    let (one, three) =
        (session_over(&folder.path().join("lake"), 1).await, session_over(&folder.path().join("lake"), 3).await);
    for sql in [PATHS, LAST_WEEK] {
        let plan = plan(&three, sql).await;
        assert!(!plan.contains("Hash(") && plan.contains("[(S"), "{plan}");
        assert_eq!(query(&three, sql).await, query(&one, sql).await, "{sql}");
    }
    assert!(plan(&three, PATHS).await.contains("OrderedUnionExec"));
    let counted = query(&three, "select count(*) n, min(symbol) a, max(symbol) z from candles_1h").await;
    assert_eq!(numbers(&counted, "n"), [3.0 * 60.0 * 24.0]);
}

/// The plan's rows in a form that can be compared.
async fn rows(session: &Session, table: &str) -> Vec<f64> {
    let sql = format!(
        "select symbol, ts, sma(3) s, rsi(2) r, count(*) over (partition by symbol order by ts) n from {table} order by symbol, ts"
    );
    let batch = query(session, &sql).await;
    ["s", "r", "n"]
        .iter()
        .flat_map(|column| numbers(&batch, column))
        .map(|x| if x.is_nan() { -1.0 } else { x })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn files_by_time_are_one_table(bars in 1usize..40, cuts in prop::collection::vec(1i64..40, 0..5), row_group in 1usize..50, threads in 2usize..5) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let all = walk(&["A", "B", "C", "D", "E"], bars);
            write_parquet(&folder.path().join("one/all.parquet"), &batch(&all), row_group);
            let mut cuts = cuts;
            cuts.extend([0, i64::MAX]);
            cuts.sort_unstable();
            for span in cuts.windows(2) {
                let part: Vec<Bar> = all.iter().filter(|bar| (span[0]..span[1]).contains(&bar.1)).cloned().collect();
                if !part.is_empty() {
                    write_parquet(&folder.path().join(format!("parts/{}.parquet", span[0])), &batch(&part), row_group);
                }
            }
            let table = |name: &str| format!("'{}/{name}/'", folder.path().display());
            let (one, some) = (session_over(folder.path(), 1).await, session_over(folder.path(), threads).await);
            assert_eq!(rows(&some, &table("parts")).await, rows(&one, &table("one")).await);
            let plan = plan(&some, &format!("select symbol, ts, sma(3) s from {}", table("parts"))).await;
            assert!(!plan.contains("RepartitionExec"), "{plan}");
        });
    }
}
