//! Pipelines: what is refused, what a run says, steps that go on where they were stopped, the order of runs.

use crate::common::{DAY, START, numbers, query};
use crate::edits::{Bars, assert_same, bar, deliver, session};
use crate::interpreter::Dice;
use std::path::Path;
use std::sync::Arc;
use tallow::Session;
use tallow::pipeline::control::{Control, Progress};
use tallow::pipeline::describe::Description;
use tallow::pipeline::incremental::{self, Definition, Done, Extent, LatestMatches, Pipeline, RunOptions};
use tallow::pipeline::label::LabelRun;
use tallow::pipeline::patterns;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_query_is_refused_until_a_full_run() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("lake")).await;
    let mut dice = Dice::new(7);
    let known: Bars = (0..30).map(|day| (("A".to_string(), START + day * DAY), bar(&mut dice))).collect();
    deliver(&session, folder.path(), "1d", &known).await;
    let pipeline =
        |sql: &str| Pipeline { name: "p".to_string(), definition: Definition::query(sql), into: "p".to_string() };
    let control = Control::default();
    let (one, other) = (
        pipeline("select symbol, ts, obv() as o from candles"),
        pipeline("select symbol, ts, sma(3) as s from candles"),
    );
    one.run(&session, RunOptions::default(), &control).await.unwrap();
    let said = other.run(&session, RunOptions::default(), &control).await.unwrap_err().to_string();
    assert!(said.contains("was made by another query") && said.contains("obv()") && said.contains("sma(3)"), "{said}");
    other.run(&session, RunOptions { full: true, ..RunOptions::default() }, &control).await.unwrap();
    let rows = query(&session, "select symbol, ts, s from results_p").await;
    assert_eq!(rows.num_rows(), 30);
    assert_eq!(other.run(&session, RunOptions::default(), &control).await.unwrap().work.extent, Extent::Nothing);
    // Another pipeline has another table.
    let stranger = Pipeline { name: "stranger".to_string(), ..other.clone() };
    let said = stranger.run(&session, RunOptions::default(), &control).await.unwrap_err().to_string();
    assert!(said.contains("another pipeline"), "{said}");
    // What has no symbol and no ts is not kept, and what is not followed is not read.
    for (sql, expected) in [
        ("select close from candles", "columns `symbol` and `ts`"),
        ("select 1 as x", "no table of candles"),
        ("select symbol, ts, ts < now() as old from candles", "calls now(), whose value changes without a delivery"),
        (
            "select symbol, ts from candles where ts in (select max(ts) from candles where random() < 0.5)",
            "calls random()",
        ),
    ] {
        let said = pipeline(sql)
            .run(&session, RunOptions { full: true, ..RunOptions::default() }, &control)
            .await
            .unwrap_err()
            .to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reads_the_whole_history_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("lake")).await;
    let mut dice = Dice::new(8);
    let mut known: Bars = (0..30).map(|day| (("A".to_string(), START + day * DAY), bar(&mut dice))).collect();
    deliver(&session, folder.path(), "1d", &known).await;
    let definition = Definition::query("select symbol, ts, obv() as o, sma(3) as s from candles");
    let pipeline = Pipeline { name: "p".to_string(), definition, into: "p".to_string() };
    pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
    known = (30..31).map(|day| (("A".to_string(), START + day * DAY), bar(&mut dice))).collect();
    deliver(&session, folder.path(), "1d", &known).await;
    let run = pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
    assert_eq!((run.work.sources[0].from, run.work.sources[0].to, run.work.sources[0].changed), (Some(0), 1, 1));
    match run.work.extent {
        Extent::Ranges { whole_history, .. } => assert_eq!(whole_history, ["o"]),
        other => panic!("{other:?}"),
    }
}

/// A lake with so many symbols, of forty days each.
async fn lake_of(folder: &Path, symbols: usize) -> Session {
    let session = session(&folder.join("lake")).await;
    let mut dice = Dice::new(9);
    let mut known = Bars::new();
    for symbol in 0..symbols {
        known.extend((0..40).map(|day| ((format!("S{symbol}"), START + day * DAY), bar(&mut dice))));
    }
    deliver(&session, folder, "1d", &known).await;
    session
}

fn kept(name: &str, sql: &str) -> Pipeline {
    Pipeline { name: name.to_string(), definition: Definition::query(sql), into: name.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_in_steps_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake_of(folder.path(), 7).await;
    let sql = "select symbol, ts, sma(3) as s, lead(close, 2) as c from candles";
    let pipeline = kept("p", sql);
    let steps = RunOptions { symbols_a_step: Some(2), ..RunOptions::default() };
    // Stopped when four symbols are done.
    let control = Control::default();
    let cancel = control.cancel.clone();
    let stopping = Arc::new(move |progress: Progress| {
        if progress.done == 4 {
            cancel.cancel();
        }
    });
    let stopped = pipeline.run(&session, steps, &Control { progress: stopping, ..control }).await.unwrap_err();
    assert!(stopped.to_string().contains("4 of 7 symbols are done"), "{stopped}");
    let symbols = query(&session, "select distinct symbol from results_p order by 1").await;
    assert_eq!(symbols.num_rows(), 4);
    // Bars that come meanwhile are not lost, and a run without options goes on.
    let mut dice = Dice::new(10);
    let late = ["S0", "S5", "T"].map(|symbol| ((symbol.to_string(), START + 40 * DAY), bar(&mut dice)));
    deliver(&session, folder.path(), "1d", &late.into()).await;
    let run = pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
    assert!(
        matches!(&run.work.extent, Extent::Everything(reason) if reason.contains("was stopped")),
        "{:?}",
        run.work.extent
    );
    let run = pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
    assert!(matches!(run.work.extent, Extent::Ranges { .. }), "{:?}", run.work.extent);
    let got = query(&session, "select * from results_p order by symbol, ts").await;
    assert_same(&got, &query(&session, &format!("select * from ({sql}) order by symbol, ts")).await, "after all");
    // Anew, and as a whole.
    for options in [RunOptions { full: true, ..steps }, RunOptions { full: true, ..RunOptions::default() }] {
        pipeline.run(&session, options, &Control::default()).await.unwrap();
        assert_same(&query(&session, "select * from results_p order by symbol, ts").await, &got, "anew");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbol_that_fails_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake_of(folder.path(), 5).await;
    let sql = "select symbol, ts, cast(case when symbol = 'S3' then 'x' else '1' end as double) as n from candles";
    let steps = RunOptions { symbols_a_step: Some(3), ..RunOptions::default() };
    let run = kept("p", sql).run(&session, steps, &Control::default()).await.unwrap();
    assert_eq!(run.failed.iter().map(|failed| failed.symbol.as_str()).collect::<Vec<_>>(), ["S3"]);
    let symbols = query(&session, "select distinct symbol from results_p order by 1").await;
    assert_eq!(symbols.num_rows(), 4);
    let errors = query(&session, "select pipeline, symbol from pipeline_errors where error like '%x%'").await;
    assert_eq!(errors.num_rows(), 1);
    // What is wrong with every symbol is wrong with the query.
    let sql = "select symbol, ts, cast(symbol as double) as n from candles";
    let steps = RunOptions { symbols_a_step: Some(1), ..RunOptions::default() };
    let run = kept("q", sql).run(&session, steps, &Control::default()).await.unwrap();
    assert_eq!(run.failed.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_kept_and_run_in_the_order_of_their_tables() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake_of(folder.path(), 3).await;
    let base = kept("base", "select symbol, ts, sma(3) as s from candles");
    let above =
        kept("above", "select symbol, ts, lag(s, 1) over (partition by symbol order by ts) as l from results_base");
    assert!(incremental::add(&session, &base, 0).await.unwrap());
    assert!(!incremental::add(&session, &base, 1).await.unwrap(), "the same again");
    assert!(incremental::add(&session, &above, 0).await.unwrap(), "whose source is not there yet");
    let names = |all: &[Pipeline]| all.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let all = incremental::all(&session).await.unwrap();
    assert_eq!(names(&all), ["above", "base"]);
    let ordered = incremental::in_order(&session, all).await.unwrap();
    assert_eq!(names(&ordered), ["base", "above"]);
    for step in 0..3 {
        for pipeline in &ordered {
            pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
        }
        let got = query(&session, "select * from results_above order by symbol, ts").await;
        let want = "select symbol, ts, lag(sma(close, 3), 1) over (partition by symbol order by ts) as l from candles \
                    order by symbol, ts";
        assert_same(&got, &query(&session, want).await, &format!("step {step}"));
        let mut dice = Dice::new(step + 20);
        let more = ["S0", "S1"].map(|symbol| ((symbol.to_string(), START + (30 + step as i64) * DAY), bar(&mut dice)));
        deliver(&session, folder.path(), "1d", &more.into()).await;
    }
    let status = incremental::status(&session, &ordered[0]).await.unwrap();
    assert_eq!((status.behind(), status.rows), (Some(1), 120));
    for (pipeline, expected) in [
        (kept("base", "select symbol, ts, sma(4) as s from candles"), "computes something else"),
        (Pipeline { name: "other".to_string(), ..base.clone() }, "is the table of pipeline `base`"),
        (kept("no name", "select symbol, ts from candles"), "no name of a pipeline"),
        (kept("own", "select symbol, ts from results_own"), "`own` reads the table that it makes"),
        (kept("bad", "select symbol, ts, sma(0) from candles"), "sma"),
        (kept("gone", "select symbol, ts from candles_4h"), "candles_4h"),
        (
            Pipeline { into: "candles_1d".to_string(), ..kept("c", "select symbol, ts from candles") },
            "cannot be a table",
        ),
        (Pipeline { definition: Definition::Label(LabelRun::new("4h".parse().unwrap())), ..kept("l", "") }, "4h"),
    ] {
        let said = incremental::add(&session, &pipeline, 0).await.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    let said = incremental::find(&session, "bsae").await.unwrap_err().to_string();
    assert!(said.contains("did you mean `base`?"), "{said}");
    // Its table can be described, as every other.
    let described = Description::of(&session, "results_base").await.unwrap();
    assert_eq!(described.gaps(&session).await.unwrap(), None);
    incremental::remove(&session, "base").await.unwrap();
    assert_eq!(names(&incremental::all(&session).await.unwrap()), ["above"]);
    assert_eq!(query(&session, "select * from results_base").await.num_rows(), 120, "its table stays");
}

#[tokio::test]
async fn matches_are_kept_of_each_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake_of(folder.path(), 12).await;
    let dip = patterns::cut(&session, "dip", patterns::Source::Values(vec![9.0, 7.0, 6.0, 5.0, 6.0, 7.0, 9.0])).await;
    patterns::add(&session, &dip.unwrap()).await.unwrap();
    let search = LatestMatches { top: 3, exact: true, ..LatestMatches::of("dip") };
    let pipeline = Pipeline { name: "dips".into(), definition: Definition::Match(search), into: "dips".into() };
    assert!(incremental::add(&session, &pipeline, 0).await.unwrap());
    let run = async |full: bool| {
        let options = RunOptions { full, ..RunOptions::default() };
        pipeline.run(&session, options, &Control::default()).await.map(|run| run.done)
    };
    let runs = async || {
        let sql = "select count(*) as n, cast(min(end_ts) as bigint) as first from matches_dips group by run_id order by run_id";
        let runs = query(&session, sql).await;
        (numbers(&runs, "n"), numbers(&runs, "first"))
    };
    assert_eq!(run(false).await.unwrap(), Done::Written { rows: 3, version: 0 });
    assert_eq!(run(false).await.unwrap(), Done::Nothing);
    let mut dice = Dice::new(10);
    let next = (0..12).map(|symbol| ((format!("S{symbol}"), START + 40 * DAY), bar(&mut dice))).collect();
    deliver(&session, folder.path(), "1d", &next).await;
    assert_eq!(run(false).await.unwrap(), Done::Written { rows: 3, version: 1 });
    let (counts, ends) = runs().await;
    assert_eq!(counts, [3.0, 3.0]);
    assert!(ends[0] < ends[1], "{ends:?}");

    // Another pattern of the same name is another search.
    patterns::remove(&session, "dip").await.unwrap();
    let said = run(false).await.unwrap_err().to_string();
    assert!(said.contains("unknown pattern `dip`"), "{said}");
    let other = patterns::cut(&session, "dip", patterns::Source::Values(vec![1.0, 2.0, 3.0, 2.0, 1.0])).await;
    patterns::add(&session, &other.unwrap()).await.unwrap();
    let said = run(false).await.unwrap_err().to_string();
    assert!(said.contains("was made by another query"), "{said}");
    assert_eq!(run(true).await.unwrap(), Done::Written { rows: 3, version: 2 });
    assert_eq!(runs().await.0, [3.0]);
}
