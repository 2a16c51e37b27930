//! The command as a process: what it prints where, and its exit status.

use std::io::Write;
use std::process::{Command, Output, Stdio};

pub fn tallow(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env("TALLOW_CACHE_DIR", cache).stdin(Stdio::null());
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn results_go_to_standard_output_and_nothing_else_does() {
    let out = tallow(&["query", "--format", "csv", "-c", "select count(*) n, count(distinct symbol) s from candles"]);
    assert_eq!(text(&out.stdout), "n,s\n619040,505\n");
    assert_eq!(out.status.code(), Some(0));
    assert!(out.stderr.is_empty(), "{}", text(&out.stderr));
}

#[test]
fn a_failure_is_1_and_a_usage_error_2_and_both_say_so_on_standard_error() {
    for (args, status, said) in [
        (&["query", "-c", "select rsi(clsoe) from candles"][..], 1, "did you mean `close`?"),
        (&["run", "rsi_oversolt"], 1, "did you mean `rsi_oversold`?"),
        (&["describe", "candels"], 1, "did you mean `candles`?"),
        (&["tables", "--lake", "/nowhere/at/all"], 1, "no candles in the lake"),
        (&["query", "--threads", "0", "-c", "select 1"], 2, "'--threads <N>': expected a whole number from 1"),
        (&["query", "--memory", "much", "-c", "select 1"], 2, "'--memory <SIZE>': 'much' is no size"),
        (&["query", "--as-of", "soon", "-c", "select 1"], 2, "'soon'"),
        (&["query", "--param", "x", "-c", "select 1"], 2, "expected NAME=VALUE"),
        (&["query", "--from", "2017-13-01", "-c", "select 1"], 2, "'2017-13-01' is no time"),
        (&["query", "--from", "2018-01-01", "--to", "2017-01-01", "-c", "select 1"], 2, "the range is empty"),
        (&["scan", "close > 1", "--to", "soon"], 2, "'soon' is no time"),
        (&["scan", "close > 1", "--from", "2018-01-01", "--to", "2017-01-01"], 2, "the range is empty"),
        (&["scan", "close > 1", "-t", "7x"], 2, "'7x'"),
        (&["scan", "close > :n", "--sweep", "n"], 2, "--sweep 'n'"),
        (&["explain", "close > 1", "-t", "7x"], 2, "'7x'"),
        (&["label", "-t", "7x"], 2, "'7x'"),
        (&["label", "-t", "4h", "--horizon", "0"], 2, "0 is not in 1..=1000"),
        (&["levels", "7x"], 2, "'7x'"),
        (&["resample", "1w", "--fill", "guess"], 2, "expected none, prev_close"),
        (&["validate", "--calendar", "never"], 1, "or observed, 24/7 or weekdays"),
        (&["validate", "--origin", "moon"], 2, "expected utc, forex_utc1"),
        (&["optimize", "--file-size", "big"], 2, "'big' is no size"),
        (&["formula", "list", "--category", "buy"], 2, "[possible values: scan, entry, exit, stop]"),
        (&["frobnicate"], 2, "unrecognized subcommand"),
        (&["synth", "/nowhere/at/all.parquet", "--symbols", "1"], 1, "/nowhere/at/all.parquet"),
    ] {
        let out = tallow(args);
        assert_eq!(out.status.code(), Some(status), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(said), "{args:?}: {}", text(&out.stderr));
        assert!(out.stdout.is_empty(), "{args:?}: {}", text(&out.stdout));
    }
}

#[test]
fn passwords_in_urls_are_not_told() {
    for args in [
        &["--lake", "ftp://user:geheim@host/lake", "tables"][..],
        &["-vv", "query", "-c", "select 1 from 'ftp://user:geheim@host/x.parquet?sig=geheim'"],
        &["ingest", "ftp://user:geheim@host/x.csv", "-t", "1d"],
        &["--lake", "s3://user:geheim@bucket/lake", "config"],
        &["frobnicate", "ftp://user:geheim@host"],
        &["label", "-t", "1d", "--to", "s3://user:geheim@bucket/lake"],
    ] {
        let out = tallow(args);
        let said = text(&out.stdout) + &text(&out.stderr);
        assert!(!said.contains("geheim"), "{args:?}: {said}");
        assert!(said.contains("***@") || args[0] == "frobnicate", "{args:?}: {said}");
    }
}

#[test]
fn a_setting_that_was_not_typed_is_named_by_where_it_stands() {
    let out = command(&["query", "select 1"]).env("TALLOW_MEMORY", "much").output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("TALLOW_MEMORY: 'much' is no size"), "{}", text(&out.stderr));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = command(&["query", "--format", "csv", "-c", "select * from candles"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), String::new()));
}

#[test]
fn sql_comes_from_an_argument_a_file_or_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("q.sql");
    std::fs::write(&file, "select 1 a; select 2 b").unwrap();
    let file = file.to_str().unwrap();
    let out = tallow(&["query", "--format", "csv", "-f", file]);
    assert_eq!(text(&out.stdout), "a\n1\nb\n2\n");
    let out = tallow(&["query", "select 4 as d", "--format", "csv"]);
    assert_eq!(text(&out.stdout), "d\n4\n");
    for both in [&["-c", "select 1"][..], &["-f", file]] {
        let out = tallow(&[&["query", "select 4 as d"], both].concat());
        assert_eq!(out.status.code(), Some(2));
        assert!(text(&out.stderr).contains("cannot be used with"), "{}", text(&out.stderr));
    }
    let mut child =
        command(&["query", "--format", "ndjson"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"select 3 as c").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "{\"c\":3}\n");
}

#[test]
fn a_result_file_is_complete_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let out = tallow(&["query", "-o", path.to_str().unwrap(), "-c", "select symbol, ts, rsi(14) r from candles"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let count = format!("select count(r) n from '{}'", path.display());
    assert_eq!(text(&tallow(&["query", "--format", "csv", "-c", &count]).stdout), "n\n611970\n");
    let failed = folder.path().join("failed.csv");
    let bad = "select symbol, arrow_cast(symbol, 'Int64') from candles";
    assert_eq!(tallow(&["query", "-o", failed.to_str().unwrap(), "-c", bad]).status.code(), Some(1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something half-written is left");
}

#[test]
fn alerts_are_told_once_and_give_way_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().to_str().unwrap();
    let sought = ["--lake", lake, "match", "9 7 6 5 6 7 9", "-t", "data/candles/1d", "--format", "csv"];
    let run = |args: &[&str]| {
        let out = tallow(&[&sought, args].concat());
        let rows = text(&out.stdout);
        let symbols = rows.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().to_string());
        (symbols.collect::<Vec<_>>(), text(&out.stderr), out.status.code())
    };
    let alert = ["--latest", "--top", "3", "--alert", "--into", "matches_1d"];
    let (first, said, _) = run(&alert);
    assert_eq!(first.len(), 3, "{said}");
    let (second, said, _) = run(&alert);
    assert!(second.len() == 3 && second.iter().all(|symbol| !first.contains(symbol)), "{second:?}");
    assert!(said.contains("3 silent: reported within 24h"), "{said}");
    // The table keeps the nearest of each run, told or not.
    let of_runs = "select symbol from matches_1d order by run_id, distance";
    let kept = tallow(&["--lake", lake, "query", "--format", "csv", "-c", of_runs]);
    let kept: Vec<_> = text(&kept.stdout).lines().skip(1).map(str::to_string).collect();
    assert_eq!(kept, [first.clone(), first].concat());
    for (wrong, what) in [
        (&["--into", "labels_1d"][..], "such as matches_4h"),
        (&["--into", "matches_4h"], "a table holds the matches of one timeframe"),
        (&["--to", "matches_1d"], "is named by --into matches_1d"),
        (&["--channels", "price", "--weights", "averages=0.5"], "leaves the averages out"),
        (&["--scales", "3"], "scale 3: expected 0.5 to 2"),
        (&["-o", "no/such/folder.csv"], "there is no folder no/such"),
        (&["-o", "."], "is a folder"),
        (&["--cooldown", "1h"], "--alert"),
    ] {
        let (_, said, code) = run(wrong);
        assert!(said.contains(what), "{wrong:?}: {said}");
        assert!(code == Some(2) || wrong[0] == "--scales", "{wrong:?}: {code:?}");
    }
}

#[test]
fn levels_are_written_where_they_are_named_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    std::fs::create_dir_all(lake.join("candles/1d")).unwrap();
    let synth = tallow(&["synth", lake.join("candles/1d").to_str().unwrap(), "--symbols", "2", "--bars", "200"]);
    assert!(synth.status.success(), "{}", text(&synth.stderr));
    let levels = |into: &str| tallow(&["--lake", lake.to_str().unwrap(), "levels", "1d", "--into", into]);
    for bad in ["../../evil", "/tmp/evil", "labels_x", "level_events_x", "a.b", ""] {
        let out = levels(bad);
        assert_eq!(out.status.code(), Some(2), "{bad}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains("cannot be a table of levels"), "{}", text(&out.stderr));
    }
    assert_eq!(std::fs::read_dir(&lake).unwrap().count(), 1, "something was written");
    let place = folder.path().join("out");
    for (into, tables) in [
        ("pivots", [lake.join("levels/pivots"), lake.join("level_events/pivots")]),
        (&format!("file://{}", place.display()), [place.join("levels"), place.join("level_events")]),
    ] {
        let out = levels(into);
        assert!(out.status.success(), "{into}: {}", text(&out.stderr));
        for table in tables {
            assert!(table.join("_delta_log").is_dir(), "{}", table.display());
        }
    }
    // Labels do not take the place of levels.
    let there = format!("file://{}", place.join("levels").display());
    let out = tallow(&["--lake", lake.to_str().unwrap(), "label", "-t", "1d", "--into", &there]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("is a table of levels, which labels do not replace"), "{}", text(&out.stderr));
}

#[test]
fn a_named_query_is_about_the_bars_that_are_asked_for() {
    let rows = |args: &[&str]| {
        let out = tallow(&[&["run", "new_highs", "--format", "csv"], args].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    assert_ne!(rows(&[]), rows(&["-t", "1w"]));
    assert_eq!(rows(&[]), rows(&["-t", "1d"]));
}

#[test]
fn a_parameter_is_given_with_or_without_its_option_but_once() {
    let run = |args: &[&str]| {
        let out = tallow(&[&["run", "rsi_oversold", "--format", "csv"], args].concat());
        (text(&out.stdout), text(&out.stderr), out.status.code())
    };
    let (wanted, said, _) = run(&["--param", "level=20", "--param", "period=10"]);
    assert!(wanted.lines().count() > 1, "{said}");
    assert_ne!(wanted, run(&[]).0);
    assert_eq!(run(&["level=20", "period=10"]).0, wanted);
    assert_eq!(run(&["level=20", "--param", "period=10"]).0, wanted);
    for (args, said) in [
        (&["level=20", "--param", "level=30"][..], "`level` is given twice, as '20' and as '30'"),
        (&["20"], "parameter '20': expected NAME=VALUE"),
    ] {
        let (out, told, code) = run(args);
        assert!(out.is_empty() && code == Some(2) && told.contains(said), "{args:?}: {told}");
    }
}

#[test]
fn only_the_symbols_that_are_asked_for_are_there() {
    let csv = |args: &[&str]| {
        let out = tallow(&[args, &["--format", "csv"]].concat());
        (text(&out.stdout), text(&out.stderr), out.status.code())
    };
    let counted = "select symbol, count(*) as n, count(*) over () as symbols from candles group by symbol";
    let (out, said, code) = csv(&["query", "--symbols", "AAPL,MSFT,AAPL", &format!("{counted} order by symbol")]);
    assert_eq!((out.as_str(), code), ("symbol,n,symbols\nAAPL,1259,2\nMSFT,1259,2\n", Some(0)), "{said}");
    // A rank is one among these, as in a scan.
    let (out, said, code) = csv(&["run", "volatility_rank", "--symbols", "MSFT,AAPL,APPL"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("APPL: no data: no table that is read has a bar of it; did you mean AAPL?"), "{said}");
    assert_eq!(out.lines().count(), 3, "{out}");
    let made_of_days = csv(&["run", "new_highs", "-t", "1w", "--symbols", "AAPL"]);
    assert_eq!(made_of_days.2, Some(0), "{}", made_of_days.1);
    assert!(made_of_days.0.lines().skip(1).all(|line| line.starts_with("AAPL,")), "{}", made_of_days.0);
    let (_, said, code) = csv(&["query", "--symbols", "AAPL", "select 1"]);
    assert!(code == Some(1) && said.contains("no table that is read has the columns symbol and ts"), "{said}");
    let (out, said, code) = csv(&["formula", "test", "rsi(14) < 30", "--by", "symbol", "--symbols", "AAPL"]);
    assert!(code == Some(0) && out.lines().skip(1).all(|line| line.starts_with("AAPL,")), "{said}{out}");
}

#[test]
fn explain_is_about_the_bars_that_are_asked_for() {
    for (text_of, said) in [
        ("rsi(14) < 30", "candles_4h"),
        ("golden_cross", "candles_4h"),
        ("select symbol, ts, sma(20) from candles", "candles_4h"),
    ] {
        let out = tallow(&["explain", text_of, "-t", "4h"]);
        assert!(out.status.success() && text(&out.stdout).contains(said), "{text_of}: {}", text(&out.stderr));
    }
    let out = tallow(&["explain", "rsi(14) < 30", "-t", "1w"]);
    assert!(text(&out.stdout).contains("candles('1w')"), "{}", text(&out.stdout));
}

/// What a query writes to a file of this name.
fn written(folder: &std::path::Path, name: &str, args: &[&str]) -> std::path::PathBuf {
    let path = folder.join(name);
    let out = tallow(&[&["query", "-o", path.to_str().unwrap()], args].concat());
    assert_eq!(out.status.code(), Some(0), "{name}: {}", text(&out.stderr));
    assert!(out.stdout.is_empty());
    path
}

#[test]
fn a_file_has_the_format_and_the_compression_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let query =
        "select symbol, count(*) as n from candles where symbol in ('AAPL', 'MSFT') group by symbol order by symbol";
    let read = |name: &str| {
        let file = std::fs::File::open(written(folder.path(), name, &[query])).unwrap();
        match name.to_ascii_lowercase().rsplit_once('.').unwrap().1 {
            "gz" => std::io::read_to_string(flate2::read::GzDecoder::new(file)).unwrap(),
            "zst" => text(&zstd::decode_all(file).unwrap()),
            _ => std::io::read_to_string(file).unwrap(),
        }
    };
    let csv = "symbol,n\nAAPL,1259\nMSFT,1259\n";
    let lines = "{\"symbol\":\"AAPL\",\"n\":1259}\n{\"symbol\":\"MSFT\",\"n\":1259}\n";
    for (name, wanted) in [
        ("a.CSV", csv.to_string()),
        ("a.csv.gz", csv.to_string()),
        ("a.csv.ZST", csv.to_string()),
        ("a.tsv", csv.replace(',', "\t")),
        ("a.jsonl.zst", lines.to_string()),
        ("a.ndjson", lines.to_string()),
    ] {
        assert_eq!(read(name), wanted, "{name}");
    }
    assert!(read("a.md.gz").contains("| AAPL"));
    // A large one comes out whole.
    let path = written(folder.path(), "large.csv.gz", &["select symbol, ts, close from candles"]);
    let large = std::io::read_to_string(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())).unwrap();
    assert_eq!(large.lines().count(), 619_041);
}

#[test]
fn an_unknown_ending_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["y.txt", "y.xlsx", "y", "y.gz", "y.csv.bz2", "y.parquet.gz"] {
        let path = folder.path().join(name);
        let path = path.to_str().unwrap();
        for args in [
            // It is told before what is wrong with the text.
            &["query", "select nonsense", "-o", path][..],
            &["run", "movers", "-o", path],
            &["scan", "nonsense", "-o", path],
            &["scan", "nonsense", "--failures", path],
            &["match", "9 7 6 5 6 7 9", "-o", path],
            &["levels", "1d", "-o", path],
        ] {
            let out = tallow(args);
            let said = text(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
            assert!(said.contains(".csv .tsv .json") || said.contains("parquet is binary"), "{args:?}: {said}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn one_file_holds_one_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let path = path.to_str().unwrap();
    for args in [
        &["query", "select 1 as a; select 2 as b", "-o", path][..],
        &["query", "select 1 as a; select 2 as b", "--format", "parquet"],
        &["formula", "test", "rsi(14) < 30", "-o", path],
    ] {
        let out = tallow(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains("cannot share one file"), "{}", text(&out.stderr));
    }
    // What has no result does not count.
    written(folder.path(), "b.csv", &["set datafusion.execution.batch_size = 100; select 1 as a"]);
}

#[test]
fn a_file_has_all_rows() {
    let folder = tempfile::tempdir().unwrap();
    let query = ["select ts from candles where symbol = 'AAPL' limit 90", "--max-rows", "3"];
    for (name, more, lines) in [("a.md", &[][..], 92), ("a.txt", &["--format", "table"], 92)] {
        let path = written(folder.path(), name, &[&query, more].concat());
        let said = std::fs::read_to_string(path).unwrap();
        assert_eq!(said.trim_end().lines().count(), lines, "{said}");
        assert!(!said.contains("--max-rows"), "{said}");
    }
    assert!(
        text(&tallow(&[&["query"], &query[..]].concat()).stdout)
            .ends_with("90 rows, the first 3 shown (--max-rows 0 shows all)\n")
    );
}

#[test]
fn files_have_types_that_every_reader_knows() {
    use arrow::datatypes::DataType;
    use arrow::ipc::reader::{FileReader, StreamReader};
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::fs::File;
    let folder = tempfile::tempdir().unwrap();
    let query = "select symbol, ts, now() as now, named_struct('a', symbol, 'b', [symbol]) as nested,
                        arrow_cast(symbol, 'Dictionary(Int32, Utf8)') as dictionary,
                        arrow_cast(symbol, 'BinaryView') as bytes
                 from candles where symbol in ('AAPL', 'MSFT') order by symbol, ts";
    let file = |name: &str| File::open(written(folder.path(), name, &[query])).unwrap();
    let stdout = tallow(&["query", "--format", "arrow", query]).stdout;
    let parquet = ParquetRecordBatchReaderBuilder::try_new(file("a.pq")).unwrap().build().unwrap();
    let rows: usize = parquet.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 2 * 1259);
    let stream = StreamReader::try_new(&stdout[..], None).unwrap();
    assert_eq!(stream.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2 * 1259);
    let copied = folder.path().join("copied.parquet");
    assert!(tallow(&["query", &format!("copy ({query}) to '{}'", copied.display())]).status.success());
    for schema in [
        ParquetRecordBatchReaderBuilder::try_new(file("a.parquet")).unwrap().schema().clone(),
        FileReader::try_new(file("a.arrow"), None).unwrap().schema(),
        FileReader::try_new(file("a.IPC"), None).unwrap().schema(),
        StreamReader::try_new(&stdout[..], None).unwrap().schema(),
    ] {
        let shown = format!("{schema:?}");
        assert!(!shown.contains("View"), "{shown}");
        let of = |name: &str| schema.field_with_name(name).unwrap().data_type().to_string();
        let instant = "Timestamp(µs, \"UTC\")";
        assert_eq!([of("symbol"), of("ts"), of("now")], ["Utf8", instant, instant]);
        assert!(matches!(schema.field_with_name("dictionary").unwrap().data_type(), DataType::Dictionary(_, _)));
    }
    let copied = ParquetRecordBatchReaderBuilder::try_new(File::open(copied).unwrap()).unwrap();
    assert!(!format!("{:?}", copied.schema()).contains("View"), "{:?}", copied.schema());
}

#[test]
fn tables_of_the_lake_hold_text_that_every_reader_knows() {
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().to_str().unwrap();
    for args in [&["ingest", "data/candles/4h", "-t", "4h"][..], &["label", "-t", "4h", "--labels", "triple_barrier"]] {
        let out = tallow(&[&["--lake", lake], args].concat());
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    }
    for table in ["candles/4h", "labels/4h"] {
        let files = std::fs::read_dir(folder.path().join(table)).unwrap().map(|file| file.unwrap().path());
        let file = files.into_iter().find(|f| f.extension().is_some_and(|e| e == "parquet")).unwrap();
        let read = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
        assert_eq!(read.schema().field(0).data_type().to_string(), "Utf8", "{table}");
        assert!(!format!("{:?}", read.schema()).contains("View"), "{table}");
    }
}

#[test]
#[cfg(unix)]
fn what_is_no_plain_file_is_written_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    assert!(tallow(&["query", "-o", pipe.to_str().unwrap(), "-c", "select 1 as a"]).status.success());
    assert_eq!(reader.join().unwrap(), "a\n1\n");
    assert!(!pipe.is_file());
    // A link stays where it is.
    let (link, file) = (folder.path().join("link.csv"), folder.path().join("file.csv"));
    std::fs::write(&file, "before").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(tallow(&["query", "-o", link.to_str().unwrap(), "-c", "select 1 as a"]).status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\n1\n");
    assert!(link.is_symlink());
}

#[test]
fn settings_are_layered() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tallow.toml"), "memory = \"512m\"\nthreads = 1\nlake = \"from_file\"\n")
        .unwrap();
    let out = command(&["config", "--threads", "3"])
        .current_dir(folder.path())
        .env("TALLOW_LAKE", "from_environment")
        .output()
        .unwrap();
    let out = text(&out.stdout);
    let line = |name: &str| {
        out.lines().find(|l| l.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("lake"), "lake from_environment environment");
    assert_eq!(line("memory"), "memory 512 MiB tallow.toml");
    assert_eq!(line("threads"), "threads 3 flag");
}

#[test]
fn the_session_without_a_terminal_reads_a_script() {
    let mut child = command(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let script = b".mode csv\nselect count(*) n\nfrom candles;\n.tables\n.quit\nselect 1;\n";
    child.stdin.take().unwrap().write_all(script).unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "n\n619040\ncandles\ncandles_1d\ncandles_4h\n");
}

#[test]
fn explain_shows_sql_plan_and_reach() {
    let out = text(&tallow(&["explain", "select sma(20) from candles"]).stdout);
    for part in
        ["sma(close, 20) OVER (PARTITION BY symbol ORDER BY ts)", "SeriesExec: [sma(close@2, 20)]", "sma(20)", "19"]
    {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(text(&tallow(&["explain", "breadth"]).stdout).contains("SeriesExec"));
}

#[test]
fn synthetic_candles_are_the_same_for_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let sums: Vec<String> = ["a.parquet", "b.parquet", "folder"]
        .iter()
        .map(|name| {
            let path = folder.path().join(name);
            let out = tallow(&["synth", path.to_str().unwrap(), "--symbols", "3", "--bars", "50", "--seed", "9"]);
            assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
            let slash = if path.is_dir() { "/" } else { "" };
            let sql = format!("select count(*), round(sum(close), 6), max(symbol) from '{}{slash}'", path.display());
            text(&tallow(&["query", "--format", "csv", "-c", &sql]).stdout)
        })
        .collect();
    assert!(sums[0].contains("150") && sums[0].contains("S00002"), "{}", sums[0]);
    assert!(sums.iter().all(|s| s.lines().nth(1) == sums[0].lines().nth(1)), "{sums:?}");
}

#[test]
fn every_named_query_runs_on_the_sample() {
    for query in ["breadth", "golden_cross", "movers", "new_highs", "rsi_oversold", "volatility_rank"] {
        let out = tallow(&["run", query]);
        assert_eq!(out.status.code(), Some(0), "{query}: {}", text(&out.stderr));
        assert!(text(&out.stdout).lines().count() >= 3, "{query}: {}", text(&out.stdout));
    }
}

#[test]
fn describe_shows_layout_and_the_known_gaps() {
    let out = text(&tallow(&["describe", "candles"]).stdout);
    for part in
        ["rows      619040", "symbols   505", "2013-02-08 to 2018-02-07", "without sort or shuffle", "6 symbols miss"]
    {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let missing: u32 =
        out.lines().rev().take(6).map(|l| l.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()).sum();
    assert_eq!(missing, 51, "{out}");
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&tallow(&["completions", shell]).stdout);
        assert!(script.contains("backtest") && script.contains("entry-limit"), "{shell}");
    }
    assert!(text(&tallow(&["completions", "cmd"]).stderr).contains("possible values"));
}
