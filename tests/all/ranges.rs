//! Ranges: the rows of a range are those of the whole history, wherever it begins, and however little is read before it.

use crate::common::{Bar, DAY, START, batch, numbers, query, session, walk};
use crate::interpreter::Dice;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow::Params;
use tallow::Session;
use tallow::pipeline::bounds::{Range, bounded};
use tallow_common::time::instant;

/// The rows of a query in a range.
async fn in_range(session: &Session, sql: &str, params: &Params, range: Range) -> RecordBatch {
    let frame = session.sql_with(sql, params).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let frame = bounded(session, frame, range).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let batches = session.collect(frame).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    concat_batches(&batches.first().map_or(schema, RecordBatch::schema), &batches).unwrap()
}

/// The times of rows.
fn times(rows: &RecordBatch) -> Vec<i64> {
    let times = cast(rows.column_by_name("ts").unwrap(), &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    times.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// A number that looks back one bar, or a few that are made of such.
fn number(dice: &mut Dice, depth: usize) -> String {
    const FIELDS: [&str; 5] = ["open", "high", "low", "close", "volume"];
    if depth == 0 {
        return FIELDS[dice.below(5)].to_string();
    }
    let kind = dice.below(16);
    let x = number(dice, depth - 1);
    match kind {
        0 => format!("lag({x}, 1)"),
        1 => format!("mom({x}, 1)"),
        2 => format!("sma({x}, 2)"),
        3 => format!("hma({x}, 2)"),
        4 => format!("highest({x}, 2)"),
        5 => format!("lowest({x}, 3)"),
        6 => format!("wma({x}, 2)"),
        7 => "trange()".to_string(),
        8 => "cci(2)".to_string(),
        9 => "willr(2)".to_string(),
        10 => "log_return(close, 1)".to_string(),
        11 => "cast(crosses_above(close, open) as double)".to_string(),
        12 => format!("lead({x}, 1)"),
        13 => format!("lag({x}, 2)"),
        14 => format!("({x} + {})", number(dice, depth - 1)),
        _ => format!("({x} - {})", number(dice, depth - 1)),
    }
}

/// Bars with holes in time, and symbols that begin and end at other times.
fn holes() -> Vec<Bar> {
    let kept = |bar: &Bar| match bar.0.as_str() {
        "B" => bar.1 % 7 != 3,
        "C" => bar.1 >= 40,
        "D" => bar.1 < 55,
        _ => true,
    };
    walk(&["A", "B", "C", "D"], 90).into_iter().filter(kept).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_looks_back_one_bar_is_the_same_in_a_range() {
    let session = session().await;
    session.context().register_batch("bars", batch(&holes())).unwrap();
    let mut dice = Dice::new(13);
    let each = ["lag(close, 1)", "mom(close, 1)", "sma(2)", "trange()", "cci(2)", "willr(2)", "log_return(close, 1)"];
    let each =
        each.into_iter().chain(["hma(close, 2)", "cast(crosses_above(close, open) as double)", "lead(close, 1)"]);
    let random = (0..40).map(|_| number(&mut dice, 3)).collect::<Vec<_>>();
    let mut rows = 0;
    for (i, expression) in each.map(str::to_string).chain(random).enumerate() {
        let sql = format!("select symbol, ts, {expression} as x from bars order by symbol, ts");
        let whole = query(&session, &sql).await;
        let from = START + DAY * (5 + (i as i64 * 11) % 60);
        let all = |rows: &RecordBatch| times(rows).into_iter().zip(numbers(rows, "x")).collect::<Vec<_>>();
        for range in [
            Range { from: Some(from), to: None },
            Range { from: None, to: Some(from) },
            Range { from: Some(from), to: Some(from + 9 * DAY) },
        ] {
            let part = all(&in_range(&session, &sql, &Params::default(), range).await);
            let (low, high) = (range.from.unwrap_or(i64::MIN), range.to.unwrap_or(i64::MAX));
            let whole = all(&whole);
            let scale = whole.iter().filter(|(_, x)| x.is_finite()).fold(1.0_f64, |most, (_, x)| most.max(x.abs()));
            let want: Vec<_> = whole.into_iter().filter(|(ts, _)| (low..high).contains(ts)).collect();
            assert_eq!(part.len(), want.len(), "{expression} in {range:?}");
            rows += part.len();
            for ((at, got), (_, want)) in part.iter().zip(&want) {
                let same = (got - want).abs() <= 1e-9 * scale || got.is_nan() && want.is_nan();
                assert!(same, "{expression} in {range:?}, at {at}: {got} and {want}");
            }
        }
    }
    assert!(rows > 10_000, "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folds_divide_the_days_of_the_range() {
    let session = session().await;
    let queries = tallow::named_queries(None).unwrap();
    let set = queries.find("training_set").unwrap();
    let params = set.complete(&Params::default()).unwrap();
    let (from, to) = (instant("2015-03-01").unwrap(), instant("2017-03-01").unwrap());
    let rows = in_range(&session, &set.sql, &params, Range { from: Some(from), to: Some(to) }).await;
    assert_eq!(*rows.column_by_name("fold").unwrap().data_type(), DataType::Int32);
    assert!(rows.column_by_name("natr_14").is_some() && rows.column_by_name("atr_14").is_none());
    let mut days: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for (ts, fold) in times(&rows).into_iter().zip(numbers(&rows, "fold")).filter(|(_, fold)| !fold.is_nan()) {
        days.entry(fold as i64).or_default().insert(ts);
    }
    // The range has 504 days, of which each fold leaves out some at its beginning.
    let counts: Vec<usize> = days.values().map(BTreeSet::len).collect();
    assert_eq!(days.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(counts.iter().all(|n| (90..=101).contains(n)), "{counts:?}");
    assert!(days[&0].first().unwrap() - from < 10 * DAY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subquery_sees_the_range_where_it_asks_for_it() {
    let session = session().await;
    let sql = "select ts, n from (select distinct ts from candles) cross join \
               (select count(distinct ts) as n from candles where in_range(ts)) order by ts";
    let range = Range { from: Some(instant("2017-01-01").unwrap()), to: Some(instant("2017-02-01").unwrap()) };
    let rows = in_range(&session, sql, &Params::default(), range).await;
    assert_eq!((rows.num_rows(), numbers(&rows, "n")[0]), (20, 20.0));
    // Without a range, every time is in it.
    let rows = query(&session, sql).await;
    assert_eq!((rows.num_rows(), numbers(&rows, "n")[0]), (1259, 1259.0));
    let sql = "select symbol, ts, in_range(ts) as inside from candles where symbol = 'AAPL' order by ts";
    let rows = in_range(&session, sql, &Params::default(), range).await;
    assert_eq!(numbers(&rows, "inside"), vec![1.0; 20]);
}
