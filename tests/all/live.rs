//! Live runs: the same text, candle by candle, gives what it gives over all of them.

use crate::common::{query, session, settings};
use crate::interpreter::{Dice, Node};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tallow::live::{
    Answers, Asks, Durable, FeedUrl, Live, LiveOptions, Replay, Results, Settings as LiveSettings, Speed, Summary,
};
use tallow::pipeline::control::Control;
use tallow::pipeline::incremental::{Definition, Pipeline};
use tallow::{Range, Session, Settings};
use tallow_lake::IngestOptions;
use tokio_util::sync::CancellationToken;

/// 2018-01-16: four weeks before the sample ends.
pub const FROM: i64 = 1_516_060_800_000_000;

/// Named queries that cannot run live, and why not.
const REFUSED: [(&str, &str); 5] = [
    ("match_features", "unknown table `matches`"),
    ("match_targets", "unknown table `matches`"),
    ("signal_calibration", "it joins rows that have no symbol and no ts in common"),
    ("signals_calibrated", "it joins rows that have no symbol and no ts in common"),
    ("training_set", "is not PARTITION BY symbol"),
];

/// A row by its columns, and how often it was emitted before.
pub type Rows = BTreeMap<(String, i64), (Vec<String>, u32)>;

#[derive(Clone, Default)]
pub struct Collected(pub Arc<Mutex<Rows>>);

impl Answers for Collected {
    fn take(&mut self, Results { rows, revisions, .. }: Results<'_>) -> std::io::Result<()> {
        let mut all = self.0.lock().unwrap();
        for ((key, row), revision) in keyed(rows).into_iter().zip(revisions.unwrap_or_default()) {
            all.insert(key, (row, *revision));
        }
        Ok(())
    }
}

/// The same rows; numbers to a billionth of what their column holds at most, in which two ways to compute them agree. A text that
/// a comparison decides on may be another where two numbers of the row are the same to a billionth.
fn assert_same(live: &Rows, batch: &Rows, what: &str) {
    assert_eq!(live.keys().collect::<Vec<_>>(), batch.keys().collect::<Vec<_>>(), "{what}");
    let number = |text: &String| text.parse::<f64>().ok();
    let mut scales: Vec<f64> = vec![];
    for (row, _) in batch.values() {
        scales.resize(row.len().max(scales.len()), 0.0);
        let numbers = row.iter().map(|text| number(text).unwrap_or(0.0).abs());
        scales.iter_mut().zip(numbers).for_each(|(scale, number)| *scale = scale.max(number));
    }
    for ((key, (row, revision)), (want, _)) in live.iter().zip(batch.values()) {
        assert_eq!(*revision, 0, "{what}: {key:?}");
        for ((got, want), scale) in row.iter().zip(want).zip(&scales) {
            let is_near = number(got).zip(number(want)).is_some_and(|(a, b)| (a - b).abs() <= 1e-9 * scale);
            let numbers: Vec<f64> = row.iter().filter_map(number).filter(|number| *number != 0.0).collect();
            let pairs = || numbers.iter().enumerate().flat_map(|(i, a)| numbers[i + 1..].iter().map(move |b| (a, b)));
            let is_tie = || number(want).is_none() && pairs().any(|(a, b)| (a - b).abs() <= 1e-9 * a.abs());
            assert!(got == want || is_near || is_tie(), "{what}: {key:?}: {got} instead of {want}");
        }
    }
}

/// Rows by symbol, if they have one, and time.
pub fn keyed(rows: &RecordBatch) -> Vec<((String, i64), Vec<String>)> {
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let of_all: ArrayRef = Arc::new(StringArray::from(vec![""; rows.num_rows()]));
    let symbols = rows.column_by_name("symbol").unwrap_or(&of_all);
    let symbols = cast(symbols, &DataType::Utf8).unwrap();
    let times =
        cast(column("ts"), &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))).unwrap();
    let (symbols, times) = (symbols.as_string::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
    let shown: Vec<Vec<String>> = rows.columns().iter().map(shown).collect();
    let row = |at: usize| {
        let values = shown.iter().map(|column| column[at].clone()).collect();
        ((symbols.value(at).to_string(), times.value(at)), values)
    };
    (0..rows.num_rows()).map(row).collect()
}

fn shown(column: &ArrayRef) -> Vec<String> {
    if let DataType::Float64 | DataType::Float32 = column.data_type() {
        let numbers = cast(column, &DataType::Float64).unwrap();
        let numbers = numbers.as_primitive::<Float64Type>();
        return numbers.iter().map(|value| value.map_or("null".to_string(), |value| format!("{value:e}"))).collect();
    }
    let text = arrow::util::display::ArrayFormatter::try_new(column.as_ref(), &Default::default()).unwrap();
    (0..column.len()).map(|row| text.value(row).to_string()).collect()
}

pub fn options(folder: &Path) -> LiveOptions {
    let mut settings = LiveSettings::default();
    settings.durable = Durable::None;
    LiveOptions {
        asks: Asks::EachBar,
        timeframe: None,
        folder: folder.to_path_buf(),
        keeps_results: false,
        keeps_candles: false,
        known_until: Some(FROM),
        new_symbols: true,
        drain: Duration::from_secs(60),
        together: false,
        grace: Duration::from_secs(2),
        provisional: false,
        recompute: false,
        alerts: false,
        settings,
    }
}

pub fn pipeline(name: &str, definition: Definition) -> Pipeline {
    Pipeline { name: name.to_string(), definition, into: name.to_string() }
}

pub fn replay() -> [FeedUrl; 1] {
    [FeedUrl::Replay(Replay { table: "candles_1d".to_string(), from: Some(FROM), to: None, speed: Speed::Max })]
}

async fn live(session: &Arc<Session>, pipeline: &Pipeline) -> tallow::Result<(Rows, Summary)> {
    let one = live_by(session, pipeline, false).await?;
    let (other, _) = live_by(session, pipeline, true).await?;
    assert_same(&one.0, &other, &format!("{}, bar by bar", pipeline.name));
    Ok(one)
}

/// With all results computed anew, or bar by bar where that can be done.
async fn live_by(session: &Arc<Session>, pipeline: &Pipeline, recompute: bool) -> tallow::Result<(Rows, Summary)> {
    let folder = tempfile::tempdir().unwrap();
    let options = LiveOptions { recompute, ..options(folder.path()) };
    let live = Live::open(Arc::clone(session), pipeline, options).await?;
    let collected = Collected::default();
    let summary = live.run(&replay(), Box::new(collected.clone()), CancellationToken::new()).await?;
    let rows = std::mem::take(&mut *collected.0.lock().unwrap());
    Ok((rows, summary))
}

/// What a query gives from a time on.
async fn at_once(query: tallow::SessionQuery<'_>, from: i64) -> Rows {
    let range = Range { from: Some(from), to: None };
    let options = tallow::QueryOptions { range, ..Default::default() };
    let batches = query.with_options(options).collect().await.unwrap();
    batches.iter().flat_map(keyed).map(|(key, row)| (key, (row, 0))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_named_query_gives_live_what_it_gives_at_once_or_is_refused() {
    let session = Arc::new(session().await);
    let queries = tallow::named_queries(None).unwrap();
    let mut refused = BTreeSet::new();
    for named in queries.iter() {
        let of_query = Definition::query(named.name.clone());
        let (rows, summary) = match live(&session, &pipeline(&named.name, of_query)).await {
            Ok(done) => done,
            Err(error) => {
                let known = REFUSED.iter().find(|(name, _)| *name == named.name);
                let (_, reason) = known.unwrap_or_else(|| panic!("{}: {error}", named.name));
                assert!(error.to_string().contains(reason), "{}: {error}", named.name);
                refused.insert(named.name.clone());
                continue;
            }
        };
        assert_eq!(
            (summary.counters.rejected(), summary.unreadable, summary.dead_letters),
            (0, 0, 0),
            "{}",
            named.name
        );
        let batch = at_once(session.named_query(&named.name).unwrap(), FROM - 90 * crate::common::DAY).await;
        assert!(!rows.is_empty(), "{}", named.name);
        let has_all = !summary.notes.iter().any(|note| note.contains("LIMIT") || note.contains("newest"));
        // What looks ahead is settled later, so that the first rows are of bars before those that were fed.
        let mut spans: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for (symbol, ts) in rows.keys() {
            let span = spans.entry(symbol).or_insert((*ts, *ts));
            *span = (span.0.min(*ts), span.1.max(*ts));
        }
        let within = |(symbol, ts): &(String, i64)| {
            spans.get(symbol.as_str()).is_some_and(|(first, last)| (first..=last).contains(&ts))
        };
        let same: Rows = batch.into_iter().filter(|(key, _)| within(key)).collect();
        let live: Rows = rows.clone().into_iter().filter(|(key, _)| has_all || same.contains_key(key)).collect();
        assert_same(&live, &same, &named.name);
    }
    assert_eq!(refused, REFUSED.map(|(name, _)| name.to_string()).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_formulas_give_live_what_they_give_at_once() {
    let session = Arc::new(session().await);
    for sql in [
        "select symbol, ts, close from candles where close > 100",
        "select symbol, ts, sma(rsi(14), 5) s, macd(12, 26, 9).macdhist h from candles qualify s > 50",
        "select symbol, ts, lag(close, 3) l, avg(volume) over (partition by symbol order by ts rows 9 preceding) v from candles",
        "select symbol, ts, rsi(14) r, sma(5)@1w w from candles where symbol < 'D'",
        "select symbol, ts, obv() o, case when close > open then 'up' else 'down' end d from candles",
        "select symbol, ts, rank_pct(rsi(14)) r, rank() over (partition by ts order by volume desc) v from candles",
        "select c.symbol, c.ts, c.close / m.mean x from candles c join (select ts, avg(close) mean from candles group by ts) m
         on c.ts = m.ts",
        "select symbol, ts, cdlengulfing() e, bbands(20).upperband u from candles where symbol < 'C'",
    ] {
        let (rows, _) =
            live(&session, &pipeline("text", Definition::query(sql))).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
        assert_same(&rows, &at_once(session.query(sql), FROM).await, sql);
    }
    let formula = "rsi(14) < 35 and close < sma(20)".to_string();
    let scan = Definition::Scan { formula, params: BTreeMap::new(), table: "candles_1d".to_string() };
    let (rows, _) = live(&session, &pipeline("scan", scan)).await.unwrap();
    let sql = "select symbol, ts from candles qualify rsi(14) < 35 and close < sma(20)";
    let found = query(&session, sql).await;
    let found: BTreeSet<_> = keyed(&found).into_iter().map(|(key, _)| key).filter(|(_, ts)| *ts >= FROM).collect();
    assert_eq!(rows.into_keys().collect::<BTreeSet<_>>(), found);
}

/// 500 formulas with `TALLOW_LONG=1`.
#[tokio::test(flavor = "multi_thread")]
async fn random_formulas_are_live_what_they_are_at_once() {
    let session = Arc::new(session().await);
    let count = if std::env::var_os("TALLOW_LONG").is_some() { 500 } else { 25 };
    let (mut dice, mut found) = (Dice::new(4_219), 0);
    for _ in 0..count {
        let node = Node::condition(&mut dice, 3);
        let formula = node.to_string();
        let scan = |recompute| {
            let scan =
                Definition::Scan { formula: formula.clone(), params: BTreeMap::new(), table: "candles_1d".into() };
            let (session, formula) = (Arc::clone(&session), formula.clone());
            async move {
                let of = live_by(&session, &pipeline("scan", scan), recompute).await;
                let (rows, summary) = match of {
                    Ok(done) => done,
                    // What is never true needs no candles.
                    Err(error) if error.to_string().contains("it reads no candles") => return BTreeSet::new(),
                    Err(error) => panic!("{formula}\n{error}"),
                };
                assert_eq!((summary.counters.rejected(), summary.dead_letters), (0, 0), "{formula}");
                rows.into_keys().collect::<BTreeSet<_>>()
            }
        };
        let (live, recomputed) = (scan(false).await, scan(true).await);
        let sql = format!("select symbol, ts from candles qualify {formula}");
        let batch = query(&session, &sql).await;
        let batch: BTreeSet<_> = keyed(&batch).into_iter().map(|(key, _)| key).filter(|(_, ts)| *ts >= FROM).collect();
        // Where two sides are the same but for rounding, either may be the larger.
        if batch != live || batch != recomputed {
            let ties = query(&session, &format!("select symbol, ts from candles qualify {}", node.is_tie())).await;
            let ties: BTreeSet<_> = keyed(&ties).into_iter().map(|(key, _)| key).collect();
            for other in [&live, &recomputed] {
                let differ: Vec<_> = batch.symmetric_difference(other).filter(|key| !ties.contains(*key)).collect();
                assert!(differ.is_empty(), "{formula}: {differ:?} of {}", batch.len());
            }
        }
        found += batch.len();
    }
    assert!(found > 1_000 * count / 25, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_closed_is_answered_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let lines = begun(folder.path()).await;
    let forming = |line: &String| line.replace("\"close\"", "\"complete\":false,\"close\"");
    // The first day forms twice, and closes.
    let mut input = [forming(&lines[0]), lines[0].clone(), forming(&lines[3])].concat();
    input += &forming(&lines[0]);
    for more in [&[][..], &["--recompute"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tallow"))
            .args([
                "--lake",
                "lake",
                "live",
                FEATURES,
                "-t",
                "1d",
                "--drop-candles",
                "--durable",
                "none",
                "--provisional",
            ])
            .args(more)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let rows: Vec<serde_json::Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let closed: Vec<_> = rows.iter().filter(|row| row.get("revision").is_some()).collect();
        let open: Vec<_> = rows.iter().filter(|row| row["complete"] == serde_json::json!(false)).collect();
        assert_eq!(
            (closed.len(), closed[0]["symbol"].as_str(), closed[0]["revision"].as_u64()),
            (1, Some("A"), Some(0))
        );
        let second: serde_json::Value = serde_json::from_str(&lines[3]).unwrap();
        let last = open.last().unwrap();
        assert_eq!((last["symbol"].as_str(), last["close"].as_f64()), (Some("A"), second["close"].as_f64()));
        assert!(last["r"].is_number(), "{last}");
    }
    assert!(rows_of(folder.path()).await == 600);
}

/// How many bars the lake of a folder has.
pub(crate) async fn rows_of(folder: &Path) -> usize {
    query(&over(folder).await, "select symbol from candles").await.num_rows()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_in_disorder_ends_as_if_it_had_come_in_order() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lines = begun(folder.path()).await;
    // The same days, as the table of another lake.
    let file = source.path().join("days.ndjson");
    std::fs::write(&file, lines.concat()).unwrap();
    let other = over(source.path()).await;
    let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
    other.ingest("1d".parse().unwrap(), options, &Control::default()).await.unwrap();
    let program = program(folder.path(), "100ms");
    let output = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["--lake", "lake", "replay", "candles_1d", "--into", &format!("tcp://127.0.0.1:{}", program.port)])
        .args(["--twice", "50", "--late", "50", "--seed", "5"])
        .current_dir(source.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("rejected   0") && !said.contains(" 0 late"), "{said}");
    program.stop();
    assert_equal_to_batch(folder.path(), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_ahead_comes_once_it_is_settled() {
    let session = Arc::new(session().await);
    let sql = "select symbol, ts, lead(close, 2) l, close from candles where symbol = 'AAPL'";
    let (rows, _) = live(&session, &pipeline("ahead", Definition::query(sql))).await.unwrap();
    let all =
        query(&session, &format!("select * from ({sql}) where ts >= to_timestamp_micros({FROM}) order by ts")).await;
    let all = keyed(&all);
    // The last two bars are open; those before the first that was fed are not, once it has come.
    let settled: BTreeMap<_, _> = all[..all.len() - 2].iter().cloned().collect();
    let of_feed: BTreeMap<_, _> =
        rows.into_iter().filter(|((_, ts), _)| *ts >= FROM).map(|(key, (row, _))| (key, row)).collect();
    assert_eq!(of_feed.keys().collect::<Vec<_>>(), settled.keys().collect::<Vec<_>>());
    assert_eq!(of_feed, settled);
}

#[tokio::test]
async fn what_cannot_run_live_says_why() {
    let session = Arc::new(session().await);
    for (sql, said) in [
        ("select symbol, ts, rank_pct(close) r, lead(close) n from candles", "it compares symbols, and looks ahead"),
        ("select symbol, max(ts) ts from candles group by symbol", "it cannot run live"),
        ("select symbol, ts, sma(5) from candles('1w')", "it makes longer bars of those that are fed"),
        ("select 1 as symbol, ts from candles", "its column symbol is not that of a table"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let of = pipeline("text", Definition::query(sql));
        let opened = Live::open(Arc::clone(&session), &of, options(folder.path())).await;
        let error = opened.err().unwrap_or_else(|| panic!("{sql}")).to_string();
        assert!(error.contains(said), "{sql}\n{error}");
    }
}

/// The program over a lake, listening for candles.
pub(crate) struct Program {
    child: Child,
    pub port: u16,
    said: Arc<Mutex<Vec<String>>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the program said:\n{}", self.said.lock().unwrap().join("\n"));
        }
    }
}

pub const FEATURES: &str = "select symbol, ts, rsi(14) r, ema(10) e, close from candles";

/// Starts it; it chooses a port, and says which.
pub fn program(folder: &Path, flush: &str) -> Program {
    Program::begun(folder, &["--feed", "tcp://127.0.0.1:0", "--flush", flush], "listening on 127.0.0.1:")
}

impl Program {
    /// Starts a run over the lake of a folder, and waits until it says something; a port may follow.
    pub fn begun(folder: &Path, args: &[&str], says: &str) -> Program {
        Program::begun_with(folder, args, says, &[])
    }

    /// The same in an environment.
    pub fn begun_with(folder: &Path, args: &[&str], says: &str, environment: &[(&str, String)]) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tallow"))
            .args(["--lake", "lake", "live", FEATURES, "--to", "features", "--emit", "none", "-t", "1d"])
            .args(args)
            .env("TALLOW_LOG", "tallow_live=info")
            .envs(environment.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let rest = said.find_map(|line| Some(line.split_once(says)?.1.to_string())).unwrap();
        let port = rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or_default();
        // What it says is read, so that it is not held up, and shown if the test fails.
        let kept = Arc::new(Mutex::new(vec![format!("{says}{rest}")]));
        let into = Arc::clone(&kept);
        std::thread::spawn(move || said.for_each(|line| into.lock().unwrap().push(line)));
        Program { child, port, said: kept }
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A connection.
    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port))
    }

    /// Waits until it ends by itself; what it said.
    pub fn ended(mut self) -> (bool, String) {
        let is_good = self.child.wait().unwrap().success();
        (is_good, self.said.lock().unwrap().join("\n"))
    }

    /// Sends lines and waits until that many are accepted; how many were, if the program ends before.
    pub fn send(&self, lines: &[String]) -> usize {
        let Some(mut stream) = self.connect().ok().filter(|_| !lines.is_empty()) else { return 0 };
        let replies = BufReader::new(stream.try_clone().unwrap());
        let text = lines.concat();
        if stream.write_all(text.as_bytes()).is_err() {
            return 0;
        }
        let mut accepted = 0;
        for reply in replies.lines() {
            let Ok(reply) = reply else { break };
            let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
            assert!(reply.get("rejected").is_none(), "{reply}");
            accepted = reply["accepted"].as_u64().unwrap() as usize;
            if accepted == lines.len() {
                break;
            }
        }
        accepted
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) {
        let interrupted = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(interrupted.success() && self.child.wait().unwrap().success());
    }
}

/// A lake of three symbols, and the days that come to it.
pub(crate) async fn begun(folder: &Path) -> Vec<String> {
    let (mut text, mut lines) = ("symbol,ts,open,high,low,close,volume\n".to_string(), vec![]);
    for day in 0..400i64 {
        for symbol in ["A", "B", "C"] {
            let ts = (crate::common::START + day * crate::common::DAY) / 1_000_000;
            let close = 100.0 + 10.0 * ((day * (1 + symbol.as_bytes()[0] as i64)) as f64 * 0.37).sin();
            let (high, low) = (close * 1.01, close * 0.99);
            if day < 200 {
                text += &format!("{symbol},{ts},{close},{high},{low},{close},10\n");
            } else {
                let line = serde_json::json!({
                    "symbol": symbol, "ts": ts, "open": close, "high": high, "low": low, "close": close, "volume": 10
                });
                lines.push(format!("{line}\n"));
            }
        }
    }
    let file = folder.join("bars.csv");
    std::fs::write(&file, text).unwrap();
    let session = over(folder).await;
    let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
    session.ingest("1d".parse().unwrap(), options, &Control::default()).await.unwrap();
    lines
}

pub(crate) async fn over(folder: &Path) -> Session {
    tallow::open(Settings { lake: folder.join("lake").display().to_string(), ..settings() }).await.unwrap()
}

pub(crate) async fn assert_equal_to_batch(folder: &Path, days: usize) {
    let session = over(folder).await;
    let first = crate::common::START + 200 * crate::common::DAY;
    let batch = format!("select * from ({FEATURES}) where ts >= to_timestamp_micros({first}) order by symbol, ts");
    let (batch, live) = (
        query(&session, &batch).await,
        query(&session, "select symbol, ts, r, e, close from results_features order by symbol, ts").await,
    );
    assert_eq!(batch.num_rows(), days * 3);
    let rows = |batch: &RecordBatch| -> Rows { keyed(batch).into_iter().map(|(key, row)| (key, (row, 0))).collect() };
    assert_same(&rows(&live), &rows(&batch), FEATURES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lines = begun(folder.path()).await;
    let kills: u64 = if std::env::var_os("TALLOW_LONG").is_some() { 1_000 } else { 12 };
    let (mut sent, mut dice) = (0, 17u64);
    for kill in 0..kills {
        let program = program(folder.path(), if kill % 2 == 0 { "20ms" } else { "60s" });
        let mut next = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            dice >> 33
        };
        // A long run has few lines for each kill.
        let most = if kills > 100 { 1 } else { 40 };
        let count = (1 + next() as usize % most).min(lines.len() - sent);
        let killed = std::thread::spawn({
            let (id, wait) = (program.child.id(), Duration::from_micros(next() % 60_000));
            move || {
                std::thread::sleep(wait);
                Command::new("kill").args(["-KILL", &id.to_string()]).status().unwrap()
            }
        });
        // What was not accepted is sent again, to whoever listens then.
        sent += program.send(&lines[sent..sent + count]);
        killed.join().unwrap();
        drop(program);
    }
    let last = program(folder.path(), "60s");
    assert_eq!(last.send(&lines[sent..]), lines.len() - sent);
    last.stop();
    assert_equal_to_batch(folder.path(), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_late_bars_and_duplicates_end_as_if_they_had_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = begun(folder.path()).await;
    let days = lines.len() / 3;
    let program = program(folder.path(), "60s");
    let wrong: Vec<String> = lines[30..60].iter().map(|line| line.replace("\"volume\":10", "\"volume\":11")).collect();
    // Wrong first, then some in reverse, some twice, and those that are right.
    lines[90..120].reverse();
    let twice = lines[150..170].to_vec();
    for part in [&lines[..30], &wrong, &lines[60..], &twice, &lines[30..60]] {
        assert_eq!(program.send(part), part.len());
    }
    program.stop();
    assert_equal_to_batch(folder.path(), days).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_candle_is_refused_and_disturbs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lines = begun(folder.path()).await;
    let program = program(folder.path(), "60s");
    let mut stream = program.connect().unwrap();
    let good = |day: usize| lines[day * 3].clone();
    let bad = [
        "hello\n".to_string(),
        "{\"symbol\":\"A\"}\n".to_string(),
        good(1).replace("\"A\"", "\"NOBODY\""),
        good(1).replace("\"symbol\"", "\"timeframe\":\"1h\",\"symbol\""),
        good(1).replace("\"open\":", "\"open\":0.0,\"o\":"),
        format!("{}\n", "x".repeat(10 << 20)),
        lines[3].replace("\"ts\":", "\"ts\":9999999999,\"was\":"),
    ];
    let text: String = [good(0)].into_iter().chain(bad.iter().cloned()).chain([good(2)]).collect();
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines();
    stream.write_all(text.as_bytes()).unwrap();
    let (mut rejected, mut accepted) = (vec![], 0);
    while accepted < 2 || rejected.len() < bad.len() {
        let reply: serde_json::Value = serde_json::from_str(&replies.next().unwrap().unwrap()).unwrap();
        match reply["rejected"].as_u64() {
            Some(line) => rejected.push((line, reply["error"].as_str().unwrap().to_string())),
            None => accepted = reply["accepted"].as_u64().unwrap(),
        }
    }
    rejected.sort();
    let lines_of: Vec<u64> = rejected.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines_of, (2..9).collect::<Vec<u64>>(), "{rejected:?}");
    let said =
        ["no candle", "missing field", "has no such symbol", "expected 1d", "duplicate field", "a line of", "ts"];
    for ((_, error), said) in rejected.iter().zip(said) {
        assert!(error.contains(said), "{error}");
    }
    program.stop();
    let session = over(folder.path()).await;
    assert_eq!(query(&session, "select * from results_features").await.num_rows(), 2);
}

/// An exchange that tells of minutes, and closes the connection now and then: which of its bars it tells on which connection, and
/// up to which it knows them by its other interface then.
struct Mock {
    first: i64,
    connections: &'static [(std::ops::Range<i64>, i64)],
    known: Arc<std::sync::atomic::AtomicI64>,
}

const MINUTE: i64 = 60_000_000;

impl Mock {
    fn close(bar: i64) -> f64 {
        100.0 + (bar * 7 % 13) as f64
    }

    fn kline(&self, bar: i64, is_closed: bool) -> String {
        let (t, c) = ((self.first + bar * MINUTE) / 1_000, Mock::close(bar));
        let k = serde_json::json!({"t": t, "s": "BTCUSDT", "o": c.to_string(), "h": (c + 1.0).to_string(),
            "l": (c - 1.0).to_string(), "c": c.to_string(), "v": "5", "x": is_closed});
        serde_json::json!({"e": "kline", "s": "BTCUSDT", "k": k}).to_string()
    }

    /// Listens for both; the addresses.
    fn serve(self) -> (String, String) {
        let sockets = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let pages = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [&sockets, &pages].map(|listener| listener.local_addr().unwrap());
        let (first, known) = (self.first, Arc::clone(&self.known));
        std::thread::spawn(move || {
            for mut stream in pages.incoming().flatten() {
                let mut request = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
                let of = |name: &str| -> i64 {
                    let rest = request.split(&format!("{name}=")).nth(1).unwrap();
                    rest.split(['&', ' ']).next().unwrap().parse().unwrap()
                };
                let (from, to) = (of("startTime") * 1_000, of("endTime") * 1_000);
                let bars = (0..=known.load(std::sync::atomic::Ordering::SeqCst)).map(|bar| (bar, first + bar * MINUTE));
                let rows = bars.filter(|(_, ts)| (from..=to).contains(ts)).map(|(bar, ts)| {
                    let c = Mock::close(bar);
                    serde_json::json!([
                        ts / 1_000,
                        c.to_string(),
                        (c + 1.0).to_string(),
                        (c - 1.0).to_string(),
                        c.to_string(),
                        "5",
                        0,
                        "0",
                        1,
                        "0",
                        "0",
                        "0"
                    ])
                });
                let body = serde_json::Value::Array(rows.collect()).to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
                let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
            }
        });
        std::thread::spawn(move || {
            for (at, stream) in sockets.incoming().flatten().enumerate() {
                let Some((bars, known)) = self.connections.get(at) else { continue };
                self.known.store(*known, std::sync::atomic::Ordering::SeqCst);
                let mut socket = tokio_tungstenite::tungstenite::accept(stream).unwrap();
                let asked = socket.read().unwrap().into_text().unwrap();
                assert!(asked.contains("btcusdt@kline_1m"), "{asked}");
                for bar in bars.clone() {
                    for text in [self.kline(bar, false), self.kline(bar, true), self.kline(bar, true)] {
                        socket.send(text.into()).unwrap();
                    }
                }
                if at + 1 < self.connections.len() {
                    let _ = socket.close(None);
                }
                // Until the other side is gone too.
                while socket.read().is_ok() {}
            }
        });
        (format!("ws://{}", addresses[0]), format!("http://{}", addresses[1]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_that_are_missed_between_connections_to_an_exchange_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    let first = now / MINUTE * MINUTE - 40 * MINUTE;
    // The lake has the first ten. Some bars are told by the socket, those in between only if they are asked for.
    let connections = &[(15..17, 14), (23..26, 22), (30..31, 29)];
    let (url, base) = Mock { first, connections, known: Arc::default() }.serve();
    let mut text = "symbol,ts,open,high,low,close,volume\n".to_string();
    for bar in 0..10 {
        let (ts, c) = ((first + bar * MINUTE) / 1_000_000, Mock::close(bar));
        text += &format!("BTCUSDT,{ts},{c},{},{},{c},5\n", c + 1.0, c - 1.0);
    }
    std::fs::write(folder.path().join("bars.csv"), text).unwrap();
    let session = over(folder.path()).await;
    let sources = vec![folder.path().join("bars.csv").display().to_string()];
    session
        .ingest("1m".parse().unwrap(), IngestOptions { sources, ..IngestOptions::default() }, &Control::default())
        .await
        .unwrap();

    let session = Arc::new(over(folder.path()).await);
    let of = Pipeline {
        name: "minutes".to_string(),
        definition: Definition::Query {
            query: "select symbol, ts, sma(5) s from candles".to_string(),
            params: BTreeMap::new(),
            timeframe: Some("1m".parse().unwrap()),
        },
        into: "minutes".to_string(),
    };
    let kept = LiveOptions { keeps_results: true, keeps_candles: true, known_until: None, ..options(folder.path()) };
    let live = Live::open(Arc::clone(&session), &of, kept).await.unwrap();
    let (collected, stop) = (Collected::default(), CancellationToken::new());
    let feed: FeedUrl = format!("binance://BTCUSDT?url={url}&base={base}").parse().unwrap();
    let (answers, stopped) = (Box::new(collected.clone()), stop.clone());
    let engine = session.engine();
    let running = engine.spawn(async move { live.run(&[feed], answers, stopped).await }).unwrap();
    while collected.0.lock().unwrap().len() < 21 {
        assert!(!running.is_finished());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    let summary = running.await.unwrap().unwrap();
    assert_eq!((summary.counters.rejected(), summary.unreadable, summary.counters.holes), (0, 0, 0));
    let after = over(folder.path()).await;
    let bars = query(&after, "select symbol, ts, close from candles_1m order by ts").await;
    let want: Vec<i64> = (0..31).map(|bar| first + bar * MINUTE).collect();
    assert_eq!(keyed(&bars).into_iter().map(|((_, ts), _)| ts).collect::<Vec<_>>(), want);
    let at_once = query(&after, "select symbol, ts, sma(5) s from candles_1m order by symbol, ts").await;
    let live = query(&after, "select symbol, ts, s from results_minutes order by symbol, ts").await;
    assert_eq!(keyed(&live), keyed(&at_once)[10..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn longer_bars_that_the_lake_has_are_read_beside_those_that_come() {
    let folder = tempfile::tempdir().unwrap();
    let hour = crate::common::DAY / 24;
    let session = over(folder.path()).await;
    for (timeframe, hours) in [("1h", 1), ("4h", 4)] {
        let mut text = "symbol,ts,open,high,low,close,volume\n".to_string();
        for bar in 0..600 / hours {
            for symbol in ["A", "B"] {
                let ts = (crate::common::START + bar * hours * hour) / 1_000_000;
                let close = 100.0 + 10.0 * ((bar * hours * (1 + symbol.as_bytes()[0] as i64)) as f64 * 0.37).sin();
                text += &format!("{symbol},{ts},{close},{},{},{close},10\n", close * 1.01, close * 0.99);
            }
        }
        let file = folder.path().join(format!("{timeframe}.csv"));
        std::fs::write(&file, text).unwrap();
        let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
        session.ingest(timeframe.parse().unwrap(), options, &Control::default()).await.unwrap();
    }
    let session = Arc::new(over(folder.path()).await);
    let timeframe = Some("1h".parse().unwrap());
    let sql = "select symbol, ts, rsi(14) r, sma(close, 3)@4h s, close@4h c from candles";
    let query = Definition::Query { query: sql.to_string(), params: BTreeMap::new(), timeframe };
    let from = crate::common::START + 500 * hour;
    let replay = Replay { table: "candles_1h".to_string(), from: Some(from), to: None, speed: Speed::Max };
    let of_hours = LiveOptions { timeframe, known_until: Some(from), ..options(folder.path()) };
    let live = Live::open(Arc::clone(&session), &pipeline("hours", query.clone()), of_hours).await.unwrap();
    let collected = Collected::default();
    let feeds = [FeedUrl::Replay(replay)];
    live.run(&feeds, Box::new(collected.clone()), CancellationToken::new()).await.unwrap();
    let range = Range { from: Some(from), to: None };
    let options_of = tallow::QueryOptions { range, timeframe, ..Default::default() };
    let batches = session.query(sql).with_options(options_of).collect().await.unwrap();
    let batch: Rows = batches.iter().flat_map(keyed).map(|(key, row)| (key, (row, 0))).collect();
    assert_eq!(batch.len(), 200);
    assert_same(&collected.0.lock().unwrap(), &batch, sql);
    let unnamed = Live::open(session, &pipeline("hours", query), options(folder.path())).await.err().unwrap();
    assert!(unnamed.to_string().contains("it reads bars of several lengths, 1h, 4h"), "{unnamed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_another_query_are_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    begun(folder.path()).await;
    let session = Arc::new(over(folder.path()).await);
    let from = crate::common::START + 190 * crate::common::DAY;
    let kept = || LiveOptions { keeps_results: true, known_until: Some(from), ..options(folder.path()) };
    let of = |sql: &str| pipeline("kept", Definition::query(sql));
    let replay = Replay { table: "candles_1d".to_string(), from: Some(from), to: None, speed: Speed::Max };
    let query_of = of("select symbol, ts, sma(5) s from candles");
    let live = Live::open(Arc::clone(&session), &query_of, kept()).await.unwrap();
    let feeds = [FeedUrl::Replay(replay)];
    live.run(&feeds, Box::new(Collected::default()), CancellationToken::new()).await.unwrap();
    assert_eq!(query(&session, "select * from results_kept").await.num_rows(), 30);
    let other = Live::open(session, &of("select symbol, ts, ema(5) s from candles"), kept()).await.err().unwrap();
    assert!(other.to_string().contains("was made by another query"), "{other}");
}
