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

#[test]
fn of_rows_with_dates_the_newest_counts() {
    let folder = tempfile::tempdir().unwrap();
    let dated = "symbol,sector,valid_from\nAAPL,Toys,2010-01-01\nAAPL,Tech,2016-01-01\nIBM,Tech,2010-01-01\n";
    let lake = lake(folder.path(), dated);
    let found = |to: &[&str]| {
        let args =
            [&["scan", "close > 0", "--where", "sector = 'Tech'", "--group", "symbol", "--format", "csv", "-q"], to]
                .concat();
        text(&tallow(&lake, &args).stdout)
    };
    assert!(found(&[]).contains("AAPL") && found(&[]).contains("IBM"));
    let before = found(&["--to", "2015-06-01"]);
    assert!(!before.contains("AAPL") && before.contains("IBM"), "{before}");
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
