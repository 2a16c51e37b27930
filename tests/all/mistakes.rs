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
async fn slips_are_told_with_their_place_and_what_to_write() {
    let session = session().await;
    for (sql, message, help) in [
        ("select symbol, count(*) from candles", "`symbol` is neither grouped by nor inside", "add GROUP BY symbol"),
        ("select c.symbol, c.ts, max(c.close) from candles c group by 1", "`c.ts` is neither", "as max(c.ts)"),
        (
            "select ts from candles a join candles b on a.symbol = b.symbol",
            "`ts` is a column of a and b",
            "a.ts or b.ts",
        ),
        ("select symbol from candles c where c.clsoe > 1", "`c` has no column `clsoe`", "did you mean `close`?"),
        (
            "select close * 2 as x from candles where x > 5",
            "`x` names a result",
            "QUALIFY instead of WHERE, or `close * 2`",
        ),
        ("select rsi(14) as r from candles where r < 30", "`r` names a result", "write QUALIFY instead of WHERE"),
        ("select * from candles where ts > '07/02/2018'", "'07/02/2018' is no time", "'2018-02-07' or '2018-07-02'"),
        ("select * from candles where ts between '2018-2-7' and '2018-03-01'", "'2018-2-7' is no time", "'2018-02-07'"),
        ("select * from candles where ts >= 2018-02-07", "`2018-02-07` without quotes is arithmetic", "'2018-02-07'"),
        ("select * from candles where 2018 < ts", "compared with the number 2018", "write '2018-01-01'"),
        ("select * from candles where ts > timestamp '7 Feb 2018'", "is no time", "write '2018-02-07'"),
        ("select close[1] from candles", "one number for every bar, no list", "lag(close, 1)"),
        ("select c.close[2] from candles c", "one number for every bar, no list", "lag(c.close, 2)"),
        ("select * from data/x.parquet", "the path of a file stands in quotes: 'data/x.parquet'", ""),
        ("select * from data/*.parquet", "stands in quotes: 'data/*.parquet'", ""),
        ("select * from prices.csv where close > 1", "stands in quotes: 'prices.csv'", ""),
        (
            "select count(*) from candles qualify rsi(14) < 30",
            "`count(*)` is computed before QUALIFY looks at rsi",
            "select count(*) from (select * from .. qualify rsi(..) ..)",
        ),
        ("select * from candles where close > 1 && volume > 1", "`&&` is no operator here", "write `and`"),
        (
            "select symbol from candles qualify rsi < 30",
            "unknown column `rsi`",
            "needs parentheses: `rsi(14)` or `rsi()`",
        ),
    ] {
        let error = try_query(&session, sql).await.err().unwrap_or_else(|| panic!("no error: {sql}"));
        let tallow::Error::Text(problems) = &error else { panic!("{sql}: {error}") };
        let [problem] = problems.list.as_slice() else { panic!("{sql}: {error}") };
        assert!(problem.message.contains(message), "{sql}: {error}");
        assert!(problem.help.as_deref().unwrap_or_default().contains(help), "{sql}: {error}");
        assert!(problem.place.is_some(), "{sql}: {error}");
    }
}

/// What only DataFusion finds, and says of itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_users_mistake_is_no_bug_of_the_engine() {
    let session = session().await;
    for (sql, said) in [
        ("select * from candles where ts between '2018-01-01' and close", "BETWEEN compares a time with a number"),
        ("select symbol, close + 1, count(*) from candles group by symbol", "`candles.close` is neither grouped by"),
        ("select sum(symbol) from candles", "sum cannot be called with a text"),
        ("select close + symbol from candles", "`+` of a number and a text: expected numbers"),
        ("select * from candles where close = 'abc'", "'abc' is not a number"),
        ("select * from candles where bar_floor(ts, '1d') > '2018-2-7'", "'2018-2-7' is no time: write '2018-02-07'"),
        ("select * from candles where ts > interval '1 day'", "`>` compares a time with an interval"),
    ] {
        let error = try_query(&session, sql).await.err().unwrap_or_else(|| panic!("no error: {sql}")).to_string();
        assert!(error.contains(said), "{sql}: {error}");
        assert!(!error.contains("bug") && !error.contains("Internal error"), "{sql}: {error}");
    }
}

async fn warned(session: &tallow::Session, sql: &str) -> Vec<(String, Option<String>)> {
    let parsed = session.parse(sql, &Default::default()).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    parsed.warnings.list.into_iter().map(|w| (w.message, w.help)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbol_that_no_table_holds_is_told_with_the_nearest_one() {
    let session = session().await;
    let said = |symbol: &str, near: Option<&str>| {
        let help = near.map(|near| format!("did you mean `{near}`?"));
        vec![(format!("no symbol '{symbol}' in candles"), help)]
    };
    for (sql, want) in [
        ("select * from candles where symbol = 'aapl'", said("aapl", Some("AAPL"))),
        ("select * from candles c where 'APPL' = c.symbol and close > 1", said("APPL", Some("AAPL"))),
        ("select * from candles where symbol in ('MSFT', 'brk.b')", said("brk.b", Some("BRK.B"))),
        ("select rsi(14) from candles qualify symbol = 'NOSUCHSYMBOL' and rsi(14) < 30", said("NOSUCHSYMBOL", None)),
        ("select * from candles where symbol = 'AAPL'", vec![]),
        ("select * from candles where symbol <> 'aapl'", vec![]),
        ("select * from candles where symbol = ''", vec![]),
        // Not the symbol of a table.
        ("select * from (select 'MARKET' as symbol from candles) where symbol = 'MARKET'", vec![]),
        (
            "select 1 from candles a join candles_4h b on a.symbol = b.symbol where b.symbol in ('AAPL', 'EURUSD')",
            vec![],
        ),
    ] {
        assert_eq!(warned(&session, sql).await, want, "{sql}");
    }
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
