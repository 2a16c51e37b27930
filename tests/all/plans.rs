//! Plans that must stay as they are.

use crate::common::{plan, query, session};
use tallow_engine::reach::reach;
use tallow_udfs::series::Reach;

#[tokio::test(flavor = "multi_thread")]
async fn indicators_over_a_sorted_file_need_one_pass() {
    let plan = plan(
        &session().await,
        "select sum(a), sum(b), sum(c) from (select rsi(14) a, atr(14) b, bbands(20).upperband c from candles)",
    )
    .await;
    for unrequested in ["SortExec", "RepartitionExec", "WindowAggExec", "SortPreservingMergeExec"] {
        assert!(!plan.contains(unrequested), "{plan}");
    }
    assert_eq!(plan.matches("SeriesExec").count(), 1, "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_struct_used_for_two_fields_is_one_call_that_computes_two() {
    let plan = plan(&session().await, "select macd(12, 26, 9).macd, macd(12, 26, 9).macdhist from candles").await;
    assert!(plan.contains("SeriesExec: [macd(close@2, 12, 26, 9).{macd, macdhist}]"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_seen_through_aggregates_sorts_and_limits() {
    let session = session().await;
    let inner = "select symbol, ts, macd(12, 26, 9) as m from candles";
    for outer in [
        "select sum(m.macd) from (INNER)",
        "select symbol, max(m.macd) from (INNER) group by symbol",
        "select count(*) filter (where m.macd > 0) from (INNER)",
        "select array_agg(symbol order by m.macd) from (INNER)",
        "select m.macd from (INNER order by symbol, m.macd limit 9)",
        "select count(*) from (INNER) group by m.macd > 0",
    ] {
        let plan = plan(&session, &outer.replace("INNER", inner)).await;
        assert!(plan.contains("SeriesExec: [macd(close@2, 12, 26, 9).{macd}]"), "{outer}\n{plan}");
    }
    let whole = plan(&session, &format!("select count(distinct m), sum(m.macd) from ({inner})")).await;
    assert!(whole.contains("SeriesExec: [macd(close@2, 12, 26, 9)]"), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_struct_computes_all_fields() {
    let plan = plan(&session().await, "select macd(12, 26, 9) from candles").await;
    assert!(plan.contains("SeriesExec: [macd(close@2, 12, 26, 9)]"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_different_frames_share_one_pass() {
    let plan = plan(
        &session().await,
        "select rsi(14), lag(close, 1), avg(close) over (partition by symbol order by ts rows 4 preceding) from candles",
    )
    .await;
    assert_eq!(plan.matches("SeriesExec").count(), 1, "{plan}");
    assert!(!plan.contains("WindowAggExec") && !plan.contains("SortExec"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_distinct_nested_call_is_computed_once() {
    let plan = plan(&session().await, "select sma(rsi(14), 5), ema(rsi(14), 5), rsi(14) from candles").await;
    assert_eq!(plan.matches("rsi(close@").count(), 1, "{plan}");
    assert_eq!(plan.matches("SeriesExec").count(), 2, "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cross_sections_are_left_to_datafusion() {
    let plan = plan(&session().await, "select rank() over (partition by ts order by close desc) from candles").await;
    assert!(!plan.contains("rsi"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_rows_of_an_ordered_input_may_have_a_limit() {
    let sql = "select distinct symbol, rank() over (partition by symbol order by ts) as place
               from candles left join candles as other using (symbol, ts) limit 5";
    assert_eq!(query(&session().await, sql).await.num_rows(), 5);
}

async fn reach_of(sql: &str) -> (Vec<Reach>, Reach) {
    let session = session().await;
    let frame = session.sql(sql).await.unwrap();
    let plan = session.context().state().optimize(frame.logical_plan()).unwrap();
    let reach = reach(&plan);
    (reach.columns.iter().map(|(_, r)| r.furthest()).collect(), reach.rows.furthest())
}

#[tokio::test(flavor = "multi_thread")]
async fn reach_adds_up_through_nesting_and_shows_the_future() {
    let (columns, rows) = reach_of(
        "select close, sma(20), sma(sma(10), 5), lag(sma(10), 3), lead(close, 2), obv(), \
         avg(close) over (partition by symbol order by ts rows between 4 preceding and 1 following), \
         rank() over (partition by ts order by close) from candles",
    )
    .await;
    let ahead = |n| Reach { ahead: tallow_udfs::series::Bars::Count(n), ..Reach::NONE };
    assert_eq!(columns[0], Reach::NONE);
    assert_eq!(columns[1], Reach::back(19));
    assert_eq!(columns[2], Reach::back(9 + 4));
    assert_eq!(columns[3], Reach::back(9 + 3));
    assert_eq!(columns[4], ahead(2));
    assert_eq!(columns[5], Reach::history());
    assert_eq!(columns[6], Reach { ahead: tallow_udfs::series::Bars::Count(1), ..Reach::back(4) });
    assert_eq!(columns[7], Reach::NONE);
    assert_eq!(rows, Reach::NONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_reaches_as_far_as_what_it_compares() {
    let (columns, rows) = reach_of("select symbol from candles qualify close > lag(highest(high, 10), 1)").await;
    assert_eq!(columns[0], Reach::NONE);
    assert_eq!(rows, Reach::back(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_that_a_case_leaves_out_are_not_counted() {
    use tallow_udfs::series::Bars;
    let (columns, _) = reach_of(
        "select lag(close), lag(close, 3), lag(case when close > open then close end, 2) as sparse, \
         sma(case when close > open then close else null end, 2) as average, \
         lead(case when close > open then close end, 2) as ahead, \
         lag(case when close > open then close else open end, 2) as dense, \
         case when lag(close, 2) > 1 then close end as beside, \
         lag(case when close > open then close end, 2) over (partition by symbol order by ts) as rows from candles",
    )
    .await;
    assert_eq!((columns[0], columns[1]), (Reach::back(1), Reach::back(3)));
    assert_eq!(columns[2], Reach::history());
    assert_eq!(columns[3], Reach::history());
    assert_eq!((columns[4].back, columns[4].ahead), (Bars::Count(0), Bars::Unbounded));
    assert_eq!((columns[5], columns[6]), (Reach::back(2), Reach::back(2)));
    // That of SQL counts rows.
    assert_eq!(columns[7], Reach::back(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_row_before_is_not_the_bar_before_reach_is_not_bounded() {
    use tallow_udfs::series::Bars;
    for text in [
        "select symbol, ts, sma(5) from (select * from candles where extract(dow from ts) = 1)",
        "select symbol, ts, rank() over (partition by symbol order by close) from candles",
        "select a.symbol as symbol, a.ts as ts, b.close from candles a join candles b on a.symbol = b.symbol and b.ts = a.ts - interval '7 days'",
        "select a.symbol as symbol, a.ts as ts, b.close from candles a asof join candles b match_condition (a.ts > b.ts) on a.symbol = b.symbol",
        "select symbol, date_trunc('month', ts) as ts, max(high) from candles group by 1, 2",
    ] {
        let (columns, _) = reach_of(text).await;
        assert_eq!(columns[2].back, Bars::Unbounded, "{text}");
    }
    let (columns, _) =
        reach_of("select symbol, ts, lag(close, 2) over (partition by symbol order by ts desc) from candles").await;
    assert_eq!((columns[2].back, columns[2].ahead), (Bars::Count(0), Bars::Count(2)));
    let (columns, _) =
        reach_of("select symbol, ts, sma(5) from candles where ts >= '2016-01-01' and symbol in ('A', 'IT')").await;
    assert_eq!(columns[2], Reach::back(4));
}
