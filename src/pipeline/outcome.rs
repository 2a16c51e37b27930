//! What a use-case gives back: the same for every one whose result is rows.

use crate::Session;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
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
    pub skipped: Vec<Skipped>,
    /// What it took, complete when all rows have been taken.
    pub statistics: Statistics,
}

impl Outcome {
    /// A result whose rows are there already.
    pub fn of_rows(rows: RecordBatch, skipped: Vec<Skipped>) -> Outcome {
        let (schema, warnings) = (rows.schema(), Problems::default());
        let stream = stream::iter([Ok(rows)]).boxed();
        Outcome { schema, stream, warnings, skipped, statistics: Statistics::default() }
    }

    /// What has no rows to show.
    pub(crate) fn empty(statistics: Statistics) -> Outcome {
        let (schema, warnings) = (Arc::new(Schema::empty()), Problems::default());
        Outcome { schema, stream: stream::empty().boxed(), warnings, skipped: vec![], statistics }
    }

    /// All rows as one batch.
    pub async fn rows(self) -> Result<RecordBatch> {
        let batches: Vec<RecordBatch> = self.stream.try_collect().await?;
        Ok(arrow::compute::concat_batches(&self.schema, &batches)?)
    }
}

/// What it took to compute a result.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    plan: Option<Arc<dyn ExecutionPlan>>,
    read_before: u64,
}

impl Statistics {
    pub(crate) fn new(plan: Arc<dyn ExecutionPlan>, read_before: u64) -> Statistics {
        Statistics { plan: Some(plan), read_before }
    }

    /// Series that indicators were computed of.
    pub fn series(&self) -> u64 {
        self.sum("series")
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
