//! What a use-case gives back: the same for every one whose result is rows.

use crate::Session;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::dialect::Problems;

/// A symbol or a file that was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The symbol, as far as it is known.
    pub symbol: String,
    /// Why.
    pub reason: String,
}

/// A result, and everything else that there is to show of it.
pub struct Outcome {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows; dropping the stream stops the work.
    pub stream: BoxStream<'static, Result<RecordBatch>>,
    /// What is allowed in the request and probably not meant.
    pub warnings: Problems,
    /// Symbols and files that were not used.
    pub skipped: Late<Vec<Skipped>>,
    /// What it took, complete when all rows have been taken.
    pub statistics: Statistics,
}

impl Outcome {
    /// A result whose rows are there already.
    pub fn of_rows(rows: RecordBatch, skipped: Vec<Skipped>) -> Outcome {
        let (schema, warnings) = (rows.schema(), Problems::default());
        let stream = stream::iter([Ok(rows)]).boxed();
        Outcome { schema, stream, warnings, skipped: Late::of(skipped), statistics: Statistics::default() }
    }

    /// What has neither columns nor rows.
    pub fn nothing() -> Outcome {
        Outcome::empty(Statistics::default())
    }

    /// What has no rows to show.
    pub(crate) fn empty(statistics: Statistics) -> Outcome {
        let (schema, warnings) = (Arc::new(Schema::empty()), Problems::default());
        Outcome { schema, stream: stream::empty().boxed(), warnings, skipped: Late::of(vec![]), statistics }
    }

    /// All rows as one batch.
    pub async fn rows(self) -> Result<RecordBatch> {
        let batches: Vec<RecordBatch> = self.stream.try_collect().await?;
        Ok(arrow::compute::concat_batches(&self.schema, &batches)?)
    }
}

/// Something that is found out while rows are taken, and complete when all have been.
pub struct Late<T>(Arc<dyn Fn() -> T + Send + Sync>);

impl<T: Clone + Send + Sync + 'static> Late<T> {
    /// What is known before.
    pub fn of(known: T) -> Late<T> {
        Late::new(move || known.clone())
    }
}

impl<T> Late<T> {
    pub(crate) fn new(get: impl Fn() -> T + Send + Sync + 'static) -> Late<T> {
        Late(Arc::new(get))
    }

    /// What is known by now.
    pub fn get(&self) -> T {
        (self.0)()
    }
}

impl<T> Clone for Late<T> {
    fn clone(&self) -> Self {
        Late(Arc::clone(&self.0))
    }
}

impl<T: Debug> Debug for Late<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ended {
    /// All symbols were scanned.
    #[default]
    Complete,
    /// It was cancelled.
    Cancelled,
    /// It ran out of time.
    TimedOut,
}

/// What a scan counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScanStatistics {
    /// The table that is read: without the files that cannot be, where there are such.
    pub table: String,
    /// Symbols that were asked for; with a scan of all, those of the table.
    pub asked: u64,
    /// Symbols whose bars were read to the end.
    pub scanned: u64,
    /// Symbols with a match.
    pub with_matches: u64,
    /// Bars that match.
    pub matches: u64,
    /// Bars read, those before the range included.
    pub bars: u64,
    /// Symbols that were left out because their newest bar is too old; 0 where all bars count.
    pub too_old: u64,
    /// How it ended.
    pub ended: Ended,
    /// It was ended, and what was complete by then could not be brought together in time: matches are missing.
    pub given_up: bool,
}

impl ScanStatistics {
    /// Share of the symbols scanned that have a match.
    pub fn match_rate(&self) -> f64 {
        if self.scanned == 0 { 0.0 } else { self.with_matches as f64 / self.scanned as f64 }
    }
}

/// What it took to compute a result.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    plan: Option<Arc<dyn ExecutionPlan>>,
    read_before: u64,
    scan: Option<Late<ScanStatistics>>,
}

impl Statistics {
    pub(crate) fn new(plan: Arc<dyn ExecutionPlan>, read_before: u64) -> Statistics {
        Statistics { plan: Some(plan), read_before, scan: None }
    }

    /// With those of a scan.
    pub(crate) fn with_scan(self, scan: Late<ScanStatistics>) -> Statistics {
        Statistics { scan: Some(scan), ..self }
    }

    /// What a scan counts; nothing of what is none.
    pub fn scan(&self) -> ScanStatistics {
        self.scan.as_ref().map(Late::get).unwrap_or_default()
    }

    /// Series that indicators were computed of.
    pub fn series(&self) -> u64 {
        self.sum("series")
    }

    /// Bytes that were read from files for it.
    pub fn bytes_scanned(&self) -> u64 {
        self.sum("bytes_scanned")
    }

    /// Bytes that sorts and groupings spilled.
    pub fn spilled_bytes(&self) -> u64 {
        self.sum("spilled_bytes")
    }

    /// Bytes that the session has read since this began.
    pub fn bytes_read(&self, session: &Session) -> u64 {
        session.bytes_read().saturating_sub(self.read_before)
    }

    fn sum(&self, metric: &str) -> u64 {
        self.plan.as_ref().map_or(0, |plan| sum(plan, metric))
    }
}

/// A metric summed over a plan.
fn sum(plan: &Arc<dyn ExecutionPlan>, metric: &str) -> u64 {
    let own: usize = plan.metrics().map_or(0, |metrics| {
        let values = metrics.iter().map(|m| m.value());
        values.filter(|v| v.name() == metric).map(MetricValue::as_usize).sum()
    });
    own as u64 + plan.children().into_iter().map(|child| sum(child, metric)).sum::<u64>()
}
