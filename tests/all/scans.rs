//! Scans: ranges, watch-lists, groups, sweeps, what is wrong with data, interrupts.

use crate::common::{Bar, DAY, START, batch, floats, numbers, query, session, settings, walk, write_parquet};
use crate::interrupts::interrupted_at;
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow::pipeline::bounds::Range;
use tallow::pipeline::control::{Control, Progress};
use tallow::pipeline::formulas;
use tallow::pipeline::outcome::{Ended, Outcome, ScanStatistics, Skipped};
use tallow::pipeline::scan::{Group, MaxAge, Rank, Scan, Sweep};
use tallow::{Session, Settings};
use tallow_common::time::instant;
use tallow_engine::dialect::Formula;
use tallow_lake::StoredFormula;
use tokio_util::sync::CancellationToken;

fn scan(formula: &str) -> Scan {
    Scan::of(Formula::parse(formula).unwrap())
}

async fn run(session: &Session, scan: &Scan) -> (RecordBatch, Summary) {
    try_run(session, scan).await.unwrap_or_else(|e| panic!("{}\n{e}", scan.formula))
}

async fn try_run(session: &Session, scan: &Scan) -> tallow::Result<(RecordBatch, Summary)> {
    taken(scan.run(session, &Control::default()).await?).await
}

/// What a scan finds out beside its matches.
#[derive(Debug)]
struct Summary {
    skipped: Vec<Skipped>,
    counts: ScanStatistics,
}

impl Deref for Summary {
    type Target = ScanStatistics;

    fn deref(&self) -> &ScanStatistics {
        &self.counts
    }
}

async fn taken(found: Outcome) -> tallow::Result<(RecordBatch, Summary)> {
    let batches: Vec<RecordBatch> = found.stream.try_collect().await?;
    let summary = Summary { skipped: found.skipped.get(), counts: found.statistics.scan() };
    Ok((concat_batches(&found.schema, &batches)?, summary))
}

fn keys(rows: &RecordBatch) -> Vec<(String, i64)> {
    let symbols = cast(rows.column_by_name("symbol").unwrap(), &DataType::Utf8).unwrap();
    let times =
        cast(rows.column_by_name("ts").unwrap(), &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None));
    let times = times.unwrap();
    let times = times.as_primitive::<TimestampMicrosecondType>();
    symbols.as_string::<i32>().iter().zip(times).map(|(s, t)| (s.unwrap().to_string(), t.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_the_query_that_it_says_it_is() {
    let session = session().await;
    for formula in ["rsi(14) < 30 and close crosses_above sma(20)", "close > 2 * open or volume > 20 * sma(volume, 50)"]
    {
        let scan = scan(formula);
        let (rows, summary) = run(&session, &scan).await;
        let by_hand = query(&session, &scan.sql(&session).await.unwrap()).await;
        assert_eq!(rows.num_rows(), by_hand.num_rows());
        assert!(rows.num_rows() > 0);
        assert_eq!(keys(&rows), keys(&by_hand));
        for (field, column) in by_hand.schema().fields().iter().zip(by_hand.columns()).skip(2) {
            assert_eq!(floats(rows.column_by_name(field.name()).unwrap()).len(), floats(column).len());
        }
        assert_eq!(summary.matches, rows.num_rows() as u64);
        let symbols: BTreeSet<_> = keys(&rows).into_iter().map(|k| k.0).collect();
        assert_eq!(summary.with_matches, symbols.len() as u64);
        assert_eq!((summary.asked, summary.scanned, summary.bars), (505, 505, 619_040));
        assert_eq!((summary.ended, summary.skipped.len()), (Ended::Complete, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_has_the_rows_of_the_whole_history() {
    let session = session().await;
    let (from, to) = (instant("2016-03-01").unwrap(), instant("2016-06-15").unwrap());
    for formula in [
        "rsi(14) < 35",
        "macd(12, 26, 9).macdhist > 0.2 and adx(14) > 20",
        "close > lag(highest(high, 100), 1)",
        "sma(rsi(14), 5) crosses_above 50",
        "bars_since(close crosses_above sma(50)) < 3",
        "close / sma(50) - 1 > 0.1 or rsi(14)@1w > 75",
        "close > 1.05 * lag(close, 1) or close crosses_above open and trange() > 3",
        "sma(2) > 1.05 * close and mom(close, 1) < 0 or cci(2) > 66 and willr(2) > -1",
    ] {
        let whole = scan(formula);
        let part = Scan { range: Range { from: Some(from), to: Some(to) }, ..whole.clone() };
        let (whole, _) = run(&session, &whole).await;
        let (part, summary) = run(&session, &part).await;
        let all = keys(&whole);
        let wanted: Vec<usize> = (0..all.len()).filter(|&i| (from..to).contains(&all[i].1)).collect();
        assert!(!wanted.is_empty(), "{formula}");
        assert_eq!(keys(&part), wanted.iter().map(|&i| all[i].clone()).collect::<Vec<_>>(), "{formula}");
        for field in part.schema().fields().iter().skip(2) {
            let of = |rows: &RecordBatch| floats(rows.column_by_name(field.name()).unwrap());
            let (got, want) = (of(&part), of(&whole));
            let scale = want.iter().filter(|v| v.is_finite()).fold(1.0_f64, |m, v| m.max(v.abs()));
            for (g, &row) in got.iter().zip(&wanted) {
                let same = (g - want[row]).abs() <= 1e-9 * scale || g.is_nan() && want[row].is_nan();
                assert!(same, "{formula} {}: {g} and {}", field.name(), want[row]);
            }
        }
        if !formula.contains("1w") && !formula.contains("bars_since") {
            assert!(summary.bars < 500_000, "{formula} read {} bars", summary.bars);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_ranked_grouped_and_listed() {
    let session = session().await;
    let last =
        Scan { last: true, rank: Some(Rank::parse("rsi(14) asc").unwrap()), top: Some(4), ..scan("rsi(14) < 30") };
    let (rows, summary) = run(&session, &last).await;
    let rsi = numbers(&rows, "rsi(14)");
    assert_eq!((rows.num_rows(), summary.matches, summary.with_matches), (4, 76, 76));
    assert!(rsi.windows(2).all(|w| w[0] <= w[1]) && keys(&rows)[0].0 == "PCG", "{rsi:?}");

    let by_symbol = Scan { group: Some(Group::Symbol), top: Some(3), ..scan("rsi(14) < 30") };
    let (rows, summary) = run(&session, &by_symbol).await;
    let want = query(
        &session,
        "select symbol, count(*) as n from (select symbol, rsi(14) r from candles) where r < 30 group by symbol order by n desc, symbol limit 3",
    )
    .await;
    assert_eq!(numbers(&rows, "matches"), numbers(&want, "n"));
    assert_eq!((summary.matches, summary.with_matches), (19_328, 502));

    let by_date = Scan { group: Some(Group::Date), ..scan("rsi(14) < 30") };
    let (rows, _) = run(&session, &by_date).await;
    assert_eq!(numbers(&rows, "matches").iter().sum::<f64>(), 19_328.0);

    let best = Scan {
        group: Some(Group::Date),
        rank: Some(Rank::parse("volume").unwrap()),
        top: Some(2),
        ..scan("rsi(14) < 30")
    };
    let (rows, _) = run(&session, &best).await;
    let mut days: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for ((_, ts), volume) in keys(&rows).into_iter().zip(numbers(&rows, "volume")) {
        days.entry(ts).or_default().push(volume);
    }
    assert!(days.values().all(|v| v.len() <= 2 && v.windows(2).all(|w| w[0] >= w[1])));
    assert!(days.values().any(|v| v.len() == 2));

    // Every way to arrange matches.
    for group in [None, Some(Group::Date), Some(Group::Symbol)] {
        for rank in [None, Some("close asc"), Some("macd(12, 26, 9)"), Some("sma(:n)")] {
            for (last, top) in [(false, None), (true, Some(2)), (false, Some(3))] {
                let rank = rank.map(|text| Rank::parse(text).unwrap());
                let arranged = Scan { group, rank: rank.clone(), last, top, ..scan("rsi(:n 14) < 25") };
                let (rows, summary) = run(&session, &arranged).await;
                assert!(rows.num_rows() > 0 && summary.skipped.is_empty(), "{arranged:?}");
                if let (Some(Group::Symbol), Some(rank), Some(top)) = (group, &rank, top) {
                    let mut best: BTreeMap<String, Vec<f64>> = BTreeMap::new();
                    let name = match rank.by.to_string().as_str() {
                        "macd(12, 26, 9)" => "macd(12, 26, 9).macd".to_string(),
                        "sma(:n)" => "sma(14)".to_string(),
                        plain => plain.to_string(),
                    };
                    for ((symbol, _), value) in keys(&rows).into_iter().zip(numbers(&rows, &name)) {
                        best.entry(symbol).or_default().push(value);
                    }
                    let sorted = |w: &[f64]| w[1].is_nan() || if rank.descending { w[0] >= w[1] } else { w[0] <= w[1] };
                    assert!(best.values().all(|v| v.len() <= top && v.windows(2).all(sorted)), "{arranged:?}");
                }
            }
        }
    }

    let watched = Scan { symbols: Some(["MSFT", "AAPL", "AAPLE"].map(String::from).to_vec()), ..scan("rsi(14) < 30") };
    let (rows, summary) = run(&session, &watched).await;
    assert!(keys(&rows).iter().all(|(s, _)| s == "AAPL" || s == "MSFT"));
    assert_eq!((summary.asked, summary.scanned, summary.bars), (3, 2, 2518));
    let [failure] = summary.skipped.try_into().unwrap();
    assert!(failure.symbol == "AAPLE" && failure.reason.contains("did you mean AAPL?"), "{failure:?}");
    let watched = Scan { symbols: Some(vec!["MSFT".to_string()]), ..scan("rsi(14)@1w > 50 and rsi(14) > 50") };
    assert_eq!(run(&session, &watched).await.1.bars, 1259);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_bars_are_those_of_symbols_that_have_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("bars.parquet");
    // Trading days: weekends do not count as bars. EDGE ends five of them before the others, OLD six.
    let length = |symbol: &str| match symbol {
        "EDGE" => 55,
        "OLD" => 54,
        "GONE" => 12,
        _ => 60,
    };
    let bars: Vec<Bar> = walk(&["A", "B", "EDGE", "GONE", "OLD"], 60)
        .into_iter()
        .filter(|bar| bar.1 < length(&bar.0))
        .map(|(symbol, bar, close)| (symbol, bar + 2 * (bar / 5), close))
        .collect();
    write_parquet(&table, &batch(&bars), 100);
    let table = table.display().to_string();
    let session = session().await;
    let last = Scan { table: table.clone(), last: true, ..scan("close > 0") };
    let names = |rows: &RecordBatch| keys(rows).into_iter().map(|k| k.0).collect::<BTreeSet<_>>();
    for (max_age, found, too_old) in [
        (MaxAge::default(), &["A", "B", "EDGE"][..], 2),
        (MaxAge::Bars(4), &["A", "B"], 3),
        (MaxAge::Bars(6), &["A", "B", "EDGE", "OLD"], 1),
        (MaxAge::Bars(1_000), &["A", "B", "EDGE", "GONE", "OLD"], 0),
        (MaxAge::All, &["A", "B", "EDGE", "GONE", "OLD"], 0),
    ] {
        let scan = Scan { max_age, ..last.clone() };
        let (rows, summary) = run(&session, &scan).await;
        assert_eq!(names(&rows), found.iter().map(|s| (*s).to_string()).collect(), "{max_age}");
        assert_eq!((summary.too_old, summary.scanned), (too_old, 5), "{max_age}");
        let by_hand = query(&session, &scan.sql(&session).await.unwrap()).await;
        assert_eq!(keys(&rows), keys(&by_hand), "{max_age}");
    }
    // The newest bar of a range is looked for in the range, and that of one symbol in the whole table.
    let to = Some(START + 20 * DAY);
    let (rows, summary) = run(&session, &Scan { range: Range { from: None, to }, ..last.clone() }).await;
    assert_eq!((names(&rows).len(), summary.too_old), (5, 0));
    let one = Scan { symbols: Some(vec!["OLD".to_string()]), ..last.clone() };
    let (rows, summary) = run(&session, &one).await;
    assert_eq!((rows.num_rows(), summary.too_old), (0, 1));
    let mut sweep = Sweep::default();
    sweep.add("x=0,1000").unwrap();
    let (rows, summary) = run(&session, &Scan { sweep, formula: scan("close > :x").formula, ..last }).await;
    assert_eq!((numbers(&rows, "matches"), summary.too_old), (vec![3.0, 0.0], 2));

    let said = |args: &[&str]| text(&tallow(&[&["scan", "close > 0", "-t", &table, "--last"], args].concat()).stderr);
    assert!(said(&[]).contains("2 symbols left out: the table has bars at more than 5 times after"), "{}", said(&[]));
    assert!(!said(&["--max-age", "all"]).contains("left out"));
    assert!(said(&["--max-age", "5d"]).contains("expected a number of bars, such as 5, or all"));
    let out = tallow(&["scan", "close > 0", "-t", &table, "--max-age", "3"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_the_formula_does_not_read_may_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("bars.parquet");
    let bars = batch(&walk(&["INDEX", "STOCK"], 40));
    let volumes = floats(bars.column(6));
    let volume = |i: usize| match i {
        _ if i < 40 => None,
        50 => Some(f64::NAN),
        _ => Some(volumes[i]),
    };
    let mut columns = bars.columns().to_vec();
    columns[6] = Arc::new((0..80).map(volume).collect::<Float64Array>());
    let fields = bars
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .zip(columns)
        .map(|(n, c)| (n, c, true))
        .collect::<Vec<_>>();
    write_parquet(&table, &RecordBatch::try_from_iter_with_nullable(fields).unwrap(), 50);
    let table = table.display().to_string();
    let session = session().await;
    for (formula, rank, failures) in [
        ("close > 0", None, 0),
        ("rsi(5) > 0 and close@1w > 0", None, 0),
        ("close > 0 and volume > 0", None, 2),
        ("obv() > -1e18", None, 2),
        ("close > 0", Some("volume"), 2),
    ] {
        let rank = rank.map(|text| Rank::parse(text).unwrap());
        let (rows, summary) = run(&session, &Scan { table: table.clone(), rank, ..scan(formula) }).await;
        assert_eq!(summary.skipped.len(), failures, "{formula}: {:?}", summary.skipped);
        assert!(rows.num_rows() > 0 && numbers(&rows, "volume").iter().all(|v| v.is_nan() || *v > 0.0));
    }
    let out = tallow(&["scan", "close > 0", "-t", &table]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_is_a_scan_for_every_combination() {
    let session = session().await;
    let mut sweep = Sweep::default();
    sweep.add("n=5..15:5").unwrap();
    sweep.add("level=20,30.5").unwrap();
    for last in [false, true] {
        let swept = Scan { sweep: sweep.clone(), last, ..scan("rsi(:n 14) < :level 30") };
        let (rows, summary) = run(&session, &swept).await;
        assert_eq!(rows.num_rows(), 6);
        let (n, level) = (numbers(&rows, "n"), numbers(&rows, "level"));
        let (matches, symbols) = (numbers(&rows, "matches"), numbers(&rows, "symbols"));
        for i in 0..6 {
            let one = Scan { last, ..scan(&format!("rsi({}) < {}", n[i], level[i])) };
            let (_, alone) = run(&session, &one).await;
            assert_eq!(
                (matches[i], symbols[i]),
                (alone.matches as f64, alone.with_matches as f64),
                "{} {}",
                n[i],
                level[i]
            );
        }
        assert_eq!((summary.scanned, summary.matches as f64), (505, matches.iter().sum::<f64>()));
    }
    let mut unknown = Sweep::default();
    unknown.add("x=1,2").unwrap();
    let error = try_run(&session, &Scan { sweep: unknown, ..scan("rsi(:n 14) < 30") }).await.unwrap_err();
    assert!(error.to_string().contains("no parameter `:x`; it has :n"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_scanned_says_why() {
    let session = session().await;
    for (formula, said) in [
        ("rsi(14)", "is a number, not a condition"),
        ("lead(close, 2) > close", "`lead(close, 2)` looks into the future (2 bars)"),
        ("forward_return(horizon => 5) > 0", "looks into the future (5 bars)"),
        ("lead(close, 1)@1w > close", "looks into the future"),
        ("close > max(close) over (partition by symbol)", "looks into the future"),
        ("rsi(:n) < 30", "parameter `:n` has no value"),
        ("close@5m > 1", "5m"),
    ] {
        let error = try_run(&session, &scan(formula)).await.unwrap_err().to_string();
        assert!(error.contains(said), "{formula}: {error}");
    }
    // What is the same for every bar needs no bars: nobody is missing.
    let never = Scan { symbols: Some(vec!["AAPL".to_string()]), ..scan("1 > 2") };
    let (_, summary) = run(&session, &never).await;
    assert!(summary.skipped.is_empty(), "{summary:?}");
    let ranked = Scan { rank: Some(Rank::parse("close > 1").unwrap()), ..scan("rsi(14) < 30") };
    assert!(try_run(&session, &ranked).await.unwrap_err().to_string().contains("is a condition, not a number"));
    let allowed = Scan { allow_lookahead: true, ..scan("lead(close, 2) > 1.2 * close") };
    assert!(run(&session, &allowed).await.1.matches > 0);
    let error = try_run(&session, &Scan { table: "candels".to_string(), ..scan("close > 1") }).await.unwrap_err();
    assert!(error.to_string().contains("did you mean `candles`?"), "{error}");
}

/// The stocks of the sample, a file each; returns how many.
async fn a_file_each(folder: &Path, symbols: &[&str]) {
    let session = session().await;
    for symbol in symbols {
        let rows = query(
            &session,
            &format!("select ts, open, high, low, close, volume from candles where symbol = '{symbol}' order by ts"),
        )
        .await;
        write_parquet(&folder.join(format!("{symbol}.parquet")), &rows, 1000);
    }
}

fn tallow(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("TALLOW_CACHE_DIR").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_and_symbols_are_named_and_the_rest_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    a_file_each(folder.path(), &["AAPL", "MSFT", "AMZN", "IBM", "GE", "F", "T"]).await;
    let path = |name: &str| folder.path().join(name);
    // Torn off in the middle; wrong bytes where prices are; nothing; no rows; one bar twice; NaN; no volumes.
    let whole = std::fs::read(path("GE.parquet")).unwrap();
    std::fs::write(path("GE.parquet"), &whole[..whole.len() / 2]).unwrap();
    let mut bytes = std::fs::read(path("F.parquet")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle - 3000..middle + 3000].fill(0xA5);
    std::fs::write(path("F.parquet"), &bytes).unwrap();
    std::fs::write(path("ZERO.parquet"), b"").unwrap();
    let bars = batch(&walk(&["X"], 40));
    let bars = bars.project(&[1, 2, 3, 4, 5, 6]).unwrap();
    write_parquet(&path("NONE.parquet"), &bars.slice(0, 0), 100);
    let twice = concat_batches(&bars.schema(), &[bars.slice(0, 20), bars.slice(19, 21)]).unwrap();
    write_parquet(&path("TWICE.parquet"), &twice, 100);
    let with = |column: usize, values: Vec<Option<f64>>| {
        let mut columns = bars.columns().to_vec();
        columns[column] = Arc::new(Float64Array::from(values)) as ArrayRef;
        RecordBatch::try_from_iter_with_nullable(
            bars.schema().fields().iter().zip(columns).map(|(f, c)| (f.name().clone(), c, true)).collect::<Vec<_>>(),
        )
        .unwrap()
    };
    let closes = floats(bars.column(4));
    let nan = closes.iter().enumerate().map(|(i, v)| Some(if i % 13 == 5 { f64::NAN } else { *v })).collect();
    write_parquet(&path("NAN.parquet"), &with(4, nan), 100);
    write_parquet(&path("QUIET.parquet"), &with(5, vec![None; 40]), 100);

    let table = format!("{}/", folder.path().display());
    let elsewhere = tempfile::tempdir().unwrap();
    let failures = elsewhere.path().join("failures.csv");
    let failures = failures.to_str().unwrap();
    let out = tallow(&[
        "scan",
        "close > sma(20) and volume > 0",
        "-t",
        &table,
        "--format",
        "csv",
        "--symbols",
        "AAPL,MSFT,AMZN,IBM,GE,F,ZERO,NONE,TWICE,NAN,QUIET,NOBODY",
        "--failures",
        failures,
    ]);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(3), "{said}");
    for expected in [
        "F: ",
        "GE: ",
        "ZERO: ",
        "is empty (0 bytes)",
        "NONE: no data",
        "TWICE: two bars at 2020-01-20",
        "NAN: 3 bars with NaN in close",
        "QUIET: no volume",
        "NOBODY: no data",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let listed = std::fs::read_to_string(failures).unwrap();
    assert_eq!(listed.lines().count(), 9, "{listed}");
    let matched: BTreeSet<String> =
        text(&out.stdout).lines().skip(1).map(|l| l.split(',').next().unwrap().to_string()).collect();
    assert_eq!(matched, ["AAPL", "AMZN", "IBM", "MSFT", "NAN"].map(String::from).into());
    // The same matches as of the lake.
    let want =
        tallow(&["scan", "close > sma(20) and volume > 0", "--format", "csv", "--symbols", "AAPL,MSFT,AMZN,IBM"]);
    let mine: BTreeSet<String> =
        text(&out.stdout).lines().filter(|l| !l.starts_with("NAN")).map(String::from).collect();
    let theirs: BTreeSet<String> = text(&want.stdout).lines().map(String::from).collect();
    assert_eq!(mine, theirs);

    // A query does not leave anything out without being told to.
    let out = tallow(&["query", "-c", &format!("select count(*) from '{table}'")]);
    assert_eq!(out.status.code(), Some(1));
    let out = tallow(&[
        "query",
        "--format",
        "csv",
        "-c",
        &format!("select count(distinct symbol) n from \"{table}@readable\""),
    ]);
    assert_eq!(text(&out.stdout), "n\n8\n", "{}", text(&out.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_another_timeframe_is_told_too() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().display().to_string();
    let days = batch(&walk(&["A", "B", "C", "D"], 60));
    write_parquet(&folder.path().join("candles/1d/days.parquet"), &days, 50);
    let session = tallow::open(Settings { lake: lake.clone(), ..settings() }).await.unwrap();
    // The stored weeks hold A, NaN in one of them, B with a week twice, and not C and D, whose days make them up.
    let weeks = query(
        &session,
        "select symbol, ts, open, high, low, close, volume from candles('1w') where symbol < 'C' order by symbol, ts",
    )
    .await;
    let mut columns = weeks.columns().to_vec();
    let closes = floats(weeks.column(5))
        .iter()
        .enumerate()
        .map(|(i, v)| Some(if i == 4 { f64::NAN } else { *v }))
        .collect::<Float64Array>();
    columns[5] = Arc::new(closes);
    let weeks = RecordBatch::try_new(weeks.schema(), columns).unwrap();
    let last = weeks.slice(weeks.num_rows() - 1, 1);
    let weeks = concat_batches(&weeks.schema(), &[weeks, last]).unwrap();
    write_parquet(&folder.path().join("candles/1w/weeks.parquet"), &weeks, 50);
    let session = tallow::open(Settings { lake, ..settings() }).await.unwrap();
    let (rows, summary) = run(&session, &Scan { table: "candles_1d".to_string(), ..scan("close@1w > 0") }).await;
    let reasons: Vec<_> = summary.skipped.iter().map(|f| format!("{}: {}", f.symbol, f.reason)).collect();
    assert_eq!(summary.scanned, 4);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("A: in another timeframe: 1 bar with NaN in close"), "{reasons:?}");
    assert!(reasons[1].starts_with("B: in another timeframe: two bars at"), "{reasons:?}");
    let matched: BTreeMap<String, usize> = keys(&rows).into_iter().fold(BTreeMap::new(), |mut all, (s, _)| {
        *all.entry(s).or_default() += 1;
        all
    });
    assert_eq!(matched.keys().collect::<Vec<_>>(), ["A", "C", "D"], "{matched:?}");
    assert_eq!(matched["C"], matched["D"]);
    assert_eq!(matched["A"] + 7, matched["C"], "the days after the week with NaN do not match");
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_that_are_not_stored_are_made() {
    let session = session().await;
    // The lake's days hold stocks, its 4h bars others.
    let (rows, summary) = run(&session, &Scan { table: "candles_4h".to_string(), ..scan("rsi(14)@1d < 30") }).await;
    assert!(rows.num_rows() > 100 && summary.skipped.is_empty(), "{summary:?}");
    let ranked = Scan { rank: Some(Rank::parse("rsi(14)@1d asc").unwrap()), top: Some(9), ..scan("rsi(14) < 40") };
    let (rows, _) = run(&session, &Scan { table: "candles_4h".to_string(), ..ranked }).await;
    let by = numbers(&rows, "rsi(14)@1d");
    assert!(by.len() == 9 && by.windows(2).all(|w| w[0] <= w[1]), "{by:?}");
    let (rows, _) = run(&session, &Scan { table: "candles_1w".to_string(), ..scan("rsi(14) < 30") }).await;
    let want =
        query(&session, "select symbol, ts from (select symbol, ts, rsi(14) r from candles('1w')) where r < 30").await;
    assert!(rows.num_rows() == want.num_rows() && rows.num_rows() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_with_nan_is_no_match_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let bars = batch(&walk(&["A", "B"], 30));
    let closes = floats(bars.column(5));
    let closes: Float64Array =
        closes.iter().enumerate().map(|(i, v)| Some(if i == 40 { f64::NAN } else { *v })).collect();
    let mut columns = bars.columns().to_vec();
    columns[5] = Arc::new(closes);
    write_parquet(&folder.path().join("bars.parquet"), &RecordBatch::try_new(bars.schema(), columns).unwrap(), 7);
    let table = folder.path().join("bars.parquet").display().to_string();
    let session = session().await;
    for formula in ["close > 1", "not close <= 1", "close > 1 or close <= 1"] {
        let (rows, summary) = run(&session, &Scan { table: table.clone(), ..scan(formula) }).await;
        assert_eq!((rows.num_rows(), summary.scanned), (59, 2), "{formula}");
        assert_eq!(summary.skipped[0].reason, "1 bar with NaN in close, passed over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_cut_of_batches_threads_and_files_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let lengths = [1, 50, 3, 17, 64, 2, 30];
    let bars: Vec<Bar> = lengths.iter().enumerate().flat_map(|(i, n)| walk(&[&format!("S{i}")], *n)).collect();
    let table = folder.path().join("bars.parquet");
    let mut want = None;
    for (row_group, batch_size, threads) in [(1000, 8192, 1), (13, 5, 2), (7, 1, 3), (30, 64, 2)] {
        write_parquet(&table, &batch(&bars), row_group);
        let session = tallow::open(Settings { batch_size, threads, ..settings() }).await.unwrap();
        let scan =
            Scan { table: table.display().to_string(), ..scan("close > sma(3) or close crosses_below lag(close, 2)") };
        let (rows, summary) = run(&session, &scan).await;
        assert_eq!((summary.scanned, summary.bars), (7, bars.len() as u64));
        let got = (keys(&rows), summary.matches, summary.with_matches);
        assert!(!got.0.is_empty());
        assert_eq!(*want.get_or_insert(got.clone()), got, "{row_group} {batch_size} {threads}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_scan_delivers_whole_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let symbols: Vec<String> = (0..400).map(|i| format!("S{i:03}")).collect();
    let bars: Vec<Bar> = symbols.iter().flat_map(|s| walk(&[s], 300)).collect();
    let table = folder.path().join("bars.parquet");
    write_parquet(&table, &batch(&bars), 20_000);
    let session = tallow::open(Settings { batch_size: 500, ..settings() }).await.unwrap();
    let scan = Scan { table: table.display().to_string(), group: Some(Group::Symbol), ..scan("close > sma(20)") };
    let (whole, _) = run(&session, &scan).await;
    let counts = |rows: &RecordBatch| -> BTreeMap<String, i64> {
        let symbols = cast(rows.column(0), &DataType::Utf8).unwrap();
        let symbols = symbols.as_string::<i32>().iter().map(|s| s.unwrap().to_string()).collect::<Vec<_>>();
        symbols.into_iter().zip(numbers(rows, "matches").into_iter().map(|n| n as i64)).collect()
    };
    let whole = counts(&whole);
    let cancel = CancellationToken::new();
    let (told, stop) = (Arc::new(AtomicU64::new(0)), cancel.clone());
    let seen = Arc::clone(&told);
    let progress = Arc::new(move |Progress { done, total, .. }: Progress| {
        assert_eq!(total, Some(400));
        seen.fetch_max(done, Ordering::Relaxed);
        if done == 40 {
            stop.cancel();
        }
    });
    let found = scan.run(&session, &Control { progress, cancel, deadline: None }).await.unwrap();
    let (rows, summary) = taken(found).await.unwrap();
    let part = counts(&rows);
    assert_eq!(summary.ended, Ended::Cancelled);
    assert!((40..400).contains(&summary.scanned), "{summary:?}");
    assert_eq!(part.len() as u64, summary.scanned);
    assert!(part.iter().all(|(symbol, n)| whole[symbol] == *n), "{part:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_time_ends_one_scan_and_not_all_that_share_a_token() {
    let session = session().await;
    let control = Control::default();
    let short = control.clone().within(std::time::Duration::from_nanos(1));
    taken(scan("rsi(14) < 30").run(&session, &short).await.unwrap()).await.unwrap();
    assert!(!control.cancel.is_cancelled());
    let (_, next) = taken(scan("rsi(14) < 30").run(&session, &control).await.unwrap()).await.unwrap();
    assert_eq!((next.ended, next.scanned), (Ended::Complete, 505));
}

#[test]
fn an_interrupt_delivers_what_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.parquet");
    let path = path.to_str().unwrap();
    assert!(tallow(&["synth", path, "--symbols", "20000", "--bars", "120"]).status.success());
    // Work enough that it goes on for long after the first symbols are told.
    let dear: String = (2..32).map(|n| format!(" and linearreg(close, {n}) > 0 and std(close, {n}) >= 0")).collect();
    let formula =
        format!("rsi(14) < 60 and ht_trendline() > 0 and ht_phasor().quadrature <> 0 and mama().mama > 0{dear}");
    let args = ["scan", &formula, "-v", "-t", path, "--group", "symbol", "--format", "csv", "--threads", "1"];
    let counts = |out: &[u8]| -> BTreeMap<String, String> {
        let lines = text(out);
        lines.lines().skip(1).map(|l| (l.split(',').next().unwrap().to_string(), l.to_string())).collect()
    };
    let whole = counts(&tallow(&args).stdout);
    assert!(whole.len() > 15_000, "{}", whole.len());
    let mut partial = 0;
    for done in [2_000, 6_000, 10_000] {
        let mut command = command(&args);
        let out = interrupted_at(&mut command, &format!("{done} of 20000 symbols"));
        let (part, said) = (counts(&out.stdout), text(&out.stderr));
        assert!(part.iter().all(|(symbol, line)| whole.get(symbol) == Some(line)), "{said}");
        match out.status.code() {
            // It was done before the interrupt came.
            Some(0) => assert_eq!(part.len(), whole.len()),
            Some(130) => {
                assert!(said.contains("interrupted after"), "{said}");
                assert!(part.len() > done / 2 && part.len() < whole.len(), "{} of {}: {said}", part.len(), whole.len());
                partial += 1;
            }
            code => panic!("{code:?} {said}"),
        }
    }
    assert!(partial > 0, "no interrupt came in the middle");
}

#[tokio::test(flavor = "multi_thread")]
async fn formulas_are_kept_in_versions() {
    let folder = tempfile::tempdir().unwrap();
    let session = tallow::open(Settings { lake: folder.path().display().to_string(), ..settings() }).await.unwrap();
    let new = |text: &str, tags: &[&str]| {
        formulas::new("dip", text, "entry", tags.iter().map(|t| t.to_string()).collect(), "Buys a dip".to_string(), 1)
            .unwrap()
    };
    assert!(formulas::find(&session, "dip").await.unwrap().is_none());
    assert_eq!(session.add_formula(new("rsi(14)<30", &["momentum", "daily"])).await.unwrap(), 1);
    assert_eq!(session.add_formula(new("rsi(14)  < 30", &["momentum", "daily"])).await.unwrap(), 1, "the same again");
    assert_eq!(session.add_formula(new("rsi(:n 14) < 25", &[])).await.unwrap(), 2);
    let found = |name: &'static str| async { formulas::get(&session, name).await.map(|f| (f.version, f.formula)) };
    assert_eq!(found("dip").await.unwrap(), (2, "rsi(:n 14) < 25".to_string()));
    assert_eq!(found("dip@1").await.unwrap(), (1, "rsi(14) < 30".to_string()));
    assert!(found("dip@3").await.unwrap_err().to_string().contains("versions 1 to 2"));
    assert!(found("dib").await.unwrap_err().to_string().contains("did you mean `dip`?"));
    for (name, category) in [("1x", "scan"), ("close", "scan"), ("a-b", "scan"), ("x", "idea")] {
        assert!(formulas::new(name, "close > 1", category, vec![], String::new(), 0).is_err(), "{name} {category}");
    }
    assert!(formulas::new("x", "close >", "scan", vec![], String::new(), 0).is_err());
    let rows =
        query(&session, "select name, version, category, tags, description from formulas order by version").await;
    assert_eq!(rows.num_rows(), 2);
    let stored: Vec<StoredFormula> = session.formulas().await.unwrap();
    assert_eq!(stored[0].tags, ["momentum", "daily"]);
    // Two writers at once get two versions.
    let (a, b) = tokio::join!(session.add_formula(new("close > 1", &[])), session.add_formula(new("close > 2", &[])));
    assert_eq!(BTreeSet::from([a.unwrap(), b.unwrap()]), BTreeSet::from([3, 4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_are_counted_with_the_returns_after_them() {
    let session = session().await;
    // The closes rise by one from 100: five bars after 110 comes 115.
    let bars: Vec<Bar> = (0..400).map(|i| ("A".to_string(), i, 100.0 + i as f64)).collect();
    session.context().register_batch("bars", batch(&bars)).unwrap();
    let formula = Formula::parse("close = 110 or close = 495").unwrap();
    let sql = formulas::performance(&session, &formula, &Default::default(), "bars", formulas::By::Year, &[5], 10)
        .await
        .unwrap();
    let rows = query(&session, &sql).await;
    assert_eq!(numbers(&rows, "year"), [2020.0, 2021.0]);
    assert_eq!((numbers(&rows, "hits"), numbers(&rows, "up_5")[0]), (vec![1.0, 1.0], 1.0));
    assert!((numbers(&rows, "return_5")[0] - 5.0 / 110.0).abs() < 1e-12);
    assert!(numbers(&rows, "return_5")[1].is_nan(), "bar 495 has no five bars after it");
    assert_eq!(START % DAY, 0);
}
