//! Errors have the code of what went wrong, so that each door can tell it in its own way.

use crate::common::{session, settings, try_query};
use crate::ingest::{from, ingest, lake};
use std::path::Path;
use std::process::Command;
use tallow::pipeline::describe::Description;
use tallow::{Code, Request, Settings};

#[tokio::test]
async fn what_a_text_names_and_is_not_there_is_not_found() {
    let session = session().await;
    for (sql, code) in [
        ("select * from candels", Code::NotFound),
        ("select * from '/nowhere/at/all.parquet'", Code::NotFound),
        ("select * from \"candles_1d@v3\"", Code::NotFound),
        ("select * from query('rsi_oversolt')", Code::NotFound),
        ("select * from dtw_search('candles_1h', [1, 2, 3, 4, 5])", Code::NotFound),
        ("select rsi(clsoe) from candles", Code::Invalid),
        ("select * from candles('1x')", Code::Invalid),
        ("select repeat('x', 2000000000) from candles", Code::Resources),
    ] {
        let error = try_query(&session, sql).await.unwrap_err();
        assert_eq!(error.code(), code, "{sql}: {error}");
    }
    let error = Description::of(&session, "candels").await.unwrap_err();
    assert_eq!((error.code(), error.hint()), (Code::NotFound, Some("did you mean `candles`?")));
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_write_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path()).await;
    let nothing = ingest(&session, "1d", from(Path::new("/nowhere/at/all"))).await.unwrap_err();
    assert_eq!(nothing.code(), Code::NotFound, "{nothing}");
    // Plain files beside which a log would hide them.
    let plain = folder.path().join("lake/candles/4h");
    std::fs::create_dir_all(&plain).unwrap();
    std::fs::write(plain.join("a.csv"), "symbol,ts,close\nA,2024-01-01,1\n").unwrap();
    let delivery = folder.path().join("new.csv");
    std::fs::write(&delivery, "symbol,ts,open,high,low,close,volume\nA,2024-01-01T00:00Z,1,1,1,1,1\n").unwrap();
    let hides = ingest(&session, "4h", from(&delivery)).await.unwrap_err();
    assert_eq!(hides.code(), Code::Conflict, "{hides}");
    assert!(hides.hint().is_some_and(|hint| hint.contains("the option `lake`")), "{hides}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_unavailable_and_a_version_of_plain_files_not_found() {
    let settings = Settings { candles: Some("http://127.0.0.1:9/a.parquet".to_string()), ..settings() };
    let session = tallow::open(settings).await.unwrap();
    let error = try_query(&session, "select * from candles").await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let session = crate::common::session().await;
    let old = session.for_request(&Request { as_of: Some("3".parse().unwrap()), memory: None }).unwrap();
    let error = try_query(&old, "select * from candles").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
}

#[test]
fn a_command_ends_with_the_status_of_the_code() {
    let folder = tempfile::tempdir().unwrap();
    let status = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallow"));
        command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env("TALLOW_CACHE_DIR", folder.path());
        command.output().unwrap().status.code()
    };
    for (args, code) in [
        (&["query", "select * from candels"][..], Code::NotFound),
        (&["ingest", "-t", "1d", "--lake", "/tmp/no lake", "/nowhere/at/all"], Code::NotFound),
        (&["query", "select rsi(clsoe) from candles"], Code::Invalid),
    ] {
        assert_eq!(status(args), Some(i32::from(code.exit_status())), "{args:?}");
    }
}
