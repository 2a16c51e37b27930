//! What the dialect makes of a text.

use crate::common::{assert_close, batch, numbers, query, session, try_query, walk};
use tallow::Params;

async fn rewritten(sql: &str) -> String {
    let parsed = session().await.parse(sql, &Params::default()).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    parsed.statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

const OVER: &str = "OVER (PARTITION BY symbol ORDER BY ts)";

#[tokio::test(flavor = "multi_thread")]
async fn series_parameters_and_window_are_completed() {
    for (typed, call) in [
        ("rsi(14)", "rsi(close, 14)"),
        ("rsi()", "rsi(close)"),
        ("RSI(Close, 9)", "rsi(Close, 9)"),
        ("atr(14)", "atr(high, low, close, 14)"),
        ("obv()", "obv(close, volume)"),
        ("macd(signalperiod => 5)", "macd(close, 12, 26, 5)"),
        ("bbands(20, matype => 'ema')", "bbands(close, 20, 2, 2, 'ema')"),
        ("average(20)", "sma(close, 20)"),
        ("ta_sma(close, 20)", "sma(close, 20)"),
        ("highest(high, 20)", "ta_max(high, 20)"),
        ("max(high, 20)", "ta_max(high, 20)"),
        ("std(close, 20)", "ta_stddev(close, 20)"),
        ("heikin_ashi()", "ha(open, high, low, close)"),
        ("lag(close, 2)", "lag_bars(close, 2)"),
        ("LEAD(close)", "lead_bars(close)"),
        ("lag(close, offset => 2)", "lag_bars(close, offset => 2)"),
        ("psar()", "sar(high, low)"),
        ("zscore(20)", "z_score(close, 20)"),
        ("uo()", "ultosc(high, low, close)"),
        ("rsi(c, 14)", "rsi(close, 14)"),
    ] {
        let want = format!("SELECT {call} {OVER} AS v FROM candles");
        assert_eq!(rewritten(&format!("select {typed} as v from candles")).await, want, "{typed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unaliased_results_keep_the_name_they_were_typed_with() {
    let session = session().await;
    let result = query(&session, "select rsi(14), macd(12,26,9).macdhist, close * 2, c from candles limit 1").await;
    let names: Vec<_> = result.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["rsi(14)", "macd(12, 26, 9).macdhist", "close * 2", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn named_windows_work_everywhere() {
    let session = session().await;
    let named = "select symbol, ts from candles window w as (partition by symbol order by ts) \
                 qualify rsi(close, 14) over w < 20 order by symbol, ts";
    let plain = "select symbol, ts from candles qualify rsi(14) < 20 order by symbol, ts";
    assert_eq!(query(&session, named).await, query(&session, plain).await);
}

/// Bars of two symbols, some of which have no close.
fn holed() -> arrow::array::RecordBatch {
    use arrow::array::{ArrayRef, BooleanArray};
    let bars = walk(&["A", "B"], 40);
    let (whole, schema) = (batch(&bars), batch(&bars).schema());
    let holes = BooleanArray::from_iter(bars.iter().map(|(_, day, _)| Some(day % 7 == 3 || day % 11 == 5)));
    let columns = schema.fields().iter().zip(whole.columns()).map(|(field, column)| {
        let column: ArrayRef = match field.name().as_str() {
            "close" => arrow::compute::nullif(column, &holes).unwrap(),
            _ => column.clone(),
        };
        (field.name().clone(), column)
    });
    arrow::array::RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)).collect::<Vec<_>>())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_passes_over_bars_without_a_value_and_that_of_sql_counts_rows() {
    let session = session().await;
    session.context().register_batch("bars", holed()).unwrap();
    let got = query(
        &session,
        "select symbol, ts, close, lag(close, 1) as ours, close - mom(close, 1) as by_mom, lead(close, 2) as ahead, \
         lag(close, 1) over (partition by symbol order by ts) as by_rows, lag(close, 1) ignore nulls as ignored, \
         lag(close > open, 1) as up, lag(symbol, 1) as name, lag(close, 1, -1) as or_else \
         from bars order by symbol, ts",
    )
    .await;
    let [close, ours, ahead, by_rows] = ["close", "ours", "ahead", "by_rows"].map(|c| numbers(&got, c));
    assert_close(&ours, &numbers(&got, "by_mom"), "as mom has it");
    let is_default: Vec<_> = numbers(&got, "or_else").iter().map(|v| *v == -1.0).collect();
    let mut told = [0; 3];
    for symbol in [0..40, 40..80] {
        let valid: Vec<usize> = symbol.clone().filter(|&i| !close[i].is_nan()).collect();
        for i in symbol.clone() {
            let at = valid.iter().position(|&v| v == i);
            let before = at.and_then(|at| Some(close[valid[at.checked_sub(1)?]]));
            let after = at.and_then(|at| Some(close[*valid.get(at + 2)?]));
            assert_eq!(ours[i].is_nan(), before.is_none(), "row {i}");
            assert!(before.is_none_or(|b| b == ours[i]), "row {i}");
            assert!(after.is_none_or(|a| a == ahead[i]) && ahead[i].is_nan() == after.is_none(), "row {i}");
            // The first bar with a close has none before.
            assert_eq!(is_default[i], at == Some(0), "row {i}");
            let row_before = if i == symbol.start { f64::NAN } else { close[i - 1] };
            assert!(by_rows[i] == row_before || by_rows[i].is_nan() && row_before.is_nan(), "row {i}");
            told[0] += usize::from(before.is_some());
            told[1] += usize::from(by_rows[i].is_nan());
            told[2] += usize::from(ours[i] != by_rows[i] && !ours[i].is_nan());
        }
    }
    assert!(told.iter().all(|n| *n > 5), "{told:?}");
    let rewritten = rewritten("select lag(close, 1) ignore nulls as v from candles").await;
    assert!(rewritten.contains("lag(close, 1)") && !rewritten.contains("lag_bars"), "{rewritten}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagged_result_is_named_as_it_was_typed() {
    let session = session().await;
    let result = query(&session, "select lag(close, 1), lead(rsi(14)) from candles limit 1").await;
    let names: Vec<_> = result.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["lag(close, 1)", "lead(rsi(14))"]);
    let grouped = try_query(&session, "select symbol, avg(lag(close)) from candles group by symbol").await.unwrap_err();
    assert!(grouped.to_string().starts_with("lag cannot stand inside the aggregate avg"), "{grouped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn timeframes_go_by_their_usual_names_and_by_any_length() {
    let session = session().await;
    let same = async |a: &str, b: &str| {
        let rows = |name: &str| format!("select * from candles('{name}', from => '4h') order by symbol, ts");
        let (a, b) = (query(&session, &rows(a)).await, query(&session, &rows(b)).await);
        assert!(a.num_rows() > 100);
        assert_eq!(a, b);
    };
    same("W", "1w").await;
    same("daily", "1d").await;
    same("720min", "12h").await;
    let sql = "select count(*) as n, count(*) filter (where a is distinct from b) as different from \
               (select close@weekly as a, close@1w as b from candles where symbol < 'B')";
    let got = query(&session, sql).await;
    assert!(numbers(&got, "n")[0] > 10_000.0);
    assert_eq!(numbers(&got, "different")[0], 0.0);
    // Two days are counted from 1970-01-01, which the number of the day tells.
    let sql = "select count(*) as n, count(*) filter (where (m.high is distinct from b.high) or m.ts <> b.ts) as different from \
               (select symbol, ts, high from candles('2d') where symbol = 'AAPL') m join \
               (select symbol, to_timestamp_seconds(floor(date_part('epoch', ts) / 172800) * 172800) as ts, max(high) as high \
                from candles where symbol = 'AAPL' group by 1, 2) b on m.symbol = b.symbol and m.ts = b.ts";
    let got = query(&session, sql).await;
    assert!(numbers(&got, "n")[0] > 600.0, "{got:?}");
    assert_eq!(numbers(&got, "different")[0], 0.0);
    let error = try_query(&session, "select * from candles('5h')").await.unwrap_err().to_string();
    assert!(error.contains("divide a day (45m, 3h), or days (2d)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn qualify_without_a_series_knows_the_names_of_results() {
    let session = session().await;
    for (qualify, plain) in [
        (
            "select symbol, ts, close * 2 as twice from candles qualify twice > 2000 order by symbol, ts",
            "select symbol, ts, close * 2 as twice from candles where close * 2 > 2000 order by symbol, ts",
        ),
        (
            "select symbol, count(*) as n from candles group by symbol qualify n < 1000 order by symbol",
            "select symbol, count(*) as n from candles group by symbol having count(*) < 1000 order by symbol",
        ),
    ] {
        let (got, want) = (query(&session, qualify).await, query(&session, plain).await);
        assert!(want.num_rows() > 0);
        assert_eq!(got, want, "{qualify}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_take_long_to_plan_is_refused() {
    let session = session().await;
    let chain = vec!["close"; 1_000].join(" + ");
    let conditions = vec!["close > 1"; 1_000].join(" or ");
    let unions = vec!["select symbol from candles"; 600].join(" union all ");
    let mut doubled = "with t0 as (select symbol, ts, close from candles)".to_string();
    for i in 1..30 {
        doubled += &format!(", t{i} as (select a.symbol, a.ts, a.close from t{0} a join t{0} b on a.ts = b.ts)", i - 1);
    }
    for (sql, said) in [
        (format!("select {chain} from candles"), "999 operations within each other: expected at most 200"),
        (format!("select symbol from candles where {conditions}"), "999 times and, or within each other"),
        (unions, "600 SELECTs in one statement: expected at most 300"),
        (format!("{doubled} select * from t29"), "tables are read 536870912 times: expected at most 1000"),
    ] {
        let error = try_query(&session, &sql).await.unwrap_err().to_string();
        assert!(error.contains(said), "{}", &error[..error.len().min(300)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_nest_in_any_place() {
    let session = session().await;
    session.context().register_batch("bars", batch(&walk(&["A", "B"], 80))).unwrap();
    let nested = query(
        &session,
        "select symbol, ts, sma(rsi(close, 5) * 2, 4) v, lag(highest(sma(3), 5), 2) w from bars \
         qualify sma(rsi(close, 5), 4) > 10 order by symbol, ts",
    )
    .await;
    let layered = query(
        &session,
        "with a as (select symbol, ts, rsi(close, 5) * 2 r2, rsi(close, 5) r, sma(3) s from bars), \
         b as (select *, sma(r2, 4) v, sma(r, 4) q, highest(s, 5) h from a), \
         c as (select *, lag(h, 2) w from b) \
         select symbol, ts, v, w from c where q > 10 order by symbol, ts",
    )
    .await;
    assert!(nested.num_rows() > 100);
    assert_close(&numbers(&nested, "v"), &numbers(&layered, "v"), "v");
    assert_close(&numbers(&nested, "w"), &numbers(&layered, "w"), "w");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_keeps_its_tables_apart() {
    let session = session().await;
    session.context().register_batch("bars", batch(&walk(&["A", "B"], 40))).unwrap();
    let joined = query(
        &session,
        "select a.symbol, a.ts, rsi(a.close, 5) ra, sma(rsi(a.close, 5), 3) sa \
         from bars a join bars b on a.symbol = b.symbol and a.ts = b.ts order by 1, 2",
    )
    .await;
    let alone =
        query(&session, "select symbol, ts, rsi(close, 5) ra, sma(rsi(close, 5), 3) sa from bars order by 1, 2").await;
    assert_close(&numbers(&joined, "ra"), &numbers(&alone, "ra"), "rsi");
    assert_close(&numbers(&joined, "sa"), &numbers(&alone, "sa"), "nested");
}

#[tokio::test(flavor = "multi_thread")]
async fn division_by_zero_is_null_and_a_struct_compares_its_first_field() {
    let session = session().await;
    let result = query(&session, "select 1 / (close - close) z, close / 2 h from candles limit 1").await;
    assert!(numbers(&result, "z")[0].is_nan());
    assert!(numbers(&result, "h")[0] > 0.0);
    let bare = query(&session, "select count(*) n from (select 1 from candles qualify macd(12, 26, 9) > 0)").await;
    let field =
        query(&session, "select count(*) n from (select 1 from candles qualify macd(12, 26, 9).macd > 0)").await;
    assert_eq!(numbers(&bare, "n"), numbers(&field, "n"));
    assert_eq!(rewritten("select log(close) v from candles").await, "SELECT ln(close) AS v FROM candles");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_filled_in() {
    let session = session().await;
    let mut params = Params::default();
    params.set("period", "14");
    params.set("symbol", "AAPL");
    let sql = "select count(*) n from (select rsi(:period) r from candles where symbol = :symbol) where r is not null";
    let frame = session.sql_with(sql, &params).await.unwrap();
    let batches = session.collect(frame).await.unwrap();
    assert_eq!(numbers(&batches[0], "n"), [1259.0 - 14.0]);
    assert!(try_query(&session, sql).await.unwrap_err().to_string().contains("`:period` has no value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_sql_stays_ordinary() {
    let session = session().await;
    for sql in [
        "select symbol, max(close), min(low), count(*) from candles group by symbol having max(close) > 500 order by 2 desc limit 3",
        "select date_trunc('month', ts) m, avg(close) from candles where symbol = 'AAPL' group by date_trunc('month', ts) order by m",
        "select * from (values (1, 'a'), (2, 'b')) t(x, y) where x in (select 1)",
        "with t as (select symbol s, close from candles limit 10) select s, sum(close) over (partition by s) from t",
        "select case when close > open then 'up' else 'down' end d, count(*) from candles group by d",
        "select a.symbol from candles a where exists (select 1 from candles_4h b where b.symbol = a.symbol)",
        "select count(*) filter (where close > open) from candles",
        "explain select rsi(14) from candles",
        "show tables",
        "select * from system.functions where name = 'rsi'",
        "select bar_floor(ts, '1mo') m, candle_open(candlestick(ts, open, high, low, close, volume)) o from candles where symbol = 'AAPL' group by m order by m",
        "select first_value(close) over (partition by symbol order by ts) from candles limit 1",
        "select extract(year from ts) y, interval '1 day' d, current_date from candles limit 1",
        "select symbol from candles union all select symbol from candles_4h order by symbol limit 3",
    ] {
        query(&session, sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_texts_are_refused_quickly() {
    let session = session().await;
    let deep = format!("select {}1{} from candles", "(".repeat(10_000), ")".repeat(10_000));
    assert!(try_query(&session, &deep).await.unwrap_err().to_string().contains("nested too deeply"));
    assert!(try_query(&session, "").await.is_err());
    assert!(try_query(&session, "select 'ü' from").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signs_of_formulas_leave_other_sql_alone() {
    let session = session().await;
    for (sql, column, want) in [
        ("select close > 0 as crosses_above from candles limit 1", "crosses_above", 1.0),
        ("with crosses_below as (select 3 as n) select n from crosses_below", "n", 3.0),
        ("select [1, 2, 3, 4][2:3][1] as v", "v", 2.0),
        ("select v[1 :n][2] as x from (select [5, 6, 7] as v, 2 as n)", "x", 6.0),
        ("select length('a@1d :x crosses_above ::@1w') as n", "n", 27.0),
        ("select count(*) as n from candles qualify symbol = 'AAPL'", "n", 1259.0),
        ("select cast('7' as bigint)::double as v", "v", 7.0),
        ("select -:n as v", "v", 2.0),
    ] {
        let mut params = Params::default();
        params.set("n", "-2");
        let params = if sql.contains("-:n") { params } else { Params::default() };
        let frame = session.sql_with(sql, &params).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
        let batches = session.collect(frame).await.unwrap();
        assert_eq!(numbers(&batches[0], column)[0], want, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_query_is_a_table() {
    let session = session().await;
    let sql = "select count(*) as n, max(rsi) as most from query('rsi_oversold', level => 25)";
    let rows = query(&session, sql).await;
    assert!(numbers(&rows, "n")[0] > 5.0 && numbers(&rows, "most")[0] < 25.0);
    for (sql, said) in [
        ("select * from query('rsi_oversolt')", "did you mean `rsi_oversold`?"),
        ("select * from query('rsi_oversold', levle => 25)", "level"),
        ("select * from query()", "query('name"),
    ] {
        let error = try_query(&session, sql).await.unwrap_err().to_string();
        assert!(error.contains(said), "{sql}: {error}");
    }
}
