//! Memory limits: what does not fit spills, or is a clear error.

use crate::common::{assert_close, batch, numbers, plan, query, session, settings, try_query, walk, write_parquet};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tallow::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_does_not_fit_is_named_with_its_rows_and_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.parquet");
    write_parquet(&path, &batch(&walk(&["LONG"], 60_000)), 10_000);
    let session = tallow::open(Settings { memory: 1 << 20, threads: 1, ..settings() }).await.unwrap();
    let error =
        try_query(&session, &format!("select rsi(14) from '{}'", path.display())).await.unwrap_err().to_string();
    assert!(error.contains("series LONG has at least") && error.contains("rows"), "{error}");
    assert!(error.contains("memory limit of 1 MiB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_series_fit_where_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.parquet");
    let names: Vec<String> = (0..300).map(|i| format!("S{i:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    write_parquet(&path, &batch(&walk(&names, 500)), 20_000);
    let session = tallow::open(Settings { memory: 4 << 20, threads: 1, ..settings() }).await.unwrap();
    let result = query(&session, &format!("select count(r) n from (select rsi(14) r from '{}')", path.display())).await;
    assert_eq!(numbers(&result, "n"), [300.0 * 486.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_rows_are_sorted_on_disk_when_memory_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shuffled.parquet");
    let names: Vec<String> = (0..400).map(|i| format!("S{i:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bars = walk(&names, 1000);
    // A fixed shuffle.
    let n = bars.len() as u64;
    bars.sort_by_key(|b| {
        let id = (b.0[1..].parse::<u64>().unwrap() * 1000 + b.1 as u64) % n;
        id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    write_parquet(&path, &batch(&bars), 50_000);
    let sql = format!("select count(r) n, sum(r) s from (select rsi(14) r from '{}')", path.display());
    let small = Settings { memory: 12 << 20, threads: 2, spill_dir: Some(folder.path().join("spill")), ..settings() };
    let session_small = tallow::open(small).await.unwrap();
    let frame = session_small.sql(&sql).await.unwrap();
    let plan = session_small.physical(frame.logical_plan()).await.unwrap();
    let got = {
        use futures::StreamExt;
        let batches: Vec<_> = session_small.execute(plan.clone()).unwrap().collect().await;
        batches.into_iter().map(|b| b.unwrap()).next().unwrap()
    };
    let want = query(&session().await, &sql).await;
    assert_close(&numbers(&got, "n"), &numbers(&want, "n"), "values");
    assert_close(&numbers(&got, "s"), &numbers(&want, "s"), "sum");
    assert!(spilled(&plan) > 0, "nothing was spilled");
}

fn spilled(plan: &std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|m| m.spilled_bytes()).unwrap_or_default();
    own + plan.children().into_iter().map(spilled).sum::<usize>()
}

#[tokio::test]
async fn a_limit_of_more_rows_than_fit_is_sorted_and_a_small_one_is_not() {
    let session = tallow::open(Settings { memory: 256 << 20, ..settings() }).await.unwrap();
    let sql = |limit: usize| format!("select symbol, ts, close from candles order by close, symbol, ts limit {limit}");
    let large = plan(&session, &sql(600_000)).await;
    assert!(large.contains("LocalLimitExec: fetch=600000") && !large.contains("TopK"), "{large}");
    let small = plan(&session, &sql(100)).await;
    assert!(small.contains("TopK(fetch=100)"), "{small}");
    let tight = tallow::open(Settings { memory: 24 << 20, threads: 1, ..settings() }).await.unwrap();
    let sum = |limit| format!("select sum(close) s, count(*) n from ({})", sql(limit));
    for limit in [100, 300_000] {
        let (got, want) = (query(&tight, &sum(limit)).await, query(&self::session().await, &sum(limit)).await);
        assert_close(&numbers(&got, "n"), &[limit as f64], "rows");
        assert_close(&numbers(&got, "s"), &numbers(&want, "s"), "sum");
    }
}

#[tokio::test]
async fn functions_that_make_memory_from_nothing_obey_the_limit() {
    let session = tallow::open(Settings { memory: 64 << 20, ..settings() }).await.unwrap();
    for (call, name) in [
        ("repeat('x', 300000000)", "repeat"),
        ("repeat(symbol, 5000)", "repeat"),
        // Once would do, but not for every row.
        ("repeat('x', 100000)", "repeat"),
        ("repeat('x', cast(close as bigint) * 1000000)", "repeat"),
        ("lpad(symbol, 16000)", "lpad"),
        ("rpad(symbol, 1000000, 'ab')", "rpad"),
        ("range(0, 40000000)", "range"),
        ("generate_series(ts - interval '36500 days', ts, interval '1 second')", "generate_series"),
        ("array_repeat(close, 10000)", "array_repeat"),
        ("list_repeat(close, 10000)", "array_repeat"),
        ("array_resize(make_array(close), 100000)", "array_resize"),
        ("replace(repeat(symbol, 100), 'A', repeat('b', 400))", "replace"),
    ] {
        let said = try_query(&session, &format!("select {call} as x from candles")).await;
        let said = said.err().unwrap_or_else(|| panic!("not refused: {call}")).to_string();
        assert!(said.contains(&format!("{name}: its results for")) && said.contains("memory limit"), "{call}: {said}");
    }
    let small = "select length(repeat('ab', 3)) a, length(lpad('7', 3, '0')) b, array_length(range(0, 10, 3)) c,
                        length(repeat('x', 100000)) d, array_length(generate_series(1, 5)) e,
                        array_length(array_repeat(1.5, 7)) f, length(replace('a.b', '.', ' - ')) g, length(rpad('a', 2)) h";
    let small = query(&session, small).await;
    for (column, value) in [("a", 6), ("b", 3), ("c", 4), ("d", 100_000), ("e", 5), ("f", 7), ("g", 5), ("h", 2)] {
        assert_eq!(numbers(&small, column), [f64::from(value)], "{column}");
    }
    let rows =
        query(&session, "select max(length(lpad(symbol, 12, '.'))) n from candles where symbol = lpad('L', 3, 'AA')");
    assert_eq!(numbers(&rows.await, "n"), [12.0]);
}

/// The limit of the commands below, in MiB.
const LIMIT: u64 = 64;

/// What a command says, and the most memory that it has had resident, in MiB (0 where the system does not tell).
struct Ran {
    succeeded: bool,
    said: String,
    peak: u64,
}

fn limited(folder: &Path, args: &[&str]) -> Ran {
    let (out, err) = (folder.join("out.txt"), folder.join("err.txt"));
    let limits = ["--memory".to_string(), format!("{LIMIT}m"), "--threads".to_string(), "8".to_string()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
    command.args(limits).args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("TALLOW_CACHE_DIR", folder.join("cache")).env("TALLOW_SPILL_DIR", folder.join("spill"));
    command.stdin(Stdio::null()).stdout(File::create(out).unwrap()).stderr(File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let resident = || {
        let status = std::fs::read_to_string(&status).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let mut peak = 0;
    let ended = loop {
        peak = peak.max(resident().unwrap_or_default());
        match child.try_wait().unwrap() {
            Some(ended) => break ended,
            // It is looked at often, since what a process had cannot be asked for when it has ended.
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    Ran { succeeded: ended.success(), said: std::fs::read_to_string(&err).unwrap(), peak: peak >> 10 }
}

/// What a process of this build takes before it has done anything: mostly the program itself.
fn program(folder: &Path) -> u64 {
    limited(folder, &["query", "-c", "select 1"]).peak
}

#[test]
fn commands_stay_within_150_mib_of_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let paths = ["m.parquet", "m.csv", "lake", "others", "rows.csv", "rows.parquet"].map(at);
    let [candles, shuffled, lake, others, rows, parquet] = paths.each_ref().map(String::as_str);
    let made = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_tallow")).args(args).env("TALLOW_CACHE_DIR", at("cache")).output();
        assert!(done.unwrap().status.success(), "{args:?}");
    };
    made(&["synth", candles, "--symbols", "800", "--bars", "1250", "--seed", "1"]);
    made(&["query", "-o", shuffled, "-c", &format!("select * from '{candles}' order by ts, symbol")]);
    made(&["--lake", lake, "ingest", "-t", "1d", candles]);
    // The program's own pages are a part of the allowance; a build without optimisation has more of them.
    let allowed = LIMIT + 150 + program(folder.path()).saturating_sub(90);
    let wide = format!(
        "select *, {} from '{candles}'",
        (5..17).map(|n| format!("sma({n}) as s{n}, rsi({n}) as r{n}")).collect::<Vec<_>>().join(", ")
    );
    let top = format!("select * from '{candles}' order by close limit 900000");
    let listed = "select max(n) from (select g, array_length(array_agg(v)) n
                  from (select value % 1000 g, cast(value as double) v from generate_series(1, 6000000)) group by g)";
    let ordered = format!(
        "select max(n) from (select ts, array_length(array_agg(close order by volume)) n from '{candles}' group by ts)"
    );
    let features = (0..19).map(|i| format!("close + {i}")).collect::<Vec<_>>().join(", ");
    let model = format!(
        "select sum(p['out_1']) from (select predict('tests/golden/wide.onnx', {features}) p
                                      from (select close from '{candles}' limit 20000))"
    );
    // Whether what it asks for can be had within the limit; the others may be refused.
    for (fits, args) in [
        (true, &["--lake", lake, "label", "-t", "1d"][..]),
        (true, &["--lake", others, "ingest", "-t", "1d", shuffled]),
        (true, &["query", "-o", parquet, "-c", wide.as_str()]),
        (true, &["query", "-o", rows, "-c", top.as_str()]),
        (true, &["query", "-c", model.as_str()]),
        (false, &["query", "-c", listed]),
        (false, &["query", "-c", ordered.as_str()]),
    ] {
        let ran = limited(folder.path(), args);
        assert!(ran.peak <= allowed, "{args:?}: {} MiB of {allowed}\n{}", ran.peak, ran.said);
        assert!(ran.succeeded || !fits && ran.said.contains("memory limit"), "{args:?}: {}", ran.said);
    }
}

#[test]
fn a_text_file_takes_few_kilobytes_of_a_table() {
    const FILES: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let text = "ts,open,high,low,close,volume\n2020-01-01,1.5,2,1,1.5,10\n2020-01-02,1.5,2,1,1.75,10\n";
    std::fs::create_dir(folder.path().join("many")).unwrap();
    std::fs::write(folder.path().join("one.csv"), text).unwrap();
    for i in 0..FILES {
        std::fs::write(folder.path().join(format!("many/S{i:05}.csv")), text).unwrap();
    }
    let count = |name: &str| {
        let sql = format!("select count(*) n from '{}'", folder.path().join(name).display());
        let ran = limited(folder.path(), &["query", "--format", "csv", "-c", &sql]);
        assert!(ran.succeeded, "{}", ran.said);
        (std::fs::read_to_string(folder.path().join("out.txt")).unwrap(), ran.peak)
    };
    let (_, one) = count("one.csv");
    for remembered in [false, true] {
        let (rows, many) = count("many/");
        assert_eq!(rows, format!("n\n{}\n", 2 * FILES));
        let each = (many.saturating_sub(one) << 10) / FILES;
        assert!(each < 5, "{each} KiB a file, remembered: {remembered}; {one} MiB for one");
    }
}
