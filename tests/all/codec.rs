//! Plans travel: written as bytes, read in another session, run there to the same rows.

use crate::common::settings;
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use std::sync::Arc;
use tallow::engine::dialect::Params;
use tallow::pipeline::codec;
use tallow::{Session, Settings};

async fn rows(session: &Session, plan: Arc<dyn ExecutionPlan>) -> Vec<RecordBatch> {
    session.execute(plan).unwrap().map(Result::unwrap).collect().await
}

/// The rows as text. Where several have the same place in an order, either may come first.
fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

async fn session_of(threads: usize) -> Session {
    tallow::open(Settings { threads, ..settings() }).await.unwrap()
}

/// The plan of a text, written, read in another session, and run in both.
async fn travels(text: &str, params: &Params, threads: usize) {
    let (here, there) = (session_of(threads).await, session_of(threads).await);
    let plan = here.plan(here.sql_with(text, params).await.unwrap()).await.unwrap();
    let bytes = codec().encode(&plan).unwrap_or_else(|e| panic!("{text}: {e}"));
    let read = codec().decode(&bytes, &there.context().task_ctx()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let again = codec().encode(&read).unwrap();
    let third = codec().decode(&again, &there.context().task_ctx()).unwrap();
    let (own, theirs) = (rows(&here, plan).await, rows(&there, third).await);
    assert!(shown(&own) == shown(&theirs), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_named_query_travels() {
    let about_matches = ["match_features", "match_targets"];
    let queries = tallow::named_queries(None).unwrap();
    for query in queries.iter().filter(|q| !about_matches.contains(&q.name.as_str())) {
        // On one thread sums are added up in one order.
        travels(&query.sql, &query.complete(&Params::default()).unwrap(), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_query_travels() {
    for text in [
        "select symbol, ts, rsi(14), macd(12, 26, 9).macdhist from candles order by symbol, ts",
        "select symbol, ts, close from candles where symbol = 'AAPL' and ts >= '2017-01-01' order by ts",
        "select symbol, ts, rsi(14)@1w as weekly from candles where symbol in ('AAPL', 'MSFT') order by symbol, ts",
        "select * from candles('1w') order by symbol, ts limit 100",
        "select symbol, ts, triple_barrier(atr(14), 2, 2, 10).label from candles order by symbol, ts limit 500",
        "select * from levels('1d') order by symbol, created_at, price limit 50",
        "select a.symbol, count(*) n from candles a join candles b on a.symbol = b.symbol and a.ts < b.ts and a.close > 2 * b.close
         where a.symbol < 'B' group by a.symbol order by 1",
        "select symbol, start_ts, distance, percentile from dtw_search('candles', '1 3 2 4 3 5', k => 5) order by distance",
        "select symbol, end_ts, distance, percentile from dtw_search('candles', '1 3 2 4 3 5', mode => 'latest') order by distance",
        "select * from dtw_search('1w', '1 3 2 4 3 5', mode => 'latest', exact => 'true', percentile => 0.5) order by distance",
        "select symbol, predict('heuristic', 1, 1, 1, 1, 20, 0.1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) p from candles order by symbol limit 1",
        "select symbol, median(close), array_length(array_agg(close order by ts)) from candles group by symbol order by symbol",
        "select length(repeat(symbol, 3)) from candles order by symbol limit 3",
    ] {
        travels(text, &Params::default(), 2).await;
    }
}
