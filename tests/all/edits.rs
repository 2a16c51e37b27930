//! Edit scripts: after every delivery, a table that is brought up to date holds what everything gives.

use crate::common::{DAY, START, query, settings};
use crate::interpreter::{Dice, Node};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::path::Path;
use tallow::pipeline::control::Control;
use tallow::pipeline::incremental::{Definition, Done, Extent, Pipeline, RunOptions};
use tallow::pipeline::label::LabelRun;
use tallow::pipeline::levels::{Detection, Source};
use tallow::pipeline::resample::Resample;
use tallow::pipeline::scan::Scan;
use tallow::{Formula, Session, Settings};
use tallow_lake::IngestOptions;

/// Queries, and whether all of a run is bounded by reach.
const QUERIES: [(&str, bool); 14] = [
    ("select symbol, ts, close, sma(close, 2)@1w as w, lag(close, 1)@1mo as m from candles", true),
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
    (
        "select symbol, ts, obv(anchor => 'week') as o, cumsum(volume, anchor => 'month') as c, session_vwap() as v, \
         lag(vwap(anchor => 'week'), 2) as w from candles",
        true,
    ),
    ("select symbol, ts, sma(close, 3) as s, rsi(3) as r, highest(high, 2) as h from candles('2d')", true),
    ("select symbol, ts, close / open as x, lead(close, 1) as next from candles('1w') qualify close > sma(2)", true),
    ("select symbol, ts, percent_rank() over (partition by ts order by sma(close, 2)) as p from candles('2d')", true),
    ("select symbol, ts, row_number() over (order by close, symbol, ts) as n from candles", false),
];

/// The named queries whose results are kept: the others have no symbol, or no time, or need a model.
const NAMED: [&str; 9] = [
    "features",
    "golden_cross",
    "labels_path",
    "labels_triple_barrier",
    "market_regime",
    "new_highs",
    "rsi_oversold",
    "signals",
    "vol_liq_regime",
];

pub type Bars = BTreeMap<(String, i64), [f64; 5]>;

pub async fn session(lake: &Path) -> Session {
    tallow::open(Settings { lake: lake.display().to_string(), threads: 2, ..settings() }).await.unwrap()
}

/// No two averages of such prices are the same, whose order would hang on the last digit of a sum.
pub fn bar(dice: &mut Dice) -> [f64; 5] {
    let open = 50.0 + dice.below(1_000_000) as f64 / 19_997.0;
    let close = 50.0 + dice.below(1_000_000) as f64 / 19_997.0;
    let more = dice.below(300) as f64 / 100.0;
    [open, open.max(close) + more, open.min(close) - more, close, (1 + dice.below(1000)) as f64]
}

/// Days before the first delivery.
const DAYS: i64 = 30;

/// What is there before the first delivery: these days of three symbols.
fn at_first(dice: &mut Dice) -> Bars {
    let mut known = Bars::new();
    for day in 0..DAYS {
        for symbol in ["A", "B", "C"] {
            known.insert((symbol.to_string(), START + day * DAY), bar(dice));
        }
    }
    known
}

/// A delivery: new bars of all symbols but one that may have stopped, or a correction, a symbol's whole history restated, a
/// gap filled, a late symbol.
fn delivery(dice: &mut Dice, known: &Bars, last: &mut i64, stopped: Option<&str>) -> Bars {
    let mut rows = Bars::new();
    let keys: Vec<_> = known.keys().cloned().collect();
    match dice.below(6) {
        0 | 1 => {
            let days = 1 + dice.below(3) as i64;
            for day in *last + 1..=*last + days {
                for symbol in ["A", "B", "C"] {
                    if dice.below(10) > 0 && stopped != Some(symbol) {
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

pub async fn deliver(session: &Session, folder: &Path, timeframe: &str, rows: &Bars) {
    deliver_with(session, folder, timeframe, rows, None).await;
}

async fn deliver_with(session: &Session, folder: &Path, timeframe: &str, rows: &Bars, calendar: Option<&str>) {
    let mut text = "symbol,ts,open,high,low,close,volume\n".to_string();
    for ((symbol, ts), [open, high, low, close, volume]) in rows {
        text += &format!("{symbol},{ts},{open},{high},{low},{close},{volume}\n");
    }
    if rows.is_empty() {
        return;
    }
    let file = folder.join("delivery.csv");
    std::fs::write(&file, text).unwrap();
    let sources = vec![file.display().to_string()];
    let options = IngestOptions { sources, calendar: calendar.map(str::to_string), ..IngestOptions::default() };
    session.ingest(timeframe.parse().unwrap(), options, &Default::default()).await.unwrap();
}

/// Rows that are equal but for the last digits of numbers.
pub fn assert_same(got: &RecordBatch, want: &RecordBatch, what: &str) {
    assert_eq!(got.num_rows(), want.num_rows(), "{what}");
    for (i, field) in want.schema().fields().iter().enumerate() {
        let column = got.column_by_name(field.name());
        let column = column.unwrap_or_else(|| panic!("{what}: no column {} in {}", field.name(), got.schema()));
        assert_same_values(column, want.column(i), &format!("{what}: {}", field.name()));
    }
}

fn assert_same_values(got: &ArrayRef, want: &ArrayRef, what: &str) {
    match want.data_type() {
        DataType::Struct(_) => {
            for (got, want) in got.as_struct().columns().iter().zip(want.as_struct().columns()) {
                assert_same_values(got, want, what);
            }
        }
        DataType::Float64 => {
            let (a, b) = (got.as_primitive::<Float64Type>(), want.as_primitive::<Float64Type>());
            let scale = b.iter().flatten().fold(1.0f64, |scale, v| scale.max(v.abs()));
            for row in 0..b.len() {
                let same = match (a.is_valid(row), b.is_valid(row)) {
                    (true, true) => (a.value(row) - b.value(row)).abs() <= 1e-9 * scale,
                    (a, b) => a == b,
                };
                assert!(same, "{what} of row {row}");
            }
        }
        DataType::List(_) => assert_eq!(got.to_data(), want.to_data(), "{what}"),
        _ => {
            let text = |array| cast(array, &DataType::Utf8).unwrap();
            assert_eq!(&text(got), &text(want), "{what}");
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

/// What a script follows.
struct Case {
    name: String,
    definition: Definition,
    /// Whether a run that is not the first computes a part only; `None`: that is not known of all of them.
    is_bounded: Option<bool>,
}

/// Every kind of query, label run and scan, the named queries, and one condition in three at random.
fn case(seed: u64) -> Case {
    let of = |timeframe: &str| LabelRun { horizon: 3, ..LabelRun::new(timeframe.parse().unwrap()) };
    let auto = Some(Source::Auto(Detection { k: 2, ..Detection::default() }));
    let scan = |formula: &str, table: &str| Definition::Scan {
        formula: formula.to_string(),
        params: BTreeMap::new(),
        table: table.to_string(),
    };
    let others = [
        ("halves", Definition::Label(of("12h")), Some(true)),
        ("days", Definition::Label(of("1d")), Some(true)),
        ("own", Definition::Label(LabelRun { own_bars: true, ..of("1d") }), Some(true)),
        ("levels", Definition::Label(LabelRun { levels: auto, ..of("1d") }), Some(true)),
        ("pairs", Definition::Label(of("2d")), Some(true)),
        (
            "refined",
            Definition::Label(LabelRun { params: [("tie".into(), "refine".into())].into(), ..of("2d") }),
            Some(true),
        ),
        ("path", Definition::Label(LabelRun { labels: vec!["path_labels".into()], ..of("2d") }), Some(true)),
        ("barriers", Definition::Label(LabelRun { labels: vec!["triple_barrier".into()], ..of("1d") }), Some(true)),
        (
            "sigma",
            Definition::Label(LabelRun { params: [("width".into(), "sigma".into())].into(), ..of("1d") }),
            Some(true),
        ),
        ("scanned", scan("rsi(3) < 40 and volume > 10", "candles_1d"), Some(true)),
        ("other_bars", scan("close > sma(3)@1d", "candles_12h"), None),
        ("1w", Definition::Resample(Resample::of("1w".parse().unwrap())), Some(true)),
    ];
    let all = QUERIES.len() + NAMED.len() + others.len();
    let at = seed as usize / 3 * 2 + seed as usize % 3;
    if seed % 3 == 2 {
        let condition = Node::condition(&mut Dice::new(seed), 2);
        let sql = format!("select symbol, ts, ({condition}) as x from candles");
        return Case { name: format!("x{seed}"), definition: Definition::query(sql), is_bounded: None };
    }
    match at % all {
        n if n < QUERIES.len() => {
            let (sql, is_bounded) = QUERIES[n];
            Case { name: format!("q{n}"), definition: Definition::query(sql), is_bounded: Some(is_bounded) }
        }
        n if n < QUERIES.len() + NAMED.len() => {
            let name = NAMED[n - QUERIES.len()];
            Case { name: name.to_string(), definition: Definition::query(name), is_bounded: None }
        }
        n => {
            let (name, definition, is_bounded) = others[n - QUERIES.len() - NAMED.len()].clone();
            Case { name: name.to_string(), definition, is_bounded }
        }
    }
}

/// What everything gives.
async fn everything(session: &Session, definition: &Definition) -> String {
    match definition {
        Definition::Label(run) => run.sql(session.lake()).await.unwrap(),
        Definition::Scan { formula, table, .. } => {
            let formula = Formula::parse(formula).unwrap();
            Scan { table: table.clone(), ..Scan::of(formula) }.sql(session).await.unwrap()
        }
        Definition::Query { query, .. } if NAMED.contains(&query.as_str()) => format!("select * from query('{query}')"),
        Definition::Query { query, .. } => query.clone(),
        Definition::Match(_) => panic!("runs of a search depend on when they were"),
        Definition::Resample(_) => "select * from candles('1w', from => '1d')".to_string(),
    }
}

async fn script(seed: u64) {
    let Case { name, definition, is_bounded } = case(seed);
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder.path().join("lake")).await;
    let mut dice = Dice::new(seed);
    let (mut known, mut last) = (at_first(&mut dice), DAYS - 1);
    // Bars come on weekends and holidays too, which a calendar leaves out of longer ones.
    let calendar = (seed % 4 == 1).then_some("nyse");
    deliver_with(&session, folder.path(), "1d", &known, calendar).await;
    let of_half_days = halves(&mut dice, &known);
    deliver(&session, folder.path(), "12h", &of_half_days).await;
    // Bars have the table of their length.
    let into = if matches!(definition, Definition::Resample(_)) { name.clone() } else { format!("t_{name}") };
    let pipeline = Pipeline { name: format!("p_{name}"), definition, into };
    for step in 0..STEPS {
        let what = format!("seed {seed}, step {step}, {name}: {:?}", pipeline.definition);
        let run = pipeline.run(&session, RunOptions::default(), &Control::default()).await;
        let run = run.unwrap_or_else(|e| panic!("{what}: {e}"));
        if let (Some(is_bounded), 1..) = (is_bounded, step) {
            let is_whole = matches!(run.work.extent, Extent::Everything(_));
            assert_eq!(is_whole, !is_bounded && run.done != Done::Nothing, "{what}: {:?}", run.work.extent);
        }
        let sql = everything(&session, &pipeline.definition).await;
        let table = pipeline.table().unwrap();
        let got = query(&session, &format!("select * from {table} order by symbol, ts")).await;
        let want = query(&session, &format!("select * from ({sql}) order by symbol, ts")).await;
        assert_same(&got, &want, &what);
        if step + 1 == STEPS {
            let again = pipeline.run(&session, RunOptions::default(), &Control::default()).await.unwrap();
            assert_eq!((again.work.extent, again.done), (Extent::Nothing, Done::Nothing), "{what}");
            break;
        }
        let stopped = (step > STEPS / 2).then_some("C");
        let rows = delivery(&mut dice, &known, &mut last, stopped);
        known.extend(rows.clone());
        if dice.below(5) > 0 {
            deliver(&session, folder.path(), "1d", &rows).await;
        }
        let rows = halves(&mut dice, &rows);
        deliver(&session, folder.path(), "12h", &rows).await;
    }
}

/// Deliveries of a script.
const STEPS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_brought_up_to_date_is_what_everything_gives() {
    let scripts = if std::env::var("TALLOW_LONG").is_ok() { 10_000 } else { 300 };
    let first = std::env::var("TALLOW_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..scripts, |seed| seed..seed + 1);
    futures::stream::iter(seeds).map(script).buffer_unordered(3).collect::<()>().await;
}
