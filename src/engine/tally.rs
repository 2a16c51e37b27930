//! Counts the rows that pass, and the symbols that have any, as metrics of the operator.
//!
//! Rows before an instant may be left out, and are then counted apart: symbols whose newest bar says nothing of today.

use super::node::{NodeKind, NodeReach, Phase, UnaryNode, from_spec, positions, to_spec};
use super::series_order::BySymbol;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch, partition};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, exec_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::fmt::Formatter;
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

    fn operator(&self, _: Phase, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(TallyExec::try_new(Arc::new(self.clone()), input)?))
    }

    fn spec(&self) -> Result<Vec<u8>> {
        to_spec(self)
    }
}

/// What the tallies of a name in a plan counted so far.
pub fn counts(plan: &Arc<dyn ExecutionPlan>, name: &str) -> Counts {
    let is_named = |node: &dyn ExecutionPlan| node.downcast_ref::<TallyExec>().is_some_and(|t| t.tally.name == name);
    let sum = |of| counted(plan, is_named, of);
    Counts { rows: sum("rows"), symbols: sum("symbols"), dropped: sum("dropped") }
}

/// The sum of the counters of a name of some of a plan's operators.
pub fn counted(plan: &Arc<dyn ExecutionPlan>, is_one: impl Fn(&dyn ExecutionPlan) -> bool, name: &str) -> u64 {
    let mut sum = 0;
    let _ = plan.apply(|node| {
        let metrics = node.metrics().filter(|_| is_one(node.as_ref()));
        sum += metrics.and_then(|metrics| metrics.sum_by_name(name)).map_or(0, |count| count.as_usize() as u64);
        Ok(TreeNodeRecursion::Continue)
    });
    sum
}

/// The operator.
#[derive(Debug)]
pub struct TallyExec {
    tally: Arc<Tally>,
    input: Arc<dyn ExecutionPlan>,
    by_symbol: BySymbol,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl TallyExec {
    fn try_new(tally: Arc<Tally>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let by_symbol = BySymbol::of(&input.schema())?;
        let own = input.properties();
        let properties = match tally.ordered {
            true => Arc::clone(own),
            false => Arc::new(PlanProperties::new(
                EquivalenceProperties::new(input.schema()),
                input.output_partitioning().clone(),
                own.emission_type,
                own.boundedness,
            )),
        };
        Ok(TallyExec { tally, input, by_symbol, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// What it does.
    pub fn node(&self) -> &dyn UnaryNode {
        self.tally.as_ref()
    }
}

impl DisplayAs for TallyExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let text = self.tally.describe().replacen("Tally", "TallyExec", 1);
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str(&text),
            DisplayFormatType::TreeRender => writeln!(f, "{text}"),
        }
    }
}

impl ExecutionPlan for TallyExec {
    fn name(&self) -> &'static str {
        "TallyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.by_symbol.apply_expressions(f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.tally.ordered]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.by_symbol.ordering()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.by_symbol.distribution()
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(TallyExec::try_new(Arc::clone(&self.tally), input)?)),
            _ => exec_err!("TallyExec has one input"),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let count = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let mut counting = Counting {
            since: self.tally.since,
            symbol: schema.index_of("symbol")?,
            ts: schema.index_of("ts")?,
            last: None,
            rows: count("rows"),
            symbols: count("symbols"),
            dropped: count("dropped"),
        };
        let batches = self.input.execute(partition, context)?.map(move |batch| counting.count(batch?));
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
