//! `tallow check`: finds what looks ahead, and nothing else.

use crate::common::session;
use tallow::Params;
use tallow::pipeline::check::{Check, CheckOptions, CheckReport};
use tallow::pipeline::control::Control;

async fn report(text: &str, params: &Params) -> CheckReport {
    let session = session().await;
    let options = CheckOptions { cuts: 4, symbols: 15, timeframe: None };
    let check = Check { text: text.to_string(), params: params.clone(), options, ..Check::default() };
    check.run(&session, &Control::default()).await.unwrap_or_else(|e| panic!("{text}\n{e}"))
}

/// Ten ways to look ahead without saying so.
const LEAKS: [(&str, &str); 10] = [
    ("lead", "select symbol, ts, lead(close, 3) as x from candles"),
    (
        "a maximum over what follows",
        "select symbol, ts, max(close) over (partition by symbol order by ts rows between unbounded preceding and unbounded following) as x from candles",
    ),
    (
        "a bar of tomorrow in the frame",
        "select symbol, ts, avg(close) over (partition by symbol order by ts rows between 2 preceding and 1 following) as x from candles",
    ),
    (
        "normalising by the whole sample",
        "select symbol, ts, (close - avg(close) over (partition by symbol)) / stddev(close) over (partition by symbol) as x from candles",
    ),
    (
        "the sample's mean in a subquery",
        "select symbol, ts, close / (select avg(close) from candles) as x from candles",
    ),
    (
        "longer bars joined on their open",
        "select f.symbol as symbol, f.ts as ts, c.close as x from candles_4h f join candles('1d', from => '4h') c on f.symbol = c.symbol and c.ts = bar_floor(f.ts, '1d')",
    ),
    (
        "longer bars joined as of their open",
        "select f.symbol as symbol, f.ts as ts, c.close as x from candles_4h f asof join candles('1d', from => '4h') c match_condition (f.ts >= c.ts) on f.symbol = c.symbol",
    ),
    ("rows chosen by what follows", "select symbol, ts, close as x from candles qualify lead(close, 5) > close * 1.05"),
    (
        "a rank over all times",
        "select symbol, ts, percent_rank() over (partition by symbol order by close) as x from candles",
    ),
    (
        "adjusting backwards",
        "with later as (select symbol, max(ts) as last from candles group by symbol) select c.symbol as symbol, c.ts as ts, date_part('day', l.last - c.ts) as x from candles c join later l on c.symbol = l.symbol",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn planted_leaks_are_found() {
    for (what, text) in LEAKS {
        let found = report(text, &Params::default()).await;
        assert!(found.leaks(), "{what}: {found:#?}");
        let named = found.columns.iter().find(|c| c.changed > 0).unwrap_or_else(|| panic!("{what}: not by trying"));
        assert!(named.first.is_some() && named.looked >= 1, "{what}: {named:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_leak_looks_is_told() {
    let found = report(LEAKS[0].1, &Params::default()).await;
    let column = found.columns.iter().find(|c| c.name == "x").unwrap();
    assert_eq!((column.looked, column.declared.to_string().as_str()), (3, "3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_back_only_is_clean() {
    for text in [
        "rsi(14)",
        "close > sma(50) and crosses_above(close, sma(20))",
        "select symbol, ts, macd(12, 26, 9) as m, pivot_high(high, 3) as p, z_score(close, 20) as z from candles",
        "select f.symbol as symbol, f.ts as ts, c.close as x from candles_4h f asof join candles('1d', from => '4h') c match_condition (bar_end(f.ts, '4h') >= bar_end(c.ts, '1d')) on f.symbol = c.symbol",
        "select symbol, ts, nearest_support(levels, close) as s from label_path('4h', levels => 'auto', own_bars => true)",
        "select ts, count(*) filter (where close > average) as above from (select symbol, ts, close, sma(50) as average from candles) group by ts",
    ] {
        let found = report(text, &Params::default()).await;
        assert!(!found.leaks(), "{text}: {found:#?}");
        assert!(found.columns.iter().any(|c| c.compared > 0), "{text}: nothing was compared");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_named_query_is_what_it_says() {
    // A report on the past, not a query for decisions; and what is about matches, which the sample lake keeps none of.
    let reports = ["signal_calibration", "match_features", "match_targets"];
    let queries = tallow::named_queries(None).unwrap();
    for query in queries.iter().filter(|query| !reports.contains(&query.name.as_str())) {
        let name = &query.name;
        let params = query.complete(&Params::default()).unwrap();
        let found = report(&query.sql, &params).await;
        let is_label = name.starts_with("labels_") || name == "training_set";
        assert_eq!(found.leaks(), is_label, "{name}: {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_label_is_flagged() {
    for call in [
        "triple_barrier()",
        "path_labels()",
        "forward_return()",
        "return_quantile()",
        "meta_label(high, low, close, 1.0)",
    ] {
        let found = report(&format!("select symbol, ts, {call} as l from candles"), &Params::default()).await;
        assert!(found.leaks(), "{call}");
        assert!(found.columns.iter().any(|c| c.changed > 0), "{call}: not by trying");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_rows_of_a_bar_and_values_that_are_no_numbers_are_no_leaks() {
    for text in [
        "select symbol, ts, close as x from candles union all select symbol, ts, open from candles",
        "select symbol, ts, ln(close - 1e9) as x from candles",
        "select ts, close from candles",
        "/* a comment */ (select symbol, ts, close from candles)",
    ] {
        let found = report(text, &Params::default()).await;
        assert!(!found.leaks(), "{text}: {found:#?}");
    }
}
