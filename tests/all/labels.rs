//! Labels against a slow reference written straight from their definitions, and cases worked by hand.

use crate::common::{assert_close, batch, numbers, query, session, settings, walk, write_labels, write_parquet};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow::pipeline::label::{LabelRun, Unlabelled};
use tallow::{Session, Settings};
use tallow_lake::{Computed, ResultKind};

const HOUR: i64 = 3_600_000_000;

/// A bar from `ts` to `end`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candle {
    ts: i64,
    end: i64,
    high: f64,
    low: f64,
    close: f64,
}

type Series = BTreeMap<String, Vec<Candle>>;

fn bar(ts: i64, high: f64, low: f64, close: f64) -> Candle {
    Candle { ts, end: ts + HOUR, high, low, close }
}

/// True range of each bar, averaged by Wilder: the first value is the mean of the first 14, and stands on bar 14.
fn atr(bars: &[Candle]) -> Vec<f64> {
    let mut out = vec![f64::NAN; bars.len()];
    let mut last = f64::NAN;
    let range = |i: usize| {
        let (b, c) = (bars[i], bars[i - 1].close);
        (b.high - b.low).max((b.high - c).abs()).max((b.low - c).abs())
    };
    for (i, out) in out.iter_mut().enumerate().skip(14) {
        last = if i == 14 { (1..15).map(range).sum::<f64>() / 14.0 } else { (last * 13.0 + range(i)) / 14.0 };
        *out = last;
    }
    out
}

/// What a label comes out as; NaN is null.
#[derive(Debug, Default)]
struct Expected(BTreeMap<&'static str, Vec<f64>>);

impl Expected {
    fn push(&mut self, values: &[(&'static str, f64)]) {
        for (name, value) in values {
            self.0.entry(name).or_default().push(if value.is_finite() { *value } else { f64::NAN });
        }
    }
}

const BARRIERS: [&str; 9] =
    ["label", "bars_to_hit", "hit_price", "upper", "lower", "tied", "atr", "horizon_complete", "available_at"];

/// The triple barrier of one series, whose path is `fine`: every bar that opens when the labelled one ends or later, and
/// ends when the last labelled bar of the horizon ends or before.
fn triple_barrier(bars: &[Candle], fine: &[Candle], horizon: usize, up: f64, down: f64, out: &mut Expected) {
    let widths = atr(bars);
    for (t, b) in bars.iter().enumerate() {
        let (p, a) = (b.close, widths[t]);
        let complete = t + horizon < bars.len();
        let mut row: BTreeMap<&str, f64> = BARRIERS.iter().map(|name| (*name, f64::NAN)).collect();
        row.insert("horizon_complete", f64::from(u8::from(complete)));
        row.insert("atr", a);
        if a > 0.0 {
            let (upper, lower) = (p + up * a, p - down * a);
            row.insert("upper", upper);
            row.insert("lower", lower);
            let until = if complete { bars[t + horizon].end } else { i64::MAX };
            let first = fine.partition_point(|f| f.ts < b.end);
            let path = fine[first..].iter().take_while(|f| f.end <= until);
            let hit = path.clone().find(|f| f.high >= upper || f.low <= lower);
            if let Some(f) = hit {
                let (above, below) = (f.high >= upper, f.low <= lower);
                row.insert("label", if below { -1.0 } else { 1.0 });
                row.insert("tied", f64::from(u8::from(above && below)));
                row.insert("hit_price", if below { lower.min(f.high) } else { upper.max(f.low) });
                // The labelled bar that it happens in, the next one being 1.
                let later = bars[t + 1..].iter().position(|next| f.ts < next.end).unwrap_or(bars.len() - t - 1);
                row.insert("bars_to_hit", (later + 1) as f64);
                row.insert("available_at", f.end as f64);
            } else if complete {
                row.insert("label", 0.0);
                row.insert("tied", 0.0);
                row.insert("available_at", until as f64);
            }
        }
        out.push(&BARRIERS.map(|name| (name, row[name])));
    }
}

/// The path labels of one series.
fn path_labels(bars: &[Candle], fine: &[Candle], horizon: usize, out: &mut Expected) {
    let widths = atr(bars);
    for (t, b) in bars.iter().enumerate() {
        let p = b.close;
        let path: Vec<Candle> = match bars.get(t + horizon) {
            Some(last) => {
                let first = fine.partition_point(|f| f.ts < b.end);
                fine[first..].iter().take_while(|f| f.end <= last.end).copied().collect()
            }
            None => vec![],
        };
        let end = bars.get(t + horizon).map_or(f64::NAN, |last| last.close);
        let top = path.iter().map(|f| f.high).fold(f64::NAN, f64::max);
        let bottom = path.iter().map(|f| f.low).fold(f64::NAN, f64::min);
        let (mfe, mae) =
            if path.is_empty() { (f64::NAN, f64::NAN) } else { ((top - p).max(0.0), (bottom - p).min(0.0)) };
        let widest = path.iter().map(|f| (f.high - f.low) / p).fold(f64::NAN, f64::max);
        let mut drawdown = if path.is_empty() { f64::NAN } else { 0.0 };
        let mut highest = p;
        for f in &path {
            highest = highest.max(f.close);
            drawdown = f64::min(drawdown, f.close / highest - 1.0);
        }
        let closes: Vec<f64> = std::iter::once(p).chain(path.iter().map(|f| f.close)).collect();
        let returns: Vec<f64> = closes.windows(2).map(|c| c[1] / c[0] - 1.0).collect();
        let n = returns.len() as f64;
        let mean = returns.iter().sum::<f64>() / n;
        let m2 = returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>();
        let m3 = returns.iter().map(|r| (r - mean).powi(3)).sum::<f64>() / n;
        let flat = m2 <= 1e-24 * n;
        let extremum = if end > p { top } else { bottom };
        let underwater = path.iter().filter(|f| f.close < p).count() as f64;
        let scaled = if widths[t] > 0.0 { (end - p) / widths[t] } else { f64::NAN };
        out.push(&[
            ("forward_return", (end - p) / p),
            ("vol_scaled_return", if scaled.is_nan() { scaled } else { scaled.clamp(-10.0, 10.0) }),
            ("mfe", mfe),
            ("mae", mae),
            ("profit_factor", mfe / mae.abs()),
            ("range_expansion", widest / ((b.high - b.low) / p) - 1.0),
            ("drawdown_depth", drawdown),
            ("end_extremum_gap", (end - extremum).abs() / (end - p).abs()),
            ("time_underwater", if path.is_empty() { f64::NAN } else { underwater }),
            ("path_sharpe", if flat { f64::NAN } else { mean / (m2 / (n - 1.0)).sqrt() }),
            ("path_skew", if flat { f64::NAN } else { m3 / (m2 / n).powf(1.5) }),
        ]);
    }
}

/// Candles of a table, by symbol.
async fn candles(session: &Session, from: &str, timeframe: &str) -> Series {
    let sql = format!(
        "select symbol, ts, bar_end(ts, '{timeframe}') as close_time, high, low, close from {from}
         where high is not null and low is not null and close is not null order by symbol, ts"
    );
    let rows = query(session, &sql).await;
    let symbols = arrow::compute::cast(rows.column(0), &DataType::Utf8).unwrap();
    let times = |i: usize| rows.column(i).as_primitive::<TimestampMicrosecondType>().values().to_vec();
    let (ts, end) = (times(1), times(2));
    let [high, low, close] = ["high", "low", "close"].map(|c| numbers(&rows, c));
    let mut series = Series::new();
    for i in 0..rows.num_rows() {
        let candle = Candle { ts: ts[i], end: end[i], high: high[i], low: low[i], close: close[i] };
        series.entry(symbols.as_string::<i32>().value(i).to_string()).or_default().push(candle);
    }
    series
}

fn expected(bars: &Series, fine: &Series, horizon: usize) -> (Expected, Expected) {
    let (mut barriers, mut paths) = (Expected::default(), Expected::default());
    for (symbol, bars) in bars {
        let fine = fine.get(symbol).unwrap_or(bars);
        triple_barrier(bars, fine, horizon, 1.5, 1.0, &mut barriers);
        path_labels(bars, fine, horizon, &mut paths);
    }
    (barriers, paths)
}

/// Compares what SQL says with the reference, column by column.
async fn compare(session: &Session, sql: &str, want: &Expected, what: &str) {
    let got = query(session, sql).await;
    for (name, want) in &want.0 {
        let column = got.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
        let values = match column.data_type() {
            DataType::Timestamp(_, _) => {
                let times = arrow::compute::cast(column, &DataType::Int64).unwrap();
                crate::common::floats(&times)
            }
            _ => numbers(&got, name),
        };
        assert_close(&values, want, &format!("{what}: {name}"));
    }
}

fn fields(of: &str, names: impl Iterator<Item = &'static str>) -> String {
    names.map(|name| format!("{of}['{name}'] as {name}")).collect::<Vec<_>>().join(", ")
}

/// Both functions over the bars of a table, which are their own path.
async fn check_own_path(session: &Session, from: &str, timeframe: &str, horizon: usize) -> usize {
    let bars = candles(session, from, timeframe).await;
    let (barriers, paths) = expected(&bars, &Series::new(), horizon);
    let close_time = format!("close_time => bar_end(ts, '{timeframe}')");
    let valid = "high is not null and low is not null and close is not null";
    let sql = |call: String, names: String| {
        format!(
            "select {names} from (select symbol, ts, high, low, close, {call} as l from {from}) where {valid} order by symbol, ts"
        )
    };
    let call = format!("triple_barrier(high, low, close, up => 1.5, down => 1.0, horizon => {horizon}, {close_time})");
    compare(session, &sql(call, fields("l", barriers.0.keys().copied())), &barriers, from).await;
    let call = format!("path_labels(high, low, close, horizon => {horizon})");
    compare(session, &sql(call, fields("l", paths.0.keys().copied())), &paths, from).await;
    bars.values().map(Vec::len).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn stocks_equal_the_reference() {
    let session = session().await;
    assert!(check_own_path(&session, "candles_1d", "1d", 20).await > 600_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn currencies_of_the_sample_equal_the_reference() {
    let session = session().await;
    assert!(check_own_path(&session, "candles_4h", "4h", 6).await > 10_000);
}

/// A generator that gives equal prices, gaps over barriers, quiet stretches and bars without values.
fn random_walk(seed: u64, symbols: usize, bars: usize) -> RecordBatch {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let (mut names, mut times, mut highs, mut lows, mut closes) = (vec![], vec![], vec![], vec![], vec![]);
    for symbol in 0..symbols {
        let (mut close, mut ts) = (100.0f64, 1_600_000_000_000_000 / HOUR * HOUR);
        for _ in 0..bars {
            ts += HOUR * if random() < 0.02 { 1 + (random() * 60.0) as i64 } else { 1 };
            let quiet = random() < 0.1;
            let jump = if random() < 0.01 { 0.2 * (random() - 0.5) } else { 0.0 };
            // To cents, so that prices are often equal.
            let step = if quiet { 0.0 } else { 0.02 * (random() - 0.5) };
            close = ((close * (1.0 + jump + step)).clamp(5.0, 1000.0) * 100.0).round() / 100.0;
            let height = if quiet { 0.0 } else { 0.01 * random() };
            names.push(format!("S{symbol:02}"));
            times.push(ts);
            let missing = random() < 0.01;
            highs.push((!missing).then_some(((close * (1.0 + height)) * 100.0).round() / 100.0));
            lows.push(Some(((close * (1.0 - height * random())) * 100.0).round() / 100.0));
            closes.push(close);
        }
    }
    let ts = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    let closes = Arc::new(Float64Array::from(closes)) as ArrayRef;
    let columns: [(&str, ArrayRef); 7] = [
        ("symbol", Arc::new(StringArray::from(names))),
        ("ts", Arc::new(ts)),
        ("open", Arc::clone(&closes)),
        ("high", Arc::new(Float64Array::from(highs))),
        ("low", Arc::new(Float64Array::from(lows))),
        ("close", Arc::clone(&closes)),
        ("volume", closes),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bars_equal_the_reference() {
    let session = tallow::open(Settings { batch_size: 1000, ..settings() }).await.unwrap();
    session.context().register_batch("walks", random_walk(11, 25, 8000)).unwrap();
    for horizon in [1, 6, 50] {
        assert!(check_own_path(&session, "walks", "1h", horizon).await > 195_000);
    }
}

/// 4h bars from 1h bars: the first ts of each block of four, highest, lowest, last.
fn blocks(fine: &Series) -> Series {
    let of = |bars: &Vec<Candle>| {
        let mut coarse: Vec<Candle> = vec![];
        for b in bars {
            let ts = b.ts.div_euclid(4 * HOUR) * 4 * HOUR;
            match coarse.last_mut().filter(|c| c.ts == ts) {
                Some(c) => (c.high, c.low, c.close) = (c.high.max(b.high), c.low.min(b.low), b.close),
                None => coarse.push(Candle { ts, end: ts + 4 * HOUR, ..*b }),
            }
        }
        coarse
    };
    fine.iter().map(|(symbol, bars)| (symbol.clone(), of(bars))).collect()
}

fn to_batch(series: &Series) -> RecordBatch {
    let all = || series.iter().flat_map(|(symbol, bars)| bars.iter().map(move |b| (symbol, b)));
    let ts = TimestampMicrosecondArray::from_iter_values(all().map(|(_, b)| b.ts)).with_timezone("UTC");
    let number = |f: fn(&Candle) -> f64| Arc::new(Float64Array::from_iter_values(all().map(|(_, b)| f(b)))) as ArrayRef;
    RecordBatch::try_from_iter([
        ("symbol", Arc::new(all().map(|(s, _)| Some(s)).collect::<StringArray>()) as ArrayRef),
        ("ts", Arc::new(ts)),
        ("open", number(|b| b.close)),
        ("high", number(|b| b.high)),
        ("low", number(|b| b.low)),
        ("close", number(|b| b.close)),
        ("volume", number(|_| 1.0)),
    ])
    .unwrap()
}

/// Compares what a label run yields with the reference.
async fn check_run(session: &Session, coarse: &Series, fine: &Series) {
    let (barriers, paths) = expected(coarse, fine, 6);
    let mut run = LabelRun::new("4h".parse().unwrap());
    run.params = [("up", "1.5"), ("down", "1")].map(|(k, v)| (k.to_string(), v.to_string())).into();
    run.labels = vec!["triple_barrier".to_string()];
    compare(session, &run.sql(session.lake()).await.unwrap(), &barriers, "barriers").await;
    run.labels = vec!["path_labels".to_string()];
    compare(session, &run.sql(session.lake()).await.unwrap(), &paths, "paths").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_walk_smaller_bars_where_there_are_any() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    session.context().register_batch("walks", random_walk(5, 6, 6000)).unwrap();
    let mut fine = candles(&session, "walks", "1h").await;
    let mut coarse = blocks(&fine);
    // One symbol has no smaller bars, one has none in the middle, one loses single ones.
    fine.remove("S01");
    let gap = |b: &Candle| b.ts.rem_euclid(1000 * 4 * HOUR) < 300 * 4 * HOUR;
    fine.get_mut("S02").unwrap().retain(|b| !gap(b));
    fine.get_mut("S03").unwrap().retain(|b| b.ts / HOUR % 37 != 0);
    coarse.get_mut("S04").unwrap().retain(|b| b.ts / (4 * HOUR) % 41 != 0);
    write_parquet(&folder.path().join("candles/1h/all.parquet"), &to_batch(&fine), 5000);
    write_parquet(&folder.path().join("candles/4h/all.parquet"), &to_batch(&coarse), 1000);
    let lake = folder.path().to_string_lossy().to_string();
    let session = tallow::open(Settings { lake, ..settings() }).await.unwrap();
    // What stands for the path: the smaller bars, and labelled bars that hold none.
    let mut walked = fine.clone();
    for (symbol, bars) in &coarse {
        let own = walked.entry(symbol.clone()).or_default();
        let holds = |b: &Candle| own.iter().any(|f| f.ts >= b.ts && f.end <= b.end);
        let alone: Vec<Candle> = bars.iter().filter(|b| !holds(b)).copied().collect();
        own.extend(alone);
        own.sort_by_key(|b| b.ts);
    }
    check_run(&session, &coarse, &walked).await;
    let counts = query(
        &session,
        "select symbol, path_timeframe, count(*) as n from label_path('4h') group by 1, 2 having path_timeframe = '4h' order by 1",
    )
    .await;
    assert_eq!(numbers(&counts, "n")[0], coarse["S01"].len() as f64);
}

/// Lakes beyond the sample: `TALLOW_TEST_LAKES=/path/fx,/path/crypto`, each with 4h candles and perhaps 1h candles.
#[tokio::test(flavor = "multi_thread")]
async fn further_lakes_equal_the_reference() {
    for lake in std::env::var("TALLOW_TEST_LAKES").iter().flat_map(|lakes| lakes.split(',')) {
        let session = tallow::open(Settings { lake: lake.to_string(), ..settings() }).await.unwrap();
        let coarse = candles(&session, "candles_4h", "4h").await;
        let has_fine = session.lake().timeframes().iter().any(|t| t.to_string() == "1h");
        let fine = if has_fine { candles(&session, "candles_1h", "1h").await } else { Series::new() };
        check_run(&session, &coarse, &fine_or_own(&coarse, fine)).await;
    }
}

/// The smaller bars, and the labelled ones before the first and after the last of them.
fn fine_or_own(coarse: &Series, mut fine: Series) -> Series {
    for (symbol, bars) in coarse {
        let own = fine.entry(symbol.clone()).or_default();
        let holds: std::collections::BTreeSet<i64> = own.iter().map(|f| f.ts.div_euclid(4 * HOUR)).collect();
        own.extend(bars.iter().filter(|b| !holds.contains(&b.ts.div_euclid(4 * HOUR))).copied().collect::<Vec<_>>());
        own.sort_by_key(|b| b.ts);
    }
    fine
}

/// Fourteen bars with a true range of 1 around 100, then the given ones; returns the fields of the label of bar 14.
async fn label_of(path: &[(f64, f64, f64)], arguments: &str) -> BTreeMap<String, f64> {
    let mut bars: Vec<Candle> = (0..15).map(|i| bar(i * HOUR, 100.5, 99.5, 100.0)).collect();
    bars.extend(path.iter().enumerate().map(|(i, (h, l, c))| bar((15 + i as i64) * HOUR, *h, *l, *c)));
    let session = session().await;
    session.context().register_batch("bars", to_batch(&[("X".to_string(), bars)].into())).unwrap();
    let sql =
        format!("select triple_barrier(high, low, close, {arguments}) as l from bars order by ts limit 1 offset 14");
    let rows = query(&session, &sql).await;
    let l = rows.column(0).as_struct();
    let number = |name: &str| {
        let column = l.column_by_name(name).unwrap();
        (name.to_string(), crate::common::floats(column)[0])
    };
    ["label", "bars_to_hit", "hit_price", "upper", "lower", "tied", "atr", "horizon_complete", "level_adjusted"]
        .map(number)
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn barriers_worked_by_hand() {
    let quiet = (100.5, 99.5, 100.0);
    // ATR 1: barriers at 102 and 98.
    let l = label_of(&[quiet, (102.0, 100.0, 101.0), quiet], "horizon => 3").await;
    assert_eq!((l["label"], l["bars_to_hit"], l["upper"], l["lower"]), (1.0, 2.0, 102.0, 98.0), "a touch is enough");
    let l = label_of(&[quiet, quiet, quiet], "horizon => 3").await;
    assert_eq!((l["label"], l["horizon_complete"]), (0.0, 1.0));
    assert!(l["bars_to_hit"].is_nan() && l["hit_price"].is_nan());
    // The last bar of the horizon counts, the one after it does not.
    assert_eq!(label_of(&[quiet, quiet, (103.0, 100.0, 100.0)], "horizon => 3").await["label"], 1.0);
    assert_eq!(label_of(&[quiet, quiet, (103.0, 100.0, 100.0)], "horizon => 2").await["label"], 0.0);
    // Past the end: null unless something was touched already.
    let l = label_of(&[quiet, quiet], "horizon => 3").await;
    assert!(l["label"].is_nan() && l["horizon_complete"] == 0.0);
    assert_eq!(label_of(&[quiet, (100.0, 97.0, 99.0)], "horizon => 3").await["label"], -1.0);
    // Ties.
    let both = [(103.0, 97.0, 100.0), quiet];
    for (tie, label) in [("down", -1.0), ("up", 1.0)] {
        let l = label_of(&both, &format!("horizon => 2, tie => '{tie}'")).await;
        assert_eq!((l["label"], l["tied"]), (label, 1.0));
    }
    for tie in ["null", "refine"] {
        let l = label_of(&both, &format!("horizon => 2, tie => '{tie}'")).await;
        assert!(l["label"].is_nan() && l["tied"] == 1.0, "{tie}");
    }
    // A gap through a barrier is paid at the bar's nearest price.
    assert_eq!(label_of(&[(96.0, 95.0, 95.5)], "horizon => 1").await["hit_price"], 96.0);
    assert_eq!(label_of(&[(105.0, 104.0, 104.5)], "horizon => 1").await["hit_price"], 104.0);
    // Closes only; a fixed fraction; the sign of the return.
    let spike = [(103.0, 100.0, 100.4), quiet];
    assert_eq!(label_of(&spike, "horizon => 2, touch => 'close'").await["label"], 0.0);
    assert_eq!(label_of(&[(100.5, 100.0, 100.4)], "horizon => 1, vertical => 'sign'").await["label"], 1.0);
    let l = label_of(&[(101.0, 100.0, 100.4)], "horizon => 1, width => 'pct', up => 1, down => 1").await;
    assert_eq!((l["label"], l["upper"], l["lower"]), (1.0, 101.0, 99.0));
    // Levels: the upper barrier a tenth before a resistance, but not nearer than a quarter.
    let l = label_of(&[(101.4, 100.0, 101.0)], "horizon => 1, resistance => 101.5").await;
    assert_eq!((l["label"], l["level_adjusted"]), (1.0, 1.0));
    assert!((l["upper"] - 101.4).abs() < 1e-12);
    let l = label_of(&[quiet], "horizon => 1, resistance => 100.1, support => 99.9").await;
    assert_eq!((l["upper"], l["lower"], l["label"]), (100.25, 99.75, -1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_width_or_no_future_has_no_label() {
    let session = session().await;
    let flat: Vec<Candle> = (0..30).map(|i| bar(i * HOUR, 100.0, 100.0, 100.0)).collect();
    let one = vec![bar(0, 101.0, 99.0, 100.0)];
    let series: Series = [("FLAT".to_string(), flat), ("ONE".to_string(), one)].into();
    session.context().register_batch("bars", to_batch(&series)).unwrap();
    let sql = "select symbol, count(l['label']) as labels, count(l['upper']) as uppers,
                      count(*) filter (where l['horizon_complete']) as complete,
                      count(p['mfe']) as paths, count(p['range_expansion']) as ranges, count(p['path_sharpe']) as sharpes
               from (select symbol, triple_barrier(horizon => 5) as l, path_labels(horizon => 5) as p from bars)
               group by symbol order by symbol";
    let got = query(&session, sql).await;
    assert_eq!(numbers(&got, "labels"), [0.0, 0.0]);
    assert_eq!(numbers(&got, "uppers"), [0.0, 0.0]);
    assert_eq!(numbers(&got, "complete"), [25.0, 0.0]);
    assert_eq!(numbers(&got, "paths"), [25.0, 0.0]);
    assert_eq!(numbers(&got, "ranges"), [0.0, 0.0], "a bar without a range has no expansion");
    assert_eq!(numbers(&got, "sharpes"), [0.0, 0.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spec_in_numbers() {
    // Bars 0..14 make an ATR of 0.005 around 1.0520; then the four bars of the example.
    let mut bars: Vec<Candle> = (0..15).map(|i| bar(i * HOUR, 1.0545, 1.0495, 1.0520)).collect();
    let path = [(1.0530, 1.0510, 1.0520), (1.0570, 1.0500, 1.0540), (1.0540, 1.0480, 1.0500), (1.0550, 1.0490, 1.0590)];
    bars.extend(path.iter().enumerate().map(|(i, (h, l, c))| bar((15 + i as i64) * HOUR, *h, *l, *c)));
    let session = session().await;
    session.context().register_batch("bars", to_batch(&[("X".to_string(), bars)].into())).unwrap();
    let sql = "select p['mfe'] as mfe, p['mae'] as mae, p['profit_factor'] as pf, p['vol_scaled_return'] as scaled,
                      t['upper'] as upper, t['lower'] as lower
               from (select ts, path_labels(horizon => 4) as p, triple_barrier(horizon => 4) as t from bars)
               order by ts limit 1 offset 14";
    let got = query(&session, sql).await;
    for (column, want) in
        [("mfe", 0.0050), ("mae", -0.0040), ("pf", 1.25), ("scaled", 1.4), ("upper", 1.0620), ("lower", 1.0420)]
    {
        assert!((numbers(&got, column)[0] - want).abs() < 1e-9, "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_horizon_can_be_hours_that_pass() {
    // Bars at 0, 1, 2, 3 and, after a break, 10, 11.
    let bars: Vec<Candle> =
        [0, 1, 2, 3, 10, 11].iter().map(|h| bar(h * HOUR, 100.0, 100.0, 100.0 + *h as f64)).collect();
    let session = session().await;
    session.context().register_batch("bars", to_batch(&[("X".to_string(), bars)].into())).unwrap();
    let sql = "select p['forward_return'] as r, p['horizon_complete'] as done
               from (select ts, path_labels(horizon => 2, clock => 'wall_clock', timeframe => '1h',
                                            close_time => bar_end(ts, '1h')) as p from bars) order by ts";
    let got = query(&session, sql).await;
    let r = numbers(&got, "r");
    assert!((r[0] - 0.02).abs() < 1e-12 && (r[1] - 2.0 / 101.0).abs() < 1e-12);
    assert!(r[2..].iter().all(|v| v.is_nan()), "two hours later the market was closed: {r:?}");
    assert_eq!(numbers(&got, "done"), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_new_york_end_when_they_end_there() {
    // 17:00 in New York is 22:00 UTC until 2021-03-14, and 21:00 from then on.
    let day = 24 * HOUR;
    let first = 1_615_413_600_000_000 - day; // 2021-03-09 22:00
    let opens = [first, first + day, first + 2 * day, first + 5 * day - HOUR, first + 6 * day - HOUR];
    let bars: Vec<Candle> = opens.iter().map(|ts| bar(*ts, 101.0, 99.0, 100.0)).collect();
    let session = session().await;
    session.context().register_batch("bars", to_batch(&[("X".to_string(), bars)].into())).unwrap();
    let sql = "select arrow_cast(p['available_at'], 'Int64') as at
               from (select ts, path_labels(horizon => 1, close_time => bar_end(ts, '1d', 'ny_17')) as p from bars) order by ts";
    let at = numbers(&query(&session, sql).await, "at");
    let ends: Vec<f64> = opens[1..].iter().map(|ts| (*ts + day) as f64).collect();
    assert_eq!(at[..2], ends[..2]);
    assert_eq!(at[2], ends[2], "the day of the 14th is a day of 24 hours by then");
    // The day that holds the change has 23 hours.
    let sql = "select arrow_cast(bar_end(to_timestamp_micros(1615759200000000) - interval '1 day', '1d', 'ny_17'), 'Int64')
                    - arrow_cast(bar_floor(to_timestamp_micros(1615759200000000) - interval '1 day', '1d', 'ny_17'), 'Int64') as l";
    let length = numbers(&query(&session, sql).await, "l")[0];
    assert!(length == (23 * HOUR) as f64 || length == (24 * HOUR) as f64, "{length}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_sample_the_bars_to_label() {
    let session = session().await;
    let sql =
        "select count(*) as bars, count(*) filter (where event) as events, count(l['horizon_complete']) as labelled,
                      count(*) filter (where l['label'] = w['label'] or l['label'] is null) as same
               from (select event, triple_barrier(high, low, close, horizon => 10, entry => event) as l,
                            triple_barrier(horizon => 10) as w
                     from (select symbol, ts, high, low, close, cusum_events(close, 0.05) as event from candles
                           where symbol in ('AAPL', 'MSFT')))";
    let got = query(&session, sql).await;
    let [bars, events, labelled, same] = ["bars", "events", "labelled", "same"].map(|c| numbers(&got, c)[0]);
    assert!(events > 50.0 && events < bars / 4.0 && labelled == events && same == bars, "{events} {labelled} {same}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meta_label_says_whether_the_side_was_right() {
    let session = session().await;
    let side = |path: &[(f64, f64, f64)], side: f64| {
        let mut bars: Vec<Candle> = (0..15).map(|i| bar(i * HOUR, 100.5, 99.5, 100.0)).collect();
        bars.extend(path.iter().enumerate().map(|(i, (h, l, c))| bar((15 + i as i64) * HOUR, *h, *l, *c)));
        let batch = to_batch(&[("X".to_string(), bars)].into());
        (batch, format!("select m['bin'] as bin, m['ret'] as ret, m['barrier'] as barrier from
            (select ts, meta_label(high, low, close, {side}, up => 2, down => 1, horizon => 1) as m from t) order by ts limit 1 offset 14"))
    };
    for (name, path, direction, bin, ret, barrier) in [
        ("a", (102.5, 100.0, 102.0), 1.0, 1.0, 0.02, "profit"),
        ("b", (102.5, 100.0, 102.0), -1.0, 0.0, -0.01, "stop"),
        ("c", (100.5, 97.0, 98.0), -1.0, 1.0, 0.02, "profit"),
        ("d", (100.5, 99.6, 99.8), 1.0, 0.0, -0.002, "none"),
    ] {
        let (batch, sql) = side(&[path], direction);
        session.context().register_batch(name, batch).unwrap();
        let got = query(&session, &sql.replace(" from t)", &format!(" from {name})"))).await;
        assert_eq!(numbers(&got, "bin")[0], bin, "{name}");
        assert!((numbers(&got, "ret")[0] - ret).abs() < 1e-9, "{name}");
        let text = arrow::util::display::array_value_to_string(got.column_by_name("barrier").unwrap(), 0).unwrap();
        assert_eq!(text, barrier);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_nobody_reads_are_not_computed() {
    let session = session().await;
    let sql = "select symbol, ts, triple_barrier(horizon => 5)['label'] as l from candles";
    let text = crate::common::plan(&session, sql).await;
    let line = |text: &str| text.lines().find(|l| l.contains("SeriesExec")).unwrap().to_string();
    assert!(line(&text).contains(".{label}") && !line(&text).contains("bar_end"), "{text}");
    let sql = "select symbol, ts, triple_barrier(horizon => 5)['available_at'] as l from candles";
    assert!(line(&crate::common::plan(&session, sql).await).contains("bar_end(ts@1, 1d, utc)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_table_is_written_whole_read_in_order_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("candles")).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/1d");
    std::os::unix::fs::symlink(source, folder.path().join("candles/1d")).unwrap();
    let lake = folder.path().to_string_lossy().to_string();
    let session = tallow::open(Settings { lake, ..settings() }).await.unwrap();
    let mut run = LabelRun::new("1d".parse().unwrap());
    run.horizon = 10;
    let written = write_labels(&session, &run, "labels_1d").await.unwrap();
    assert_eq!(written, (619_032, 0), "all bars with a high, a low and a close");
    let sql = "select count(*) as n, sum(l.label) as s from candles c join labels_1d l on c.symbol = l.symbol and c.ts = l.ts";
    let text = crate::common::plan(&session, sql).await;
    assert!(text.contains("SortMergeJoinExec") && !text.contains("SortExec"), "{text}");
    let first = query(&session, sql).await;
    assert!(numbers(&first, "n")[0] > 619_000.0);
    // Other labels take the place of the first ones; the first remain under their version.
    run.labels = vec!["label".to_string()];
    run.params.insert("up".to_string(), "0.5".to_string());
    assert_eq!(write_labels(&session, &run, "labels_1d").await.unwrap().1, 1);
    let columns = session.lake().columns("labels_1d").await.unwrap();
    assert_eq!(columns, ["symbol", "ts", "close", "path_timeframe", "label", "horizon_complete", "available_at"]);
    let old = query(&session, "select sum(label) as s from \"labels_1d@v0\"").await;
    let new = query(&session, "select sum(label) as s from labels_1d").await;
    assert!(numbers(&new, "s")[0] > numbers(&old, "s")[0]);
    // What fails leaves the table as it was.
    let bad = session
        .sql("select symbol, ts, 1 / (extract(year from ts) - 2015) as x from candles order by symbol, ts")
        .await
        .unwrap();
    let rows = bad.create_physical_plan().await.unwrap();
    let bad = Computed {
        rows,
        ordered: true,
        properties: Default::default(),
        kind: ResultKind::Labels,
        sources: vec![],
        progress: Box::new(|_| {}),
    };
    if session.overwrite("labels_1d", bad).await.is_err() {
        assert_eq!(numbers(&query(&session, "select sum(label) as s from labels_1d").await, "s"), numbers(&new, "s"));
    }
    // Candles are not replaced, be they files or a table.
    let plain = folder.path().join("plain");
    write_parquet(&plain.join("a.parquet"), &to_batch(&[("X".to_string(), vec![bar(0, 1.0, 1.0, 1.0)])].into()), 10);
    let plain = format!("file://{}", plain.display());
    let said = write_labels(&session, &run, &plain).await.unwrap_err().to_string();
    assert!(said.contains("plain files without a transaction log"), "{said}");
    let files = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/4h").to_string()];
    let options = tallow_lake::IngestOptions { sources: files, ..Default::default() };
    session.ingest("4h".parse().unwrap(), options, &Default::default()).await.unwrap();
    let candles = format!("file://{}", folder.path().join("candles/4h").display());
    let said = write_labels(&session, &run, &candles).await.unwrap_err().to_string();
    assert!(said.contains("was not computed by"), "{said}");
    for name in ["my table", "../../evil", "/tmp/evil", "levels_1d"] {
        let said = write_labels(&session, &run, name).await.unwrap_err().to_string();
        assert!(said.contains(&format!("'{name}' cannot be a table of labels")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_without_labels_are_counted_by_reason() {
    let folder = tempfile::tempdir().unwrap();
    let days = folder.path().join("candles/1d");
    std::fs::create_dir_all(&days).unwrap();
    let row = |i: i64| {
        let day = chrono::DateTime::from_timestamp(86_400 * (18_262 + i), 0).unwrap().format("%Y-%m-%d");
        let high = if i == 20 { String::new() } else { format!("{}", 101 + i % 5) };
        format!("{day},100,{high},99,100,1\n")
    };
    let rows: String = (0..30).map(row).collect();
    std::fs::write(days.join("A.csv"), format!("ts,open,high,low,close,volume\n{rows}")).unwrap();
    let lake = folder.path().to_string_lossy().to_string();
    let session = tallow::open(Settings { lake, ..settings() }).await.unwrap();
    let run = LabelRun::new("1d".parse().unwrap());
    assert_eq!(run.bars(session.lake()).await, Some(30));
    let written = write_labels(&session, &run, "labels_1d").await.unwrap();
    // One of thirty has no high, the average true range needs fourteen, and six have less than six after them.
    let why = run.unlabelled(&session, "labels_1d").await.unwrap();
    assert_eq!((written.0, why), (29, Unlabelled { incomplete: 1, warm_up: 14, open: 6 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_not_written_among_the_files_of_others_or_over_other_results() {
    let folder = tempfile::tempdir().unwrap();
    let days = batch(&walk(&["A", "B"], 60));
    write_parquet(&folder.path().join("lake/candles/1d/a.parquet"), &days, 50);
    let weeks = batch(&walk(&["A", "B"], 60).into_iter().filter(|b| b.1 % 7 == 5).collect::<Vec<_>>());
    write_parquet(&folder.path().join("lake/candles/1w/a.parquet"), &weeks, 50);
    let session =
        tallow::open(Settings { lake: folder.path().join("lake").display().to_string(), ..settings() }).await.unwrap();
    let place = |name: &str| format!("file://{}", folder.path().join(name).display());
    let written = async |table: &str, timeframe: &str| {
        let run = LabelRun::new(timeframe.parse().unwrap());
        write_labels(&session, &run, table).await.map(|(rows, _)| rows).map_err(|e| e.to_string())
    };
    // A note, and a folder of pictures.
    for other in ["others/notes.md", "pictures/2020/a.png"] {
        let path = folder.path().join(other);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "mine").unwrap();
        let top = other.split('/').next().unwrap();
        let said = written(&place(top), "1d").await.unwrap_err();
        assert!(said.contains("holds other files"), "{said}");
        assert_eq!(
            std::fs::read_dir(folder.path().join(top)).unwrap().count(),
            1,
            "nothing was written beside {other}"
        );
    }
    std::fs::create_dir_all(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("empty/.gitkeep"), "").unwrap();
    assert_eq!(written(&place("empty"), "1d").await, Ok(120));
    assert_eq!(written(&place("empty"), "1d").await, Ok(120), "an earlier result is replaced");
    // Not by labels of other bars, nor by another kind of result.
    let said = written(&place("empty"), "1w").await.unwrap_err();
    assert!(said.contains("another timeframe, 1d"), "{said}");
    let frame = session.sql("select symbol, ts, close from candles").await.unwrap();
    let levels = Computed {
        rows: frame.create_physical_plan().await.unwrap(),
        ordered: false,
        properties: Default::default(),
        kind: ResultKind::Levels,
        sources: vec![],
        progress: Box::new(|_| {}),
    };
    let said = session.overwrite(&place("empty"), levels).await.unwrap_err().to_string();
    assert!(said.contains("is a table of labels, which levels do not replace"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_seen_as_they_were() {
    let session = session().await;
    // Every state holds the levels whose life it falls into, on the side they had flipped to by then.
    let sql = "with states as (select symbol, ts, unnest(levels) as l from level_states('4h')),
                    lives as (select symbol, level_id, price, initial_type, created_at, deactivated_at from levels('4h')),
                    flips as (select level_id, ts from level_events('4h') where event like 'FLIP%'),
                    at as (select distinct symbol, ts from level_states('4h')),
                    want as (select a.symbol, a.ts, v.level_id, v.price, v.initial_type, count(f.ts) as n
                             from at a join lives v on a.symbol = v.symbol and v.created_at <= a.ts
                                  and (v.deactivated_at is null or a.ts < v.deactivated_at)
                             left join flips f on f.level_id = v.level_id and f.ts <= a.ts
                             group by a.symbol, a.ts, v.level_id, v.price, v.initial_type)
               select (select count(*) from states) as got, (select count(*) from want) as want,
                      (select sum(case when l['type'] = 'resistance' then l['price'] else 0 end) from states) as got_r,
                      (select sum(case when (initial_type = 'resistance') = (n % 2 = 0) then price else 0 end) from want) as want_r";
    let got = query(&session, sql).await;
    assert!(numbers(&got, "got")[0] > 1000.0);
    assert_eq!(numbers(&got, "got"), numbers(&got, "want"));
    assert_close(&numbers(&got, "got_r"), &numbers(&got, "want_r"), "resistances");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_levels_work_like_those_that_are_found() {
    let session = session().await;
    let register = |name: &str, sql: String| {
        let session = &session;
        let name = name.to_string();
        async move {
            let batch = query(session, &sql).await;
            session.context().register_batch(&name, batch).unwrap();
        }
    };
    register("my_levels", "select * from levels('4h')".to_string()).await;
    register("my_events", "select level_id, ts, event from level_events('4h')".to_string()).await;
    let sql = |levels: &str| {
        format!("select count(*) as n, sum(cardinality(levels)) as c, sum(nearest_support(levels, close)) as s,
                        sum(nearest_resistance(levels, close)) as r from label_path('4h', own_bars => true, levels => {levels})")
    };
    let own = query(&session, &sql("'auto'")).await;
    let told = query(&session, &sql("'my_levels', events => 'my_events'")).await;
    for column in ["n", "c", "s", "r"] {
        assert_close(&numbers(&told, column), &numbers(&own, column), column);
    }
    let said = crate::common::try_query(&session, &sql("'candles_4h'")).await.unwrap_err().to_string();
    assert!(said.contains("no column `level_id`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn level_labels_worked_by_hand() {
    let quiet = |i: i64| bar(i * HOUR, 100.5, 99.5, 100.0);
    let mut bars: Vec<Candle> = (0..15).map(quiet).collect();
    // Resistance 102: touched, broken, tested again from above.
    for (h, l, c) in [(101.0, 100.0, 100.8), (102.0, 101.0, 101.5), (102.5, 101.5, 102.4), (102.6, 102.05, 102.5)] {
        bars.push(bar(bars.len() as i64 * HOUR, h, l, c));
    }
    let session = session().await;
    session.context().register_batch("bars", to_batch(&[("X".to_string(), bars)].into())).unwrap();
    let levels = "make_array(named_struct('price', 102.0, 'type', 'resistance'), named_struct('price', 98.0, 'type', 'support'))";
    let sql = format!(
        "select l['level_touch_bars'] as touches, l['level_touch_events'] as events, l['longest_touch_run'] as run,
                l['breakout'] as breakout, l['breakout_bars'] as bars, l['breakout_distance'] as distance, l['flip'] as flip,
                l['max_penetration'] as depth, l['nearest_support'] as s, l['resistance_distance'] as r,
                l['next_touch_bars'] as next
         from (select ts, level_labels(high, low, close, horizon => 4, levels => {levels}) as l from bars)
         order by ts limit 1 offset 14"
    );
    let got = query(&session, &sql).await;
    let value = |column: &str| numbers(&got, column)[0];
    assert_eq!((value("touches"), value("events"), value("run")), (3.0, 1.0, 3.0));
    assert_eq!((value("breakout"), value("bars"), value("flip")), (1.0, 3.0, 1.0));
    assert!((value("distance") - 0.5 / 102.0).abs() < 1e-12 && (value("depth") - 0.6 / 102.0).abs() < 1e-12);
    assert_eq!((value("s"), value("r"), value("next")), (98.0, 2.0, 2.0));
    let said = crate::common::try_query(&session, "select level_labels(horizon => 4) as l from bars").await;
    assert!(said.unwrap_err().to_string().contains("needs the active levels"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_training_set_keeps_folds_apart() {
    let session = session().await;
    let queries = tallow::named_queries(None).unwrap();
    let training = queries.find("training_set").unwrap();
    let params = training.complete(&Default::default()).unwrap();
    let frame = session.sql_with(&training.sql, &params).await.unwrap();
    session.context().register_table("train", frame.into_view()).unwrap();
    let sql = "select count(*) as n, count(fold) as kept, count(distinct fold) as folds, min(uniqueness) as low,
                      max(uniqueness) as high, avg(return_attribution) as mean from train";
    let got = query(&session, sql).await;
    let value = |column: &str| numbers(&got, column)[0];
    assert!(value("n") > 500_000.0 && value("kept") > 0.9 * value("n") && value("kept") < value("n"));
    assert_eq!(value("folds"), 5.0);
    assert!(value("low") > 0.0 && value("high") <= 1.0);
    // No label of one fold reaches into the time of another.
    let sql = "with spans as (select fold, min(ts) as first, max(ts) as last, max(available_at) as known from train
                              where fold is not null group by fold)
               select count(*) as n from spans a join spans b on a.fold < b.fold where a.known > b.first";
    assert_eq!(numbers(&query(&session, sql).await, "n")[0], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_horizon_mask_of_booleans_is_no_number() {
    let session = session().await;
    let flags = BooleanArray::from(vec![true; 3]);
    let batch = RecordBatch::try_from_iter([("flag", Arc::new(flags) as ArrayRef)]).unwrap();
    session.context().register_batch("flags", batch).unwrap();
    for (arguments, expected) in [
        ("horizon => 0", "expected a whole number from 1 to 1000"),
        ("tie => 'left'", "expected one of"),
        ("clock => 'wall_clock'", "needs the timeframe"),
        ("clock => 'wall_clock', timeframe => '1mo'", "whose length varies"),
        ("horizn => 3", "did you mean `horizon`?"),
        ("entry => close", "expected a series of booleans"),
    ] {
        let sql = format!("select triple_barrier(high, low, close, {arguments}) from candles");
        let said = crate::common::try_query(&session, &sql).await.unwrap_err().to_string();
        assert!(said.contains(expected), "{arguments}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_wall_clock_a_horizon_without_bars_tells_nothing_and_silence_is_known_when_it_is_over() {
    let bars: Vec<Candle> = (0..16).chain([40, 41]).map(|h| bar(h * HOUR, 100.5, 99.5, 100.0)).collect();
    let session = session().await;
    session.context().register_batch("bars", to_batch(&[("X".to_string(), bars)].into())).unwrap();
    let sql = "select l['label'] as label, arrow_cast(l['available_at'], 'Int64') as at
               from (select ts, triple_barrier(high, low, close, horizon => 3, clock => 'wall_clock', timeframe => '1h',
                                               close_time => bar_end(ts, '1h')) as l from bars) order by ts limit 2 offset 14";
    let got = query(&session, sql).await;
    // Bar 14 has one more bar within three hours, bar 15 none.
    assert_eq!(numbers(&got, "label")[0], 0.0);
    assert_eq!(numbers(&got, "at")[0], (18 * HOUR) as f64);
    assert!(numbers(&got, "label")[1].is_nan() && numbers(&got, "at")[1].is_nan());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_rule_puts_barriers_just_before_the_levels() {
    let session = session().await;
    let mut run = LabelRun::new("4h".parse().unwrap());
    run.seed = true;
    assert!(run.sql(session.lake()).await.unwrap_err().to_string().contains("the option `levels"));
    run.levels = Some(tallow::pipeline::levels::Source::Auto(Default::default()));
    run.labels = vec!["triple_barrier".to_string()];
    let sql = format!(
        "select count(*) as n, count(*) filter (where abs(r.upper / (p.r * 0.999) - 1) > 1e-9) as off_r,
                count(*) filter (where abs(r.lower / (p.s * 1.001) - 1) > 1e-9) as off_s,
                count(r.upper) as uppers, count(r.lower) as lowers
         from ({}) r
         join (select symbol, ts, nearest_resistance(levels, price) as r, nearest_support(levels, price) as s
               from label_path('4h', levels => 'auto', own_bars => true)) p on r.symbol = p.symbol and r.ts = p.ts",
        run.sql(session.lake()).await.unwrap()
    );
    let got = query(&session, &sql).await;
    let value = |column: &str| numbers(&got, column)[0];
    assert!(value("uppers") > 0.5 * value("n") && value("lowers") > 0.5 * value("n"), "{got:?}");
    assert_eq!((value("off_r"), value("off_s")), (0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn widths_of_a_run_are_those_of_the_function() {
    let session = session().await;
    for (width, arguments) in [
        (("width", "pct"), "width => 'pct'"),
        (("width", "sigma"), "width => 'sigma'"),
        (("timeperiod", "50"), "timeperiod => 50"),
    ] {
        let mut run = LabelRun::new("4h".parse().unwrap());
        run.labels = vec!["triple_barrier".to_string()];
        run.params.insert(width.0.to_string(), width.1.to_string());
        let sql = run.sql(session.lake()).await.unwrap();
        let told =
            query(&session, &format!("select sum(label) as s, sum(upper) as u, count(label) as n from ({sql})")).await;
        let own = format!(
            "select sum(l['label']) as s, sum(l['upper']) as u, count(l['label']) as n
             from (select triple_barrier(high, low, close, horizon => 6, {arguments}) as l from candles_4h)"
        );
        let own = query(&session, &own).await;
        for column in ["s", "u", "n"] {
            assert_close(&numbers(&told, column), &numbers(&own, column), &format!("{width:?} {column}"));
        }
    }
}
