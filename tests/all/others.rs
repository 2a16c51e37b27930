//! Against the real programs of others: an S3 server, and other readers of Delta tables.
//!
//! They need a Python with `moto[server]`, `deltalake`, `polars` and `duckdb`, named by `TALLOW_TEST_PYTHON`, and run with
//! `cargo test -- --ignored`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

fn python() -> Command {
    Command::new(std::env::var("TALLOW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string()))
}

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/1d");

/// An S3 server with one bucket, for as long as the test runs.
struct S3 {
    server: Child,
    port: String,
}

impl S3 {
    fn start(bucket: &str) -> S3 {
        let mut server = python()
            .args([&format!("{PEERS}/s3_server.py"), bucket])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        assert!(!port.trim().is_empty(), "moto did not start: is it installed?");
        S3 { server, port: port.trim().to_string() }
    }

    fn tallow(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
        command
            .args(args)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> String {
        said(self.tallow(args).output().unwrap())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn said(out: Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
#[ignore = "needs a Python with moto"]
fn a_lake_on_s3_is_ingested_queried_and_optimized_by_writers_at_the_same_time() {
    let s3 = S3::start("bucket");
    let lake = ["--lake", "s3://bucket/market"];
    fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [&["--lake", "s3://bucket/market"], args].concat()
    }
    let folder = tempfile::tempdir().unwrap();
    let parts: Vec<String> = (0..3)
        .map(|i| {
            let path = folder.path().join(format!("{i}.parquet")).display().to_string();
            let sql = format!("select * from candles where ascii(symbol) % 3 = {i} and symbol < 'D'");
            s3.run(&["query", "-o", &path, "-c", &sql]);
            path
        })
        .collect();
    let writers: Vec<Child> =
        parts.iter().map(|p| s3.tallow(&with(&["ingest", p, "-t", "1d"])).spawn().unwrap()).collect();
    for writer in writers {
        said(writer.wait_with_output().unwrap());
    }
    let sql = "select count(*) as n, sum(close) as s from candles where symbol < 'D'";
    let sound = format!(
        "{sql} and (low <= high and low <= close and low <= open and high >= close and high >= open or open is null)"
    );
    let query = |lake: &[&str], sql: &str| s3.run(&[lake, &["query", "--format", "csv", "-c", sql]].concat());
    let numbers = |text: String| {
        let line = text.lines().nth(1).unwrap().to_string();
        line.split(',').map(|n| n.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    let expected = numbers(query(&[], &sound));
    let close = |a: Vec<f64>| a[0] == expected[0] && (a[1] - expected[1]).abs() < 1e-6 * expected[1];
    assert!(close(numbers(query(&lake, sql))));
    assert_eq!(s3.run(&with(&["history", "1d"])).lines().count(), 4);
    s3.run(&with(&["optimize", "1d", "--file-size", "1m"]));
    assert!(close(numbers(query(&lake, sql))));
    assert!(s3.run(&with(&["ingest", &parts[0], "-t", "1d"])).contains("version     unchanged"));
    assert!(s3.run(&with(&["tables"])).contains("candles_1d"));
    let missing = s3.tallow(&["--lake", "s3://nowhere/x", "query", "-c", "select 1 from candles"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
#[ignore = "needs a Python with deltalake, polars and duckdb"]
fn other_readers_see_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake").display().to_string();
    let tallow = |args: &[&str]| {
        said(Command::new(env!("CARGO_BIN_EXE_tallow")).args(["--lake", &lake]).args(args).output().unwrap())
    };
    tallow(&["ingest", SAMPLE, "-t", "1d"]);
    let one_day = folder.path().join("day.csv").display().to_string();
    let sql = "select symbol, ts + interval '1' day as ts, open, high, low, close, volume from candles where ts = '2018-02-07'";
    tallow(&["query", "-o", &one_day, "-c", sql]);
    tallow(&["ingest", &one_day, "-t", "1d"]);
    let sql = "select count(*), sum(close), sum(volume), count(open), count(distinct symbol) from candles";
    let ours = tallow(&["query", "--format", "csv", "-c", sql]);
    let table = format!("{lake}/candles/1d");
    let theirs = said(python().args([&format!("{PEERS}/read_delta.py"), &table]).output().unwrap());
    let numbers = |line: &str| line.split(',').map(|n| n.parse::<f64>().unwrap()).collect::<Vec<f64>>();
    let ours = numbers(ours.lines().nth(1).unwrap());
    assert_eq!(theirs.lines().count(), 3, "{theirs}");
    for line in theirs.lines() {
        let (name, values) = line.split_once(' ').unwrap();
        for (a, b) in numbers(values).iter().zip(&ours) {
            assert!((a - b).abs() <= 1e-9 * b.abs(), "{name}: {a} instead of {b}");
        }
    }
}

/// Deltas' own feed, both ways: others read ours, and what they change is read here.
#[test]
#[ignore = "needs a Python with deltalake"]
fn the_change_feed_is_that_of_delta() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake").display().to_string();
    let table = format!("{lake}/candles/1d");
    let tallow = |args: &[&str]| {
        said(Command::new(env!("CARGO_BIN_EXE_tallow")).args(["--lake", &lake]).args(args).output().unwrap())
    };
    let theirs =
        |args: &[&str]| said(python().arg(format!("{PEERS}/change_feed.py")).arg(&table).args(args).output().unwrap());
    let deliver = |rows: &str| {
        let file = folder.path().join("rows.csv");
        std::fs::write(&file, format!("symbol,ts,open,high,low,close,volume\n{rows}")).unwrap();
        tallow(&["ingest", file.to_str().unwrap(), "-t", "1d"]);
    };
    deliver("A,2024-01-01,1,1,1,1,1\nB,2024-01-01,2,2,2,2,1\nC,2024-01-01,3,3,3,3,1\n");
    deliver("A,2024-01-01,4,4,4,4,1\nA,2024-01-02,5,5,5,5,1\n");
    let ours = |from: u32| {
        let sql = format!(
            "select concat_ws(' ', symbol, cast(ts as date), close, _change_type, _commit_version) as row
             from changes('1d', from => {from}) order by _commit_version, symbol, ts, _change_type"
        );
        tallow(&["query", "--format", "csv", "-c", &sql]).lines().skip(1).map(String::from).collect::<Vec<_>>()
    };
    let expected =
        ["A 2024-01-01 4.0 update_postimage 1", "A 2024-01-01 1.0 update_preimage 1", "A 2024-01-02 5.0 insert 1"];
    assert_eq!(ours(0), expected);
    assert_eq!(theirs(&["read", "1"]).lines().collect::<Vec<_>>(), expected);
    theirs(&["write"]);
    let changed = [
        "NEW 2024-01-01 4.0 insert 2",
        "B 2024-01-01 3.0 update_postimage 3",
        "B 2024-01-01 2.0 update_preimage 3",
        "C 2024-01-01 3.0 delete 4",
    ];
    assert_eq!(ours(1), changed);
    // What others wrote is written to again, and tells the next reader.
    deliver("B,2024-01-02,9,9,9,9,1\n");
    assert_eq!(ours(4), ["B 2024-01-02 9.0 insert 5"]);
    assert_eq!(theirs(&["read", "5"]).lines().collect::<Vec<_>>(), ["B 2024-01-02 9.0 insert 5"]);
}
