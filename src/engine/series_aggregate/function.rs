//! What an aggregate over series is made of.

use crate::cancellation::Cancellation;
use crate::symbol_guard::{Fault, Finding};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use std::fmt::Debug;
use std::sync::Arc;

/// Turns the series of all symbols into rows. It is pure data: two of the same name and spec are the same.
pub trait SeriesAggregate: Debug + Send + Sync {
    /// What it is called where it is encoded: the name of its [`NodeKind`](crate::node::NodeKind).
    fn name(&self) -> &'static str;

    /// What plans show.
    fn describe(&self) -> String;

    /// The columns that it reads as numbers (of a condition, 1 and 0), beside `symbol` and `ts`.
    fn columns(&self) -> Vec<&str>;

    /// The columns of the state rows.
    fn state_schema(&self) -> SchemaRef;

    /// The columns of the result.
    fn schema(&self) -> SchemaRef;

    /// Begins an execution of the partial phase, of those partitions that run in this process.
    fn begin(&self) -> Arc<dyn Partitions>;

    /// The result, of the state rows of all partitions in any order. What is counted goes to the metrics as well.
    ///
    /// # Errors
    /// State rows that are not its own; symbols that must not be skipped; or the execution is over.
    fn finish(&self, states: &[RecordBatch], execution: &Execution<'_>) -> Result<RecordBatch>;

    /// All that it is, as bytes that its kind reads.
    ///
    /// # Errors
    /// What cannot be written down.
    fn spec(&self) -> Result<Vec<u8>>;
}

/// The execution that a final phase belongs to.
#[derive(Debug)]
pub struct Execution<'a> {
    /// What the operator counts.
    pub metrics: &'a ExecutionPlanMetricsSet,
    /// Whether anybody learns of symbols that are left out.
    pub faults_are_read: bool,
    /// Whether it is over.
    pub cancellation: Cancellation,
}

impl Execution<'_> {
    /// Reports a symbol that is left out.
    pub fn fault(&self, fault: Fault) {
        Finding::Fault(fault).record(self.metrics, 0);
    }
}

/// Partitions that run in one process. What they share may save work, such as a bound beyond which nothing is of interest; the result
/// is the same where each runs alone.
pub trait Partitions: Send + Sync {
    /// Begins with a partition, which may end early once the execution is over.
    fn partition(&self, cancellation: &Cancellation) -> Box<dyn Accumulator>;
}

/// Sees the symbols of one partition.
pub trait Accumulator: Send {
    /// All bars of a symbol in time order; what is missing is NaN.
    ///
    /// # Errors
    /// Whatever stops the execution.
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()>;

    /// A symbol whose bars are no series, and why; none of them is seen.
    fn unfit(&mut self, symbol: &str, reason: &str);

    /// How many bytes it takes, whatever it looks at.
    fn bytes(&self) -> usize;

    /// How many bytes a bar takes while its symbol is looked at, beside the bar itself.
    fn bytes_per_bar(&self) -> usize;

    /// The state rows. No symbol follows.
    ///
    /// # Errors
    /// State that does not fit into rows.
    fn state(self: Box<Self>) -> Result<RecordBatch>;
}
