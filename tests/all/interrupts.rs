//! Ctrl-C ends every command, whatever it is busy with. Tests wait for what a command says or does, never for a time.

use crate::common::{START, write_parquet};
use crate::similarity::Random;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Sends the signal that Ctrl-C sends.
fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

fn read(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = vec![];
        from.unwrap().read_to_end(&mut all).unwrap();
        all
    })
}

/// Runs a command, interrupts it once it says something on standard error, and waits for its end.
pub fn interrupted_at(command: &mut Command, said: &str) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = read(child.stdout.take());
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    while !stderr.contains(said) && lines.read_line(&mut stderr).unwrap() > 0 {}
    interrupt(&child);
    lines.read_to_string(&mut stderr).unwrap();
    Output { status: child.wait().unwrap(), stdout: stdout.join().unwrap(), stderr: stderr.into_bytes() }
}

/// The status of a command that is to end by now; one that does not is ended by force.
fn status(mut child: Child, what: &str) -> (Option<i32>, String) {
    // A command that takes longer goes on as if nothing had happened.
    let hangs = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > hangs {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what}: it went on");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).unwrap();
    }
    (child.wait().unwrap().code(), said)
}

/// Waits until a command has computed for so many hundredths of a second, all its threads together.
fn computes(child: &mut Child, hundredths: u64) {
    loop {
        assert!(child.try_wait().unwrap().is_none(), "it is done, or failed");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |i: usize| fields[i].parse::<u64>().unwrap();
        // User and system time, in ticks of which every Linux has a hundred a second.
        if ticks(11) + ticks(12) >= hundredths {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn tallow(lake: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
    command.args(["--lake", lake.to_str().unwrap(), "--threads", "2", "--memory", "1g"]).args(args);
    command.env("TALLOW_CACHE_DIR", lake.join("cache")).env("TALLOW_QUERIES", lake.join("queries"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A query that takes days.
const ENDLESS: &str = "select count(*) as n from generate_series(1, 3000000) a join generate_series(1, 3000000) b \
                       on a.value * b.value < 0";

/// A lake with more bars of one minute than any command is done with in ten seconds. It takes little room: all symbols are
/// the same file.
fn endless_lake(lake: &Path) {
    const BARS: i64 = 200_000;
    let closes = Random(9).prices(BARS as usize);
    let number =
        |f: &dyn Fn(f64) -> f64| Arc::new(Float64Array::from_iter_values(closes.iter().map(|c| f(*c)))) as ArrayRef;
    let times = TimestampMicrosecondArray::from_iter_values((0..BARS).map(|i| START + i * 60_000_000));
    let bars = RecordBatch::try_from_iter([
        ("ts", Arc::new(times.with_timezone("UTC")) as ArrayRef),
        ("open", number(&|c| c)),
        ("high", number(&|c| c * 1.001)),
        ("low", number(&|c| c * 0.999)),
        ("close", number(&|c| c)),
        ("volume", number(&|c| c.round())),
    ]);
    let folder = lake.join("candles/1m");
    let first = folder.join("S000.parquet");
    write_parquet(&first, &bars.unwrap(), 50_000);
    for i in 1..500 {
        std::fs::hard_link(&first, folder.join(format!("S{i:03}.parquet"))).unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn every_command_ends_at_an_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    endless_lake(&lake);
    // The order of the files is proven once.
    assert!(tallow(&lake, &["tables"]).status().unwrap().success());
    std::fs::create_dir(lake.join("queries")).unwrap();
    std::fs::write(lake.join("queries/endless.sql"), format!("-- name: endless\n{ENDLESS}")).unwrap();
    let page = folder.path().join("page.html");
    let page = page.to_str().unwrap();
    // Many indicators, each of which takes its time.
    let dear: Vec<_> = (40..100).map(|n| format!("linearreg(close, {n}) > 0 and cci({n}) > -1e9")).collect();
    let dear = dear.join(" and ");
    let check = "select c.symbol as symbol, c.ts as ts, g.value as v from 'data/candles/1d/sp500.parquet' c \
                 join generate_series(1, 3000000) g on c.close * g.value < 0";
    let values: Vec<String> = Random(4).prices(300).iter().map(f64::to_string).collect();
    let values = values.join(" ");
    let minutes = lake.join("candles/1m");
    let minutes = minutes.to_str().unwrap();
    let others = folder.path().join("others");
    for args in [
        &["query", "-c", ENDLESS][..],
        &["run", "endless"],
        &["explain", "--analyze", ENDLESS],
        &["check", check],
        &["report", "scan", &dear, "-t", "1m", "-o", page],
        &["formula", "test", &dear, "-t", "1m"],
        &["match", &values, "-t", "1m", "--top", "1000"],
        &["report", "match", &values, "-t", "1m", "--top", "1000", "-o", page],
        &["label", "-t", "1m", "--horizon", "60"],
        &["levels", "1m"],
        &["resample", "1h"],
        &["validate", "1m"],
        &["ingest", minutes, "-t", "1m"],
    ] {
        let into = if args[0] == "ingest" { &others } else { &lake };
        let mut child = tallow(into, args).spawn().unwrap();
        computes(&mut child, 60);
        interrupt(&child);
        let (code, said) = status(child, &format!("{args:?}"));
        assert_eq!(code, Some(130), "{args:?}: {said}");
    }
    // What would have been written is not there.
    assert!(!Path::new(page).exists());
    for table in [lake.join("labels/1m"), lake.join("candles/1h"), others.join("candles/1m")] {
        let log = std::fs::read_dir(table.join("_delta_log")).into_iter().flatten().flatten();
        let commits: Vec<_> = log.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
        assert!(commits.is_empty(), "{commits:?}");
    }

    // Typed, as a script.
    let mut child = tallow(&lake, &[]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{ENDLESS};\n").as_bytes()).unwrap();
    computes(&mut child, 60);
    interrupt(&child);
    assert_eq!(status(child, "a script").0, Some(130));

    // A scan delivers what is complete, and at a second interrupt nothing.
    let mut child = tallow(&lake, &["scan", &dear, "-t", "1m", "-v"]).spawn().unwrap();
    computes(&mut child, 60);
    interrupt(&child);
    let (code, said) = status(child, "scan");
    assert!(code == Some(130) && said.contains("interrupted"), "{code:?} {said}");
}

#[test]
fn a_result_that_nobody_reads_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let sql = "select value, value as again from generate_series(1, 100000000)";
    let mut child =
        tallow(folder.path(), &["query", "--format", "csv", "-c", sql]).stdout(Stdio::piped()).spawn().unwrap();
    // The first rows have come; after them the pipe is full, and the command waits for its reader.
    let mut first = [0; 64];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    interrupt(&child);
    assert_eq!(status(child, "query").0, Some(130));
}

#[test]
fn a_file_that_is_not_complete_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    let sql = "select value, value as again from generate_series(1, 100000000000)";
    let mut child = tallow(folder.path(), &["query", "-o", path.to_str().unwrap(), "-c", sql]).spawn().unwrap();
    // Rows have been written.
    let written =
        || std::fs::read_dir(folder.path()).unwrap().flatten().any(|e| e.metadata().is_ok_and(|m| m.len() > 0));
    while !written() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    interrupt(&child);
    assert_eq!(status(child, "query").0, Some(130));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.iter().all(|path| !path.is_file()), "{left:?}");
}
