//! Plans travel: written as bytes, read in another session, run there to the same rows.

mod completeness;
mod use_cases;

use crate::common::settings;
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use tallow::Params;
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

fn tree(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

async fn session_of(settings: &Settings) -> Session {
    tallow::open(settings.clone()).await.unwrap()
}

/// Writes a plan; deep ones need the stack of an engine's threads.
async fn written(session: &Session, plan: &Arc<dyn ExecutionPlan>) -> Vec<u8> {
    let plan = Arc::clone(plan);
    session.engine().run(async move { codec().encode(&plan) }).await.unwrap().unwrap()
}

async fn read(session: &Session, bytes: Vec<u8>) -> Arc<dyn ExecutionPlan> {
    let task = session.context().task_ctx();
    session.engine().run(async move { codec().decode(&bytes, &task) }).await.unwrap().unwrap()
}

/// The plan of a text, written, read in another session, and run in both.
async fn travels_in(settings: &Settings, text: &str, params: &Params) -> Arc<dyn ExecutionPlan> {
    let (here, there) = (session_of(settings).await, session_of(settings).await);
    let plan = here.plan(here.sql_with(text, params).await.unwrap_or_else(|e| panic!("{text}: {e}"))).await.unwrap();
    is_carried(&here, &there, &plan, text).await;
    plan
}

/// A plan has the same rows where it was read, also from what was written there.
async fn is_carried(here: &Session, there: &Session, plan: &Arc<dyn ExecutionPlan>, what: &str) {
    let first = read(there, written(here, plan).await).await;
    let again = read(there, written(there, &first).await).await;
    let (own, theirs) = (rows(here, Arc::clone(plan)).await, rows(there, again).await);
    assert!(shown(&own) == shown(&theirs), "{what}");
}

async fn travels(text: &str, params: &Params, threads: usize) -> Arc<dyn ExecutionPlan> {
    travels_in(&Settings { threads, ..settings() }, text, params).await
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

#[tokio::test(flavor = "multi_thread")]
async fn the_value_of_a_subquery_is_found_wherever_it_is_read() {
    for text in [
        "select symbol, ts, ema(close - (select max(close) from candles), 5) as e from candles where symbol = 'AAPL'",
        "select symbol, ts, ema(close - (select max(close) from candles), 5) as e,
                close > (select min(e) from (select ema(close + (select max(volume) from candles), 3) as e from candles where symbol = 'A')) as b
         from candles where symbol < 'AB'",
        "select symbol, ts, sma(close / (select max(close) from candles), 3)@1w as w from candles where symbol = 'AAPL'",
    ] {
        travels(text, &Params::default(), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_are_asked_once_however_often_a_plan_travels() {
    let text = "select a.symbol, count(*) n from candles a join candles b on a.symbol = b.symbol and a.ts < b.ts and a.close > 2 * b.close
                where a.symbol < 'AB' group by a.symbol";
    let (here, there) = (session_of(&settings()).await, session_of(&settings()).await);
    let plan = here.plan(here.sql(text).await.unwrap()).await.unwrap();
    let theirs = read(&there, written(&here, &plan).await).await;
    let yields = |plan| tree(plan).matches("CooperativeExec").count();
    assert_eq!((yields(&theirs), tree(&theirs)), (yields(&plan), tree(&plan)));
    // Whoever waits for the plan that was read can end it.
    let mut stream = Box::pin(there.execute(theirs).unwrap());
    assert!(stream.next().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_expressions_travel() {
    let conditions = |with: &str| (0..499).map(|i| format!("close > open + {i}")).collect::<Vec<_>>().join(with);
    let arithmetic = (0..20).fold("close".to_string(), |inner, i| format!("({inner} * 1.001 + {i})"));
    let cases = (0..15).fold("0".to_string(), |inner, i| format!("case when close > {i} then {inner} else {i} end"));
    for text in [
        format!("select count(*) from candles where {}", conditions(" and ")),
        format!("select count(*) from candles where {}", conditions(" or ")),
        format!("select symbol, ts, ema({arithmetic}, 3) from candles where symbol = 'AAPL'"),
        format!("select symbol, ts, {cases} as c from candles where symbol = 'AAPL'"),
    ] {
        travels(&text, &Params::default(), 1).await;
    }
}

/// DataFusion writes a chain that leans to the left in one message; one that leans to the right is as deep as it is long.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_within_conditions_travel() {
    let (here, there) = (session_of(&settings()).await, session_of(&settings()).await);
    let bars = here.plan(here.sql("select close from candles where symbol = 'AAPL'").await.unwrap()).await.unwrap();
    let schema = bars.schema();
    let close = || col("close", &schema).unwrap();
    let mut condition = binary(close(), Operator::Gt, lit(100.0), &schema).unwrap();
    for i in 0..500 {
        let (compare, join) = [(Operator::Gt, Operator::And), (Operator::Lt, Operator::Or)][i % 2];
        let one = binary(close(), compare, lit(i as f64 / 10.0), &schema).unwrap();
        condition = binary(one, join, condition, &schema).unwrap();
    }
    let plan: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(condition, bars).unwrap());
    is_carried(&here, &there, &plan, "conditions within conditions").await;
}

/// A sort that keeps few rows tells the scan below it which rows it can no longer use. So it does where the plan was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_filter_remains_one() {
    let text = "select symbol, ts, volume from candles order by volume desc limit 3";
    let (here, there) = (session_of(&settings()).await, session_of(&settings()).await);
    let plan = here.plan(here.sql(text).await.unwrap()).await.unwrap();
    let read = read(&there, written(&here, &plan).await).await;
    for (session, plan) in [(&here, plan), (&there, read)] {
        let context = session.context().task_ctx();
        let run = Arc::clone(&plan);
        let work = async move { execute_stream(run, context)?.try_collect::<Vec<_>>().await };
        session.engine().run(work).await.unwrap().unwrap();
        let text = tree(&plan);
        let scan = text.lines().find(|line| line.contains("DataSourceExec")).unwrap();
        assert!(scan.contains("DynamicFilter [ volume@"), "{text}");
    }
}
