//! Memory limits: what does not fit spills, or is a clear error.

use crate::common::{assert_close, batch, numbers, query, session, settings, try_query, walk, write_parquet};
use tallow::{Session, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_does_not_fit_is_named_with_its_rows_and_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.parquet");
    write_parquet(&path, &batch(&walk(&["LONG"], 60_000)), 10_000);
    let session = Session::open(Settings { memory: 1 << 20, threads: 1, ..settings() }).await.unwrap();
    let error =
        try_query(&session, &format!("select rsi(14) from '{}'", path.display())).await.unwrap_err().to_string();
    assert!(error.contains("series LONG has at least") && error.contains("rows"), "{error}");
    assert!(error.contains("memory limit of 1 MiB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_series_fit_where_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.parquet");
    let names: Vec<String> = (0..300).map(|i| format!("S{i:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    write_parquet(&path, &batch(&walk(&names, 500)), 20_000);
    let session = Session::open(Settings { memory: 4 << 20, threads: 1, ..settings() }).await.unwrap();
    let result = query(&session, &format!("select count(r) n from (select rsi(14) r from '{}')", path.display())).await;
    assert_eq!(numbers(&result, "n"), [300.0 * 486.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_rows_are_sorted_on_disk_when_memory_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shuffled.parquet");
    let names: Vec<String> = (0..400).map(|i| format!("S{i:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bars = walk(&names, 1000);
    // A fixed shuffle.
    let n = bars.len() as u64;
    bars.sort_by_key(|b| {
        let id = (b.0[1..].parse::<u64>().unwrap() * 1000 + b.1 as u64) % n;
        id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    write_parquet(&path, &batch(&bars), 50_000);
    let sql = format!("select count(r) n, sum(r) s from (select rsi(14) r from '{}')", path.display());
    let small = Settings { memory: 12 << 20, threads: 2, spill_dir: Some(folder.path().join("spill")), ..settings() };
    let session_small = Session::open(small).await.unwrap();
    let frame = session_small.sql(&sql).await.unwrap();
    let plan = session_small.physical(frame.logical_plan()).await.unwrap();
    let got = {
        use futures::StreamExt;
        let batches: Vec<_> = session_small.execute(plan.clone()).unwrap().collect().await;
        batches.into_iter().map(|b| b.unwrap()).next().unwrap()
    };
    let want = query(&session().await, &sql).await;
    assert_close(&numbers(&got, "n"), &numbers(&want, "n"), "values");
    assert_close(&numbers(&got, "s"), &numbers(&want, "s"), "sum");
    assert!(spilled(&plan) > 0, "nothing was spilled");
}

fn spilled(plan: &std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|m| m.spilled_bytes()).unwrap_or_default();
    own + plan.children().into_iter().map(spilled).sum::<usize>()
}
