//! Every point at which a job can be killed: after each of them, the same job run again gives what it gives undisturbed.
//!
//! A store that stops working after its n-th write leaves what a process leaves that is killed there: nothing that comes after is
//! done, neither the commit nor the tidying up. n goes from 0 up until the job runs through.

use crate::common::{DAY, START, query, settings};
use crate::live::options;
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt::{Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tallow::live::{Live, LiveOptions};
use tallow::pipeline::incremental::{Definition, Pipeline, RunOptions};
use tallow::pipeline::label::LabelRun;
use tallow::pipeline::maintenance;
use tallow::pipeline::resample::Resample;
use tallow::{Control, Session, Settings};
use tallow_lake::IngestOptions;
use tokio_util::sync::CancellationToken;

/// So many writes work.
#[derive(Debug, Clone)]
struct Left(Arc<AtomicI64>);

impl Left {
    fn take(&self) -> Result<()> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(object_store::Error::Generic { store: "killed", source: "the process is gone".into() })
    }

    fn is_gone(&self) -> bool {
        self.0.load(Ordering::SeqCst) < 0
    }
}

#[derive(Debug)]
struct Killed {
    inner: Arc<InMemory>,
    left: Left,
}

impl Display for Killed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Killed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.left.take()?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(KilledUpload { inner, left: self.left.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let left = self.left.clone();
        self.inner.delete_stream(locations.map(move |path| left.take().and(path)).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.left.take()?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.left.take()?;
        self.inner.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct KilledUpload {
    inner: Box<dyn MultipartUpload>,
    left: Left,
}

#[async_trait]
impl MultipartUpload for KilledUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.left.take() {
            Ok(()) => self.inner.put_part(data),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.left.take()?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.left.take()?;
        self.inner.abort().await
    }
}

/// A session over the lake in a store of which so many writes work.
async fn session(store: &Arc<InMemory>, writes: i64) -> (Session, Left) {
    let left = Left(Arc::new(AtomicI64::new(writes)));
    let killed: Arc<dyn ObjectStore> = Arc::new(Killed { inner: Arc::clone(store), left: left.clone() });
    let url = "memory://lake/".parse().unwrap();
    let stores = vec![(url, killed)];
    (tallow::open(Settings { lake: "memory://lake/market".to_string(), stores, ..settings() }).await.unwrap(), left)
}

async fn undisturbed(store: &Arc<InMemory>) -> Session {
    session(store, i64::MAX).await.0
}

/// Bars of some days, a file each delivery.
fn delivery(folder: &std::path::Path, name: &str, days: std::ops::Range<i64>, scale: f64) -> IngestOptions {
    let mut text = "symbol,ts,open,high,low,close,volume\n".to_string();
    for symbol in ["A", "B", "C"] {
        for day in days.clone() {
            let close = scale * (50.0 + ((day * 37 + symbol.len() as i64) % 17) as f64);
            let ts = START + day * DAY;
            text += &format!("{symbol},{ts},{close},{},{},{close},100\n", close + 1.0, close - 1.0);
        }
    }
    // A row that is rejected.
    text += &format!("D,{},1,0,2,1,1\n", START + days.start * DAY);
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() }
}

async fn ingest(session: &Session, options: &IngestOptions) -> tallow::Result<()> {
    session.ingest("1d".parse().unwrap(), options.clone(), &Control::default()).await.map(|_| ())
}

/// What is done.
enum Job {
    Ingest(IngestOptions),
    Run(Pipeline, RunOptions),
    Optimize(&'static str),
    Vacuum(&'static str),
}

impl Job {
    async fn run(&self, session: &Session) -> tallow::Result<()> {
        match self {
            Job::Ingest(options) => ingest(session, options).await,
            Job::Run(pipeline, options) => pipeline.run(session, *options, &Control::default()).await.map(|_| ()),
            Job::Optimize(table) => maintenance::optimize(session, table, None, &Control::default()).await.map(|_| ()),
            Job::Vacuum(table) => {
                maintenance::vacuum(session, table, chrono::Duration::zero(), false).await.map(|_| ())
            }
        }
    }
}

fn pipeline(name: &str, definition: Definition, into: &str) -> Pipeline {
    Pipeline { name: name.to_string(), definition, into: into.to_string() }
}

async fn contents(session: &Session, tables: &[&str]) -> Vec<String> {
    let mut all = vec![];
    for table in tables {
        let key = if table.starts_with("quarantine") { "source, line" } else { "symbol, ts" };
        let rows: RecordBatch = query(session, &format!("select * from {table} order by {key}")).await;
        // When a row was rejected differs.
        let columns = rows.num_columns().min(if table.starts_with("quarantine") { 4 } else { usize::MAX });
        let rows = rows.project(&(0..columns).collect::<Vec<_>>()).unwrap();
        all.push(pretty_format_batches(&[rows]).unwrap().to_string());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_killed_anywhere_and_run_again_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    // Before: a lake with two deliveries, whose tables are up to date, and a third that they do not know yet.
    let store = Arc::new(InMemory::new());
    let before = undisturbed(&store).await;
    let sql = "select symbol, ts, sma(3) as s, lead(close, 2) as c from candles";
    let results = pipeline("results", Definition::query(sql), "results");
    let labels =
        pipeline("labels", Definition::Label(LabelRun { horizon: 3, ..LabelRun::new("1d".parse().unwrap()) }), "1d");
    let weeks = pipeline("weeks", Definition::Resample(Resample::of("1w".parse().unwrap())), "1w");
    for (name, days) in [("1.csv", 0..30), ("2.csv", 30..33)] {
        ingest(&before, &delivery(folder.path(), name, days, 1.0)).await.unwrap();
        for pipeline in [&results, &labels, &weeks] {
            pipeline.run(&before, RunOptions::default(), &Control::default()).await.unwrap();
        }
    }
    ingest(&before, &delivery(folder.path(), "3.csv", 31..36, 1.5)).await.unwrap();
    let more = delivery(folder.path(), "4.csv", 34..40, 2.0);
    let steps = RunOptions { full: true, symbols_a_step: Some(1) };
    let plain = RunOptions::default();
    let jobs: [(&str, Job, &[&str]); 7] = [
        ("ingest", Job::Ingest(more), &["candles_1d", "quarantine_1d"]),
        ("pipeline", Job::Run(results.clone(), plain), &["results_results"]),
        ("full run in steps", Job::Run(results, steps), &["results_results"]),
        ("label", Job::Run(labels, plain), &["labels_1d"]),
        ("resample", Job::Run(weeks, plain), &["candles_1w"]),
        ("optimize", Job::Optimize("results_results"), &["results_results"]),
        ("vacuum", Job::Vacuum("candles_1d"), &["candles_1d"]),
    ];
    for (name, job, tables) in jobs {
        let whole = Arc::new(store.fork());
        job.run(&undisturbed(&whole).await).await.unwrap();
        let expected = contents(&undisturbed(&whole).await, tables).await;
        let mut points = 0;
        loop {
            let copy = Arc::new(store.fork());
            let (killed, left) = session(&copy, points).await;
            let ended = job.run(&killed).await;
            if !left.is_gone() {
                ended.unwrap();
                break;
            }
            // Whether it was told that it failed does not matter: it is gone.
            let after = undisturbed(&copy).await;
            job.run(&after).await.unwrap_or_else(|error| panic!("{name}, killed at write {points}: {error}"));
            let got = contents(&undisturbed(&copy).await, tables).await;
            assert!(got == expected, "{name}, killed at write {points}");
            points += 1;
        }
        println!("{name}: {points} points");
        assert!(points > 0, "{name} writes nothing");
    }
}

/// A live run over the lake that a session opens, from its start to its end; how many candles it accepted.
async fn live(session: Session, journal: &std::path::Path, lines: &str) -> tallow::Result<usize> {
    let text = "select symbol, ts, sma(3) as s, ema(5) as e from candles";
    let mut settings = tallow::live::Settings::default();
    settings.durable = tallow::live::Durable::Batch;
    let kept = LiveOptions {
        keeps_results: true,
        keeps_candles: true,
        known_until: None,
        // What cannot be written by then is left to the next run.
        drain: std::time::Duration::from_secs(1),
        settings,
        ..options(journal)
    };
    let session = Arc::new(session);
    let run = Live::open(Arc::clone(&session), &pipeline("results", Definition::query(text), "results"), kept).await?;
    let (door, stop) = (run.door().unwrap(), CancellationToken::new());
    let (feed, stopped) = ("http://127.0.0.1:0".parse().unwrap(), stop.clone());
    let running =
        session.engine().spawn(async move { run.run(&[feed], Box::new(tallow::live::Nobody), stopped).await })?;
    let accepted = match lines.is_empty() {
        true => 0,
        false => door.submit(lines.as_bytes()).await?.accepted,
    };
    stop.cancel();
    running.await.unwrap()?;
    Ok(usize::try_from(accepted).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_that_is_killed_anywhere_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(InMemory::new());
    let before = undisturbed(&store).await;
    ingest(&before, &delivery(folder.path(), "1.csv", 0..30, 1.0)).await.unwrap();
    let mut lines = String::new();
    for day in 28..36 {
        for symbol in ["A", "B", "C"] {
            // The first two are corrections.
            let close = 40.0 + ((day * 31 + symbol.len() as i64) % 19) as f64;
            let ts = (START + day * DAY) / 1_000_000;
            let (high, low) = (close + 1.0, close - 1.0);
            lines += &serde_json::json!({"symbol": symbol, "ts": ts, "open": close, "high": high, "low": low,
                "close": close, "volume": 100})
            .to_string();
            lines += "\n";
        }
    }
    let tables = ["candles_1d", "results_results"];
    let journal = |of: &str| folder.path().join(of);
    let whole = Arc::new(store.fork());
    assert_eq!(live(undisturbed(&whole).await, &journal("whole"), &lines).await.unwrap(), 24);
    let expected = contents(&undisturbed(&whole).await, &tables).await;
    let mut points = 0;
    loop {
        let (copy, journal) = (Arc::new(store.fork()), journal(&points.to_string()));
        let (killed, left) = session(&copy, points).await;
        let accepted = live(killed, &journal, &lines).await;
        if !left.is_gone() {
            break;
        }
        // What was accepted is not sent again.
        let rest = if accepted.is_ok() { "" } else { lines.as_str() };
        live(undisturbed(&copy).await, &journal, rest).await.unwrap();
        let got = contents(&undisturbed(&copy).await, &tables).await;
        assert!(got == expected, "killed at write {points}");
        points += 1;
    }
    println!("live run: {points} points");
    assert!(points > 4, "{points}");
}
