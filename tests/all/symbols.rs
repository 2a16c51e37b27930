//! All symbols at one time: what is known of them in the table `symbols`, and where a value stands among those of all.

use crate::cli::text;
use crate::common::{numbers, query, session};
use std::path::Path;
use std::process::{Command, Output};

fn tallow(lake: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tallow")).args(args).env("TALLOW_LAKE", lake).output().unwrap()
}

/// A lake with the sample's days, and with what is known of some symbols.
fn lake(folder: &Path, symbols: &str) -> std::path::PathBuf {
    let lake = folder.join("lake");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/1d");
    assert!(tallow(&lake, &["ingest", sample, "-t", "1d", "-q"]).status.success());
    std::fs::write(lake.join("symbols.csv"), symbols).unwrap();
    lake
}

const SECTORS: &str = "symbol,sector,market_cap\nAAPL,Tech,3e12\nIBM,Tech,1e11\nXOM,Energy,4e11\n";

#[test]
fn a_condition_over_the_table_symbols_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path(), SECTORS);
    let scan = |condition: &str| {
        let done = tallow(&lake, &["scan", "close > 0", "--last", "--where", condition, "--format", "csv"]);
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (_, found, said) = scan("sector = 'Tech' and market_cap > 1e12");
    assert!(found.contains("\nAAPL,") && !found.contains("IBM") && said.contains("1 of 1 symbol "), "{found} {said}");
    let (_, found, _) = scan("sector is not null");
    assert_eq!(found.lines().count(), 4, "{found}");
    for (condition, said) in [
        ("sectr = 'Tech'", "unknown column `sectr`"),
        ("sector = 'Water'", "no symbol of the table `symbols` fulfils"),
        ("sector =", "the condition `sector =`"),
    ] {
        let (status, _, error) = scan(condition);
        assert!(status != Some(0) && error.contains(said), "{condition}: {error}");
    }
    let query = tallow(
        &lake,
        &["query", "-q", "--format", "csv", "--where", "market_cap > 2e11", "select distinct symbol from candles"],
    );
    assert!(
        !text(&query.stdout).contains("IBM") && text(&query.stdout).lines().count() == 3,
        "{}",
        text(&query.stdout)
    );
    let neither = tallow(&lake, &["scan", "close > 0", "--where", "sector = 'Tech'", "--symbols", "XOM"]);
    assert!(text(&neither.stderr).contains("--symbols: of none of them"), "{}", text(&neither.stderr));
    // In a sweep, what names a parameter is about parameters.
    let sweep = [
        "sweep",
        "--entry",
        "close > sma(:fast)",
        "--exit",
        "close < sma(:slow)",
        "--param",
        "fast=5,50",
        "--param",
        "slow=20",
        "--where",
        "fast < slow",
        "--where",
        "sector = 'Tech'",
        "--format",
        "csv",
        "-q",
    ];
    let swept = tallow(&lake, &sweep);
    assert_eq!(text(&swept.stdout).lines().count(), 2, "{} {}", text(&swept.stdout), text(&swept.stderr));
    std::fs::remove_file(lake.join("symbols.csv")).unwrap();
    let (_, _, error) = scan("sector = 'Tech'");
    assert!(error.contains("the lake has no table `symbols`") && error.contains("symbols.csv"), "{error}");
}

/// What a command writes, which succeeds.
fn written(lake: &Path, args: &[&str]) -> String {
    let done = tallow(lake, &[args, &["--format", "csv", "-q"]].concat());
    assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

/// A member of a list for two years, and one that comes later.
const DATED: &str = "symbol,list,weight,valid_from\nAAPL,none,1,2010-01-01\nAAPL,fifty,7,2014-01-01\nAAPL,none,1,2016-01-01\n\
                     IBM,none,1,2010-01-01\nIBM,fifty,9,2017-01-01\nXOM,none,2,2010-01-01\n";

#[test]
fn rows_with_dates_count_at_the_time_of_each_bar() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path(), DATED);
    let scan = |more: &[&str]| written(&lake, &[&["scan", "close > 0", "--where", "list = 'fifty'"], more].concat());
    let dates = |rows: &str, symbol: &str| {
        let own = rows.lines().filter_map(|row| row.strip_prefix(&format!("{symbol},")));
        let mut dates: Vec<String> = own.map(|row| row[..10].to_string()).collect();
        dates.sort();
        (dates.first().cloned().unwrap_or_default(), dates.last().cloned().unwrap_or_default(), dates.len())
    };
    let rows = scan(&[]);
    assert_eq!(dates(&rows, "AAPL"), ("2014-01-02".to_string(), "2015-12-31".to_string(), 504));
    assert_eq!(dates(&rows, "IBM").0, "2017-01-03");
    assert_eq!(dates(&rows, "XOM").2, 0);
    // What is decided later is not known before; a range changes nothing.
    let part = scan(&["--from", "2015-06-01", "--to", "2016-06-01"]);
    assert_eq!(dates(&part, "AAPL"), ("2015-06-01".to_string(), "2015-12-31".to_string(), 150));
    assert_eq!(dates(&part, "IBM").2, 0);
    // Neither has a sweep more of them.
    let swept = ["scan", "close > :n", "--sweep", "n=0", "--where", "list = 'fifty'"];
    let matches = rows.lines().skip(1).count();
    assert!(written(&lake, &swept).contains(&format!(",{matches},")), "{}", written(&lake, &swept));
    // A column `ts` says the same as `valid_from`.
    std::fs::write(lake.join("symbols.csv"), DATED.replace("valid_from", "ts")).unwrap();
    assert_eq!(scan(&[]), rows);
    // A back-test enters members only, and keeps what it holds.
    let folder = folder.path().join("trades.csv");
    let trades = [
        "backtest",
        "--entry",
        "close crosses_above sma(10)",
        "--exit",
        "close < sma(10)",
        "--slots",
        "5",
        "--where",
        "list = 'fifty'",
    ];
    written(&lake, &[&trades[..], &["--trades", &folder.display().to_string()]].concat());
    let trades = std::fs::read_to_string(&folder).unwrap();
    let header: Vec<&str> = trades.lines().next().unwrap().split(',').collect();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let mut entered = 0;
    for row in trades.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let (symbol, entry) = (cells[at("symbol")], &cells[at("entry_ts")][..10]);
        let is_member = match symbol {
            "AAPL" => ("2014-01-02".."2016-01-05").contains(&entry),
            "IBM" => entry > "2017-01-01",
            _ => false,
        };
        assert!(is_member, "{row}");
        entered += 1;
    }
    assert!(entered > 5, "{trades}");
    // Of a query the newest row counts.
    let query = written(&lake, &["query", "--where", "list = 'fifty'", "select distinct symbol from candles"]);
    assert_eq!(query.trim(), "symbol\nIBM");
}

#[test]
fn formulas_read_the_columns_of_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path(), SECTORS);
    let found = written(&lake, &["scan", "sector = 'Tech' and close > 0", "--last", "--rank", "market_cap"]);
    let rows: Vec<&str> = found.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(rows, ["AAPL", "IBM"], "{found}");
    // Among those of one sector, the others being none.
    let best = written(&lake, &["scan", "top(roc(20), 1, sector) and sector is not null", "--last"]);
    assert_eq!(best.lines().count(), 3, "{best}");
    let rotation = ["backtest", "--weight", "case when sector = 'Tech' then 0.5 else 0 end", "--rebalance", "month"];
    assert!(written(&lake, &rotation).lines().count() > 1);
    let sweep = ["sweep", "--entry", "sector = 'Tech' and rsi(:n) < 30", "--exit", "rsi(:n) > 50", "--param", "n=7,14"];
    assert_eq!(written(&lake, &sweep).lines().count(), 3);
    // Labels and searches of some symbols.
    let labelled = tallow(&lake, &["label", "-t", "1d", "--where", "sector = 'Tech'", "-q"]);
    assert!(labelled.status.success(), "{}", text(&labelled.stderr));
    let labels = written(&lake, &["query", "select distinct symbol from labels_1d order by symbol"]);
    assert_eq!(labels.trim(), "symbol\nAAPL\nIBM");
    let matches = written(&lake, &["match", "1 3 2 4 3 5 4 6 5 7", "--where", "sector = 'Energy'", "--top", "3"]);
    assert!(matches.lines().skip(1).all(|row| row.contains(",XOM,")) && matches.lines().count() == 4, "{matches}");
    let twice = "symbol,sector\nAAPL,Tech\nAAPL,Toys\n";
    std::fs::write(lake.join("symbols.csv"), twice).unwrap();
    let error = tallow(&lake, &["scan", "sector = 'Tech'"]);
    assert!(text(&error.stderr).contains("the table `symbols` has several rows of AAPL"), "{}", text(&error.stderr));
}

/// Against the same by hand, over all symbols and within groups, with values that are missing and equal.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_stands_among_those_of_all_symbols() {
    let session = session().await;
    let bars =
        "(values ('A', 1, 3.0, 'x'), ('B', 1, 1.0, 'x'), ('C', 1, 2.0, 'y'), ('D', 1, null, 'y'), ('A', 2, 5.0, 'x'),
                 ('B', 2, 5.0, 'x'), ('C', 2, 9.0, 'y')) as t(symbol, ts, x, g)";
    let of = async |call: &str| {
        let sql = format!("select symbol, ts, cast({call} as double) as v from {bars} order by ts, symbol");
        numbers(&query(&session, &sql).await, "v")
    };
    let nan = f64::NAN;
    let spread = (2.0f64 / 3.0).sqrt();
    let cases: [(&str, [f64; 7]); 5] = [
        ("rank_pct(x)", [1.0, 0.0, 0.5, nan, 0.0, 0.0, 1.0]),
        ("rank_pct(x, g)", [1.0, 0.0, 0.0, nan, 0.0, 0.0, 0.0]),
        ("zscore_cross(x)", [1.0 / spread, -1.0 / spread, 0.0, nan, -(0.5f64.sqrt()), -(0.5f64.sqrt()), 2.0f64.sqrt()]),
        ("top(x, 2)", [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
        ("top(x, 1, g)", [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
    ];
    for (call, want) in cases {
        let got = of(call).await;
        let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12;
        assert!(got.len() == 7 && got.iter().zip(&want).all(same), "{call}: {got:?}, expected {want:?}");
    }
    // Of series, and in them.
    let sql = "select symbol, ts, sma(rank_pct(roc(20)), 5) as a, avg(r) over (partition by symbol order by ts rows 4 preceding) as b
               from (select *, percent_rank() over (partition by ts, roc(20) is null order by roc(20)) as r from candles) as candles
               qualify roc(20) is not null and lag(roc(20), 4) is not null order by symbol, ts";
    let rows = query(&session, sql).await;
    let (a, b) = (numbers(&rows, "a"), numbers(&rows, "b"));
    assert!(a.len() > 500_000 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-9));
}

#[test]
fn formulas_look_at_all_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path(), SECTORS);
    let scan = tallow(&lake, &["scan", "top(roc(126), 3)", "--last", "--format", "csv"]);
    assert_eq!(text(&scan.stdout).lines().count(), 4, "{}", text(&scan.stderr));
    let test = [
        "backtest",
        "--entry",
        "top(roc(126), 5)",
        "--exit",
        "rank_pct(roc(126)) < 0.9",
        "--slots",
        "5",
        "--format",
        "csv",
        "-q",
    ];
    let done = tallow(&lake, &test);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let check = tallow(&lake, &["check", "select symbol, ts, zscore_cross(roc(20)) as z from candles"]);
    assert!(text(&check.stdout).contains("clean"), "{}", text(&check.stdout));
    let check = tallow(&lake, &["check", "select symbol, ts, rank_pct(lead(close, 5)) as z from candles"]);
    assert!(
        !text(&check.stdout).contains("clean  \nclean") && text(&check.stdout).contains('5'),
        "{}",
        text(&check.stdout)
    );
    for (text_of, said) in [
        ("rank_pct() > 0.5", "rank_pct has 0 arguments"),
        ("top(close, 0)", "n of top is a whole number from 1 up"),
        ("top(close, n => 3)", "top has no argument"),
    ] {
        let wrong = tallow(&lake, &["scan", text_of]);
        assert!(!wrong.status.success() && text(&wrong.stderr).contains(said), "{text_of}: {}", text(&wrong.stderr));
    }
}
