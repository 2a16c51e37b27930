//! Damaged files: whatever bytes they hold, nothing panics, and one of them does not take the others with it.

use crate::common::{batch, numbers, query, settings, try_query, walk, write_csv, write_parquet};
use crate::ingest::{from, ingest, lake};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use futures::StreamExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tallow::pipeline::control::Control;
use tallow::pipeline::scan::Scan;
use tallow::{Session, Settings};
use tallow_engine::dialect::Formula;
use tallow_lake::IngestOptions;

/// SplitMix64: the same seed gives the same damage everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A file with a few bytes changed, or a piece of it missing, emptied or twice; mostly near the end, where the footer is.
fn damaged(file: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = file.to_vec();
    let tail = bytes.len().min(3000);
    let place = |random: &mut Random| match random.below(4) {
        0 => random.below(file.len()),
        _ => file.len() - 1 - random.below(tail),
    };
    match random.below(8) {
        0 => bytes.truncate(place(&mut random)),
        1 => {
            let (at, length) = (place(&mut random), random.below(40));
            bytes.iter_mut().skip(at).take(length).for_each(|b| *b = 0);
        }
        2 => {
            let at = place(&mut random);
            let piece = bytes[at..(at + random.below(40)).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        3 => {
            let at = place(&mut random);
            bytes.drain(at..(at + random.below(8)).min(file.len()));
        }
        _ => {
            for _ in 0..=random.below(6) {
                let at = place(&mut random);
                bytes[at] = random.next() as u8;
            }
        }
    }
    bytes
}

/// Sound files of several kinds: their endings and their bytes.
fn sound(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let bars = batch(&walk(&["A", "B", "C"], 40));
    let path = folder.join("sound");
    write_parquet(&path, &bars, 50);
    let plain = std::fs::read(&path).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(16)
        .build();
    let mut packed = vec![];
    let mut writer = ArrowWriter::try_new(&mut packed, bars.schema(), Some(properties)).unwrap();
    writer.write(&bars).unwrap();
    writer.close().unwrap();
    write_csv(&path, &bars);
    let text = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    vec![("parquet", plain), ("parquet", packed), ("csv", text)]
}

fn check(said: &str, seed: u64) {
    for bad in ["panicked", "Internal error", "stopped at a bug"] {
        assert!(!said.contains(bad), "seed {seed}: {said}");
    }
}

/// 200 files; 10,000 with `TALLOW_LONG=1`.
#[tokio::test(flavor = "multi_thread")]
async fn no_damage_to_a_file_is_a_panic() {
    let files = if std::env::var("TALLOW_LONG").is_ok_and(|v| v == "1") { 10_000 } else { 200 };
    let folder = tempfile::tempdir().unwrap();
    let sound = sound(folder.path());
    let session = lake(folder.path()).await;
    for seed in 0..files {
        let (ending, bytes) = &sound[seed as usize % sound.len()];
        let path = folder.path().join(format!("{seed}.{ending}"));
        std::fs::write(&path, damaged(bytes, seed)).unwrap();
        let work = async {
            let table = path.display();
            for sql in [
                format!("select symbol, count(*), sum(close), max(rsi(14)) from '{table}' group by symbol"),
                format!("select * from '{table}' where symbol >= 'B'"),
            ] {
                if let Err(error) = try_query(&session, &sql).await {
                    check(&error.to_string(), seed);
                }
            }
            let options = IngestOptions { dry_run: true, ..from(&path) };
            if let Err(error) = ingest(&session, "1d", options).await {
                check(&error.to_string(), seed);
            }
            let scan = Scan { table: table.to_string(), ..Scan::of(Formula::parse("close > sma(3)").unwrap()) };
            match scan.run(&session, &Control::default()).await {
                Ok(mut found) => {
                    while let Some(batch) = found.stream.next().await {
                        if let Err(error) = batch {
                            check(&error.to_string(), seed);
                        }
                    }
                    found.skipped.get().iter().for_each(|failure| check(&failure.reason, seed));
                }
                Err(error) => check(&error.to_string(), seed),
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(120), work).await;
        assert!(done.is_ok(), "seed {seed}: does not end");
        std::fs::remove_file(&path).unwrap();
    }
}

/// Of the schema that Arrow keeps in a footer, some bits decide what types there are; its decoder panics on unknown ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_decoder_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.parquet");
    write_parquet(&path, &batch(&walk(&["A"], 3)), 50);
    let sound = std::fs::read(&path).unwrap();
    let name = b"ARROW:schema";
    let start = sound.windows(name.len()).position(|part| part == name).unwrap() + name.len() + 4;
    let is_of_text = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
    let length = sound[start..].iter().take_while(|b| is_of_text(b)).count();
    let session = tallow::open(settings()).await.unwrap();
    let mut contained = 0;
    for at in start..start + length {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        let path = folder.path().join(format!("{at}.parquet"));
        std::fs::write(&path, bytes).unwrap();
        let sql = format!("select count(*), sum(close) from '{}'", path.display());
        if let Err(error) = try_query(&session, &sql).await {
            let said = error.to_string();
            check(&said, at as u64);
            if said.contains("its decoder gave up") {
                contained += 1;
                assert!(said.contains(&format!("cannot read {}", path.display())), "{said}");
            }
        }
    }
    assert!(contained > 3, "{contained} of {length}");
}

/// A lake of three days' files, of which B's is damaged.
async fn with_damage(folder: &Path, bytes: &[u8]) -> (Session, PathBuf) {
    let days = folder.join("lake/candles/1d");
    for symbol in ["A", "C"] {
        write_parquet(&days.join(format!("{symbol}.parquet")), &batch(&walk(&[symbol], 40)), 50);
    }
    std::fs::write(days.join("B.parquet"), bytes).unwrap();
    (lake(folder).await, days)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_beside_a_damaged_one_are_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("B.parquet");
    write_parquet(&path, &batch(&walk(&["B"], 40)), 50);
    let sound = std::fs::read(&path).unwrap();
    let mut tried = 0;
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let (session, days) = with_damage(folder.path(), &damaged(&sound, seed)).await;
        let sql = "select count(*) as n, sum(open + high + low + close + volume) as s, max(symbol) as m from candles";
        let Err(error) = try_query(&session, sql).await else { continue };
        let said = error.to_string();
        if !said.contains("cannot read") || said.contains("merge") {
            // Damage that makes another file of it: one without a column, or with one of another type.
            continue;
        }
        tried += 1;
        assert!(error.to_string().contains("B.parquet"), "seed {seed}: {error}");

        let scan = Scan::of(Formula::parse("open + high + low + close + volume > 0").unwrap());
        let found = scan.run(&session, &Control::default()).await.unwrap();
        let left_out = found.skipped.clone();
        let rows = found.rows().await.unwrap().num_rows();
        let skipped = left_out.get();
        assert_eq!((rows, skipped.len()), (80, 1), "seed {seed}: {skipped:?}");
        assert_eq!(skipped[0].symbol, "B");
        assert!(skipped[0].reason.contains("B.parquet"), "seed {seed}: {skipped:?}");

        let other = lake(&folder.path().join("other")).await;
        let done = ingest(&other, "1d", from(&days)).await.unwrap();
        assert_eq!((done.new, done.files, done.unreadable.len()), (80, 2, 1), "seed {seed}: {done:?}");
        assert!(done.unreadable[0].path.ends_with("candles/1d/B.parquet"), "{:?}", done.unreadable);
        assert_eq!(numbers(&query(&other, "select count(*) as n from candles").await, "n"), [80.0]);
        // Alone it is an error.
        let error = ingest(&other, "1d", from(&days.join("B.parquet"))).await.unwrap_err().to_string();
        assert!(error.contains("B.parquet"), "{error}");
    }
    assert!(tried > 10, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_column_of_another_type_is_named_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let bars = batch(&walk(&["B"], 40));
    let text = arrow::compute::cast(bars.column_by_name("close").unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
    let (schema, mut columns) = (bars.schema(), bars.columns().to_vec());
    columns[schema.index_of("close").unwrap()] = text;
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let path = folder.path().join("B.parquet");
    write_parquet(&path, &arrow::array::RecordBatch::try_from_iter(names.zip(columns)).unwrap(), 50);
    let (session, _) = with_damage(folder.path(), &std::fs::read(&path).unwrap()).await;
    let error = try_query(&session, "select sum(close) from candles").await.unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("B.parquet"), "{error}");
    let rest = query(&session, "select count(close) as n from \"candles_1d@readable\"").await;
    assert_eq!(numbers(&rest, "n"), [80.0]);
}

#[test]
fn tables_are_listed_and_validated_beside_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    write_parquet(&lake.join("candles/1w/A.parquet"), &batch(&walk(&["A"], 40)), 50);
    write_parquet(&lake.join("candles/1d/A.parquet"), &batch(&walk(&["A"], 40)), 50);
    std::fs::write(lake.join("candles/1d/B.parquet"), "no candles").unwrap();
    let tallow = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tallow"));
        command.args(["--lake", lake.to_str().unwrap()]).args(args).env("TALLOW_CACHE_DIR", folder.path());
        let out = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (status, listed, said) = tallow(&["tables"]);
    assert_eq!(status, Some(3), "{said}");
    assert!(listed.lines().any(|l| l.starts_with("candles_1w ") && l.contains("2020-01-01")), "{listed}");
    assert!(said.contains("candles_1d: cannot read") && said.contains("1d/B.parquet"), "{said}");
    let (status, issues, said) = tallow(&["validate", "1d", "--summary", "--format", "csv"]);
    assert_eq!(status, Some(3), "{said}");
    assert_eq!(issues.lines().count(), 2, "{issues}");
    assert!(said.contains("1d/B.parquet"), "{said}");
    let (status, _, said) = tallow(&["query", "-c", "select count(close) from candles_1d"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot read") && said.contains("1d/B.parquet"), "{said}");
}

/// A table of a session may be read long after it was opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_damaged_later_is_named_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("days/B.parquet");
    write_parquet(&path, &batch(&walk(&["B"], 4000)), 500);
    let session = tallow::open(Settings { cache_dir: None, ..settings() }).await.unwrap();
    let sql = format!("select sum(close) as s from '{}'", folder.path().join("days").display());
    query(&session, &sql).await;
    let bytes = std::fs::read(&path).unwrap();
    let noise: Vec<u8> = (0..bytes.len()).map(|i| (i * 31) as u8).collect();
    std::fs::write(&path, noise).unwrap();
    let error = try_query(&session, &sql).await.unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("B.parquet"), "{error}");
}
