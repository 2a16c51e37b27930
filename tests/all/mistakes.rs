//! What users get wrong, and what they are told. The messages are pinned in `snapshots/`.

use crate::common::{session, try_query};

const MISTAKES: [&str; 27] = [
    // Unknown names, each with its neighbour.
    "select smaa(close, 20) from candles",
    "select rsi(clsoe, 14) from candles",
    "select rsi(14) from candels",
    "select macd(12, 26, 9).histogram from candles",
    "select rsi(close, period => 14) from candles",
    // Arguments.
    "select rsi(close, 14, 3) from candles",
    "select rsi(close, 0) from candles",
    "select rsi(close, volume) from candles",
    "select rsi(close, 'fast') from candles",
    "select sma(close) from candles",
    "select atr(high, low) from candles",
    "select beta(20) from candles",
    "select bbands(close, 20, matype => 'simple') from candles",
    "select rsi(symbol, 14) from candles",
    "select bars_since(close) from candles",
    // Windows.
    "select rsi(close, 14) over (partition by symbol order by ts desc) from candles",
    "select rsi(close, 14) over (partition by symbol order by ts rows 10 preceding) from candles",
    "select rsi(close, 14) over (order by ts) from candles",
    "select rsi(close, 14) over w from candles",
    "select lag(close, -1) from candles",
    "select symbol from candles where rsi(14) < 30",
    "select symbol, avg(rsi(14)) from candles group by symbol",
    "select symbol from candles where close > (select max(close) from candles_4h) and lag(close) > 1",
    // Places.
    "select rsi(14) from 'nowhere/*.parquet'",
    "select bar_floor(ts, '7m') from candles",
    // The text itself.
    "select rsi(14 from candles",
    "select rsi(14) from candles where close > :level",
];

#[tokio::test(flavor = "multi_thread")]
async fn messages_worth_reading() {
    let session = session().await;
    let mut said = String::new();
    for sql in MISTAKES {
        let error = try_query(&session, sql).await.err().unwrap_or_else(|| panic!("no error: {sql}"));
        let error = error.to_string().replace(env!("CARGO_MANIFEST_DIR"), ".");
        said += &format!("> {sql}\n{error}\n\n");
    }
    insta::assert_snapshot!("mistakes", said);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_problems_of_a_text_are_told_at_once() {
    let sql =
        "select smaa(20),\n       rsi(clsoe, 14)\nfrom candles\nqualify rsi(close, 0) < (select max(x) from nowhere)";
    let error = try_query(&session().await, sql).await.unwrap_err().to_string();
    for part in [
        "unknown function `smaa`",
        "unknown column `clsoe`",
        "line 2, column 12",
        "`timeperiod` of rsi is 0",
        "line 4",
        "unknown table `nowhere`",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    let mut said = String::new();
    for (name, content) in [
        ("empty.parquet", &b""[..]),
        ("noise.parquet", b"this is no parquet file at all"),
        ("empty.csv", b""),
        ("header_only.csv", b"symbol,ts,open,high,low,close,volume\n"),
        ("text.csv", b"symbol,ts,close\nA,2024-01-02,1.5\nA,2024-01-03,unknown\n"),
        ("no_time.csv", b"symbol,close\nA,1.5\n"),
        ("american.csv", b"Date,Close\n01/31/2024,1.5\n"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let outcome = match try_query(&session, &format!("select symbol, ts, rsi(14) from '{}'", path.display())).await
        {
            Ok(batch) => format!("{} rows", batch.num_rows()),
            Err(error) => error.to_string(),
        };
        let folder = folder.path().display().to_string();
        said += &format!("> {name}\n{}\n\n", outcome.replace(&folder, ".").replace(&folder[1..], "."));
    }
    insta::assert_snapshot!("broken_files", said);
}

/// In a session without the dialect, misuse is found by the functions themselves.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "somebody else's session")]
async fn a_foreign_session_is_told_what_to_write() {
    let foreign = datafusion::prelude::SessionContext::new();
    tallow_udfs::register_all(&mut foreign.clone()).unwrap();
    foreign.register_batch("candles", crate::common::batch(&crate::common::walk(&["A"], 5))).unwrap();
    let mut said = String::new();
    for sql in [
        "select rsi(close, 14) from candles",
        "select rsi(close, 14) over (order by ts) from candles",
        "select rsi(close, 14) over (partition by symbol) from candles",
        "select rsi(close, 14) over (partition by symbol order by ts desc) from candles",
        "select rsi(close, 14) over (partition by symbol order by ts rows 3 preceding) from candles",
        "select rsi(close, volume) over (partition by symbol order by ts) from candles",
        "select rsi(close, 1) over (partition by symbol order by ts) from candles",
        "select rsi(symbol, 14) over (partition by symbol order by ts) from candles",
        "select atr(close, 14) over (partition by symbol order by ts) from candles",
    ] {
        let error = match foreign.sql(sql).await {
            Ok(frame) => frame.collect().await.unwrap_err(),
            Err(error) => error,
        };
        // DataFusion guesses a name; which of several equally near ones differs from run to run.
        let message = tallow::Error::from(error).to_string();
        let message = message.split("\nDid you mean").next().unwrap_or_default();
        said += &format!("> {sql}\n{message}\n\n");
    }
    insta::assert_snapshot!("foreign", said);
}
