//! Live runs in which the bars of one time are computed together: comparisons of symbols, strategies, patterns.

use crate::common::{DAY, session};
use crate::live::{FROM, Rows, keyed, options, over, pipeline, replay};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tallow::live::{Account, Answers, Asks, Callback, Live, LiveOptions, Once, Results};
use tallow::pipeline::backtest::{Options, Paper};
use tallow::pipeline::control::Control;
use tallow::pipeline::incremental::Definition;
use tallow::{Range, Session};
use tokio_util::sync::CancellationToken;

/// What is emitted, batch by batch: the rows, how often they were, and whether they are complete.
type Emitted = Arc<Mutex<Vec<(RecordBatch, Vec<u32>, bool)>>>;

fn collecting() -> (Emitted, Box<dyn Answers>) {
    let emitted = Emitted::default();
    let to = Arc::clone(&emitted);
    let take = move |results: Results<'_>| {
        let Results { rows, revisions, complete, .. } = results;
        to.lock().unwrap().push((rows.clone(), revisions.unwrap_or_default().to_vec(), complete));
        Ok(())
    };
    (emitted, Box::new(Callback(take)))
}

fn numbers(rows: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    rows.column_by_name(name).unwrap().as_primitive::<Float64Type>().iter().collect()
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    rows.column_by_name(name).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_string)).collect()
}

fn times(rows: &RecordBatch, name: &str) -> Vec<i64> {
    rows.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

fn strategy(options: &[(&str, &str)]) -> Options {
    let mut strategy = Options::default();
    options.iter().for_each(|(name, value)| strategy.set(name, *value).unwrap());
    strategy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_on_paper_is_its_backtest() {
    let session = Arc::new(session().await);
    for given in [
        &[("entry", "rsi(14) < 35"), ("exit", "rsi(14) > 55"), ("stop", "2 * atr(14)"), ("slots", "5")][..],
        &[("entry", "close > sma(20)"), ("exit", "close < sma(20)"), ("rank", "roc(20)"), ("commission", "0.1%")],
        &[("weight", "case when rank_pct(roc(20)) > 0.9 then 0.02 else 0 end"), ("rebalance", "week")],
    ] {
        let strategy = strategy(given);
        let folder = tempfile::tempdir().unwrap();
        let account = Account::open(&session, &strategy, folder.path(), None, Some(FROM)).await.unwrap();
        let definition = Definition::query(account.sql());
        let (emitted, answers) = collecting();
        let options = LiveOptions { together: true, ..options(folder.path()) };
        let live = Live::open(Arc::clone(&session), &pipeline("paper", definition), options).await.unwrap();
        live.run(&replay(), Box::new(account.telling(answers)), CancellationToken::new()).await.unwrap();
        let emitted = std::mem::take(&mut *emitted.lock().unwrap());
        let rows = concat_batches(&Paper::schema(), emitted.iter().map(|(rows, ..)| rows)).unwrap();
        assert!(emitted.iter().all(|(_, revisions, complete)| *complete && revisions.iter().all(|of| *of == 0)));

        let mut backtest = strategy.backtest(&session).await.unwrap();
        backtest.range = Range { from: Some(FROM), to: None };
        backtest.rules.end = tallow_udfs::trade::backtest::rules::End::Open;
        let at_once = backtest.run(&session, &Control::default()).await.unwrap();
        let left: Vec<usize> =
            (0..rows.num_rows()).filter(|row| texts(&rows, "event")[*row].as_deref() == Some("left")).collect();
        let of_paper = |name: &str| left.iter().map(|row| numbers(&rows, name)[*row]).collect::<Vec<_>>();
        assert!(!left.is_empty(), "{given:?}");
        assert_eq!(of_paper("pnl"), numbers(&at_once.trades, "pnl"), "{given:?}");
        assert_eq!(of_paper("price"), numbers(&at_once.trades, "exit_price"), "{given:?}");
        let equity: Vec<Option<f64>> = numbers(&rows, "equity").into_iter().filter(Option::is_some).collect();
        assert_eq!(equity, numbers(&at_once.equity, "equity"), "{given:?}");
    }
}

/// Rows by their instant, of several the last that were told.
fn last_told(told: &mut BTreeMap<i64, Vec<String>>, rows: &RecordBatch) {
    let mut fresh: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let row = |at: usize| -> String {
        let text = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, at).unwrap();
        rows.columns().iter().map(text).collect::<Vec<_>>().join(" ")
    };
    times(rows, "ts").into_iter().enumerate().for_each(|(at, ts)| fresh.entry(ts).or_default().push(row(at)));
    told.extend(fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_change_what_an_account_did_since() {
    let session = session().await;
    let strategy = strategy(&[("entry", "rsi(14) < 35"), ("exit", "rsi(14) > 55"), ("slots", "5")]);
    let backtest = strategy.backtest(&session).await.unwrap();
    let begin = || Paper::begin(&session, &backtest, Some(FROM), Some(FROM));
    let sql = format!(
        "select * from ({}) where ts >= to_timestamp_micros({FROM}) order by ts, symbol",
        begin().await.unwrap().sql()
    );
    let batches = session.query(sql).collect().await.unwrap();
    let rows = concat_batches(&batches[0].schema(), &batches).unwrap();
    let instants = |rows: &RecordBatch| -> Vec<RecordBatch> {
        let all = times(rows, "ts");
        let distinct: BTreeSet<i64> = all.iter().copied().collect();
        let of = |ts: i64| filter_record_batch(rows, &all.iter().map(|of| Some(*of == ts)).collect()).unwrap();
        distinct.into_iter().map(of).collect()
    };
    let all = instants(&rows);
    let (mut in_order, mut otherwise) = (begin().await.unwrap(), begin().await.unwrap());
    let (mut want, mut told) = (BTreeMap::new(), BTreeMap::new());
    for instant in &all {
        last_told(&mut want, &in_order.take(instant).unwrap().0);
    }
    // Of each fifth instant, every second bar comes two instants later; one instant is wholly late, and one comes twice.
    let mut late: Vec<(usize, RecordBatch)> = vec![];
    let mut most = 0;
    for (at, instant) in all.iter().enumerate() {
        let part = |odd: bool| {
            let rows = (0..instant.num_rows() as u64).filter(|row| (row % 2 == 1) == odd);
            take_record_batch(instant, &UInt64Array::from_iter_values(rows)).unwrap()
        };
        let mut now = vec![];
        match at {
            at if at % 5 == 2 => {
                now.push(part(false));
                late.push((at + 2, part(true)));
            }
            7 => late.push((9, instant.clone())),
            8 => now.extend([instant.clone(), instant.clone()]),
            _ => now.push(instant.clone()),
        }
        now.extend(late.iter().filter(|(due, _)| *due == at).map(|(_, rows)| rows.clone()));
        for rows in now {
            let (rows, revisions) = otherwise.take(&rows).unwrap();
            most = revisions.into_iter().max().unwrap_or_default().max(most);
            last_told(&mut told, &rows);
        }
    }
    let due = late.iter().filter(|(due, _)| *due >= all.len());
    due.for_each(|(_, rows)| last_told(&mut told, &otherwise.take(rows).unwrap().0));
    assert!(most > 0);
    assert_eq!(told, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_goes_on_where_it_was() {
    let session = session().await;
    let given = strategy(&[("entry", "rsi(14) < 35"), ("exit", "rsi(14) > 55"), ("slots", "5")]);
    let backtest = given.backtest(&session).await.unwrap();
    let until = FROM + 10 * DAY;
    let mut whole = Paper::begin(&session, &backtest, Some(FROM), Some(FROM)).await.unwrap();
    let mut later = Paper::begin(&session, &backtest, Some(FROM), Some(until)).await.unwrap();
    let of = |from: i64| {
        format!("select * from ({}) where ts >= to_timestamp_micros({from}) order by ts, symbol", whole.sql())
    };
    let (all, rest) = (of(FROM), of(until));
    let (mut want, mut told) = (BTreeMap::new(), BTreeMap::new());
    for (paper, sql, to) in [(&mut whole, all, &mut want), (&mut later, rest, &mut told)] {
        let batches = session.query(sql).collect().await.unwrap();
        last_told(to, &paper.take(&concat_batches(&batches[0].schema(), &batches).unwrap()).unwrap().0);
    }
    assert!(!told.is_empty());
    want.retain(|ts, _| *ts >= until);
    assert_eq!(told, want);
    // Another strategy is not taken for the same account.
    let folder = tempfile::tempdir().unwrap();
    Account::open(&session, &given, folder.path(), Some(FROM), None).await.map(drop).unwrap();
    Account::open(&session, &given, folder.path(), None, None).await.map(drop).unwrap();
    let other = strategy(&[("entry", "rsi(14) < 30")]);
    let refused = Account::open(&session, &other, folder.path(), None, None).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("is of another strategy"), "{refused}");
}

/// Ten closes of a symbol that go down and up.
const DIP: &str = "9 8 7 6 5 5 6 7 8 9 10";

fn search() -> Definition {
    Definition::query(format!(
        "select symbol, end_ts as ts, pattern, distance, percentile from dtw_search('candles_1d', '{DIP}', mode => 'latest', k => 4)"
    ))
}

/// The matches of the newest bars as they were at the end of a time.
async fn newest(session: &Session, ts: i64) -> Rows {
    // What came later is not there: the newest bar of each symbol is of this time or before.
    let sql = format!(
        "select * from (select symbol, end_ts as ts, pattern, distance, percentile from dtw_search('candles_until', '{DIP}', \
         mode => 'latest', k => 4)) where ts = to_timestamp_micros({ts})"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bars.parquet");
    let bars = format!("select * from candles where ts <= to_timestamp_micros({ts}) order by symbol, ts");
    let args = ["-q", "query", &bars, "-o", file.to_str().unwrap()];
    assert!(Command::new(env!("CARGO_BIN_EXE_tallow")).args(args).status().unwrap().success());
    let sql = sql.replace("candles_until", file.to_str().unwrap());
    let batches = session.query(sql).collect().await.unwrap();
    batches.iter().flat_map(keyed).map(|(key, row)| (key, (row, 0))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_are_found_in_the_newest_bars_as_they_come() {
    let session = Arc::new(session().await);
    let folder = tempfile::tempdir().unwrap();
    let (emitted, answers) = collecting();
    let newest_only = || LiveOptions { asks: Asks::Newest(None), ..options(folder.path()) };
    let live = Live::open(Arc::clone(&session), &pipeline("dip", search()), newest_only()).await.unwrap();
    live.run(&replay(), answers, CancellationToken::new()).await.unwrap();
    let mut by_time: BTreeMap<i64, Rows> = BTreeMap::new();
    for (rows, ..) in emitted.lock().unwrap().iter() {
        for (key, row) in keyed(rows) {
            by_time.entry(key.1).or_default().insert(key, (row, 0));
        }
    }
    assert!(by_time.len() > 10);
    // Without random windows, no more bars are needed than the longest window and its averages have.
    let (emitted, answers) = collecting();
    let bounded = LiveOptions { asks: Asks::Newest(Some(13 + 59)), ..options(folder.path()) };
    let Definition::Query { query, .. } = search() else { unreachable!() };
    let without = Definition::query(query.replace("k => 4", "k => 4, null => 0"));
    let live = Live::open(Arc::clone(&session), &pipeline("dip", without), bounded).await.unwrap();
    live.run(&replay(), answers, CancellationToken::new()).await.unwrap();
    let but_percentiles = |row: Vec<String>| row[..row.len() - 1].to_vec();
    let emitted = std::mem::take(&mut *emitted.lock().unwrap());
    let found: BTreeMap<_, _> = emitted.iter().flat_map(|(rows, ..)| keyed(rows)).collect();
    let found: BTreeMap<_, _> = found.into_iter().map(|(key, row)| (key, but_percentiles(row))).collect();
    let whole = by_time.values().flatten().map(|(key, (row, _))| (key.clone(), but_percentiles(row.clone())));
    assert_eq!(found, whole.collect());
    for (ts, found) in by_time.into_iter().step_by(5) {
        assert_eq!(found, newest(&session, ts).await);
    }
}

/// The days of three symbols in a lake of its own.
async fn of_three(folder: &std::path::Path) -> Arc<Session> {
    let lines = (1..=3).flat_map(|day| ["A", "B", "C"].map(|symbol| day_of(symbol, day, 10.0)));
    std::fs::write(folder.join("days.ndjson"), lines.collect::<String>()).unwrap();
    let session = Arc::new(over(folder).await);
    let sources = vec![folder.join("days.ndjson").display().to_string()];
    let options = tallow_lake::IngestOptions { sources, ..Default::default() };
    session.ingest("1d".parse().unwrap(), options, &Control::default()).await.unwrap();
    session
}

fn day_of(symbol: &str, day: u32, close: f64) -> String {
    format!(
        "{{\"symbol\":\"{symbol}\",\"ts\":\"2024-01-0{day}T00:00:00Z\",\"open\":9,\"high\":20,\"low\":8,\"close\":{close},\"volume\":1}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_not_complete_says_so_and_is_corrected() {
    let folder = tempfile::tempdir().unwrap();
    drop(of_three(folder.path()).await);
    let mut child = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["--lake", "lake", "-q", "live", "select ts, count(*) n, avg(close) mean from candles group by ts"])
        .args(["--grace", "200ms", "--drop-candles"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let row = |day: u32, n: u32, mean: f64, revision: u32, rest: &str| {
        format!("{{\"ts\":\"2024-01-0{day}T00:00:00Z\",\"n\":{n},\"mean\":{mean:?},\"revision\":{revision}{rest}}}")
    };
    // All have come: at once. One is missing: after a while, and said. It comes after all: as a correction.
    for symbol in ["C", "A", "B"] {
        input.write_all(day_of(symbol, 4, 12.0).as_bytes()).unwrap();
    }
    assert_eq!(output.next().unwrap(), row(4, 3, 12.0, 0, ""));
    for symbol in ["A", "B"] {
        input.write_all(day_of(symbol, 5, 14.0).as_bytes()).unwrap();
    }
    assert_eq!(output.next().unwrap(), row(5, 2, 14.0, 0, ",\"complete\":false"));
    input.write_all(day_of("C", 5, 11.0).as_bytes()).unwrap();
    assert_eq!(output.next().unwrap(), row(5, 3, 13.0, 1, ""));
    // A bar of the past changes its time alone.
    input.write_all(day_of("B", 2, 16.0).as_bytes()).unwrap();
    assert_eq!(output.next().unwrap(), row(2, 3, 12.0, 1, ""));
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(output.next(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_is_told_once_in_a_cooldown() {
    let folder = tempfile::tempdir().unwrap();
    let session = of_three(folder.path()).await;
    let (emitted, answers) = collecting();
    let day = Duration::from_secs(86_400);
    let mut once = Once::new(&session, "1d", day, answers).unwrap();
    let sql = "select symbol, ts, 'dip' as pattern, 0.5 as distance, 0.9 as percentile from candles where symbol < 'C'";
    let batches = session.query(format!("{sql} and ts = timestamp '2024-01-01T00:00:00Z'")).collect().await.unwrap();
    let first = concat_batches(&batches[0].schema(), &batches).unwrap();
    let batches = session.query(sql).collect().await.unwrap();
    let all = concat_batches(&batches[0].schema(), &batches).unwrap();
    for rows in [&first, &all] {
        let revisions = vec![0; rows.num_rows()];
        once.take(Results { rows, revisions: Some(&revisions), complete: true, lines: None }).unwrap();
        // What is not closed is no alert.
        once.take(Results { rows, revisions: None, complete: false, lines: None }).unwrap();
    }
    drop(once);
    let told: Vec<_> = emitted.lock().unwrap().iter().flat_map(|(rows, ..)| texts(rows, "symbol")).collect();
    assert_eq!(told, ["A", "B"].map(|symbol| Some(symbol.to_string())));
    // Another run knows of them.
    let (emitted, answers) = collecting();
    let mut once = Once::new(&session, "1d", day, answers).unwrap();
    once.take(Results { rows: &all, revisions: Some(&vec![0; all.num_rows()]), complete: true, lines: None }).unwrap();
    drop(once);
    assert!(emitted.lock().unwrap().is_empty());
}
