//! Ingest: what is recognised, what is taken, what goes to the quarantine, and that a delivery can be repeated.

use crate::common::{Bar, DAY, START, batch, numbers, query, settings, try_query, walk, write_csv, write_parquet};
use arrow::array::{AsArray, RecordBatch};
use proptest::prelude::*;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tallow::pipeline::control::{Control, Progress, Unit};
use tallow::{Session, Settings};
use tallow_lake::{IngestOptions, IngestSummary, Naming};

pub async fn lake(folder: &Path) -> Session {
    let lake = folder.join("lake").display().to_string();
    tallow::open(Settings { lake, ..settings() }).await.unwrap()
}

pub fn from(path: &Path) -> IngestOptions {
    IngestOptions { sources: vec![path.display().to_string()], ..IngestOptions::default() }
}

pub async fn ingest(session: &Session, timeframe: &str, options: IngestOptions) -> tallow::Result<IngestSummary> {
    let summary = session.ingest(timeframe.parse().unwrap(), options, &Control::default()).await?;
    let rejected: u64 = summary.rejected.values().sum();
    let accounted = summary.new
        + summary.unchanged
        + summary.restated
        + summary.duplicates
        + summary.incomplete
        + summary.future
        + rejected;
    assert_eq!(summary.rows, accounted, "{summary:?}");
    Ok(summary)
}

async fn count(session: &Session, table: &str) -> f64 {
    numbers(&query(session, &format!("select count(*) as n from {table}")).await, "n")[0]
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let array = arrow::compute::cast(batch.column_by_name(column).unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
    array.as_string::<i32>().iter().map(|t| t.unwrap_or("null").to_string()).collect()
}

/// Writes a text file and ingests it into a lake of its own.
async fn one(
    name: &str,
    text: &str,
    timeframe: &str,
    options: IngestOptions,
) -> (Session, tallow::Result<IngestSummary>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let session = lake(folder.path()).await;
    let options = IngestOptions { sources: vec![path.display().to_string()], ..options };
    let done = ingest(&session, timeframe, options).await;
    (session, done, folder)
}

#[tokio::test]
async fn the_stocks_round_trip_and_a_second_delivery_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/1d"));
    let first = ingest(&session, "1d", from(sample)).await.unwrap();
    assert_eq!((first.rows, first.new, first.version), (619_040, 619_028, Some(0)));
    assert_eq!(first.rejected, [("range".to_string(), 12)].into());
    assert_eq!(first.warnings, [("incomplete".to_string(), 11)].into());
    let second = ingest(&session, "1d", from(sample)).await.unwrap();
    assert_eq!((second.new, second.unchanged, second.version), (0, 619_028, None));
    assert_eq!(count(&session, "quarantine_1d").await, 12.0);
    // The same rows as the file has, but for those that are in the quarantine.
    let sums = "select sum(close) as c, sum(volume) as v, count(open) as o from";
    let ours = query(&session, &format!("{sums} candles")).await;
    let sound = format!(
        "{sums} '{}/*.parquet' where not (low > high or low > open or low > close or high < open or high < close)
         or open is null",
        sample.display()
    );
    let theirs = query(&session, &sound).await;
    for column in ["c", "v", "o"] {
        let (a, b) = (numbers(&ours, column)[0], numbers(&theirs, column)[0]);
        assert!((a - b).abs() <= 1e-9 * b.abs(), "{column}: {a} {b}");
    }
}

#[tokio::test]
async fn every_format_gives_the_same_table() {
    let folder = tempfile::tempdir().unwrap();
    let bars = batch(&walk(&["A", "B", "C"], 50));
    let base = folder.path().join("in");
    write_parquet(&base.join("a.parquet"), &bars, 40);
    write_csv(&base.join("a.csv"), &bars);
    let csv = std::fs::read(base.join("a.csv")).unwrap();
    let mut gzip = std::process::Command::new("gzip").arg("-kf").arg(base.join("a.csv")).spawn().unwrap();
    assert!(gzip.wait().unwrap().success());
    let semicolons = String::from_utf8(csv).unwrap().replace(',', ";").replace('\n', "\r\n");
    std::fs::write(base.join("b.csv"), format!("\u{feff}{semicolons}")).unwrap();
    let mut json = arrow::json::LineDelimitedWriter::new(std::fs::File::create(base.join("a.ndjson")).unwrap());
    json.write(&bars).unwrap();
    json.finish().unwrap();
    let ipc = std::fs::File::create(base.join("a.arrow")).unwrap();
    let mut ipc = arrow::ipc::writer::FileWriter::try_new(ipc, &bars.schema()).unwrap();
    ipc.write(&bars).unwrap();
    ipc.finish().unwrap();
    let all = "select symbol, ts, open, high, low, close, volume from candles order by 1, 2";
    let mut expected = None;
    for file in ["a.parquet", "a.csv", "a.csv.gz", "b.csv", "a.ndjson", "a.arrow"] {
        let own = tempfile::tempdir().unwrap();
        let session = lake(own.path()).await;
        let done = ingest(&session, "1d", from(&base.join(file))).await.unwrap();
        assert_eq!(done.new, 150, "{file}: {done:?}");
        let rows = query(&session, all).await;
        assert_eq!(*expected.get_or_insert_with(|| rows.clone()), rows, "{file}");
    }
}

#[tokio::test]
async fn each_rule_sends_its_row_to_the_quarantine_with_line_and_value() {
    let text = "symbol,ts,open,high,low,close,volume,bid,ask\n\
                A,2020-01-01,10,11,9,10,5,9.9,10.1\n\
                A,2020-01-02,10,11,9,-1,5,,\n\
                A,2020-01-03,0,11,9,10,5,,\n\
                A,2020-01-04,10,11,10.5,10,5,,\n\
                A,2020-01-05,10,11,9,10,-5,,\n\
                A,2020-01-06,10,11,9,10,5,10.2,10.1\n\
                A,2020-01-07 03:00,10,11,9,10,5,,\n\
                A,soon,10,11,9,10,5,,\n\
                ,2020-01-08,10,11,9,10,5,,\n\
                A,2020-01-09,ten,11,9,10,5,,\n\
                symbol,ts,open,high,low,close,volume,bid,ask\n\
                A,2020-01-10,10\n\
                A,2020-01-11,,11,9,10,,,\n\
                A,2999-01-01,10,11,9,10,5,,\n";
    let (session, done, _folder) = one("x.csv", text, "1d", IngestOptions::default()).await;
    let done = done.unwrap();
    assert_eq!((done.rows, done.new, done.future), (14, 2, 1));
    let rows = query(&session, "select line, rule, \"column\", value, row from quarantine_1d order by line").await;
    assert_eq!(numbers(&rows, "line"), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0]);
    let rules = ["close", "price", "range", "volume", "quote", "aligned", "time", "symbol", "type", "header", "fields"];
    assert_eq!(texts(&rows, "rule"), rules);
    assert_eq!(texts(&rows, "value")[..5], ["-1", "0", "10.5", "-5", "10.2"]);
    assert_eq!(texts(&rows, "row")[6], "A,soon,10,11,9,10,5,,");
    assert_eq!(done.warnings, [("incomplete".to_string(), 1)].into());
}

#[tokio::test]
async fn rows_of_one_key_the_later_wins_and_a_changed_one_restates() {
    let text = "symbol,ts,open,high,low,close,volume\nB,2020-01-02,1,1,1,1,1\nA,2020-01-01,1,1,1,1,1\n\
                A,2020-01-01,2,2,2,2,2\nB,2020-01-02,1,1,1,1,1\n";
    let (session, done, folder) = one("x.csv", text, "1d", IngestOptions::default()).await;
    let done = done.unwrap();
    assert_eq!((done.new, done.duplicates, done.conflicting), (2, 2, 1));
    let path = folder.path().join("y.csv");
    std::fs::write(&path, "Date,Close,ticker\n2020-01-01,3,A\n2020-01-03,5,A\n").unwrap();
    let done = ingest(&session, "1d", from(&path)).await.unwrap();
    assert_eq!((done.new, done.restated, done.unchanged), (1, 1, 0));
    let rows = query(&session, "select close, volume, open from candles order by symbol, ts").await;
    assert_eq!(numbers(&rows, "close"), [3.0, 5.0, 1.0]);
    // A delivery without a volume has not said that there was none.
    assert_eq!(numbers(&rows, "volume")[0], 2.0);
    assert!(numbers(&rows, "volume")[1].is_nan());
}

#[tokio::test]
async fn further_columns_are_kept_and_new_ones_widen_the_table() {
    let text = "symbol,ts,open,high,low,close,volume,Adj Close,note\nA,2020-01-01,1,1,1,1,1,0.5,x\n";
    let (session, done, folder) = one("x.csv", text, "1d", IngestOptions::default()).await;
    assert_eq!(done.unwrap().new, 1);
    let path = folder.path().join("y.csv");
    std::fs::write(&path, "symbol,ts,close,grade\nA,2020-01-02,2,7\nA,2020-01-03,2,many\n").unwrap();
    let done = ingest(&session, "1d", from(&path)).await.unwrap();
    // What is a number decides the head of the file; here not all are.
    assert_eq!((done.new, done.rejected.len()), (2, 0));
    let rows = query(&session, "select adj_close, note, grade from candles order by ts").await;
    assert_eq!(texts(&rows, "note"), ["x", "null", "null"]);
    assert_eq!(texts(&rows, "grade"), ["null", "7", "many"]);
    assert_eq!(numbers(&rows, "adj_close")[0], 0.5);
    std::fs::write(&path, "symbol,ts,close,adj_close\nA,2020-01-04,2,n/a\nA,2020-01-05,2,many\n").unwrap();
    let done = ingest(&session, "1d", from(&path)).await.unwrap();
    assert_eq!((done.new, done.rejected), (1, [("type".to_string(), 1)].into()));
}

#[tokio::test]
async fn columns_symbols_and_times_can_be_named() {
    let naming = |map: &[(&str, &str)]| Naming {
        map: map.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
        ..Naming::default()
    };
    let first = "select symbol, cast(ts as bigint) as t, close from candles order by ts limit 1";
    // A time in two columns, points, local time, a symbol in the name of the file.
    let text = "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>\n2020.01.02,09:00,112345,112350.00000000001,112340,112345,7\n";
    let options = IngestOptions {
        scale: Some(1e-5),
        zone: Some("Europe/Berlin".to_string()),
        naming: Naming { symbol_from: Some(regex::Regex::new(r"([A-Z]{6})_").unwrap()), ..Naming::default() },
        ..IngestOptions::default()
    };
    let (session, done, _f) = one("EURUSD_h1.csv", text, "1h", options).await;
    assert_eq!(done.unwrap().new, 1);
    let rows = query(&session, first).await;
    assert_eq!(texts(&rows, "symbol"), ["EURUSD"]);
    assert_eq!(numbers(&rows, "close"), [1.12345]);
    assert_eq!(numbers(&rows, "t"), [1_577_952_000_000_000.0]);

    // No header, a stamp of the close, epochs in milliseconds, a column that is dropped.
    let text = "1577840400000,1,2,1,2,5,9\n1577844000000,1,2,1,2,5,9\n";
    let names = ["ts", "open", "high", "low", "close", "volume", "junk"].map(str::to_string).to_vec();
    let options = IngestOptions {
        columns: Some(names),
        close_as_ts: true,
        naming: Naming { symbol: Some("X".to_string()), ..naming(&[("junk", "-")]) },
        ..IngestOptions::default()
    };
    let (session, done, _f) = one("dump.csv", text, "1h", options).await;
    assert_eq!(done.unwrap().new, 2);
    assert_eq!(numbers(&query(&session, first).await, "t"), [START as f64]);
    assert!(try_query(&session, "select junk from candles").await.is_err());

    // A month by its last day, a day that ends a millisecond early.
    let close_as_ts = || IngestOptions { close_as_ts: true, ..IngestOptions::default() };
    let (session, done, _f) = one("A.csv", "ts,close\n2020-01-31,1\n2020-02-28,2\n", "1mo", close_as_ts()).await;
    assert_eq!(done.unwrap().new, 2);
    assert_eq!(numbers(&query(&session, first).await, "t"), [START as f64]);
    let (session, done, _f) = one("A.csv", "ts,close\n2020-01-01 23:59:59.999,1\n", "1d", close_as_ts()).await;
    assert_eq!(done.unwrap().new, 1);
    assert_eq!(numbers(&query(&session, first).await, "t"), [START as f64]);

    let text = "when,last\n02/01/2020,3\n01/02/2020,4\n";
    let map = [("ts", "when"), ("close", "last")];
    let (_s, said, _f) = one("A.csv", text, "1d", IngestOptions { naming: naming(&map), ..Default::default() }).await;
    assert!(
        said.unwrap_err().to_string().contains("the option `time_format"),
        "day and month are told apart by nothing"
    );
    let naming = Naming { time_format: Some("%d/%m/%Y".to_string()), ..naming(&map) };
    let (session, done, _f) = one("A.csv", text, "1d", IngestOptions { naming, ..Default::default() }).await;
    assert_eq!(done.unwrap().new, 2);
    assert_eq!(numbers(&query(&session, first).await, "t"), [(START + DAY) as f64]);
}

#[tokio::test]
async fn a_wrong_delivery_is_refused_with_advice_and_nothing_is_written() {
    let daily = |hour: &str| {
        let rows: String = (1..29).map(|d| format!("A,2020-01-{d:02}T{hour}:00:00Z,1\n")).collect();
        format!("symbol,ts,close\n{rows}")
    };
    for (name, text, timeframe, options, said) in [
        ("x.csv", daily("05"), "1d", IngestOptions::default(), "the option `origin 'session:00:00@America/New_York'`"),
        ("x.csv", "a,b\n1,2\n".to_string(), "1d", IngestOptions::default(), "no time column among a, b"),
        ("x.csv", "ts,open\n2020-01-01,2\n".to_string(), "1d", IngestOptions::default(), "no close column"),
        ("x.csv", "2020-01-01,2\n".to_string(), "1d", IngestOptions::default(), "the option `columns ts,"),
        (
            "x.csv",
            daily("00"),
            "1d",
            IngestOptions { zone: Some("Mars/Olympus".to_string()), ..Default::default() },
            "the option `tz` 'Mars/Olympus'",
        ),
        (
            "x.csv",
            daily("00"),
            "1d",
            IngestOptions {
                naming: Naming { map: vec![("close".to_string(), "closs".to_string())], ..Default::default() },
                ..Default::default()
            },
            "no column `closs` among symbol, ts, close",
        ),
        ("x.parquet", "not parquet at all".to_string(), "1d", IngestOptions::default(), "cannot read"),
        ("x.xlsx", "PK".to_string(), "1d", IngestOptions::default(), "nothing to ingest"),
    ] {
        let (_session, done, folder) = one(name, &text, timeframe, options).await;
        let error = done.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(!folder.path().join("lake/candles/1d/_delta_log").exists(), "{said}: something was written");
    }
    // With the origin that was proposed, it works, and the table remembers it.
    let origin = Some("session:00:00@America/New_York".to_string());
    let (session, done, folder) =
        one("x.csv", &daily("05"), "1d", IngestOptions { origin, ..Default::default() }).await;
    assert_eq!(done.unwrap().new, 28);
    let path = folder.path().join("x.csv");
    let other = IngestOptions { origin: Some("utc".to_string()), ..from(&path) };
    let error = ingest(&session, "1d", other).await.unwrap_err().to_string();
    assert!(error.contains("begin by `session:00:00@America/New_York`"), "{error}");
    assert_eq!(ingest(&session, "1d", from(&path)).await.unwrap().unchanged, 28);
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_an_empty_file_is_told() {
    let text = "symbol,ts,close\nA,2020-01-01,1\nA,2020-01-02,-1\n";
    let (_session, done, folder) =
        one("x.csv", text, "1d", IngestOptions { dry_run: true, ..Default::default() }).await;
    let done = done.unwrap();
    assert_eq!((done.new, done.rejected.values().sum::<u64>(), done.version), (1, 1, None));
    let left: Vec<_> = walk_files(&folder.path().join("lake"));
    assert!(left.is_empty(), "{left:?}");
    std::fs::write(folder.path().join("empty.csv"), "").unwrap();
    std::fs::write(folder.path().join("header.csv"), "symbol,ts,close\n").unwrap();
    let session = lake(folder.path()).await;
    let done = ingest(&session, "1d", from(&folder.path().join("*.csv"))).await.unwrap();
    assert_eq!((done.files, done.empty_files.len(), done.new), (3, 2, 1));
}

pub fn walk_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    entries
        .flat_map(|e| {
            let path = e.unwrap().path();
            if path.is_dir() { walk_files(&path) } else { vec![path] }
        })
        .collect()
}

/// A delivery: bars, in the order in which they come.
fn deliveries() -> impl Strategy<Value = Vec<Vec<Bar>>> {
    let bar = ("[A-D]", 0i64..12, 1u32..50).prop_map(|(s, day, close)| (s, day, f64::from(close)));
    prop::collection::vec(prop::collection::vec(bar, 1..25), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However bars are cut into deliveries, whatever their order, and whichever way the table is written: the newest
    /// value of each (symbol, ts) is there, once, in order.
    #[test]
    fn the_last_delivered_value_of_each_bar_is_in_the_table(deliveries in deliveries(), small in any::<bool>()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let session = lake(folder.path()).await;
            let mut expected: std::collections::BTreeMap<(String, i64), f64> = Default::default();
            for (i, bars) in deliveries.iter().enumerate() {
                let path = folder.path().join(format!("{i}.csv"));
                write_csv(&path, &batch(bars));
                let before = expected.len();
                let mut keys = std::collections::HashSet::new();
                for bar in bars {
                    keys.insert((bar.0.clone(), bar.1));
                    expected.insert((bar.0.clone(), bar.1), bar.2);
                }
                let rewrite_bytes = small.then_some(0);
                let done = ingest(&session, "1d", IngestOptions { rewrite_bytes, ..from(&path) }).await.unwrap();
                assert_eq!(done.new as usize, expected.len() - before);
                assert_eq!((done.new + done.unchanged + done.restated) as usize, keys.len());
            }
            let check = |rows: &RecordBatch| {
                let days: Vec<i64> = numbers(rows, "t").iter().map(|t| (*t as i64 - START) / DAY).collect();
                let found: Vec<_> = texts(rows, "symbol").into_iter().zip(days).zip(numbers(rows, "close")).collect();
                let wanted: Vec<_> = expected.iter().map(|(k, v)| (k.clone(), *v)).collect();
                assert_eq!(found, wanted);
            };
            let sql = "select symbol, cast(ts as bigint) as t, close from candles order by symbol, ts";
            check(&query(&session, sql).await);
            let series = "select count(r) as n, count(*) as rows from (select roc(close, 1) as r from candles)";
            assert_eq!(numbers(&query(&session, series).await, "rows"), [expected.len() as f64]);
            session.on_lake(|lake| async move { lake.optimize("candles", None).await }).await.unwrap();
            check(&query(&session, sql).await);
        });
    }
}

#[tokio::test]
async fn files_with_fewer_columns_leave_the_others_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let first = write("a.csv", "symbol,ts,close,vwap\nA,2020-01-01,1,1.5\nB,2020-01-01,1,2.5\n");
    let sources = |names: &[&String]| IngestOptions {
        sources: names.iter().map(|n| n.to_string()).collect(),
        ..IngestOptions::default()
    };
    ingest(&session, "1d", sources(&[&first])).await.unwrap();
    let without = write("b.csv", "symbol,ts,close\nA,2020-01-01,1\nB,2020-01-01,3\n");
    let with = write("c.csv", "symbol,ts,close,vwap\nC,2020-01-01,1,3.5\n");
    let done = ingest(&session, "1d", sources(&[&without, &with])).await.unwrap();
    assert_eq!((done.unchanged, done.restated, done.new), (1, 1, 1));
    let rows = query(&session, "select close, vwap from candles order by symbol").await;
    assert_eq!((numbers(&rows, "close"), numbers(&rows, "vwap")), (vec![1.0, 3.0, 1.0], vec![1.5, 2.5, 3.5]));
}

#[tokio::test]
async fn odd_but_real_files_are_read_right() {
    let close = "select symbol, close from candles order by symbol, ts";
    // Decimal commas, where fields are separated by something else.
    let text = "\r\n\r\nDatum;Date;Close;Volume\r\nx;2020-01-01;1,085;1.234\r\nx;2020-01-02;1,0853;1.234.567\r\n";
    let (session, done, _f) = one("DAX.csv", text, "1d", IngestOptions::default()).await;
    assert_eq!(done.unwrap().new, 2);
    assert_eq!(numbers(&query(&session, close).await, "close"), [1.085, 1.0853]);
    // Thousands, where commas separate fields.
    let text = "Date,Close\n2020-01-01,\"1,085\"\n2020-01-02,\"1,085.5\"\n";
    let (session, _, _f) = one("BRK.A.csv", text, "1d", IngestOptions::default()).await;
    let rows = query(&session, close).await;
    assert_eq!((texts(&rows, "symbol")[0].as_str(), numbers(&rows, "close")), ("BRK.A", vec![1085.0, 1085.5]));
    // Whole numbers that get decimals, and keys that come late.
    let line = |i: i64| {
        let ts = chrono::DateTime::from_timestamp_micros(START + i * DAY).unwrap().format("%Y-%m-%d");
        let rest = if i < 1500 { "\"close\":100".to_string() } else { "\"close\":100.5,\"volume\":2.5".to_string() };
        format!("{{\"symbol\":\"A\",\"ts\":\"{ts}\",{rest}}}\n")
    };
    let text: String = (0..2000).map(line).collect();
    let (session, _, _f) = one("x.ndjson", &text, "1d", IngestOptions::default()).await;
    let rows = query(&session, "select sum(close) as c, sum(volume) as v from candles").await;
    assert_eq!((numbers(&rows, "c")[0], numbers(&rows, "v")[0]), (150_000.0 + 50_250.0, 1_250.0));
    // A column that is empty at first.
    let mut text = "symbol,ts,close,note\n".to_string();
    (0..3000).for_each(|i| text += &format!("A{i},2020-01-01,1,\n"));
    text += "B,2020-01-01,1,halted\n";
    let (session, done, _f) = one("x.csv", &text, "1d", IngestOptions::default()).await;
    assert_eq!(done.unwrap().new, 3001);
    assert_eq!(texts(&query(&session, "select note from candles where symbol = 'B'").await, "note"), ["halted"]);
    // Another bad row under the same file name and line.
    let (session, _, folder) = one("x.csv", "symbol,ts,close\nA,2020-01-01,0\n", "1d", IngestOptions::default()).await;
    let path = folder.path().join("x.csv");
    std::fs::write(&path, "symbol,ts,close\nZ,2020-01-02,0\n").unwrap();
    ingest(&session, "1d", from(&path)).await.unwrap();
    ingest(&session, "1d", from(&path)).await.unwrap();
    assert_eq!(count(&session, "quarantine_1d").await, 2.0);
}

/// A run is killed between its two commits: the candles are there, the files of its rejects belong to no version yet.
#[tokio::test]
async fn rejects_of_a_killed_run_come_once_with_the_next_one() {
    for next in ["x.csv", "y.csv"] {
        let text = "symbol,ts,close\nA,2020-01-01,1\nA,2020-01-02,-1\nA,2020-01-03,0\n";
        let (_, done, folder) = one("x.csv", text, "1d", IngestOptions::default()).await;
        assert_eq!(done.unwrap().new, 1);
        std::fs::write(folder.path().join("y.csv"), "symbol,ts,close\nB,2020-01-01,1\nB,2020-01-02,-7\n").unwrap();
        std::fs::remove_dir_all(folder.path().join("lake/quarantine/1d/_delta_log")).unwrap();
        let session = lake(folder.path()).await;
        assert_eq!((count(&session, "candles").await, count(&session, "quarantine_1d").await), (1.0, 0.0));
        for name in [next, "x.csv", "y.csv"] {
            ingest(&session, "1d", from(&folder.path().join(name))).await.unwrap();
        }
        let rows = query(&session, "select value from quarantine_1d order by value").await;
        assert_eq!(texts(&rows, "value"), ["-1", "-7", "0"], "next was {next}");
    }
}

#[tokio::test]
async fn rejects_are_not_seen_of_candles_that_did_not_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    std::fs::write(&path, "symbol,ts,close\nA,2020-01-01,1\nA,2020-01-02,-1\n").unwrap();
    // A file where the log is to be: no commit of candles succeeds.
    std::fs::create_dir_all(folder.path().join("lake/candles/1d")).unwrap();
    std::fs::write(folder.path().join("lake/candles/1d/_delta_log"), "").unwrap();
    assert!(ingest(&lake(folder.path()).await, "1d", from(&path)).await.is_err());
    let left = walk_files(&folder.path().join("lake/quarantine"));
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_file(folder.path().join("lake/candles/1d/_delta_log")).unwrap();
    let session = lake(folder.path()).await;
    assert_eq!(ingest(&session, "1d", from(&path)).await.unwrap().new, 1);
    assert_eq!(count(&session, "quarantine_1d").await, 1.0);
}

#[tokio::test]
async fn progress_ends_with_all_bytes_and_rows() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walk(&["A", "B"], 500);
    let mixed: Vec<Bar> = (0..1000).map(|i| bars[(i * 7) % 1000].clone()).collect();
    write_csv(&folder.path().join("sorted.csv"), &batch(&bars));
    write_csv(&folder.path().join("mixed.csv"), &batch(&mixed));
    write_parquet(&folder.path().join("sorted.parquet"), &batch(&bars), 300);
    for (name, is_sorted_first) in [("sorted.csv", false), ("mixed.csv", true), ("sorted.parquet", false)] {
        let path = folder.path().join(name);
        let own = tempfile::tempdir().unwrap();
        let session = lake(own.path()).await;
        let reports = Arc::new(Mutex::new(vec![]));
        let told = Arc::clone(&reports);
        let control = Control::followed(Arc::new(move |so_far| told.lock().unwrap().push(so_far)));
        session.ingest("1d".parse().unwrap(), from(&path), &control).await.unwrap();
        let size = path.metadata().unwrap().len();
        let reports = reports.lock().unwrap();
        let last = |unit| *reports.iter().rfind(|p: &&Progress| p.unit == unit).unwrap();
        let of = |unit, all| Progress { unit, done: all, total: Some(all), rows: 1000 };
        assert_eq!(last(Unit::Bytes), of(Unit::Bytes, size), "{name}");
        assert_eq!(reports.iter().any(|p| p.unit == Unit::Rows), is_sorted_first, "{name}");
        if is_sorted_first {
            assert_eq!(last(Unit::Rows), of(Unit::Rows, 1000), "{name}");
        }
    }
}

#[test]
#[ignore = "needs a Python with pandas and pyarrow, named by TALLOW_TEST_PYTHON"]
fn files_of_other_sources_are_what_their_readers_read() {
    let python = std::env::var("TALLOW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let folder = tempfile::tempdir().unwrap();
    let done = std::process::Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/sources.py"))
        .args([env!("CARGO_BIN_EXE_tallow"), &folder.path().display().to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("bombs: refused"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Archives and arrays, without others' programs.
#[test]
fn members_of_archives_and_arrays_are_delivered_like_files() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let lake = folder.path().join("lake").display().to_string();
        let done = crate::cli::tallow(&[&["--lake", &lake], args].concat());
        (done.status.code(), crate::cli::text(&done.stdout), crate::cli::text(&done.stderr))
    };
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let arrays = write("BTC_USDT-4h.json", "[[1704067200000,1,3,0.5,2,10],\n[1704081600000, 2, 4, 1.5, \"3\", null]]");
    assert_eq!(run(&["ingest", &arrays, "-t", "4h", "-q"]).0, Some(0));
    let (_, found, _) =
        run(&["query", "-q", "--format", "csv", "select symbol, ts, close, volume from candles_4h order by ts"]);
    assert_eq!(
        found,
        "symbol,ts,close,volume\nBTC_USDT,2024-01-01T00:00:00Z,2.0,10.0\nBTC_USDT,2024-01-01T04:00:00Z,3.0,\n"
    );
    for (name, text, said) in [
        ("wide.json", "[[1704067200000,1,3,0.5,2,10,11]]", "nothing names the columns of its rows"),
        ("open.json", "[[1704067200000,1,3,0.5,2,10]", "the array of rows does not end"),
        ("not.zip", "no archive", "the archive cannot be read"),
    ] {
        let (status, _, error) = run(&["ingest", &write(name, text), "-t", "4h"]);
        assert!(status == Some(1) && error.contains(said), "{name}: {error}");
    }
    let own = write(
        "mine.toml",
        "columns = ['ts', 'open', 'high', 'low', 'close', 'volume', 'more']\nmap = { more = '-' }\n",
    );
    let wide = folder.path().join("wide.json").display().to_string();
    let (status, shown, error) = run(&["ingest", &wide, "-t", "4h", "--preset", &own, "--dry-run"]);
    assert!(
        status == Some(0) && shown.contains("map = more=-") && shown.contains("columns     symbol='wide'"),
        "{shown}{error}"
    );
    let (_, _, error) = run(&["ingest", &wide, "-t", "4h", "--preset", "binence"]);
    assert!(error.contains("--preset binence: expected one of binance, ccxt"), "{error}");
}
