//! A place in a plan where the whole series of all symbols become a few rows: the nearest windows of a search.
//!
//! A [`Fold`] gets symbol after symbol, in as many parts as its input has partitions, and makes its rows when all parts
//! have ended. One symbol at a time is held for each part.

use super::series_exec::cut::Cutter;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result, exec_err, internal_datafusion_err, plan_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::sort_expr::{LexOrdering, OrderingRequirements};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use std::cmp::Ordering;
use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Turns the series of all symbols into rows.
pub trait Fold: Debug + Send + Sync {
    /// What plans show.
    fn describe(&self) -> String;

    /// The numeric columns that it reads, beside `symbol` and `ts`.
    fn columns(&self) -> &[&'static str];

    /// The columns of its rows.
    fn schema(&self) -> SchemaRef;

    /// Begins an execution.
    fn begin(&self) -> Arc<dyn Folding>;
}

/// One execution of a fold.
pub trait Folding: Send + Sync {
    /// Begins a part.
    fn open(&self) -> Box<dyn Part>;

    /// The rows, when all parts have ended. What is counted goes to the metrics.
    fn finish(&self, metrics: &ExecutionPlanMetricsSet) -> Result<RecordBatch>;
}

/// Sees the symbols of one partition.
pub trait Part: Send {
    /// All bars of a symbol in time order; what is missing is NaN.
    fn series(&mut self, symbol: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()>;

    /// How many bytes it takes, whatever it looks at.
    fn bytes(&self) -> usize;

    /// How many bytes a bar takes while its symbol is looked at, beside the bar itself.
    fn bytes_per_bar(&self) -> usize;

    /// No symbol follows.
    fn end(self: Box<Self>) -> Result<()>;
}

/// The logical node.
#[derive(Debug, Clone)]
struct Folded {
    input: LogicalPlan,
    fold: Arc<dyn Fold>,
    schema: DFSchemaRef,
}

/// Puts a fold above a plan, which has the columns `symbol`, `ts` and those that the fold reads.
pub fn folded(input: LogicalPlan, fold: Arc<dyn Fold>) -> Result<LogicalPlan> {
    for name in ["symbol", "ts"].iter().chain(fold.columns()) {
        if !input.schema().fields().iter().any(|f| f.name() == name) {
            let known: Vec<_> = input.schema().fields().iter().map(|f| f.name().as_str()).collect();
            return plan_err!("there is no column `{name}` to search in; there are {}", known.join(", "));
        }
    }
    let schema = Arc::new(DFSchema::try_from(fold.schema().as_ref().clone())?);
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(Folded { input, fold, schema }) }))
}

impl Folded {
    fn key(&self) -> (usize, &LogicalPlan) {
        (Arc::as_ptr(&self.fold).cast::<()>() as usize, &self.input)
    }
}

impl PartialEq for Folded {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Folded {}

impl Hash for Folded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for Folded {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.key().partial_cmp(&other.key())
    }
}

impl UserDefinedLogicalNodeCore for Folded {
    fn name(&self) -> &str {
        "Folded"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Folded: {}", self.fold.describe())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Folded { input, fold: Arc::clone(&self.fold), schema: Arc::clone(&self.schema) }),
            _ => plan_err!("Folded has one input"),
        }
    }

    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        // Which rows come out depends on all that go in.
        self.schema.fields().iter().map(|f| f.name().clone()).collect()
    }

    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let read = ["symbol", "ts"].into_iter().chain(self.fold.columns().iter().copied());
        let fields = self.input.schema().fields();
        let mut needed: Vec<usize> = read.filter_map(|k| fields.iter().position(|f| f.name() == k)).collect();
        needed.sort_unstable();
        Some(vec![needed])
    }
}

/// Plans folds.
#[derive(Debug)]
pub(super) struct FoldPlanner;

#[async_trait]
impl ExtensionPlanner for FoldPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(folded) = node.as_any().downcast_ref::<Folded>() else { return Ok(None) };
        let [input] = inputs else { return plan_err!("Folded has one input, not {}", inputs.len()) };
        Ok(Some(Arc::new(FoldExec::try_new(Arc::clone(input), Arc::clone(&folded.fold))?)))
    }
}

/// The operator.
#[derive(Debug)]
pub struct FoldExec {
    input: Arc<dyn ExecutionPlan>,
    fold: Arc<dyn Fold>,
    order: LexOrdering,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FoldExec {
    fn try_new(input: Arc<dyn ExecutionPlan>, fold: Arc<dyn Fold>) -> Result<Self> {
        let ascending = SortOptions { descending: false, nulls_first: false };
        let schema = input.schema();
        let key = |name: &str| -> Result<PhysicalSortExpr> {
            Ok(PhysicalSortExpr::new(Arc::new(Column::new(name, schema.index_of(name)?)), ascending))
        };
        let Some(order) = LexOrdering::new([key("symbol")?, key("ts")?]) else {
            return plan_err!("a fold without order");
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(fold.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Ok(FoldExec { input, fold, order, properties, metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DisplayAs for FoldExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "FoldExec: {}", self.fold.describe())
            }
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.fold.describe()),
        }
    }
}

impl ExecutionPlan for FoldExec {
    fn name(&self) -> &'static str {
        "FoldExec"
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
        for key in &self.order {
            if f(&key.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.order.clone()))]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(vec![Arc::clone(&self.order[0].expr)])])
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(FoldExec::try_new(input, Arc::clone(&self.fold))?)),
            _ => exec_err!("FoldExec has one input"),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return exec_err!("FoldExec has one partition, not {}", partition + 1);
        }
        let folding = self.fold.begin();
        let mut parts = JoinSet::new();
        let (input, columns) = (Arc::clone(&self.input), self.fold.columns());
        let mut streams = vec![];
        for partition in 0..input.output_partitioning().partition_count() {
            let consumer = MemoryConsumer::new(format!("{}[{partition}]", self.fold.describe()));
            let gathering =
                Gathering::new(&input.schema(), columns, folding.open(), consumer.register(context.memory_pool()))?;
            streams.push((input.execute(partition, Arc::clone(&context))?, gathering));
        }
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), 1);
        let (sender, metrics) = (builder.tx(), self.metrics.clone());
        builder.spawn(async move {
            for (mut stream, mut gathering) in streams {
                parts.spawn(async move {
                    while let Some(batch) = stream.next().await {
                        gathering.next(&batch?)?;
                    }
                    gathering.end()
                });
            }
            while let Some(part) = parts.join_next().await {
                part.map_err(|e| DataFusionError::External(Box::new(e)))??;
            }
            // Nobody waits for it if this fails.
            let _ = sender.send(folding.finish(&metrics)).await;
            Ok(())
        });
        Ok(builder.build())
    }
}

/// Puts the batches of a partition together to whole symbols.
struct Gathering {
    part: Box<dyn Part>,
    symbol: usize,
    ts: usize,
    columns: Vec<usize>,
    cutter: Cutter,
    name: Option<String>,
    times: Vec<i64>,
    values: Vec<Vec<f64>>,
    reservation: MemoryReservation,
}

impl Gathering {
    fn new(
        schema: &SchemaRef,
        columns: &[&str],
        part: Box<dyn Part>,
        reservation: MemoryReservation,
    ) -> Result<Gathering> {
        let columns = columns.iter().map(|c| schema.index_of(c)).collect::<Result<Vec<_>, _>>()?;
        Ok(Gathering {
            part,
            symbol: schema.index_of("symbol")?,
            ts: schema.index_of("ts")?,
            values: vec![vec![]; columns.len()],
            columns,
            cutter: Cutter::default(),
            name: None,
            times: vec![],
            reservation,
        })
    }

    fn next(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let symbols = cast(batch.column(self.symbol), &DataType::Utf8View)?;
        let cut = self.cutter.next(&[Arc::clone(&symbols)], batch.num_rows())?;
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let times = cast(batch.column(self.ts), &instant)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let numbers: Vec<ArrayRef> =
            self.columns.iter().map(|&c| cast(batch.column(c), &DataType::Float64)).collect::<Result<_, _>>()?;
        let names = symbols.as_string_view();
        for (i, range) in cut.ranges.into_iter().enumerate() {
            if i > 0 || !cut.continues {
                self.finish()?;
                // Bars without a symbol are nobody's.
                self.name = names.is_valid(range.start).then(|| names.value(range.start).to_string());
            }
            if self.name.is_none() {
                continue;
            }
            for row in range.clone() {
                let time = times.is_valid(row).then(|| times.value(row));
                match (time, self.times.last()) {
                    (Some(time), None) => self.times.push(time),
                    (Some(time), Some(&last)) if time > last => self.times.push(time),
                    _ => {
                        let name = self.name.as_deref().unwrap_or_default();
                        return exec_err!(
                            "the bars of {name} do not follow each other in time: `tallow validate` shows where"
                        );
                    }
                }
            }
            for (values, array) in self.values.iter_mut().zip(&numbers) {
                let array = array.as_primitive_opt::<Float64Type>();
                let array = array.ok_or_else(|| internal_datafusion_err!("numbers are float64"))?;
                values.extend(range.clone().map(|row| if array.is_valid(row) { array.value(row) } else { f64::NAN }));
            }
            let per_bar = 8 * (1 + self.values.len()) + self.part.bytes_per_bar();
            self.reservation.try_resize(self.part.bytes() + self.times.len() * per_bar)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(name) = self.name.take() {
            self.part.series(&name, &self.times, &self.values)?;
        }
        self.times.clear();
        self.values.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.finish()?;
        self.part.end()
    }
}
