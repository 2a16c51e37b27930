//! How long a formula takes to parse and to check, and how long queries and scans of one symbol and of some take, of many, in a session
//! that is warm.
//!
//! Prints medians and 99th percentiles: `cargo bench --bench scans`.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use futures::StreamExt;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};
use tallow::Settings;
use tallow::pipeline::control::Control;
use tallow::pipeline::scan::Scan;
use tallow_engine::dialect::{Formula, Params};

const FORMULA: &str = "rsi(14) < 45 and close > sma(50) and adx(14) > 20 and macd(12, 26, 9).macdhist < 0 and close > bbands(20, 2).lowerband";

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{name:<44} {:>8.3} ms  p99 {:>8.3} ms", at(0.5), at(0.99));
}

#[tokio::main]
async fn main() {
    let formulas: Vec<String> = (0..100).map(|i| FORMULA.replace("14", &(i + 2).to_string())).collect();
    let parse = || {
        let start = Instant::now();
        formulas.iter().for_each(|f| drop(black_box(Formula::parse(f).unwrap())));
        start.elapsed()
    };
    show("parse 100 formulas of five indicators", (0..50).map(|_| parse()).collect());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c2500.parquet");
    let synth = ["synth", path.to_str().unwrap(), "--symbols", "2500", "--bars", "1250"];
    assert!(Command::new(env!("CARGO_BIN_EXE_tallow")).args(synth).status().unwrap().success());
    let lake = folder.path().join("lake");
    let ingest = ["--lake", lake.to_str().unwrap(), "ingest", path.to_str().unwrap(), "-t", "1d"];
    assert!(Command::new(env!("CARGO_BIN_EXE_tallow")).args(ingest).output().unwrap().status.success());
    let session = tallow::open(Settings { lake: lake.display().to_string(), ..Settings::default() }).await.unwrap();
    let schema = session.context().table_provider("candles").await.unwrap().schema();
    let formula = Formula::parse(FORMULA).unwrap();
    let check = || {
        let start = Instant::now();
        black_box(formula.check(&schema, &Params::default()).unwrap());
        start.elapsed()
    };
    show("check it", (0..200).map(|_| check()).collect());

    let features = "ts, close, rsi(14), sma(50), adx(14), bbands(20, 2).lowerband, macd(12, 26, 9).macdhist";
    let mut times = vec![];
    for i in 0..1_020 {
        let sql = format!("select {features} from candles where symbol = 'S{:05}'", i * 7 % 2500);
        let start = Instant::now();
        let rows = session.collect(session.sql(&sql).await.unwrap()).await.unwrap();
        assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1_250);
        times.push(start.elapsed());
    }
    show("features of one symbol of 2,500, Delta lake", times.split_off(20));
    let mut times = vec![];
    for i in 0..35 {
        let symbols: Vec<String> = (0..500).map(|k| format!("'S{:05}'", (k * 5 + i) % 2500)).collect();
        let sql = format!(
            "select sum(a), sum(b), sum(c) from (select rsi(14) as a, sma(50) as b, adx(14) as c from candles where symbol in ({}))",
            symbols.join(", ")
        );
        let start = Instant::now();
        black_box(session.collect(session.sql(&sql).await.unwrap()).await.unwrap());
        times.push(start.elapsed());
    }
    show("three indicators of 500 symbols, summed", times.split_off(5));

    for (name, table) in [
        ("one symbol of 2,500, Delta lake", "candles".to_string()),
        ("one symbol of 2,500, one file", path.display().to_string()),
    ] {
        let mut times = vec![];
        for i in 0..1_020 {
            let symbols = Some(vec![format!("S{:05}", i * 7 % 2500)]);
            let scan = Scan { symbols, table: table.clone(), ..Scan::of(formula.clone()) };
            let start = Instant::now();
            let mut found = scan.run(&session, &Control::default()).await.unwrap();
            while let Some(batch) = found.stream.next().await {
                black_box(batch.unwrap());
            }
            assert_eq!(found.statistics.scan().scanned, 1, "{:?}", found.statistics.scan());
            times.push(start.elapsed());
        }
        show(name, times.split_off(20));
    }
}
