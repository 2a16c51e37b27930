//! The command as a process: what it prints where, and its exit status.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn tallow(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env("TALLOW_CACHE_DIR", cache).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
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
        (&["query", "--threads", "0", "-c", "select 1"], 1, "threads '0'"),
        (&["query", "--memory", "much", "-c", "select 1"], 1, "memory 'much'"),
        (&["query", "--param", "x", "-c", "select 1"], 2, "expected NAME=VALUE"),
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
    let out = tallow(&["query", "--format", "csv", "-f", file.to_str().unwrap()]);
    assert_eq!(text(&out.stdout), "a\n1\nb\n2\n");
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
    assert!(said.contains("3 silent: told within 24h"), "{said}");
    // The table keeps the nearest, told or not.
    let kept = tallow(&["--lake", lake, "query", "--format", "csv", "-c", "select symbol from matches_1d"]);
    let kept: Vec<_> = text(&kept.stdout).lines().skip(1).map(str::to_string).collect();
    assert_eq!(kept, first);
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
