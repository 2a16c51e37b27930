//! Work ends when nobody waits for it: also where an operator goes through one batch for long, and where it is stuck.
//!
//! Every test waits for an event: the function `begun` tells that the plan has come to its work, which is hours of it.

use crate::common::{START, batch, settings, walk, write_parquet};
use crate::similarity::Random;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::{FutureExt, StreamExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tallow::pipeline::control::Control;
use tallow::pipeline::outcome::Ended;
use tallow::pipeline::scan::Scan;
use tallow::pipeline::search::{Pattern, SearchOptions, search};
use tallow::{Session, Settings};
use tallow_engine::dialect::Formula;
use tallow_udfs::similarity::reference::{Channels, Reference};
use tallow_udfs::similarity::search::{Search, Windowing, Worker};
use tokio::sync::Notify;

/// A test that takes longer has failed: the work goes on.
const HANGS: Duration = Duration::from_secs(120);

/// A session with so many threads, in which `begun(x)` is x; called, it tells so and does something else besides.
async fn telling(threads: usize, besides: impl Fn() + Send + Sync + 'static) -> (Session, Arc<Notify>) {
    let session = tallow::open(Settings { threads, ..settings() }).await.unwrap();
    let (begun, besides) = (Arc::new(Notify::new()), Arc::new(besides));
    for (name, kind) in [("begun", DataType::Float64), ("begun_int", DataType::Int64)] {
        let (tell, besides) = (Arc::clone(&begun), Arc::clone(&besides));
        let told = move |args: &[ColumnarValue]| {
            tell.notify_one();
            besides();
            Ok(args[0].clone())
        };
        let udf = create_udf(name, vec![kind.clone()], kind, Volatility::Immutable, Arc::new(told));
        session.context().register_udf(udf);
    }
    (session, begun)
}

/// Bars of one symbol, a minute each.
fn minutes(bars: usize) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values((0..bars as i64).map(|i| START + i * 60_000_000));
    RecordBatch::try_from_iter([
        ("symbol", Arc::new(StringArray::from(vec!["A"; bars])) as ArrayRef),
        ("ts", Arc::new(times.with_timezone("UTC"))),
        ("close", Arc::new(Float64Array::from(Random(7).walk(bars)))),
    ])
    .unwrap()
}

/// Runs a frame until its work has begun, drops it, and waits until the session's only thread is free again.
async fn dropped(session: &Session, begun: &Notify, frame: datafusion::prelude::DataFrame) {
    let plan = session.plan(frame).await.unwrap();
    // What an earlier one told.
    let _ = begun.notified().now_or_never();
    let stream = session.execute(plan).unwrap();
    tokio::time::timeout(HANGS, begun.notified()).await.expect("it did not begin");
    drop(stream);
    let free = session.engine().spawn(async {}).unwrap();
    tokio::time::timeout(HANGS, free).await.expect("it went on").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_goes_through_all_pairs_ends_when_it_is_dropped() {
    let (session, begun) = telling(1, || ()).await;
    // Every row of one side has every row of the other as a partner, or none for its filter.
    let (left, right) = ("generate_series(1, 3000000) a", "generate_series(1, 3000000) b");
    for condition in [
        format!("from {left} where value / 10000000 not in (select begun_int(value) / 10000000 from {right})"),
        format!("from {left} where value / 10000000 in (select begun_int(value) / 10000000 from {right})"),
        format!("from {left} join {right} on a.value / 10000000 = begun_int(b.value) / 10000000"),
        format!("from {left} join {right} on a.value * begun_int(b.value) < 0"),
        format!("from {left} where exists (select 1 from {right} where a.value * begun_int(b.value) < 0)"),
        format!("from {left} cross join (select begun_int(value) as value from {right}) c where c.value > 0"),
    ] {
        let frame = session.sql(&format!("select count(*) as n {condition}")).await;
        dropped(&session, &begun, frame.unwrap_or_else(|e| panic!("{condition}\n{e}"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn indicators_of_a_long_series_end_when_they_are_dropped() {
    let (session, begun) = telling(1, || ()).await;
    session.context().register_batch("bars", minutes(60_000)).unwrap();
    let calls: Vec<_> = (20_000..20_500).map(|n| format!("linearreg(close, {n}) as l{n}")).collect();
    let sql = format!("select {} from (select symbol, ts, begun(close) as close from bars)", calls.join(", "));
    let frame = session.sql(&sql).await.unwrap();
    dropped(&session, &begun, frame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ends_when_it_is_dropped() {
    let (session, begun) = telling(1, || ()).await;
    session.context().register_batch("bars", minutes(1_000_000)).unwrap();
    let closes = Random(11).walk(2_000);
    let pattern = Pattern { id: "long".to_string(), closes, lead: 0, origin: None, timeframe: None };
    let bars = session.sql("select symbol, ts, begun(close) as close from bars").await.unwrap();
    let found = search(bars, &[pattern], &SearchOptions::default()).unwrap();
    dropped(&session, &begun, found).await;
}

#[test]
fn a_worker_that_is_stopped_leaves_the_rest_of_its_symbol() {
    let reference = Reference::new(&Random(3).walk(60), 0, Channels::PRICE, &[1.0, 1.1]).unwrap();
    let closes = Random(5).walk(200_000);
    let times: Vec<i64> = (0..closes.len() as i64).collect();
    let compared = |most: usize| {
        let search = Search::new(reference.clone(), Windowing::History, 3, None);
        let asked = AtomicUsize::new(0);
        let mut worker = Worker::default().stopped_by(move || asked.fetch_add(1, Ordering::Relaxed) >= most);
        worker.symbol(&search, "A", &times, &closes);
        worker.stages.whole
    };
    assert!(compared(usize::MAX) > 300_000);
    // It asks for every window that the bounds are tried on, and then for every lot.
    assert_eq!(compared(100), 0);
    let some = compared(closes.len() - reference.length + 12);
    assert!((1..100_000).contains(&some), "{some}");
}

/// Holds threads until it is dropped.
#[derive(Default)]
struct Held(Arc<(Mutex<bool>, Condvar)>);

impl Held {
    fn hold(&self) -> impl Fn() + Send + Sync + 'static {
        let held = Arc::clone(&self.0);
        move || drop(held.1.wait_while(held.0.lock().unwrap(), |free| !*free).unwrap())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_is_stuck_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("bars.parquet");
    let names: Vec<String> = (0..40).map(|i| format!("S{i:02}")).collect();
    write_parquet(&table, &batch(&walk(&names.iter().map(String::as_str).collect::<Vec<_>>(), 500)), 1_000);
    let table = table.display().to_string();
    let scan = Scan { table, ..Scan::of(Formula::parse("begun(close) > 0").unwrap()) };

    for timeout in [None, Some(Duration::from_secs(1))] {
        let held = Held::default();
        // All of its threads are held.
        let (session, begun) = telling(2, held.hold()).await;
        let control = timeout.map_or_else(Control::default, |time| Control::default().within(time));
        let cancel = control.cancel.clone();
        let run = async {
            let mut found = scan.run(&session, &control).await.unwrap();
            assert!(found.stream.next().await.is_none(), "a stuck scan has no matches");
            found.statistics.scan()
        };
        let ended = async {
            if timeout.is_none() {
                begun.notified().await;
                cancel.cancel();
            }
        };
        let (summary, ()) = tokio::time::timeout(HANGS, futures::future::join(run, ended)).await.expect("it went on");
        let how = if timeout.is_none() { Ended::Cancelled } else { Ended::TimedOut };
        // Time may be over before it has come to be stuck.
        let is_stuck = timeout.is_none() || begun.notified().now_or_never().is_some();
        assert_eq!((summary.ended, summary.given_up, summary.matches), (how, is_stuck, 0));
    }
}
