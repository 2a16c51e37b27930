//! Patterns, matches, alerts and models of a lake.

use crate::common::{DAY, START, assert_close, numbers, query, session, settings, try_query};
use crate::similarity::{Bars, Random, lake, walks, write};
use arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};
use tallow::pipeline::alerts::{self, Alerts};
use tallow::pipeline::control::{Control, OnProgress, Progress};
use tallow::pipeline::patterns::{self, Source};
use tallow::pipeline::query::{Executed, Query};
use tallow::pipeline::score::{self, Boosted, FEATURES, Model, Training};
use tallow::pipeline::search::{MatchRun, Pattern, SearchOptions};
use tallow::{Params, Session, Settings};
use tallow_lake::{Record, StoredAlert, StoredPattern};
use tallow_udfs::similarity::reference::Channels;
use tallow_udfs::similarity::search::Windowing;

async fn stored(session: &Session, id: &str, symbol: &str, from: i64, to: i64) -> StoredPattern {
    let (from, to) = (START + from * DAY, START + to * DAY);
    let source = Source::Bars { table: "candles_1d".into(), timeframe: "1d".into(), symbol: symbol.into(), from, to };
    patterns::cut(session, id, source).await.unwrap()
}

fn run(patterns: Vec<Pattern>, options: SearchOptions) -> MatchRun {
    MatchRun { patterns, options, symbols: None }
}

#[tokio::test]
async fn a_pattern_finds_itself_only_when_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(21), 30, 400);
    let session = lake(folder.path(), &bars).await;
    let pattern = stored(&session, "cut", "S004", 80, 160).await;
    assert_eq!(pattern.bars, 81);
    let sought = Pattern::try_from(&pattern).unwrap();
    assert_eq!((sought.lead, sought.closes.len()), (59, 140));
    for self_matches in [true, false] {
        let options = SearchOptions { self_matches, k: 200, ..SearchOptions::default() };
        let found =
            run(vec![sought.clone()], options).run(&session, "candles_1d", "1d", &Control::default()).await.unwrap();
        let symbols = found.rows["symbol"].as_string::<i32>();
        let starts = found.rows["start_ts"].as_primitive::<TimestampMicrosecondType>();
        let ends = found.rows["end_ts"].as_primitive::<TimestampMicrosecondType>();
        let own = |i: &usize| {
            symbols.value(*i) == "S004" && starts.value(*i) <= START + 160 * DAY && ends.value(*i) >= START + 80 * DAY
        };
        let first = (symbols.value(0), starts.value(0), numbers(&found.rows, "distance")[0]);
        assert_eq!(first == ("S004", START + 80 * DAY, 0.0), self_matches);
        assert_eq!((0..found.rows.num_rows()).any(|i| own(&i)), self_matches);
    }
}

#[tokio::test]
async fn the_prescreen_keeps_a_fifth_and_every_stage_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(8), 60, 300);
    let session = lake(folder.path(), &bars).await;
    let sought = Pattern::try_from(&stored(&session, "cut", "S004", 80, 120).await).unwrap();
    let options = SearchOptions { windowing: Windowing::Latest, k: 5, ..SearchOptions::default() };
    let screened = run(vec![sought.clone()], options.clone())
        .run(&session, "candles_1d", "1d", &Control::default())
        .await
        .unwrap();
    let (_, counts) = &screened.stages[0];
    assert_eq!(counts.prescreened, Some((60, 12)));
    assert_eq!(counts.stages.symbols, 12);
    let exact = run(vec![sought.clone()], SearchOptions { exact: true, ..options });
    let exact = exact.run(&session, "candles_1d", "1d", &Control::default()).await.unwrap();
    assert_eq!(exact.stages[0].1.prescreened, None);
    assert_eq!(exact.stages[0].1.stages.symbols, 60);
    // The same random windows tell the percentiles of both.
    let at = |rows: &RecordBatch, symbol: &str| {
        let i = rows["symbol"].as_string::<i32>().iter().position(|s| s == Some(symbol))?;
        Some((numbers(rows, "distance")[i], numbers(rows, "percentile")[i]))
    };
    let shared = exact.rows["symbol"]
        .as_string::<i32>()
        .iter()
        .flatten()
        .filter_map(|s| Some((at(&exact.rows, s)?, at(&screened.rows, s)?)));
    let shared: Vec<_> = shared.collect();
    assert!(!shared.is_empty() && shared.iter().all(|(a, b)| a == b), "{shared:?}");
    let history = SearchOptions { k: 5, ..SearchOptions::default() };
    let history = run(vec![sought], history).run(&session, "candles_1d", "1d", &Control::default()).await.unwrap();
    let stages = history.stages[0].1.stages;
    let dropped = stages.keogh + stages.keogh_reversed + stages.abandoned + stages.whole;
    // What is left of the windows shares a bar with the pattern's own.
    assert!(stages.windows - dropped < 5 * 130, "{stages:?}");
    assert!(stages.keogh > stages.windows / 4 && stages.whole < stages.windows / 10, "{stages:?}");
}

#[tokio::test]
async fn percentiles_do_not_depend_on_what_else_is_searched_for() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(9), 25, 300);
    let session = lake(folder.path(), &bars).await;
    let mut patterns = vec![];
    for (i, (from, to)) in [(80, 120), (70, 100), (60, 148), (90, 125)].into_iter().enumerate() {
        patterns.push(Pattern::try_from(&stored(&session, &format!("p{i}"), "S004", from, to).await).unwrap());
    }
    let options = SearchOptions { k: 4, ..SearchOptions::default() };
    let all = run(patterns.clone(), options.clone())
        .run(&session, "candles_1d", "1d", &Control::default())
        .await
        .unwrap()
        .rows;
    let mut one_by_one = vec![];
    for pattern in patterns {
        let rows = run(vec![pattern], options.clone())
            .run(&session, "candles_1d", "1d", &Control::default())
            .await
            .unwrap()
            .rows;
        one_by_one.push(rows);
    }
    assert_eq!(all, arrow::compute::concat_batches(&all.schema(), &one_by_one).unwrap());
    assert_eq!(all.num_rows(), 16);
}

#[tokio::test]
async fn an_alert_is_given_once_in_a_cool_down() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(8), 20, 300);
    let session = lake(folder.path(), &bars).await;
    let sought = Pattern::try_from(&stored(&session, "cut", "S004", 80, 120).await).unwrap();
    let options = SearchOptions { windowing: Windowing::Latest, k: 3, ..SearchOptions::default() };
    let found = run(vec![sought], options).run(&session, "candles_1d", "1d", &Control::default()).await.unwrap();
    let cooldown = std::time::Duration::from_secs(24 * 3600);
    let at = |hours: i64| Alerts { cooldown, now: START + hours * 3_600_000_000 };
    // The same matches with bars of that hour.
    let rows = |alerts: Alerts| {
        let ends = TimestampMicrosecondArray::from(vec![alerts.now; found.rows.num_rows()]).with_timezone("UTC");
        let mut columns = found.rows.columns().to_vec();
        columns[found.rows.schema().index_of("end_ts").unwrap()] = Arc::new(ends);
        RecordBatch::try_new(found.rows.schema(), columns).unwrap()
    };
    let claim = async |alerts| alerts::claim(&session, rows(alerts), 10, alerts).await.unwrap().rows;
    let due = async |hours| {
        let claimed = claim(at(hours)).await;
        alerts::settle(&session, &claimed, at(hours), true).await.unwrap();
        claimed.num_rows()
    };
    assert_eq!([due(0).await, due(1).await, due(23).await, due(24).await, due(47).await], [3, 0, 0, 3, 0]);
    // What could not be told is due again.
    let late = claim(at(48)).await;
    assert_eq!(late.num_rows(), 3);
    alerts::settle(&session, &late.slice(0, 1), at(48), false).await.unwrap();
    alerts::settle(&session, &late.slice(1, 2), at(48), true).await.unwrap();
    assert_eq!([due(49).await, due(50).await], [1, 0]);
    // Nobody else tells what is being told; what was never settled is due again after a while.
    let later = |minutes: i64| Alerts { cooldown, now: at(100).now + minutes * 60_000_000 };
    assert_eq!(claim(later(0)).await.num_rows(), 3);
    let again = alerts::claim(&session, found.rows.clone(), 10, later(1)).await.unwrap();
    assert_eq!((again.rows.num_rows(), again.silent, again.elsewhere), (0, 0, 3));
    assert_eq!(claim(later(3)).await.num_rows(), 3);
    alerts::settle(&session, &rows(later(3)), later(3), true).await.unwrap();
    assert_eq!(claim(later(60)).await.num_rows(), 0);
    // A symbol without a newer bar stays silent, and leaves its place to the next one.
    let old = alerts::claim(&session, rows(later(3)), 10, later(90 * 60)).await.unwrap();
    assert_eq!((old.rows.num_rows(), old.silent), (0, 3));
    assert_eq!(alerts::most_silent(&session).await.unwrap(), 3);
    let two = alerts::claim(&session, rows(later(90 * 60)), 2, later(90 * 60)).await.unwrap();
    assert_eq!(two.rows, rows(later(90 * 60)).slice(0, 2));
    alerts::settle(&session, &two.rows, later(90 * 60), true).await.unwrap();
    let kept = session.lake().records::<StoredAlert>().await.unwrap();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|a| a.pattern == "cut" && a.timeframe == "1d" && a.percentile.is_some() && !a.pending));
}

/// An alert as a lake keeps it that was written before alerts were claimed.
#[derive(Serialize, Deserialize)]
struct FormerAlert {
    symbol: String,
    timeframe: String,
    pattern: String,
    end_ts: i64,
    distance: f64,
    percentile: Option<f64>,
    alerted_at: i64,
}

impl Record for FormerAlert {
    const TABLE: &'static str = "alerts";

    fn columns() -> Vec<(&'static str, DataType)> {
        let columns = StoredAlert::columns();
        columns.into_iter().filter(|(name, _)| *name != "pending").collect()
    }
}

#[tokio::test]
async fn alerts_of_a_former_lake_still_count() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path(), &walks(&mut Random(8), 3, 300)).await;
    let former = |alerts: &mut Vec<FormerAlert>| {
        let (symbol, timeframe, pattern) = ("A".to_string(), "1d".to_string(), "cut".to_string());
        let (end_ts, distance, percentile) = (START, 0.5, None);
        alerts.push(FormerAlert { symbol, timeframe, pattern, end_ts, distance, percentile, alerted_at: START });
        Ok(())
    };
    session.lake().change_records("ALERT", former).await.unwrap();
    let push = |alerts: &mut Vec<StoredAlert>| {
        assert!(!alerts[0].pending);
        let next = StoredAlert { symbol: "B".to_string(), pending: true, ..alerts[0].clone() };
        alerts.push(next);
        Ok(())
    };
    session.lake().change_records("ALERT", push).await.unwrap();
    let all = session.lake().records::<StoredAlert>().await.unwrap();
    assert_eq!(all.iter().map(|a| (a.symbol.as_str(), a.pending)).collect::<Vec<_>>(), [("A", false), ("B", true)]);
}

#[tokio::test]
async fn bars_that_are_made_of_smaller_ones_are_searched_too() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(12), 15, 700);
    let session = lake(folder.path(), &bars).await;
    let weeks = Source::Bars {
        table: "candles_1w".into(),
        timeframe: "1w".into(),
        symbol: "S004".into(),
        from: START,
        to: START + 300 * DAY,
    };
    let sought = Pattern::try_from(&patterns::cut(&session, "weeks", weeks).await.unwrap()).unwrap();
    let options = SearchOptions { self_matches: true, k: 1, ..SearchOptions::default() };
    let found = run(vec![sought], options).run(&session, "candles_1w", "1w", &Control::default()).await.unwrap();
    assert_eq!((found.rows["symbol"].as_string::<i32>().value(0), numbers(&found.rows, "distance")[0]), ("S004", 0.0));
    let scored = score::scored(&session, &found, "heuristic", None).await.unwrap();
    assert!(numbers(&scored, "gain_5")[0] > 0.0);
}

#[tokio::test]
async fn the_prescreen_spends_no_place_on_what_cannot_match() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(4);
    // Too short for the averages, long enough for the shape.
    let of = |name: String, bars: usize, random: &mut Random| {
        (name, (0..bars as i64).map(|d| START + d * DAY).collect::<Vec<_>>(), random.prices(bars))
    };
    let mut bars: Bars = (0..40).map(|i| of(format!("N{i:02}"), 62, &mut random)).collect();
    bars.extend((0..12).map(|i| of(format!("S{i:02}"), 200, &mut random)));
    let session = lake(folder.path(), &bars).await;
    let options = SearchOptions { windowing: Windowing::Latest, k: 20, ..SearchOptions::default() };
    let search = async |sought: &Pattern, exact| {
        let search = run(vec![sought.clone()], SearchOptions { exact, ..options.clone() });
        search.run(&session, "candles_1d", "1d", &Control::default()).await.unwrap()
    };
    let sought = Pattern::try_from(&stored(&session, "cut", "S04", 140, 199).await).unwrap();
    let screened = search(&sought, false).await;
    // Of the 11 others; the pattern's own newest window does not count.
    assert_eq!(screened.stages[0].1.prescreened, Some((11, 10)));
    assert_eq!(screened.rows.num_rows(), 10);
    // Symbols that have bars for the shortest window only.
    let closes = random.prices(66);
    let long = Pattern { id: "long".into(), closes, lead: 0, origin: None, timeframe: None };
    let screened = search(&long, false).await;
    assert_eq!(screened.stages[0].1.prescreened, Some((52, 11)));
    assert_eq!(screened.rows.num_rows(), 11);
    assert_eq!(search(&long, true).await.rows.num_rows(), 20);
}

#[tokio::test]
async fn a_symbol_with_two_bars_of_a_time_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut bars = walks(&mut Random(12), 15, 300);
    bars[3].1[7] = bars[3].1[6];
    for (i, bars) in bars.chunks(4).enumerate() {
        write(&folder.path().join(format!("{i}.parquet")), &bars.to_vec());
    }
    let table = folder.path().display().to_string();
    let session = tallow::open(settings()).await.unwrap();
    let sought =
        Pattern { id: "p".into(), closes: bars[5].2[60..120].to_vec(), lead: 0, origin: None, timeframe: None };
    for windowing in [Windowing::History, Windowing::Latest] {
        let options = SearchOptions { k: 20, windowing, ..SearchOptions::default() };
        let found = run(vec![sought.clone()], options).run(&session, &table, "1d", &Control::default()).await.unwrap();
        let left_out: Vec<_> = found.skipped.iter().map(|f| (f.symbol.as_str(), f.reason.as_str())).collect();
        assert_eq!(left_out, [("S003", "two bars at 2020-01-07")]);
        assert!(found.rows.num_rows() > 9);
        let scored = score::scored(&session, &found, "heuristic", None).await.unwrap();
        assert!(numbers(&scored, "gain_5").iter().all(|p| *p > 0.0));
    }
    // Nor is it seen through bars that are made of its own.
    let days = folder.path().join("lake/candles/1d");
    std::fs::create_dir_all(&days).unwrap();
    write(&days.join("all.parquet"), &bars);
    let lake = folder.path().join("lake").display().to_string();
    let made = tallow::open(Settings { lake, ..settings() }).await.unwrap();
    let options = SearchOptions { k: 20, ..SearchOptions::default() };
    let short = Pattern { closes: bars[5].2[60..72].to_vec(), ..sought.clone() };
    let weeks = run(vec![short], options).run(&made, "candles_1w", "1w", &Control::default()).await.unwrap();
    assert_eq!(weeks.skipped.iter().map(|f| f.symbol.as_str()).collect::<Vec<_>>(), ["S003"]);
    assert!(weeks.rows["symbol"].as_string::<i32>().iter().all(|symbol| symbol != Some("S003")));
    let source = Source::Bars {
        table: "candles_1d".into(),
        timeframe: "1d".into(),
        symbol: "S003".into(),
        from: START,
        to: START + 40 * DAY,
    };
    let error = patterns::cut(&made, "p", source).await.unwrap_err().to_string();
    assert_eq!(error, "'S003' has two bars at 2020-01-07");
    // A query leaves it out as well, and says so; where nobody could be told it is an error.
    for (session, table) in [(&session, table.as_str()), (&made, "1w")] {
        for mode in ["history", "latest"] {
            let sql = format!("select * from dtw_search('{table}', [1, 2, 3, 2, 1, 2], k => 20, mode => '{mode}')");
            let (rows, left_out) = answered(session, &sql).await;
            assert_eq!(left_out, ["S003: two bars at 2020-01-07"]);
            assert!(rows.num_rows() > 9);
            let error = try_query(session, &sql).await.unwrap_err().to_string();
            assert!(error.contains("S003: two bars at 2020-01-07"), "{error}");
        }
    }
}

/// The rows of a query, and what it left out.
async fn answered(session: &Session, sql: &str) -> (RecordBatch, Vec<String>) {
    let mut statements = Query::of(sql).begin(session).await.unwrap();
    let Some(Executed::Rows(outcome)) = statements.next(session, &Control::default()).await.unwrap() else {
        panic!("no result of {sql}");
    };
    let rows = outcome.rows().await.unwrap();
    (rows, statements.skipped().iter().map(|s| format!("{}: {}", s.symbol, s.reason)).collect())
}

#[tokio::test]
async fn bars_of_other_lengths_that_share_time_with_a_pattern_are_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(12), 4, 900);
    let session = lake(folder.path(), &bars).await;
    let (monday, week) = (START + 5 * DAY, 7 * DAY);
    let cut = async |timeframe: &str, from: i64, to: i64| {
        let (table, timeframe, symbol) = (format!("candles_{timeframe}"), timeframe.to_string(), "S002".to_string());
        let cut = patterns::cut(&session, "p", Source::Bars { table, timeframe, symbol, from, to }).await.unwrap();
        Pattern::try_from(&cut).unwrap()
    };
    let search = async |sought: &Pattern, timeframe: &str| {
        let options = SearchOptions { k: 10_000, channels: Some(Channels::PRICE), ..SearchOptions::default() };
        let table = format!("candles_{timeframe}");
        run(vec![sought.clone()], options).run(&session, &table, timeframe, &Control::default()).await.unwrap().rows
    };
    // Weeks sought in days: no day of the last week, which begins with the pattern's last time.
    let (from, last) = (monday + 10 * week, monday + 20 * week);
    let days = search(&cut("1w", from, last).await, "1d").await;
    // Days sought in weeks: not the week that the first day is in the middle of.
    let (first_day, last_day) = (monday + 20 * week + 3 * DAY, monday + 23 * week);
    let weeks = search(&cut("1d", first_day, last_day).await, "1w").await;
    for (rows, from, to, length) in [(days, from, last + week, DAY), (weeks, first_day, last_day + DAY, week)] {
        let starts = rows["start_ts"].as_primitive::<TimestampMicrosecondType>().values();
        let ends = rows["end_ts"].as_primitive::<TimestampMicrosecondType>().values();
        let own = rows["symbol"].as_string::<i32>().iter().zip(starts.iter().zip(ends));
        let own: Vec<_> = own.filter(|(symbol, _)| *symbol == Some("S002")).map(|(_, times)| times).collect();
        assert!(own.len() > 2);
        assert!(own.iter().all(|(start, end)| **start >= to || **end + length <= from), "{own:?}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_and_the_others_are_searched() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(12), 15, 300);
    for (i, bars) in bars.chunks(4).enumerate() {
        write(&folder.path().join(format!("{i}.parquet")), &bars.to_vec());
    }
    let table = folder.path().display().to_string();
    let session = tallow::open(settings()).await.unwrap();
    let sought =
        Pattern { id: "p".into(), closes: bars[5].2[60..120].to_vec(), lead: 0, origin: None, timeframe: None };
    let options = SearchOptions { k: 4, ..SearchOptions::default() };
    let search = run(vec![sought], options);
    let whole = search.run(&session, &table, "1d", &Control::default()).await.unwrap();
    assert!(whole.skipped.is_empty());
    std::fs::write(folder.path().join("broken.parquet"), "no candles").unwrap();
    let session = tallow::open(settings()).await.unwrap();
    let done = Arc::new(Mutex::new(vec![]));
    let seen = Arc::clone(&done);
    let watch: OnProgress = Arc::new(move |Progress { done, total, .. }| seen.lock().unwrap().push((done, total)));
    let rest = search.run(&session, &table, "1d", &Control::followed(watch)).await.unwrap();
    assert_eq!(rest.rows, whole.rows);
    assert_eq!(rest.skipped.len(), 1);
    assert!(rest.skipped[0].reason.contains("broken.parquet"), "{:?}", rest.skipped);
    let mut done = done.lock().unwrap().clone();
    done.sort();
    assert_eq!(done, (1..=15).map(|i| (i, Some(15))).collect::<Vec<_>>());
    // Nor does it hinder bars that are made of those of the others.
    let days = folder.path().join("lake/candles/1d");
    std::fs::create_dir_all(&days).unwrap();
    write(&days.join("good.parquet"), &bars);
    std::fs::write(days.join("broken.parquet"), "no candles").unwrap();
    let lake = folder.path().join("lake").display().to_string();
    let session = tallow::open(Settings { lake, ..settings() }).await.unwrap();
    let options = SearchOptions { k: 4, ..SearchOptions::default() };
    let closes = bars[5].2[60..80].to_vec();
    let sought = Pattern { id: "p".into(), closes, lead: 0, origin: None, timeframe: None };
    let weeks = run(vec![sought], options).run(&session, "candles_1w", "1w", &Control::default()).await.unwrap();
    assert_eq!((weeks.rows.num_rows(), weeks.skipped.len()), (4, 1));
    let scored = score::scored(&session, &weeks, "heuristic", None).await.unwrap();
    assert_eq!(scored.num_rows(), 4);
    // Nor a query.
    let closes: Vec<String> = bars[5].2[60..80].iter().map(f64::to_string).collect();
    let sql = format!("select * from dtw_search('candles_1w', [{}], k => 4)", closes.join(", "));
    let (rows, left_out) = answered(&session, &sql).await;
    assert_eq!(numbers(&rows, "distance"), numbers(&weeks.rows, "distance"));
    assert!(left_out.len() == 1 && left_out[0].contains("broken.parquet"), "{left_out:?}");
}

/// Of a run, in the order of a search, without the length of its bars.
fn plain(rows: &RecordBatch) -> RecordBatch {
    let timeframe = rows.schema().index_of("timeframe").unwrap();
    rows.project(&(0..rows.num_columns()).filter(|i| *i != timeframe).collect::<Vec<_>>()).unwrap()
}

/// Over the sample, and files beyond it: `TALLOW_TEST_CANDLES=/path/fx.parquet,/path/crypto.parquet`.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_finds_what_a_run_finds() {
    let session = session().await;
    let mut tables = vec!["candles".to_string(), "4h".to_string(), "1w".to_string()];
    tables.extend(std::env::var("TALLOW_TEST_CANDLES").iter().flat_map(|more| more.split(',')).map(str::to_string));
    let shapes = ["9 8 6 5 4 4 5 6 8 9 10 9", "1 2 3 5 4 6 5 7 8 7 9 11 10 12 13 12 14 13 15 16"];
    for table in tables {
        for shape in shapes {
            for (mode, windowing, exact) in [
                ("mode => 'history', scales => '1', k => 7", Windowing::History, false),
                ("mode => 'latest'", Windowing::Latest, false),
                ("mode => 'latest', exact => 'true', percentile => 0.05, k => 12", Windowing::Latest, true),
            ] {
                let history = windowing == Windowing::History;
                let default = SearchOptions::default();
                let options = SearchOptions {
                    windowing,
                    exact,
                    k: if history {
                        7
                    } else if exact {
                        12
                    } else {
                        default.k
                    },
                    scales: if history { vec![1.0] } else { default.scales.clone() },
                    percentile: exact.then_some(0.05),
                    ..default
                };
                let name = if table.len() == 2 { format!("candles_{table}") } else { table.clone() };
                let pattern = patterns::of_text(session.lake(), shape).await.unwrap();
                let found = run(vec![pattern], options).run(&session, &name, "x", &Control::default()).await.unwrap();
                let sql = format!("select * from dtw_search('{table}', '{shape}', {mode})");
                let (rows, left_out) = answered(&session, &sql).await;
                let own: Vec<_> = found.skipped.iter().map(|s| format!("{}: {}", s.symbol, s.reason)).collect();
                assert_eq!((&rows, left_out), (&plain(&found.rows), own), "{sql}");
                assert!(rows.num_rows() > 0, "{sql}");
            }
        }
    }
}

#[tokio::test]
async fn a_query_for_what_was_cut_from_other_bars_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path(), &walks(&mut Random(12), 4, 900)).await;
    assert!(patterns::add(&session, &stored(&session, "cut", "S002", 80, 120).await).await.unwrap());
    let warnings = async |table: &str| {
        let parsed = session.parse(&format!("select * from dtw_search('{table}', 'cut')"), &Params::default()).await;
        parsed.unwrap().warnings.list.into_iter().map(|w| w.message).collect::<Vec<_>>()
    };
    assert_eq!(warnings("candles_1w").await, ["searching 1w bars for what was cut from other bars: cut (1d)"]);
    assert!(warnings("1d").await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_a_pattern_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(8), 3, 300);
    let session = lake(folder.path(), &bars).await;
    let cut = async |id: &str, source: Source| patterns::cut(&session, id, source).await.unwrap_err().to_string();
    let of = |symbol: &str, from: i64, to: i64| Source::Bars {
        table: "candles_1d".into(),
        timeframe: "1d".into(),
        symbol: symbol.into(),
        from: START + from * DAY,
        to: START + to * DAY,
    };
    assert!(cut("p", of("NONE", 0, 10)).await.contains("there are no bars of 'NONE'"));
    assert!(cut("p", of("S001", 90, 10)).await.contains("must not come after its last"));
    assert!(cut("p", of("s001", 10, 90)).await.contains("did you mean 'S001'?"));
    assert!(
        cut("p", of("S001", 5000, 5010)).await.contains("no bar of 'S001' in that time: its bars are from 2020-01-01")
    );
    assert!(cut("p", of("S001", 10, 12)).await.contains("a pattern of 3 bars: expected at least 5"));
    assert!(cut("p", Source::Values(vec![2.0; 9])).await.contains("all the same"));
    assert!(cut("p", Source::Values(vec![1.0, f64::NAN, 2.0, 3.0, 4.0])).await.contains("finite"));
    assert!(cut("7 p", Source::Values(vec![1.0; 9])).await.contains("cannot be a pattern's name"));
    let search = async |sql: &str| try_query(&session, sql).await.unwrap_err().to_string();
    let missing = search("select * from dtw_search('candles_1d', 'nothing')").await;
    assert!(missing.contains("unknown pattern `nothing`"), "{missing}");
    let k = search("select * from dtw_search('candles_1d', [1,2,3,2,1], k => 0)").await;
    assert!(k.contains("k => 0: expected a whole number"), "{k}");
    let model = search("select predict('nobody', 1.0)").await;
    assert!(model.contains("unknown model `nobody`"), "{model}");
}

/// As of whoever was interrupted and asks again.
#[tokio::test]
async fn a_pattern_may_be_added_twice_and_another_of_its_name_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let session = lake(folder.path(), &walks(&mut Random(8), 3, 300)).await;
    let pattern = stored(&session, "dip", "S001", 100, 130).await;
    assert!(patterns::add(&session, &pattern).await.unwrap());
    let again = stored(&session, "dip", "S001", 100, 130).await;
    assert!(!patterns::add(&session, &again).await.unwrap());
    let other = stored(&session, "dip", "S002", 100, 130).await;
    let said = patterns::add(&session, &other).await.unwrap_err().to_string();
    assert!(said.contains("another pattern `dip` already"), "{said}");
    assert_eq!(session.lake().records::<StoredPattern>().await.unwrap(), [pattern]);
}

#[tokio::test]
async fn a_model_is_trained_kept_and_reads_back_to_the_same_predictions() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(77), 60, 700);
    let session = lake(folder.path(), &bars).await;
    let sought = Pattern::try_from(&stored(&session, "cut", "S004", 100, 130).await).unwrap();
    let options = SearchOptions { k: 700, self_matches: true, thinned: true, ..SearchOptions::default() };
    let training = Training {
        run: run(vec![sought.clone()], options),
        table: "candles_1d".into(),
        timeframe: "1d".into(),
        benchmark: None,
    };
    let trained = training.train(&session, &Control::default()).await.unwrap();
    let evaluation = &trained.model.origin.evaluation;
    assert_eq!((evaluation.folds, evaluation.targets.len()), (5, 4));
    // Walks have no edge, and the verdict says so.
    assert!(evaluation.verdict().starts_with("No edge"), "{}", evaluation.verdict());
    let again = training.train(&session, &Control::default()).await.unwrap();
    assert_eq!(trained.model.origin.evaluation, again.model.origin.evaluation);
    // From closes below zero, as spreads have them, nothing gains a percentage: such matches teach nothing.
    let file = folder.path().join("spreads.parquet");
    let (times, prices) = (bars[0].1.clone(), bars[0].2.iter().map(|p| 90.0 - p).collect());
    write(&file, &bars.iter().cloned().chain([("SPREAD".to_string(), times, prices)]).collect());
    let spreads = Training { table: file.display().to_string(), ..training.clone() };
    let spreads = spreads.train(&session, &Control::default()).await.unwrap();
    assert!(spreads.model.origin.rows + 5 < spreads.matches, "{} of {}", spreads.model.origin.rows, spreads.matches);
    trained.keep(&session, "m").await.unwrap();
    let mut random = Random(1);
    let features: Vec<f64> =
        (0..FEATURES.len() * 50).map(|i| if i % 31 == 0 { f64::NAN } else { random.step() }).collect();
    let own = trained.model.predict(&features, 50);
    let read = Boosted::from_json("m", &trained.model.to_json().unwrap()).unwrap();
    let kept = tallow::pipeline::score::Models::of(&session).unwrap().load(session.lake(), "m").await.unwrap();
    let Model::Boosted(kept) = kept.as_ref() else { panic!("{kept:?}") };
    let bits = |p: Vec<Vec<f64>>| p.into_iter().flatten().map(f64::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(own.clone()), bits(read.predict(&features, 50)));
    assert_eq!(bits(own), bits(kept.predict(&features, 50)));
    // Scored from the command's side: each match has the targets that the model tells of its features.
    let found = run(vec![sought], SearchOptions::default())
        .run(&session, "candles_1d", "1d", &Control::default())
        .await
        .unwrap();
    let scored = score::scored(&session, &found, "m", None).await.unwrap();
    assert_eq!(scored.num_rows(), found.rows.num_rows());
    assert!(numbers(&scored, "gain_5").iter().all(|g| (0.0..=1.0).contains(g)));
}

async fn keep(session: &Session, matches: &RecordBatch) {
    let frame = session.context().read_batch(matches.clone()).unwrap();
    let computed = tallow_lake::Computed {
        rows: frame.create_physical_plan().await.unwrap(),
        ordered: false,
        properties: Default::default(),
        kind: tallow_lake::ResultKind::Matches,
        sources: vec![],
        progress: Box::new(|_| {}),
    };
    session.overwrite("matches_1d", computed).await.unwrap();
}

/// The features of a match by hand, beside those of the query.
#[tokio::test]
async fn the_features_of_a_match_are_those_that_its_bars_give() {
    let folder = tempfile::tempdir().unwrap();
    let bars = walks(&mut Random(5), 12, 500);
    let session = lake(folder.path(), &bars).await;
    let sought = Pattern::try_from(&stored(&session, "cut", "S004", 100, 139).await).unwrap();
    let options = SearchOptions { k: 40, ..SearchOptions::default() };
    let found = run(vec![sought], options).run(&session, "candles_1d", "1d", &Control::default()).await.unwrap();
    keep(&session, &found.rows).await;
    let features = query(&session, "select * from query('match_features') order by score desc").await;
    let targets = query(&session, "select * from query('match_targets')").await;
    assert_eq!(features.num_rows(), 40);
    let symbol = |rows: &RecordBatch, i: usize| {
        let cast = arrow::compute::cast(&rows["symbol"], &arrow::datatypes::DataType::Utf8).unwrap();
        cast.as_string::<i32>().value(i).to_string()
    };
    let day = |rows: &RecordBatch, name: &str, i: usize| {
        ((rows[name].as_primitive::<TimestampMicrosecondType>().value(i) - START) / DAY) as usize
    };
    for i in 0..40 {
        let (_, _, closes) = bars.iter().find(|b| b.0 == symbol(&features, i)).unwrap();
        let (start, end) = (day(&features, "start_ts", i), day(&features, "end_ts", i));
        let of = |name: &str| numbers(&features, name)[i];
        let window = &closes[start..=end];
        assert_eq!(of("length"), window.len() as f64);
        assert!((of("window_return") - (window[window.len() - 1] / window[0] - 1.0)).abs() < 1e-9);
        let changes: Vec<f64> = window.windows(2).map(|w| (w[1] / w[0]).ln()).collect();
        let mean = changes.iter().sum::<f64>() / changes.len() as f64;
        let variance = changes.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / (changes.len() - 1) as f64;
        assert!((of("window_volatility") - variance.sqrt()).abs() < 1e-9);
        let (mut top, mut worst) = (f64::MIN, 0.0f64);
        for close in window {
            top = top.max(*close);
            worst = worst.min(close / top - 1.0);
        }
        assert!((of("max_drawdown") - worst).abs() < 1e-9);
        let sma = |n: usize| closes[end + 1 - n..=end].iter().sum::<f64>() / n as f64;
        assert!((of("close_vs_sma_30") - (closes[end] / sma(30) - 1.0)).abs() < 1e-9);
        let order = if sma(30) > sma(45) && sma(45) > sma(60) {
            1.0
        } else if sma(30) < sma(45) && sma(45) < sma(60) {
            -1.0
        } else {
            0.0
        };
        assert_eq!(of("sma_alignment"), order);
    }
    // Bars that came later change nothing.
    let cut = 300;
    let early: Bars = bars
        .iter()
        .map(|(s, t, c)| (s.clone(), t[..cut.min(t.len())].to_vec(), c[..cut.min(c.len())].to_vec()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let before = lake(folder.path(), &early).await;
    keep(&before, &found.rows).await;
    let sql = |until: usize| {
        let until = START + until as i64 * DAY;
        format!(
            "select * from query('match_features') where end_ts < to_timestamp_micros({until}) order by symbol, end_ts"
        )
    };
    let (then, now) = (query(&before, &sql(cut)).await, query(&session, &sql(cut)).await);
    assert!(then.num_rows() > 10);
    for name in FEATURES {
        assert_close(&numbers(&then, name), &numbers(&now, name), name);
    }
    assert!(targets.num_rows() > 5);
    for i in 0..targets.num_rows() {
        let (_, _, closes) = bars.iter().find(|b| b.0 == symbol(&targets, i)).unwrap();
        let (start, end) = (day(&targets, "start_ts", i), day(&targets, "end_ts", i));
        let n = end - start + 1;
        assert_eq!(day(&targets, "known_at", i), end + 2 * n);
        let reached = [0.5, 1.0, 1.5, 2.0].iter().filter(|k| {
            let ahead = &closes[end + 1..=end + (*k * n as f64).floor() as usize];
            ahead.iter().copied().fold(f64::MIN, f64::max) / closes[end] - 1.0 >= 0.05
        });
        assert_eq!(numbers(&targets, "gain_5")[i], reached.count() as f64 / 4.0);
    }
}

/// Users' own models: a small network, whose answer is that of ONNX's reference implementation.
#[tokio::test]
async fn an_onnx_model_answers_as_the_reference_does() {
    let session = crate::common::session().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/linear.onnx");
    let features: Vec<String> = (1..=19).map(|i| i.to_string()).collect();
    let sql = format!("select predict('{path}', {}) as p", features.join(", "));
    let row = query(&session, &format!("select p['out_1'] as a, p['out_2'] as b from ({sql})")).await;
    let close = |name: &str, expected: f64| assert!((numbers(&row, name)[0] - expected).abs() < 1e-5);
    close("a", 27.6);
    close("b", 17.35);
    let error = try_query(&session, &format!("select predict('{path}', 1.0)")).await.unwrap_err().to_string();
    assert!(error.contains("predict got 1 features, the model takes 19"), "{error}");
    // A path is one from where the user is.
    for (path, said) in [
        ("tests/golden/linear.onnx", "predict got 1 features"),
        ("tests/golden/none.onnx", "there is no such file"),
        ("tests/golden/dtw.csv", "expected the path of a .json or .onnx file"),
    ] {
        let error = try_query(&session, &format!("select predict('{path}', 1.0)")).await.unwrap_err().to_string();
        assert!(error.contains(said), "{path}: {error}");
    }
}
