//! Incremental runs: after every delivery, a table that is brought up to date holds what the query gives from everything.

use crate::common::{DAY, START, query, settings};
use crate::interpreter::Dice;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tallow::pipeline::control::{Control, Progress};
use tallow::pipeline::describe::Description;
use tallow::pipeline::incremental::{self, Definition, Done, Extent, Pipeline, RunOptions};
use tallow::pipeline::label::LabelRun;
use tallow::pipeline::levels::{Detection, Source};
use tallow::pipeline::resample::Resample;
use tallow::pipeline::scan::Scan;
use tallow::{Formula, Session, Settings};
use tallow_lake::IngestOptions;

/// Queries whose results are kept, and whether all of a run is bounded by reach.
const QUERIES: [(&str, bool); 9] = [
    ("select symbol, ts, close / open as x, sma(close, 5) as s, rsi(3) as r, highest(high, 4) as h from candles", true),
    ("select symbol, ts, lead(close, 3) - close as gain, lag(volume, 2) as v from candles", true),
    ("select symbol, ts, obv() as o, cumsum(close) as c from candles", true),
    ("select symbol, ts, triple_barrier(high, low, close, horizon => 4)['label'] as label from candles", true),
    ("select symbol, ts, close from candles qualify close > sma(close, 5)", true),
    (
        "select symbol, ts, avg(close) over (partition by symbol order by ts rows between 3 preceding and 1 following) as a \
      from candles",
        true,
    ),
    ("select symbol, ts, percent_rank() over (partition by ts order by sma(close, 3)) as p from candles", true),
    (
        "select c.symbol as symbol, c.ts as ts, lag(c.close / m.mean, 1) over (partition by c.symbol order by c.ts) as x \
      from candles c join (select ts, avg(close) as mean from candles group by ts) m on c.ts = m.ts",
        true,
    ),
    ("select symbol, ts, row_number() over (order by close, symbol, ts) as n from candles", false),
];

type Bars = BTreeMap<(String, i64), [f64; 5]>;

async fn session(lake: &Path) -> Session {
    tallow::open(Settings { lake: lake.display().to_string(), threads: 2, ..settings() }).await.unwrap()
}

/// No two averages of such prices are the same, whose order would hang on the last digit of a sum.
fn bar(dice: &mut Dice) -> [f64; 5] {
    let open = 50.0 + dice.below(1_000_000) as f64 / 19_997.0;
    let close = 50.0 + dice.below(1_000_000) as f64 / 19_997.0;
    let more = dice.below(300) as f64 / 100.0;
    [open, open.max(close) + more, open.min(close) - more, close, (1 + dice.below(1000)) as f64]
}

/// What is there before the first delivery: twenty days of three symbols.
fn at_first(dice: &mut Dice) -> Bars {
    let mut known = Bars::new();
    for day in 0..20 {
        for symbol in ["A", "B", "C"] {
            known.insert((symbol.to_string(), START + day * DAY), bar(dice));
        }
    }
    known
}

/// A delivery: new bars of all symbols, or a correction, a symbol's whole history restated, a gap filled, a late symbol.
fn delivery(dice: &mut Dice, known: &Bars, last: &mut i64) -> Bars {
    let mut rows = Bars::new();
    let keys: Vec<_> = known.keys().cloned().collect();
    match dice.below(6) {
        0 | 1 => {
            let days = 1 + dice.below(3) as i64;
            for day in *last + 1..=*last + days {
                for symbol in ["A", "B", "C"] {
                    if dice.below(10) > 0 {
                        rows.insert((symbol.to_string(), START + day * DAY), bar(dice));
                    }
                }
            }
            *last += days;
        }
        2 => {
            let key = keys[dice.below(keys.len())].clone();
            rows.insert(key, bar(dice));
        }
        3 => {
            let symbol = &keys[dice.below(keys.len())].0;
            rows.extend(keys.iter().filter(|(of, _)| of == symbol).map(|key| (key.clone(), bar(dice))));
        }
        4 => {
            let day = dice.below(*last as usize + 1) as i64;
            rows.insert(("B".to_string(), START + day * DAY), bar(dice));
        }
        _ => {
            let symbol = format!("L{}", dice.below(3));
            for day in (*last - 12).max(0)..=*last {
                rows.insert((symbol.clone(), START + day * DAY), bar(dice));
            }
        }
    }
    rows
}

async fn deliver(session: &Session, folder: &Path, timeframe: &str, rows: &Bars) {
    let mut text = "symbol,ts,open,high,low,close,volume\n".to_string();
    for ((symbol, ts), [open, high, low, close, volume]) in rows {
        text += &format!("{symbol},{ts},{open},{high},{low},{close},{volume}\n");
    }
    let file = folder.join("delivery.csv");
    std::fs::write(&file, text).unwrap();
    let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
    session.ingest(timeframe.parse().unwrap(), options, &Default::default()).await.unwrap();
}

/// Rows that are equal but for the last digits of numbers.
fn assert_same(got: &RecordBatch, want: &RecordBatch, what: &str) {
    assert_eq!(got.num_rows(), want.num_rows(), "{what}");
    for (i, field) in want.schema().fields().iter().enumerate() {
        let (a, b) = (got.column_by_name(field.name()), want.column(i));
        let a = a.unwrap_or_else(|| panic!("{what}: no column {} in {}", field.name(), got.schema()));
        if !matches!(b.data_type(), DataType::Float64) {
            let text = |array| cast(array, &DataType::Utf8).unwrap();
            assert_eq!(&text(a), &text(b), "{what}: {}", field.name());
            continue;
        }
        let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
        let scale = b.iter().flatten().fold(1.0f64, |scale, v| scale.max(v.abs()));
        for row in 0..b.len() {
            let same = match (a.is_valid(row), b.is_valid(row)) {
                (true, true) => (a.value(row) - b.value(row)).abs() <= 1e-9 * scale,
                (a, b) => a == b,
            };
            assert!(same, "{what}: {} of row {row}", field.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_brought_up_to_date_is_what_everything_gives() {
    let scripts = if std::env::var("TALLOW_LONG").is_ok() { 300 } else { 2 };
    for seed in 0..scripts {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder.path().join("lake")).await;
        let mut dice = Dice::new(seed);
        let (mut known, mut last) = (at_first(&mut dice), 19);
        deliver(&session, folder.path(), "1d", &known).await;
        for step in 0..6 {
            for (i, (sql, bounded)) in QUERIES.iter().enumerate() {
                let pipeline =
                    Pipeline { name: format!("p{i}"), definition: Definition::query(*sql), into: format!("p{i}") };
                let run = pipeline
                    .run(&session, RunOptions::default(), &Control::default())
                    .await
                    .unwrap_or_else(|e| panic!("{sql}\n{e}"));
                let is_bounded = matches!(run.work.extent, Extent::Ranges { .. });
                assert!(step == 0 || is_bounded == *bounded, "{sql}: {:?}", run.work.extent);
                let again = pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
                assert_eq!((again.work.extent, again.done), (Extent::Nothing, Done::Nothing), "{sql}");
                let got = query(&session, &format!("select * from results_p{i} order by symbol, ts")).await;
                let want = query(&session, &format!("select * from ({sql}) order by symbol, ts")).await;
                assert_same(&got, &want, &format!("seed {seed}, step {step}: {sql}"));
            }
            let rows = delivery(&mut dice, &known, &mut last);
            known.extend(rows.clone());
            deliver(&session, folder.path(), "1d", &rows).await;
        }
    }
}

/// Half days that make up some of the days.
fn halves(dice: &mut Dice, days: &Bars) -> Bars {
    let mut halves = Bars::new();
    for (symbol, ts) in days.keys().filter(|(symbol, _)| symbol != "C") {
        for half in [0, DAY / 2] {
            if dice.below(10) > 0 {
                halves.insert((symbol.clone(), ts + half), bar(dice));
            }
        }
    }
    halves
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_scans_and_longer_bars_that_are_brought_up_to_date_are_what_everything_gives() {
    let of = |timeframe: &str| LabelRun { horizon: 3, ..LabelRun::new(timeframe.parse().unwrap()) };
    let auto = Some(Source::Auto(Detection { k: 2, ..Detection::default() }));
    let scan = |formula: &str, table: &str| Definition::Scan {
        formula: formula.to_string(),
        params: BTreeMap::new(),
        table: table.to_string(),
    };
    let definitions = [
        ("halves", Definition::Label(of("12h"))),
        ("days", Definition::Label(of("1d"))),
        ("own", Definition::Label(LabelRun { own_bars: true, ..of("1d") })),
        ("levels", Definition::Label(LabelRun { levels: auto, ..of("1d") })),
        ("pairs", Definition::Label(of("2d"))),
        ("refined", Definition::Label(LabelRun { params: [("tie".into(), "refine".into())].into(), ..of("2d") })),
        ("scanned", scan("rsi(3) < 40 and volume > 10", "candles_1d")),
        ("other_bars", scan("close > sma(3)@1d", "candles_12h")),
        ("1w", Definition::Resample(Resample::of("1w".parse().unwrap()))),
    ];
    let scripts = if std::env::var("TALLOW_LONG").is_ok() { 100 } else { 2 };
    for seed in 0..scripts {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder.path().join("lake")).await;
        let mut dice = Dice::new(seed);
        let (mut known, mut last) = (at_first(&mut dice), 19);
        deliver(&session, folder.path(), "1d", &known).await;
        let of_half_days = halves(&mut dice, &known);
        deliver(&session, folder.path(), "12h", &of_half_days).await;
        for step in 0..5 {
            for (into, definition) in &definitions {
                let pipeline =
                    Pipeline { name: format!("p_{into}"), definition: definition.clone(), into: (*into).to_string() };
                let what = format!("seed {seed}, step {step}, {into}");
                let run = pipeline.run(&session, RunOptions::default(), &Control::default()).await;
                let run = run.unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(
                    step == 0 || *into == "other_bars" || !matches!(run.work.extent, Extent::Everything(_)),
                    "{what}"
                );
                let again = pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
                assert_eq!((again.work.extent, again.done), (Extent::Nothing, Done::Nothing), "{what}");
                let sql = match definition {
                    Definition::Label(run) => run.sql(session.lake()).await.unwrap(),
                    Definition::Scan { formula, table, .. } => {
                        let formula = Formula::parse(formula).unwrap();
                        Scan { table: table.clone(), ..Scan::of(formula) }.sql(&session).await.unwrap()
                    }
                    _ => "select * from candles('1w', from => '1d')".to_string(),
                };
                let table = pipeline.table().unwrap();
                let got = query(&session, &format!("select * from {table} order by symbol, ts")).await;
                let want = query(&session, &format!("select * from ({sql}) order by symbol, ts")).await;
                assert_same(&got, &want, &what);
            }
            let rows = delivery(&mut dice, &known, &mut last);
            known.extend(rows.clone());
            if dice.below(4) > 0 {
                deliver(&session, folder.path(), "1d", &rows).await;
            }
            let rows = halves(&mut dice, &rows);
            deliver(&session, folder.path(), "12h", &rows).await;
        }
    }
}

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
    for (sql, expected) in
        [("select close from candles", "columns `symbol` and `ts`"), ("select 1 as x", "no table of candles")]
    {
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
