//! Counts the rows that pass, and the symbols that have any, as metrics of the operator.
//!
//! Rows before an instant may be left out, and are then counted apart: symbols whose newest bar says nothing of today.

use super::node::{NodeKind, NodeReach, Phase, UnaryNode, from_spec, positions, to_spec};
use super::node_exec::{NodeExec, Shape, Work};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch, partition};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Counts rows, and symbols that have any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// What is counted; see [`counts`].
    pub name: String,
    /// Rows before this instant do not pass.
    pub since: Option<i64>,
    /// Whether operators above may rely on the order of its rows. Where they may not, those that need an order establish it above the
    /// tally, and their first row comes when all have been counted.
    pub ordered: bool,
}

/// What tallies counted so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows that passed.
    pub rows: u64,
    /// Symbols that these are of.
    pub symbols: u64,
    /// Rows that did not pass.
    pub dropped: u64,
}

impl Tally {
    /// How it is read back.
    pub const KIND: NodeKind = NodeKind { name: "Tally", decode: |spec| Ok(Arc::new(from_spec::<Tally>(spec)?)) };
}

impl UnaryNode for Tally {
    fn name(&self) -> &'static str {
        Self::KIND.name
    }

    fn describe(&self) -> String {
        let since =
            self.since.map_or_else(String::new, |since| format!(", since {}", tallow_common::time::shown(since)));
        format!("Tally: {}{since}", self.name)
    }

    fn schema(&self, input: &DFSchemaRef) -> Result<DFSchemaRef> {
        match positions(&["symbol", "ts"], input).len() {
            2 => Ok(Arc::clone(input)),
            _ => plan_err!("a tally needs the columns symbol and ts"),
        }
    }

    fn input_columns(&self, output: &[usize], input: &DFSchema) -> Vec<usize> {
        [output, &positions(&["symbol", "ts"], input)].concat()
    }

    fn reach(&self) -> NodeReach {
        // Rows before an instant may be missing, none between others.
        NodeReach::OfInput
    }

    fn operator(&self, phase: Phase, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut shape = Shape::passing(&input)?;
        if !self.ordered {
            let own = input.properties();
            shape.keeps_order = false;
            shape.properties = Arc::new(PlanProperties::new(
                EquivalenceProperties::new(input.schema()),
                own.output_partitioning().clone(),
                own.emission_type,
                own.boundedness,
            ));
        }
        let tally = Arc::new(self.clone());
        Ok(NodeExec::plan(Arc::clone(&tally) as _, phase, input, shape, tally))
    }

    fn spec(&self) -> Result<Vec<u8>> {
        to_spec(self)
    }
}

/// What the tallies of a name in a plan counted so far.
pub fn counts(plan: &Arc<dyn ExecutionPlan>, name: &str) -> Counts {
    let sum = |of| counted(plan, |tally: &Tally| tally.name == name, of);
    Counts { rows: sum("rows"), symbols: sum("symbols"), dropped: sum("dropped") }
}

/// The sum of the counters of a name of a plan's operators that do the work of some nodes.
pub fn counted<N: UnaryNode>(plan: &Arc<dyn ExecutionPlan>, is_one: impl Fn(&N) -> bool, name: &str) -> u64 {
    let mut sum = 0;
    let _ = plan.apply(|operator| {
        if NodeExec::node_of(operator.as_ref()).is_some_and(&is_one) {
            let count = operator.metrics().and_then(|metrics| metrics.sum_by_name(name));
            sum += count.map_or(0, |count| count.as_usize() as u64);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    sum
}

impl Work for Tally {
    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<SendableRecordBatchStream> {
        let schema = input.schema();
        let count = |name| MetricBuilder::new(metrics).counter(name, partition);
        let mut counting = Counting {
            since: self.since,
            symbol: schema.index_of("symbol")?,
            ts: schema.index_of("ts")?,
            last: None,
            rows: count("rows"),
            symbols: count("symbols"),
            dropped: count("dropped"),
        };
        let batches = input.execute(partition, context)?.map(move |batch| counting.count(batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// Counts the rows of a partition, which come symbol after symbol.
struct Counting {
    since: Option<i64>,
    symbol: usize,
    ts: usize,
    /// The symbol of the last row.
    last: Option<ScalarValue>,
    rows: Count,
    symbols: Count,
    dropped: Count,
}

impl Counting {
    fn count(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let batch = self.recent(batch)?;
        if batch.num_rows() == 0 {
            return Ok(batch);
        }
        let symbols = batch.column(self.symbol);
        let first = ScalarValue::try_from_array(symbols, 0)?;
        let goes_on = self.last.as_ref() == Some(&first);
        self.symbols.add(partition(std::slice::from_ref(symbols))?.len() - usize::from(goes_on));
        self.rows.add(batch.num_rows());
        self.last = Some(ScalarValue::try_from_array(symbols, batch.num_rows() - 1)?);
        Ok(batch)
    }

    /// The rows that are not too old.
    fn recent(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let Some(since) = self.since else { return Ok(batch) };
        let times = batch.column(self.ts);
        let zone = match times.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let times = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let passes: BooleanArray = times.iter().map(|t| Some(t.is_some_and(|t| t >= since))).collect();
        match passes.len() - passes.true_count() {
            0 => Ok(batch),
            dropped => {
                self.dropped.add(dropped);
                Ok(filter_record_batch(&batch, &passes)?)
            }
        }
    }
}
