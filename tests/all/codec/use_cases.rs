//! The plans of use-cases travel: every plan that a session makes is written, read in another one, and run as it was read.

use super::{rows, session_of, shown, travels_in};
use crate::common::{DAY, START, batch, query, settings, walk, write_labels, write_parquet};
use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::TryStreamExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tallow::pipeline::codec;
use tallow::pipeline::control::Control;
use tallow::pipeline::incremental::{Definition, Extent, Pipeline, RunOptions};
use tallow::pipeline::label::LabelRun;
use tallow::pipeline::levels::{Detection, Source};
use tallow::pipeline::matching::{Found, Look, Match, MatchEvent};
use tallow::pipeline::materialize::result_table;
use tallow::pipeline::outcome::{ScanStatistics, Skipped};
use tallow::pipeline::patterns;
use tallow::pipeline::scan::{Group, MaxAge, Rank, Scan};
use tallow::{Error, Formula, Params, Session, Settings};
use tallow_lake::{IngestOptions, ResultKind};

/// A session whose plans travel, and the one that they travel to.
struct Pair {
    here: Session,
    there: Session,
    courier: Arc<Courier>,
}

/// A plan, and what was written of it.
type Sent = (Arc<dyn ExecutionPlan>, Vec<u8>);

/// The last rule of a session: plans are read in another session, and executed as they are read.
#[derive(Debug)]
struct Courier {
    there: Arc<TaskContext>,
    sent: Mutex<Vec<Sent>>,
}

#[derive(Debug)]
struct Sending(Arc<Courier>);

impl PhysicalOptimizerRule for Sending {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let bytes = codec().encode(&plan)?;
        let read = codec().decode(&bytes, &self.0.there)?;
        self.0.sent.lock().unwrap().push((plan, bytes));
        Ok(read)
    }

    fn name(&self) -> &str {
        "sending"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl Pair {
    async fn of(settings: &Settings) -> Pair {
        let (here, there) = (session_of(settings).await, session_of(settings).await);
        let courier = Arc::new(Courier { there: there.context().task_ctx(), sent: Mutex::default() });
        let state = here.context().state_ref();
        let sending = Arc::new(Sending(Arc::clone(&courier)));
        let builder = SessionStateBuilder::new_from_existing(state.read().clone());
        let sends = builder.with_physical_optimizer_rule(sending).build();
        *state.write() = sends;
        Pair { here, there, courier }
    }

    /// What was sent so far has the same rows in both sessions; the operators of all of it.
    async fn check(&self) -> String {
        let sent = std::mem::take(&mut *self.courier.sent.lock().unwrap());
        let mut operators = String::new();
        for (plan, bytes) in sent {
            operators += &displayable(plan.as_ref()).indent(false).to_string();
            let theirs = codec().decode(&bytes, &self.there.context().task_ctx()).unwrap();
            let (own, theirs) = (rows(&self.here, plan).await, rows(&self.there, theirs).await);
            assert!(shown(&own) == shown(&theirs), "{operators}");
        }
        operators
    }
}

/// A lake of daily bars.
fn lake(folder: &Path) -> Settings {
    let symbols = ["A", "B", "C", "D", "E", "F", "G", "H"];
    write_parquet(&folder.join("candles/1d/bars.parquet"), &batch(&walk(&symbols, 250)), 500);
    Settings { lake: folder.display().to_string(), ..settings() }
}

/// A symbol with two bars of one time beside others.
fn faulty(folder: &Path) -> Settings {
    let mut bars = walk(&["A", "B", "C"], 60);
    bars[70].1 = bars[71].1;
    write_parquet(&folder.join("candles/1d/bars.parquet"), &batch(&bars), 500);
    Settings { lake: folder.display().to_string(), ..settings() }
}

async fn scanned(session: &Session, scan: &Scan) -> (Vec<RecordBatch>, ScanStatistics, Vec<Skipped>) {
    let found = scan.run(session, &Control::default()).await.unwrap();
    let batches = found.stream.try_collect().await.unwrap();
    (batches, found.statistics.scan(), found.skipped.get())
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_and_sweeps_travel() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let formula = |text: &str| Scan::of(Formula::parse(text).unwrap());
    let mut sweep = formula("rsi(:n) < :low");
    sweep.sweep.add("n=5..20:5").unwrap();
    sweep.sweep.add("low=30,50").unwrap();
    let scans = [
        formula("rsi(14) < 40"),
        formula("close > 105"),
        formula("rsi(14) < 60 and sma(3)@1w > 90"),
        Scan { last: true, max_age: MaxAge::All, ..formula("close > 0") },
        Scan { rank: Some(Rank::parse("atr(14)").unwrap()), top: Some(7), ..formula("rsi(14) < 50") },
        Scan { group: Some(Group::Symbol), ..formula("rsi(14) < 50") },
        Scan { symbols: Some(vec!["A".into(), "NONE".into()]), ..formula("rsi(14) < 50") },
        sweep,
    ];
    for settings in [lake(folders[0].path()), faulty(folders[1].path())] {
        let (plain, pair) = (session_of(&settings).await, Pair::of(&settings).await);
        for scan in &scans {
            let (own, counts, skipped) = scanned(&plain, scan).await;
            let (theirs, of_read, left_out) = scanned(&pair.here, scan).await;
            assert!(shown(&own) == shown(&theirs), "{}", scan.formula);
            assert_eq!((counts, skipped), (of_read, left_out), "{}", scan.formula);
            assert!(pair.check().await.contains("SymbolGuardExec"), "{}", scan.formula);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn label_runs_travel() {
    let folder = tempfile::tempdir().unwrap();
    let settings = lake(folder.path());
    let (plain, pair) = (session_of(&settings).await, Pair::of(&settings).await);
    let all = LabelRun::new("1d".parse().unwrap());
    let auto = || Some(Source::Auto(Detection::default()));
    let width = |width: &str| LabelRun { params: [("width".to_string(), width.to_string())].into(), ..all.clone() };
    let of = |group: &str| LabelRun { labels: vec![group.to_string()], levels: auto(), ..all.clone() };
    let runs = [
        all.clone(),
        LabelRun { levels: auto(), ..all.clone() },
        LabelRun { levels: auto(), seed: true, ..all.clone() },
        LabelRun { own_bars: true, ..all.clone() },
        width("pct"),
        width("sigma"),
        of("triple_barrier"),
        of("path_labels"),
        of("level_labels"),
        of("return_quantile"),
    ];
    for run in runs {
        let expected = query(&plain, &run.sql(plain.lake()).await.unwrap()).await;
        write_labels(&pair.here, &run, "labels_all").await.unwrap();
        assert!(pair.check().await.contains("SeriesExec"));
        // The tables of a lake are listed when it is opened.
        let written = query(&session_of(&settings).await, "select * from labels_all").await;
        assert!(shown(&[written]) == shown(&[expected]), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_and_looks_back_at_their_matches_travel() {
    let folder = tempfile::tempdir().unwrap();
    // How many windows each stage drops depends on which partition is first.
    let settings = Settings { threads: 1, ..lake(folder.path()) };
    let (plain, pair) = (session_of(&settings).await, Pair::of(&settings).await);
    let (from, to) = (START + 80 * DAY, START + 120 * DAY);
    let source = patterns::Source::bars(&plain, "candles_1d".into(), "C".into(), from, to).await.unwrap();
    let pattern = patterns::cut(&plain, "cut", source).await.unwrap();
    assert!(patterns::add(&plain, &pattern).await.unwrap());
    let into = Some(result_table(ResultKind::Matches, "1d").unwrap());
    let latest = |exact| Look::Latest { exact, cooldown: None };
    for look in [Look::History, latest(true), latest(false)] {
        let request = Match { look: look.clone(), into: into.clone(), ..Match::of(Some("cut".to_string())) };
        let mut found = vec![];
        for session in [&plain, &pair.here] {
            let job = request.clone().prepare(session).await.unwrap();
            let to = async |of: &Found| {
                found.push(shown(std::slice::from_ref(&of.rows)));
                Ok::<_, Error>(())
            };
            assert!(
                job.deliver(session, &Control::default(), &mut |_: MatchEvent<'_>| {}, to).await.unwrap().is_empty()
            );
        }
        assert!(found[0] == found[1], "{look:?}");
        let operators = pair.check().await;
        assert!(operators.contains("mode=Partial") && operators.contains("mode=Final"), "{operators}");
    }
    for name in ["match_features", "match_targets"] {
        travels_in(&settings, &format!("select * from query('{name}')"), &Params::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_runs_travel() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { lake: folder.path().join("lake").display().to_string(), ..settings() };
    let pair = Pair::of(&settings).await;
    let sql = "select symbol, ts, highest(close, 5) as h, lead(close, 3) - close as gain from candles";
    let pipeline = Pipeline { name: "p".to_string(), definition: Definition::query(sql), into: "p".to_string() };
    let bars = walk(&["A", "B"], 80);
    // What is there at first, what is corrected, what is new.
    for (delivery, days) in [0..60, 20..22, 60..80].into_iter().enumerate() {
        let file = folder.path().join(format!("{delivery}.parquet"));
        let of_days = bars.iter().filter(|bar| days.contains(&bar.1));
        let rows: Vec<_> = of_days.map(|bar| (bar.0.clone(), bar.1, bar.2 + delivery as f64)).collect();
        write_parquet(&file, &batch(&rows), 500);
        let options = IngestOptions { sources: vec![file.display().to_string()], ..IngestOptions::default() };
        pair.here.ingest("1d".parse().unwrap(), options, &Control::default()).await.unwrap();
        let run = pipeline.run(&pair.here, RunOptions::default(), &Control::default()).await.unwrap();
        assert_eq!(matches!(run.work.extent, Extent::Ranges { .. }), delivery > 0, "{:?}", run.work.extent);
        let operators = pair.check().await;
        assert_eq!(operators.contains("within("), delivery > 0, "{operators}");
        assert_eq!(operators.contains("only kept rows"), delivery > 0, "{operators}");
    }
    let plain = session_of(&settings).await;
    let (kept, computed) = (
        query(&plain, "select * from results_p order by symbol, ts").await,
        query(&plain, &format!("{sql} order by symbol, ts")).await,
    );
    assert!(shown(&[kept]) == shown(&[computed]));
}
