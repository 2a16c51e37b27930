//! What every door asks of the pipeline: texts run statement by statement, work that is followed and stopped, matches that are
//! kept and delivered once.

use crate::common::{DAY, START, numbers, query, session};
use crate::similarity::{Random, lake, walks};
use arrow::array::AsArray;
use futures::TryStreamExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tallow::pipeline::Request;
use tallow::pipeline::control::{Control, Progress, Unit};
use tallow::pipeline::matching::{Found, Look, Match, MatchEvent};
use tallow::pipeline::materialize::result_table;
use tallow::pipeline::outcome::Outcome;
use tallow::pipeline::patterns::{self, Source};
use tallow::pipeline::query::{Executed, Query, QueryOptions};
use tallow::pipeline::search::SearchOptions;
use tallow::{Error, Session};
use tallow_common::Code;
use tallow_lake::{ResultKind, StoredPattern};

async fn first(session: &Session, text: &str, control: &Control) -> Result<Outcome, Error> {
    match Query::of(text).begin(session).await?.next(session, control).await? {
        Some(Executed::Rows(outcome)) => Ok(outcome),
        _ => panic!("no result of {text}"),
    }
}

#[tokio::test]
async fn statements_run_in_turn_and_only_some_have_rows() {
    let session = session().await;
    let text = "create view few as select symbol, ts, close from candles where symbol < 'AB'; select count(*) as n from few; \
                select distinct symbol from few";
    let symbols = Some(vec!["AAPL".to_string(), "NIX".to_string()]);
    let query = Query { options: QueryOptions { symbols, ..QueryOptions::default() }, ..Query::of(text) };
    let mut statements = query.begin(&session).await.unwrap();
    assert_eq!(statements.results(), 2);
    let (mut rows, control) = (vec![], Control::default());
    while let Some(executed) = statements.next(&session, &control).await.unwrap() {
        match executed {
            Executed::Rows(outcome) => {
                assert_eq!(outcome.skipped.get().iter().map(|s| s.symbol.as_str()).collect::<Vec<_>>(), ["NIX"]);
                rows.push(outcome.rows().await.unwrap());
            }
            Executed::Done(_) => assert!(rows.is_empty(), "the view comes first"),
        }
    }
    assert_eq!((rows.len(), rows[1].num_rows()), (2, 1));
    // What both statements lack is named once.
    assert_eq!(statements.skipped().len(), 1);
    assert!(Query::of(" ").begin(&session).await.is_err(), "no statement");
}

#[tokio::test]
async fn the_memory_of_one_query_is_limited() {
    let session = session().await;
    let text = "select sum(array_length(a)) as n from (select array_agg(value) as a from generate_series(1, 2000000) group by value % 7)";
    let with = |memory| {
        let request = Request { memory, ..Request::default() };
        Query { options: QueryOptions { request, ..QueryOptions::default() }, ..Query::of(text) }
    };
    let run = async |query: Query| match query.begin(&session).await?.next(&session, &Control::default()).await? {
        Some(Executed::Rows(outcome)) => outcome.rows().await,
        _ => panic!("it has rows"),
    };
    assert!(run(with(None)).await.is_ok());
    let error = run(with(Some(1 << 20))).await.unwrap_err();
    assert_eq!(error.code(), Code::Resources, "{error}");
    assert!(run(with(Some(0))).await.is_err());
    // What it held was given back.
    assert!(run(with(None)).await.is_ok());
    assert_eq!(session.context().runtime_env().memory_pool.reserved(), 0);
}

#[tokio::test]
async fn work_that_is_stopped_ends_with_the_reason() {
    const LONG: &str =
        "select a.value from generate_series(1, 3000000) a join generate_series(1, 3000000) b on a.value > b.value";
    let session = session().await;
    let late = Control::default().within(Duration::ZERO);
    assert!(matches!(first(&session, "select 1", &late).await, Err(Error::TimedOut)));

    // A query may bring its own limit.
    let limited = |options| Query { options, ..Query::of(LONG) };
    let late = limited(QueryOptions { timeout: Some(Duration::from_millis(200)), ..QueryOptions::default() });
    let mut statements = late.begin(&session).await.unwrap();
    let Some(Executed::Rows(outcome)) = statements.next(&session, &Control::default()).await.unwrap() else {
        panic!("it has rows")
    };
    assert!(matches!(outcome.rows().await, Err(Error::TimedOut)));

    let control = Control::default();
    let mut outcome = first(&session, LONG, &control).await.unwrap();
    assert!(outcome.stream.try_next().await.unwrap().is_some());
    control.cancel.cancel();
    let ended = loop {
        match outcome.stream.try_next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(ended, Err(Error::Cancelled)));
    assert!(outcome.stream.try_next().await.unwrap().is_none(), "it says so once");

    let mut outcome = first(&session, LONG, &Control::default().within(Duration::from_millis(300))).await.unwrap();
    let ended = loop {
        match outcome.stream.try_next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(ended, Err(Error::TimedOut)));
}

#[tokio::test]
async fn rows_are_counted_as_they_come_and_statistics_are_there_at_the_end() {
    let session = session().await;
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let told = Arc::clone(&seen);
    let control = Control::followed(Arc::new(move |progress| told.lock().unwrap().push(progress)));
    let outcome = first(&session, "select symbol, ts, sma(5) as s from candles", &control).await.unwrap();
    let statistics = outcome.statistics.clone();
    let rows = outcome.rows().await.unwrap().num_rows() as u64;
    let last = *seen.lock().unwrap().last().unwrap();
    assert_eq!((last.unit, last.done, last.rows, last.total), (Unit::Rows, rows, rows, None));
    assert!(statistics.series() > 0 && statistics.bytes_read(&session) > 0);
    assert_eq!(statistics.spilled_bytes(), 0);
}

/// A lake of random walks that keeps a pattern of one of them.
async fn patterned(folder: &std::path::Path) -> Session {
    let session = lake(folder, &walks(&mut Random(8), 20, 300)).await;
    let (from, to) = (START + 80 * DAY, START + 120 * DAY);
    let source = Source::bars(&session, "candles_1d".into(), "S004".into(), from, to).await.unwrap();
    let pattern: StoredPattern = patterns::cut(&session, "cut", source).await.unwrap();
    assert!(patterns::add(&session, &pattern).await.unwrap());
    session
}

/// The nearest two newest windows, each told once a day.
fn alerts() -> Match {
    let look = Look::Latest { exact: true, cooldown: Some(Duration::from_secs(86_400)) };
    Match { look, options: SearchOptions { k: 2, ..SearchOptions::default() }, ..Match::of(None) }
}

/// Delivers, or fails to; the symbols that it was about, and how many were silent.
async fn delivered(session: &Session, request: Match, works: bool) -> (Vec<String>, usize) {
    let job = request.prepare(session).await.unwrap();
    let (mut symbols, mut silent) = (vec![], 0);
    let mut on = |event: MatchEvent<'_>| {
        if let MatchEvent::Claimed(claimed) = event {
            silent = claimed.silent;
        }
    };
    let to = async |found: &Found| {
        symbols.extend(found.rows["symbol"].as_string::<i32>().iter().flatten().map(str::to_string));
        if works { Ok(()) } else { Err(Error::invalid("the door is shut".to_string())) }
    };
    let done = job.deliver(session, &Control::default(), &mut on, to).await;
    assert_eq!(done.is_ok(), works);
    (symbols, silent)
}

#[tokio::test]
async fn a_match_that_could_not_be_delivered_is_due_again_and_a_silent_one_leaves_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let session = patterned(folder.path()).await;
    let (failed, _) = delivered(&session, alerts(), false).await;
    assert_eq!(failed.len(), 2);
    let (again, silent) = delivered(&session, alerts(), true).await;
    assert_eq!((&again, silent), (&failed, 0));
    // Two others are as near as it gets now.
    let (next, silent) = delivered(&session, alerts(), true).await;
    assert_eq!((next.len(), silent), (2, 2));
    assert!(next.iter().all(|symbol| !again.contains(symbol)), "{again:?} {next:?}");
}

#[tokio::test]
async fn matches_are_kept_in_a_table_of_their_timeframe() {
    let folder = tempfile::tempdir().unwrap();
    let session = patterned(folder.path()).await;
    let into = |name: &str| Some(result_table(ResultKind::Matches, name).unwrap());
    let wrong = Match { into: into("4h"), ..Match::of(Some("cut".to_string())) }.prepare(&session).await;
    assert!(matches!(wrong, Err(Error::Argument("into", said)) if said.contains("one timeframe")));
    let twice = vec!["candles".to_string(), "candles_1d".to_string()];
    let wrong = Match { tables: twice, ..Match::of(Some("cut".to_string())) }.prepare(&session).await;
    assert!(matches!(wrong, Err(Error::Request(said)) if said.contains("search one by one")));
    assert!(matches!(result_table(ResultKind::Matches, "labels_4h"), Err(Error::Request(_))));

    let job = Match { into: into("dips"), ..Match::of(Some("cut".to_string())) }.prepare(&session).await.unwrap();
    let (mut stages, mut kept) = (0, 0);
    let mut on = |event: MatchEvent<'_>| match event {
        MatchEvent::Searched(searched) => stages += searched.stages.len(),
        MatchEvent::Kept(written) => kept = written.rows,
        MatchEvent::Claimed(_) => panic!("nobody asked for alerts"),
    };
    let rows = Mutex::new(None);
    let to = async |found: &Found| {
        *rows.lock().unwrap() = Some(found.rows.num_rows() as u64);
        Ok::<_, Error>(())
    };
    assert!(job.deliver(&session, &Control::default(), &mut on, to).await.unwrap().is_empty());
    assert_eq!(rows.lock().unwrap().take(), Some(10));
    assert_eq!(query(&session, "select * from matches_dips").await.num_rows(), 10);
    // A second run adds its own, which are the same matches.
    let features = "with matches as (select * from matches_dips) select * from query('match_features')";
    let once = query(&session, features).await.num_rows();
    assert!(job.deliver(&session, &Control::default(), &mut on, to).await.unwrap().is_empty());
    assert_eq!((stages, kept), (2, 10));
    let runs = "select run_id, count(*) as n, count(distinct found_at) as times from matches_dips group by run_id";
    let runs = query(&session, runs).await;
    assert_eq!((numbers(&runs, "n"), numbers(&runs, "times")), (vec![10.0, 10.0], vec![1.0, 1.0]));
    assert_eq!(query(&session, features).await.num_rows(), once);
}
