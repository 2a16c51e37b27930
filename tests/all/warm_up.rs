//! A range gives the rows of the whole history, whatever the bars before it look like.

use crate::common::{DAY, START, numbers, session};
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use std::sync::Arc;
use tallow::Session;
use tallow::pipeline::bounds::{Range, bounded};

const BARS: usize = 3000;

/// One symbol's bars: open, high, low, close, volume by bar.
type Bars = Vec<[Option<f64>; 5]>;

/// Bars from closes: a range of a hundredth around a close that moved, none around one that did not.
fn around(closes: impl Iterator<Item = f64>) -> Bars {
    let mut before = f64::NAN;
    let bar = |close: f64| {
        let wide = if close == before { 0.0 } else { 0.01 * close };
        let volume = if close == before { 0.0 } else { (close * 1e4).round() };
        before = close;
        [close - 0.3 * wide, close + wide, close - wide, close, volume].map(Some)
    };
    closes.map(bar).collect()
}

fn walk(bar: usize) -> f64 {
    let x = bar as f64;
    100.0 + 10.0 * (x * 0.037).sin() + 3.0 * (x * 1.7).cos() + 2.0 * (x * 0.61).sin()
}

/// Symbols that try what a start may hide: long stretches at one price, steps, coarse prices, a steady rise, no volume.
fn trials() -> RecordBatch {
    let still = |bar: usize| if (1200..2700).contains(&bar) { 1200 } else { bar };
    let without_volume = |mut bar: [Option<f64>; 5]| {
        bar[4] = None;
        bar
    };
    let symbols: [(&str, Bars); 6] = [
        ("COARSE", around((0..BARS).map(|i| (walk(i) / 5.0).round() * 5.0))),
        ("NOVOLUME", around((0..BARS).map(walk)).into_iter().map(without_volume).collect()),
        ("RISE", around((0..BARS).map(|i| if i < 900 { walk(i) } else { 120.0 + 0.01 * i as f64 }))),
        ("STEPS", around((0..BARS).map(|i| 100.0 + ((i / 400) % 3) as f64))),
        ("STILL", around((0..BARS).map(|i| walk(still(i))))),
        ("WALK", around((0..BARS).map(walk))),
    ];
    let names: StringArray = symbols.iter().flat_map(|(name, _)| std::iter::repeat_n(Some(*name), BARS)).collect();
    let days = symbols.iter().flat_map(|_| (0..BARS as i64).map(|day| START + day * DAY));
    let column = |i: usize| -> ArrayRef {
        Arc::new(symbols.iter().flat_map(|(_, bars)| bars.iter().map(move |bar| bar[i])).collect::<Float64Array>())
    };
    RecordBatch::try_from_iter([
        ("symbol", Arc::new(names) as ArrayRef),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(days).with_timezone("UTC"))),
        ("open", column(0)),
        ("high", column(1)),
        ("low", column(2)),
        ("close", column(3)),
        ("volume", column(4)),
    ])
    .unwrap()
}

async fn rows(session: &Session, sql: &str, range: Range) -> RecordBatch {
    let frame = bounded(session, session.sql(sql).await.unwrap(), range).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = session.collect(frame).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// Compares an expression over several ranges with the same rows of the whole history.
async fn check(session: &Session, expression: &str) {
    let sql = format!("select symbol, ts, cast({expression} as double) as x from trials order by symbol, ts");
    let whole = rows(session, &sql, Range::default()).await;
    let times = whole["ts"].as_primitive::<arrow::datatypes::TimestampMicrosecondType>().values().to_vec();
    let all = numbers(&whole, "x");
    let scale = all.iter().filter(|v| v.is_finite()).fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (from, to) in [(1, 9), (1250, 1280), (2650, 2720), (2990, BARS as i64)] {
        let (from, to) = (START + from * DAY, START + to * DAY);
        let part = rows(session, &sql, Range { from: Some(from), to: Some(to) }).await;
        let want: Vec<f64> = all.iter().zip(&times).filter(|(_, t)| (from..to).contains(t)).map(|(v, _)| *v).collect();
        let got = numbers(&part, "x");
        assert_eq!(got.len(), want.len(), "{expression}: rows");
        for (row, (got, want)) in got.iter().zip(&want).enumerate() {
            let same = got.is_nan() && want.is_nan() || (got - want).abs() <= 1e-9 * scale;
            assert!(same, "{expression}, row {row} from day {}: {got}, not {want}", (from - START) / DAY);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_forget_its_start_is_computed_from_the_start() {
    let session = session().await;
    session.context().register_batch("trials", trials()).unwrap();
    for expression in [
        "mama().mama",
        "rsi(14)",
        "rsi(volume, 14)",
        "cmo(14)",
        "adx(14)",
        "plus_di(14)",
        "stochrsi().fastk",
        "rsi(highest(high, 250), 5)",
        "cmo(highest(close, 300), 3)",
        "rsi(cast(cdldoji() as double), 5)",
        "ema(highest(high, 250), 5)",
        "sma(case when close > open then close end, 20)",
        "sma(close / (close - open), 20)",
        "ema(volume, 10)",
        "atr(14)",
        "kama(close, 10)",
        "vidya(close, 9)",
        "rsi(sma(close, 20), 5)",
        "rsi(cast(close / 50 as int), 5)",
        "rsi(cast(close as int), 5)",
        "mfi(14)",
        "macd(12, 26, 9).macdhist",
    ] {
        check(&session, expression).await;
    }
}
