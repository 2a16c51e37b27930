//! Histories of exchanges: what a mock that speaks their documented interfaces gives, is in the lake afterwards.

use crate::cli::text;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tallow::Control;
use tallow::pipeline::fetch::{Exchange, Fetch};

const HOUR: i64 = 3_600_000;
/// 2024-01-01, in milliseconds.
const LISTED: i64 = 1_704_067_200_000;

/// An answer: status, further headers, body.
type Answer = (u16, &'static str, String);

/// An HTTP server on this machine, and what it was asked for.
struct Mock {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mock {
    fn serve(answer: impl Fn(&str, &HashMap<String, String>, usize) -> Answer + Send + Sync + 'static) -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer, log) = (stream.unwrap(), Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let Some(Ok(first)) = lines.next() else { return };
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let target = first.split(' ').nth(1).unwrap_or("/").to_string();
                    let count = {
                        let mut log = log.lock().unwrap();
                        log.push(target.clone());
                        log.len()
                    };
                    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
                    let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                    let (status, headers, body) = answer(path, &pairs, count);
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
                        body.len()
                    );
                });
            }
        });
        Mock { base, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A bar of four hours: time, open, high, low, close, volume. All but the time is made of the number of the bar.
fn bar(number: i64) -> (i64, [f64; 5]) {
    let price = 100.0 + (number % 50) as f64;
    (LISTED + number * 4 * HOUR, [price, price + 2.0, price - 2.0, price + 1.0, 10.0 + number as f64])
}

/// The bars that begin from one time up to and with another, from the listing on.
fn bars(from: i64, last: i64) -> impl DoubleEndedIterator<Item = (i64, [f64; 5])> {
    let first = ((from - LISTED).max(0) + 4 * HOUR - 1) / (4 * HOUR);
    let end = (last - LISTED).div_euclid(4 * HOUR);
    (first..=end).map(bar)
}

fn number(query: &HashMap<String, String>, name: &str) -> i64 {
    query[name].parse().unwrap()
}

fn good(body: Value) -> Answer {
    (200, "", body.to_string())
}

/// Binance's klines: from `startTime` up to and with `endTime`, oldest first.
fn klines(query: &HashMap<String, String>) -> Answer {
    let found = bars(number(query, "startTime"), number(query, "endTime")).take(number(query, "limit") as usize);
    let row = |(ts, [o, h, l, c, v]): (i64, [f64; 5])| {
        json!([
            ts,
            o.to_string(),
            h.to_string(),
            l.to_string(),
            c.to_string(),
            v.to_string(),
            ts + 4 * HOUR - 1,
            "1",
            7,
            "1",
            "1",
            "0"
        ])
    };
    good(found.map(row).collect())
}

fn tallow(lake: &Path, args: &[&str]) -> Output {
    let cache = lake.parent().unwrap().join("cache");
    Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(args)
        .env("TALLOW_LAKE", lake)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .unwrap()
}

/// Symbols and how many bars each has, and whether the values are those of the mock.
fn stored(lake: &Path) -> String {
    let price = "(100 + n % 50)";
    let sql = format!(
        "select symbol, count(*) as bars, min(ts) as first, max(ts) as last, bool_and(open = {price} and high = {price} + 2 and low = {price} - 2
           and close = {price} + 1 and volume = 10 + n) as right
         from (select *, (to_unixtime(ts) - 1704067200) / 14400 as n from candles_4h) group by symbol order by symbol"
    );
    text(&tallow(lake, &["query", "-q", "--format", "csv", &sql]).stdout)
}

#[test]
fn a_history_comes_in_pages_and_then_what_is_new() {
    let mock = Mock::serve(|path, query, _| match (path, query["symbol"].as_str()) {
        ("/api/v3/klines", "BTCUSDT" | "ETHUSDT") => klines(query),
        _ => (400, "", json!({"code": -1121, "msg": "Invalid symbol."}).to_string()),
    });
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let fetch = |symbols: &str, more: &[&str]| {
        let args = ["fetch", "binance", "-t", "4h", "--symbols", symbols, "--base", &mock.base];
        let done = tallow(&lake, &[&args[..], more].concat());
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (status, shown, said) = fetch("BTCUSDT,ETHUSDT", &["--to", "2024-09-01"]);
    assert!(status == Some(0) && said.contains("2 symbols"), "{shown}{said}");
    // 244 days of six bars.
    let want = |last: &str, bars: i64| format!("{bars},2024-01-01T00:00:00Z,{last},true\n");
    assert!(stored(&lake).contains(&format!("BTCUSDT,{}", want("2024-08-31T20:00:00Z", 244 * 6))), "{}", stored(&lake));
    let before = mock.asked().len();
    let (_, shown, _) = fetch("BTCUSDT", &["--to", "2024-09-03"]);
    // One page: three bars again, and twelve that are new.
    assert_eq!(mock.asked().len() - before, 1, "{:?}", mock.asked());
    assert!(shown.contains("new         12") && shown.contains("unchanged   4"), "{shown}");
    // A symbol that there is not does not stop the others.
    let (status, _, said) = fetch("NOPE,ETHUSDT", &["--to", "2024-09-03"]);
    assert!(status == Some(3) && said.contains("NOPE") && said.contains("Invalid symbol."), "{said}");
    let (status, _, said) = fetch("NOPE", &[]);
    assert!(status == Some(1) && said.contains("NOPE: ") && said.contains("Invalid symbol."), "{said}");
    // The bar that has not ended is not taken.
    let (_, shown, _) = fetch("BTCUSDT", &["--from", "2026-01-01"]);
    assert!(shown.contains("0 not complete, 1 not ended yet"), "{shown}");
    for (args, said) in [
        (&["fetch", "mtgox", "-t", "4h", "--symbols", "X"][..], "unknown exchange `mtgox`: expected one of binance"),
        (
            &["fetch", "coinbase", "-t", "4h", "--symbols", "X"],
            "--timeframe 4h: the exchange has none of these; it has 15m, 1d",
        ),
        (&["fetch", "kraken", "-t", "4h", "--symbols", "X", "--market", "moon"], "--market moon: expected one of spot"),
        (&["fetch", "kraken", "-t", "4h"], "--symbols"),
    ] {
        let failed = tallow(&lake, args);
        assert!(!failed.status.success() && text(&failed.stderr).contains(said), "{}", text(&failed.stderr));
    }
}

#[test]
fn every_exchange_gives_the_same_bars() {
    let end = number_of("2024-03-01");
    for (exchange, answer) in [
        (
            "bybit",
            (|query: &HashMap<String, String>| {
                // Newest first, and all as text.
                let found =
                    bars(number(query, "start"), number(query, "end")).rev().take(number(query, "limit") as usize);
                let row = |(ts, v): (i64, [f64; 5])| {
                    json!([
                        ts.to_string(),
                        v[0].to_string(),
                        v[1].to_string(),
                        v[2].to_string(),
                        v[3].to_string(),
                        v[4].to_string(),
                        "1"
                    ])
                };
                let list: Value = found.map(row).collect();
                good(json!({"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": list}}))
            }) as fn(&HashMap<String, String>) -> Answer,
        ),
        ("okx", |query| {
            // Both ends are left out.
            let (after, before) = (number(query, "after"), number(query, "before"));
            let found = bars(before + 1, after - 1).rev().take(number(query, "limit") as usize);
            let row = |(ts, v): (i64, [f64; 5])| {
                let [o, h, l, c, v] = v.map(|x| x.to_string());
                json!([ts.to_string(), o, h, l, c, v, "1", "2", "1"])
            };
            let list: Value = found.map(row).collect();
            good(json!({"code": "0", "msg": "", "data": list}))
        }),
        ("kraken", |query| {
            let since = number(query, "since") * 1000;
            let found =
                bars(since + 1, number_of("2024-03-01") - 1).rev().take(720).collect::<Vec<_>>().into_iter().rev();
            let row = |(ts, [o, h, l, c, v]): (i64, [f64; 5])| {
                json!([ts / 1000, o.to_string(), h.to_string(), l.to_string(), c.to_string(), "1.0", v.to_string(), 5])
            };
            let list: Value = found.map(row).collect();
            good(json!({"error": [], "result": {"XXBTZUSD": list, "last": 1}}))
        }),
    ] {
        let mock = Mock::serve(move |_, query, _| answer(query));
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        let args = ["fetch", exchange, "-t", "4h", "--symbols", "BTC-USDT", "--base", &mock.base, "--to", "2024-03-01"];
        let done = tallow(&lake, &args);
        assert!(done.status.success(), "{exchange}: {}", text(&done.stderr));
        let want = "BTC-USDT,360,2024-01-01T00:00:00Z,2024-02-29T20:00:00Z,true\n";
        assert!(stored(&lake).ends_with(want), "{exchange}: {} {:?}", stored(&lake), mock.asked());
    }
    assert_eq!(end, 1_709_251_200_000);
    // Coinbase has days: low before high, newest first, times as text, 300 at most.
    let mock = Mock::serve(|_, query, _| {
        let (start, end) = (number_of(&query["start"]), number_of(&query["end"]));
        let first = ((start - LISTED).max(0) + 24 * HOUR - 1) / (24 * HOUR);
        let days = first..=(end - LISTED).div_euclid(24 * HOUR);
        let row = |day: i64| json!([(LISTED + day * 24 * HOUR) / 1000, 1.0, 4.0, 2.0, 3.0, 5.0 + day as f64]);
        good(days.rev().take(300).map(row).collect())
    });
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let args = ["fetch", "coinbase", "-t", "1d", "--symbols", "BTC-USD", "--base", &mock.base, "--to", "2025-03-01"];
    let done = tallow(&lake, &args);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let sql = "select count(*) as n, min(low) as l, max(high) as h, sum(volume) as v from candles_1d where open = 2 and close = 3";
    let days = 366 + 31 + 28;
    let volume = 5.0 * f64::from(days) + f64::from(days * (days - 1) / 2);
    let found = text(&tallow(&lake, &["query", "-q", "--format", "csv", sql]).stdout);
    assert_eq!(found, format!("n,l,h,v\n{days},1.0,4.0,{volume:.1}\n"));
}

/// Milliseconds of a time.
fn number_of(time: &str) -> i64 {
    let time = if time.contains('T') { time.to_string() } else { format!("{time}T00:00:00Z") };
    chrono::DateTime::parse_from_rfc3339(&time).unwrap().timestamp_millis()
}

#[test]
fn the_list_of_symbols_is_asked_for_once_a_day() {
    let mock = Mock::serve(|path, query, _| match path {
        "/fapi/v1/exchangeInfo" => {
            let of = |symbol: &str, status: &str, quote: &str, kind: &str| json!({"symbol": symbol, "status": status, "quoteAsset": quote, "contractType": kind});
            good(json!({"symbols": [
                of("ETHUSDT", "TRADING", "USDT", "PERPETUAL"),
                of("BTCUSDT", "TRADING", "USDT", "PERPETUAL"),
                of("OLDUSDT", "SETTLING", "USDT", "PERPETUAL"),
                of("BTCUSDT_240329", "TRADING", "USDT", "CURRENT_QUARTER"),
                of("BTCUSD", "TRADING", "USD", "PERPETUAL"),
            ]}))
        }
        _ => klines(query),
    });
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    for _ in 0..2 {
        let args =
            ["fetch", "binance", "-t", "4h", "--all-usdt-perpetuals", "--base", &mock.base, "--to", "2024-02-01", "-q"];
        let done = tallow(&lake, &args);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    let found = stored(&lake);
    assert!(
        found.lines().count() == 3 && found.contains("\nBTCUSDT,186,") && found.contains("\nETHUSDT,186,"),
        "{found}"
    );
    assert_eq!(mock.asked().iter().filter(|path| path.contains("exchangeInfo")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_busy_is_asked_again_and_one_that_bans_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let lake = tallow::Settings { lake: folder.path().join("lake").display().to_string(), ..crate::common::settings() };
    let session = tallow::open(lake).await.unwrap();
    let fetch = |mock: &Mock| Fetch {
        base: Some(mock.base.clone()),
        symbols: Some(vec!["BTCUSDT".to_string()]),
        to: Some(number_of("2024-02-01") * 1000),
        wait: Duration::from_millis(1),
        ..Fetch::of(Exchange::named("binance").unwrap(), "4h".parse().unwrap())
    };
    let control = Control::default();
    let patient = Mock::serve(|_, query, count| match count {
        1 => (429, "Retry-After: 0\r\n", json!({"code": -1003, "msg": "Too many requests."}).to_string()),
        2 => (500, "", "<html>oops</html>".to_string()),
        3 => (200, "", "<html>maintenance</html>".to_string()),
        _ => klines(query),
    });
    let found = fetch(&patient).run(&session, &control).await.unwrap();
    assert_eq!((found.symbols, found.ingested.unwrap().new), (1, 186));
    for (answer, said) in [
        (
            (
                418,
                "Retry-After: 3600\r\n",
                json!({"code": -1003, "msg": "Way too many requests; IP banned."}).to_string(),
            ),
            "it asks to wait for 3600 s",
        ),
        ((503, "", "down".to_string()), "503 Service Unavailable: down, 6 times"),
        ((403, "", "x".repeat(100_000)), "403 Forbidden: xxx"),
        ((200, "", json!([[1, 2]]).to_string()), "a row has 2 values instead of 9"),
        ((200, "", json!({"rows": []}).to_string()), "no array at ''"),
    ] {
        let mock = Mock::serve(move |_, _, _| answer.clone());
        let error = fetch(&mock).run(&session, &control).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.len() < 1_000, "{said}: {error}");
    }
    // Nobody listens there.
    let nobody = Mock { base: "http://127.0.0.1:9".to_string(), asked: Arc::default() };
    let error = fetch(&nobody).run(&session, &control).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
}
