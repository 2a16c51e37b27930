//! Calendars: sessions as others know them, and bars that end with them.

use crate::cli::text;
use crate::common::{DAY, numbers, query, settings};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tallow::{Session, Settings};

fn tallow(lake: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tallow")).args(args).env("TALLOW_LAKE", lake).output().unwrap()
}

/// What a command writes, which succeeds.
fn done(lake: &Path, args: &[&str]) -> String {
    let done = tallow(lake, args);
    assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

/// What a command says, which fails.
fn refused(lake: &Path, args: &[&str]) -> String {
    let done = tallow(lake, args);
    assert!(!done.status.success(), "{args:?}: {}", text(&done.stdout));
    text(&done.stderr)
}

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/1d");

/// A lake with the sample's days and the calendar of New York.
fn lake(folder: &Path) -> PathBuf {
    let lake = folder.join("lake");
    done(&lake, &["ingest", SAMPLE, "-t", "1d", "--calendar", "nyse", "-q"]);
    lake
}

async fn session(lake: &Path) -> Session {
    tallow::open(Settings { lake: lake.display().to_string(), ..settings() }).await.unwrap()
}

#[test]
#[ignore = "needs a Python with exchange_calendars, named by TALLOW_TEST_PYTHON"]
fn sessions_are_those_of_exchange_calendars() {
    let python = std::env::var("TALLOW_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let done = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/calendars.py"))
        .arg(env!("CARGO_BIN_EXE_tallow"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    assert_eq!(text(&done.stdout).lines().count(), 4);
}

/// Five years of real bars: on which days most stocks have one.
#[tokio::test]
async fn real_bars_lie_in_sessions_and_sessions_have_bars() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&lake(folder.path())).await;
    let sql = "select count(*) as n from
                 (select cast(ts as date) as date from candles group by ts having count(*) > 100) b
                 full join (select date from system.sessions
                            where calendar = 'nyse' and held and date between date '2013-02-08' and date '2018-02-07') s
                 on b.date = s.date where b.date is null or s.date is null";
    assert_eq!(numbers(&query(&session, sql).await, "n"), [0.0]);
    let outside = "select count(*) as n from candles where not in_session(ts, '1d', 'utc+nyse')";
    assert_eq!(numbers(&query(&session, outside).await, "n"), [0.0]);
}

#[tokio::test]
async fn a_week_ends_with_its_last_session() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let session = session(&lake).await;
    // Of each bar the close of the last week that had ended, found by hand: the week's own last bar sees it.
    let sql = "with b as (select symbol, ts, close, close@1w as seen, date_trunc('week', ts) as week from candles),
                    l as (select *, lead(week) over (partition by symbol order by ts) as next,
                                 last_value(close) over (partition by symbol, week order by ts
                                   rows between unbounded preceding and unbounded following) as own from b),
                    w as (select symbol, week, max(own) as own from l group by symbol, week),
                    p as (select symbol, week, lag(own) over (partition by symbol order by week) as before from w)
               select count(*) as n, count(*) filter (where l.seen is distinct from
                        case when l.next > l.week then l.own else p.before end) as wrong
               from l join p on l.symbol = p.symbol and l.week = p.week where l.next is not null";
    let found = query(&session, sql).await;
    let number = |name: &str| numbers(&found, name)[0];
    // Some of these stocks stop, or miss a last day: not one, since no week ends by them.
    assert!(number("n") > 600_000.0);
    assert!(number("wrong") < 20.0, "{}", number("wrong"));
    // Thursday before Good Friday; a Friday; the day before.
    let of = async |day: &str, sql: &str| {
        let sql = format!("{sql} where symbol = 'AAPL' and ts = '{day}'");
        numbers(&query(&session, &sql).await, "x")
    };
    for day in ["2013-03-28", "2013-04-05"] {
        assert_eq!(
            of(day, "select * from (select symbol, ts, close@1w as x from candles)").await,
            of(day, "select symbol, ts, close as x from candles").await,
            "{day}"
        );
    }
    assert_ne!(
        of("2013-04-04", "select * from (select symbol, ts, close@1w as x from candles)").await,
        of("2013-04-04", "select symbol, ts, close as x from candles").await
    );
    let check = tallow(&lake, &["check", "select symbol, ts, rsi(3)@1w as r, close@1mo as m from candles"]);
    assert!(check.status.success(), "{}{}", text(&check.stdout), text(&check.stderr));
}

/// Hourly bars of one symbol on these days, from ten in the morning UTC to ten in the evening.
fn hours(folder: &Path, days: &[&str]) -> PathBuf {
    let mut rows = "symbol,ts,open,high,low,close,volume\n".to_string();
    for day in days {
        for hour in 10..22 {
            rows += &format!("A,{day}T{hour}:30:00Z,{hour},{},{hour},{hour},1\n", hour + 1);
        }
    }
    let file = folder.join("hours.csv");
    std::fs::write(&file, rows).unwrap();
    file
}

#[tokio::test]
async fn days_are_made_of_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    // Wednesday, Thanksgiving, a half day, Monday.
    let file = hours(folder.path(), &["2024-11-27", "2024-11-28", "2024-11-29", "2024-12-02"]);
    done(&lake, &["ingest", &file.display().to_string(), "-t", "1h", "--calendar", "nyse", "-q"]);
    assert!(done(&lake, &["describe", "1h"]).contains("session:nyse"));
    let session = session(&lake).await;
    let days = query(
        &session,
        "select open, close, volume, bar_end(ts, '1d', 'session:nyse') as e from candles('1d') order by ts",
    )
    .await;
    // From 14:30 to 21:00 UTC, on the half day to 18:00.
    assert_eq!(numbers(&days, "open"), [14.0; 3]);
    assert_eq!(numbers(&days, "close"), [20.0, 17.0, 20.0]);
    assert_eq!(numbers(&days, "volume"), [7.0, 4.0, 7.0]);
    let weeks = query(&session, "select close, volume from candles('1w') order by ts").await;
    assert_eq!((numbers(&weeks, "close"), numbers(&weeks, "volume")), (vec![17.0, 20.0], vec![11.0, 7.0]));
    // The last hour of the half day sees its day, and its week; the hour before does not.
    let seen = "select close@1w as w, close@1d as d from candles_1h where ts between '2024-11-29T16:30:00Z' and '2024-11-29T17:30:00Z' order by ts";
    let seen = query(&session, seen).await;
    assert_eq!(numbers(&seen, "d"), [20.0, 17.0]);
    assert_eq!(numbers(&seen, "w")[1], 17.0);
    assert!(done(&lake, &["describe", "1h"]).contains("gaps      none against the sessions of nyse"));
    // Nothing is missing at night, on the holiday, and after the half day; bars outside of sessions are told.
    let issues = done(&lake, &["validate", "1h", "--format", "csv", "-q"]);
    let of = |rule: &str| issues.lines().filter(|line| line.contains(&format!(",{rule},"))).count();
    assert_eq!((of("gap"), of("session")), (0, 4 * 12 - 18), "{issues}");
    // What is filled is sessions, too.
    let filled = query(&session, "select count(*) as n from candles('1h', fill => 'prev_close')").await;
    assert_eq!(numbers(&filled, "n"), [f64::from(4 * 12)]);
}

#[test]
fn gaps_are_sessions_without_a_bar() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let file = folder.path().join("days.csv");
    let days = ["2024-03-26", "2024-03-28", "2024-04-01", "2024-04-02", "2024-05-27"];
    let rows = days.map(|day| format!("A,{day},1,1,1,1,1\n")).concat();
    std::fs::write(&file, format!("symbol,ts,open,high,low,close,volume\n{rows}")).unwrap();
    let file = file.display().to_string();
    done(&lake, &["ingest", &file, "-t", "1d", "-q"]);
    let issues = |more: &[&str]| {
        let args = [&["validate", "1d", "--format", "csv", "-q"], more].concat();
        done(&lake, &args)
            .lines()
            .skip(1)
            .map(|line| line.split(',').take(6).collect::<Vec<_>>().join(","))
            .collect::<Vec<_>>()
    };
    // Wednesday; from the third of April to the 24th of May; Memorial Day has a bar.
    let found = issues(&["--calendar", "nyse"]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("2024-03-28") && found[0].ends_with(",gap,warning,ts,1.0"), "{found:?}");
    assert!(found[1].contains("2024-05-27") && found[1].ends_with(",gap,warning,ts,38.0"), "{found:?}");
    assert!(found[2].contains(",session,warning,"), "{found:?}");
    assert!(refused(&lake, &["validate", "1d", "--calendar", "tokyo"]).contains("observed, 24/7 or weekdays"));
    // The table's own calendar, once it has one.
    done(&lake, &["ingest", &file, "-t", "1d", "--calendar", "nyse", "-q"]);
    assert_eq!(issues(&[]), found);
}

#[test]
fn the_calendar_of_a_table_is_set_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let origin = || {
        let said = done(&lake, &["describe", "1d"]);
        let origin = said.lines().find_map(|line| line.split_once(", origin ").map(|(_, origin)| origin.to_string()));
        origin.unwrap_or(said)
    };
    done(&lake, &["ingest", SAMPLE, "-t", "1d", "-q"]);
    assert_eq!(origin(), "utc");
    let again = done(&lake, &["ingest", SAMPLE, "-t", "1d", "--calendar", "XNYS"]);
    assert!(again.contains("version     1") && again.contains("new         0"), "{again}");
    assert_eq!(origin(), "utc+nyse");
    let same = done(&lake, &["ingest", SAMPLE, "-t", "1d"]);
    assert!(same.contains("version     unchanged"), "{same}");
    assert_eq!(origin(), "utc+nyse");
    done(&lake, &["ingest", SAMPLE, "-t", "1d", "--origin", "utc+lse", "-q"]);
    assert_eq!(origin(), "utc+lse");
    for (args, said) in [
        (vec!["--origin", "ny_17+nyse"], "the bars of this 1d table begin by `utc+lse`"),
        (vec!["--calendar", "tokyo"], "unknown calendar 'tokyo'; expected one of nyse, lse, xetra, cme"),
        (vec!["--calendar", "nyse", "--origin", "utc+lse"], "--calendar 'nyse': --origin has another, lse"),
    ] {
        let error = refused(&lake, &[&["ingest", SAMPLE, "-t", "1d"], args.as_slice()].concat());
        assert!(error.contains(said), "{error}");
    }
    // Stored weeks take the calendar over when they are made anew.
    done(&lake, &["resample", "1w", "-q"]);
    assert!(done(&lake, &["describe", "1w"]).contains("utc+lse"));
}

#[tokio::test]
async fn a_calendar_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let own = lake.join("calendars.csv");
    // Monday to Thursday of one week, Tuesday to Wednesday of the next.
    let days = ["2018-01-08", "2018-01-09", "2018-01-10", "2018-01-11", "2018-01-16", "2018-01-17"];
    let rows = days.map(|day| format!("short,{day},{day}T10:00:00Z,{day}T18:00:00Z\n")).concat();
    std::fs::write(&own, format!("calendar,date,open,close\n{rows}")).unwrap();
    assert!(done(&lake, &["calendar"]).contains("short       2018-01-08 to 2018-01-17"));
    let ends = "select bar_end(timestamp '2018-01-09T00:00:00Z', '1w', 'utc+short') = timestamp '2018-01-11T18:00:00Z' as a,
                       bar_end(timestamp '2018-01-16T00:00:00Z', '1w', 'utc+short') = timestamp '2018-01-22T00:00:00Z' as b";
    let said = done(&lake, &["query", "-q", "--format", "csv", ends]);
    // Of its last week nothing is known after Wednesday.
    assert!(said.contains("true,true"), "{said}");
    let no_opening = refused(&lake, &["query", "select bar_floor(now(), '1d', 'session:short')"]);
    assert!(no_opening.contains("session:09:00@Asia/Tokyo+short"), "{no_opening}");
    for (rows, said) in [
        ("calendar,date,open\nshort,2018-01-08,2018-01-08T10:00:00Z\n", "No field named close"),
        ("calendar,date,open,close\nshort,2018-01-08,2018-01-08T10:00:00Z,\n", "a value is missing in row 1"),
        (
            "calendar,date,open,close\nnyse,2018-01-08,2018-01-08T10:00:00Z,2018-01-08T18:00:00Z\n",
            "calendar 'nyse': an exchange that is known already",
        ),
        (
            "calendar,date,open,close\nshort,2018-01-08,2018-01-08T10:00:00Z,2018-01-08T09:00:00Z\n",
            "the session of 2018-01-08 closes before it opens",
        ),
    ] {
        std::fs::write(&own, rows).unwrap();
        let error = refused(&lake, &["tables"]);
        assert!(error.contains("the table `calendars` of the lake") && error.contains(said), "{error}");
    }
}

#[test]
fn days_that_do_not_hold_their_sessions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let file = hours(folder.path(), &["2024-11-27"]);
    done(
        &lake,
        &["ingest", &file.display().to_string(), "-t", "1h", "--origin", "session:09:30@America/New_York", "-q"],
    );
    let error = refused(&lake, &["query", "select * from candles('1d', origin => 'utc+cme')"]);
    assert!(error.contains("does not lie within a day") && error.contains("'session:cme'"), "{error}");
}

/// A calendar moves the end of a bar to no later than it was, and never before the bar begins.
#[tokio::test]
async fn a_calendar_only_ends_bars_earlier() {
    let session = tallow::open(settings()).await.unwrap();
    for (timeframe, base, with) in [
        ("1h", "session:09:30@America/New_York", "session:nyse"),
        ("1d", "utc", "utc+lse"),
        ("1w", "session:17:00@America/Chicago", "session:cme"),
        ("1mo", "utc", "utc+xetra"),
    ] {
        let sql = format!(
            "select count(*) as n, count(*) filter (where e <= ts or e > u or lead_e < e) as wrong from
               (select ts, e, u, lead(e) over (order by ts) as lead_e from
                 (select ts, bar_end(ts, '{timeframe}', '{with}') as e, bar_end(ts, '{timeframe}', '{base}') as u from
                   (select distinct bar_floor(to_timestamp_micros(ts), '{timeframe}', '{base}') as ts from
                     unnest(range(631152000000000, 946684800000000, {step})) as t(ts))))",
            step = DAY / 7
        );
        let found = query(&session, &sql).await;
        assert!(numbers(&found, "n")[0] > 100.0);
        assert_eq!(numbers(&found, "wrong"), [0.0], "{with}");
    }
}
