//! One live run of a name has a table, on whatever machine.

use crate::live::{FEATURES, Program, begun, over};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tallow_lake::Merging;

/// Starts a run over the lake of a folder, with its journal in another, that ends at once.
fn another(folder: &Path, journal: &str) -> Output {
    let args = ["--lake", "lake", "live", FEATURES, "-t", "1d", "--name", "features", "--journal", journal];
    Command::new(env!("CARGO_BIN_EXE_tallow")).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn said(of: &Output) -> String {
    String::from_utf8_lossy(&of.stderr).into_owned()
}

/// Starts one that listens.
fn first(folder: &Path) -> Program {
    let args = ["--feed", "tcp://127.0.0.1:0", "--flush", "1s", "--name", "features", "--journal", "here"];
    Program::begun(folder, &args, "listening on 127.0.0.1:")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_is_refused_whatever_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    begun(folder.path()).await;
    let running = first(folder.path());
    let same = another(folder.path(), "here");
    assert!(said(&same).contains("another live run keeps its journal in"), "{}", said(&same));
    let elsewhere = another(folder.path(), "there");
    assert!(said(&elsewhere).contains("the live run `features` goes on elsewhere"), "{}", said(&elsewhere));
    assert!(!same.status.success() && !elsewhere.status.success());
    // One that was killed goes on where it was; the other waits for it.
    running.kill();
    assert!(!another(folder.path(), "there").status.success());
    // One that ended is not waited for.
    let again = another(folder.path(), "here");
    assert!(again.status.success(), "{}", said(&again));
    let elsewhere = another(folder.path(), "there");
    assert!(elsewhere.status.success(), "{}", said(&elsewhere));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_taken_the_place_of_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lines = begun(folder.path()).await;
    let asleep = first(folder.path());
    // It is as if it had slept past the time for which it holds the table.
    let session = over(folder.path()).await;
    let none = "select symbol, ts, open, high, low, close, volume from candles_1d where false";
    let plan = session.plan(session.context().sql(none).await.unwrap()).await.unwrap();
    let until = vec![("tallow/live/features/until".to_string(), 0)];
    let merged = session.on_lake(move |lake| async move {
        let merging = Merging { operation: "TEST", sources: &until, only_if: None };
        lake.merge("1d".parse().unwrap(), "utc", plan, merging).await
    });
    merged.await.unwrap();
    assert!(another(folder.path(), "there").status.success());
    let count = async || {
        let session = over(folder.path()).await;
        crate::common::query(&session, "select count(*) from candles_1d").await
    };
    let before = count().await;
    assert_eq!(asleep.send(&lines[..3]), 3);
    let (is_good, said) = asleep.ended();
    assert!(!is_good && said.contains("another live run `features` has taken the place of this one"), "{said}");
    assert_eq!(count().await, before);
}
