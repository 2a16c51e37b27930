//! The plan node.

use super::reads::{Fields, KeptRows, Reads};
use super::stream::SeriesStream;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::windows::{WindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use std::fmt::Formatter;
use std::sync::Arc;
use tallow_udfs::series::{OutputSet, SeriesCall, SeriesWindow};

/// Computes window expressions series by series over an input sorted by partition keys, then order keys.
///
/// What is computed, and what it asks of its input, is that of the [`WindowAggExec`] inside; only the execution differs.
#[derive(Debug, Clone)]
pub struct SeriesExec {
    window: Arc<WindowAggExec>,
    computations: Vec<Computation>,
    /// Which rows the plan above keeps, where that is known.
    rows: Option<KeptRows>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// How a window expression is evaluated over one series.
#[derive(Debug, Clone)]
pub(super) enum Computation {
    /// One of ours: on slices, straight into the output column.
    Series { call: Box<SeriesCall>, args: Vec<Arc<dyn PhysicalExpr>> },
    /// Any other, over a batch that holds the series.
    Window(Arc<dyn WindowExpr>),
}

/// The call behind a window expression, if it is one of our functions.
fn series_call(expr: &Arc<dyn WindowExpr>) -> Result<Option<SeriesCall>> {
    let udf = expr
        .as_any()
        .downcast_ref::<StandardWindowExpr>()
        .and_then(|standard| standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>());
    match udf.and_then(|udf| udf.fun().inner().downcast_ref::<SeriesWindow>().map(|window| (window, udf.args()))) {
        Some((window, args)) => window.bind(args).map(Some),
        None => Ok(None),
    }
}

impl SeriesExec {
    /// Takes over from a window operator.
    pub fn try_new(window_expr: Vec<Arc<dyn WindowExpr>>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let computations = window_expr
            .iter()
            .map(|expr| {
                Ok(match series_call(expr)? {
                    Some(call) => Computation::Series { call: Box::new(call), args: expr.expressions() },
                    None => Computation::Window(Arc::clone(expr)),
                })
            })
            .collect::<Result<_>>()?;
        let window = Arc::new(WindowAggExec::try_new(window_expr, input, true)?);
        Ok(Self::assemble(window, computations, None))
    }

    fn assemble(window: Arc<WindowAggExec>, computations: Vec<Computation>, rows: Option<KeptRows>) -> Self {
        let properties = window.properties().as_ref().clone().with_emission_type(EmissionType::Incremental);
        Self { window, computations, rows, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// The window expressions.
    pub fn window_expr(&self) -> &[Arc<dyn WindowExpr>] {
        self.window.window_expr()
    }

    /// The input.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        self.window.input()
    }

    /// Restricts what is computed to what is read of each window expression; `rows` says which rows "some rows" are.
    #[must_use]
    pub fn with_reads(&self, reads: &[Reads], rows: Option<KeptRows>) -> Self {
        let mut computations = self.computations.clone();
        for (computation, reads) in computations.iter_mut().zip(reads) {
            if let Computation::Series { call, args } = computation {
                let signature = call.function().signature();
                let everywhere = reads.everywhere.outputs(signature);
                let in_some_rows = reads.in_some_rows.outputs(signature).without(&everywhere);
                let restricted = call.as_ref().clone().with_requested(everywhere.or(&in_some_rows));
                **call = restricted.with_in_some_rows(in_some_rows);
                let mut remain = call.drop_unused_options().into_iter();
                args.retain(|_| remain.next().unwrap_or(true));
            }
        }
        Self::assemble(Arc::clone(&self.window), computations, rows)
    }

    /// What is computed of each window expression.
    pub fn reads(&self) -> Vec<Reads> {
        let of = |computation: &Computation| match computation {
            Computation::Series { call, .. } => {
                let signature = call.function().signature();
                let everywhere = call.requested().without(call.in_some_rows());
                Reads {
                    everywhere: Fields::of(signature, &everywhere),
                    in_some_rows: Fields::of(signature, call.in_some_rows()),
                }
            }
            Computation::Window(_) => Reads::all(),
        };
        self.computations.iter().map(of).collect()
    }

    /// The calls behind the window expressions, with their arguments; `None`: it is none of ours.
    pub fn calls(&self) -> impl Iterator<Item = Option<(&SeriesCall, &[Arc<dyn PhysicalExpr>])>> {
        self.computations.iter().map(|computation| match computation {
            Computation::Series { call, args } => Some((call.as_ref(), args.as_slice())),
            Computation::Window(_) => None,
        })
    }

    /// Which rows the plan above keeps, where that is known.
    pub fn rows(&self) -> Option<&KeptRows> {
        self.rows.as_ref()
    }

    fn drops_rows(&self) -> bool {
        self.rows.as_ref().is_some_and(|rows| rows.only)
    }

    /// The file that a partition reads, where it is a single one; for messages.
    fn source_of(&self, partition: usize) -> Option<String> {
        let mut plan = self.input();
        loop {
            if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
                let config = source.data_source().downcast_ref::<FileScanConfig>()?;
                return match config.file_groups.get(partition)?.files() {
                    [only] => Some(only.path().to_string()),
                    _ => None,
                };
            }
            match plan.children().as_slice() {
                [only] if only.properties().output_partitioning().partition_count() > partition => plan = only,
                _ => return None,
            }
        }
    }
}

impl DisplayAs for SeriesExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let call = |(expr, computation): (&Arc<dyn WindowExpr>, &Computation)| match computation {
            Computation::Series { call, args } => {
                let signature = call.function().signature();
                let args = args.iter().map(ToString::to_string);
                let params = call.params().values().iter().map(ToString::to_string);
                let mut text = format!("{}({})", signature.name, args.chain(params).collect::<Vec<_>>().join(", "));
                let named = |set: &OutputSet| {
                    let outputs = signature.outputs.iter().enumerate().filter(|(i, _)| set.contains(*i));
                    outputs.map(|(_, o)| o.name.as_str()).collect::<Vec<_>>().join(", ")
                };
                if call.requested().count() < signature.outputs.len() {
                    text += &format!(".{{{}}}", named(call.requested()));
                }
                match call.in_some_rows() {
                    some if self.drops_rows() || some.count() == 0 => {}
                    some if some == call.requested() => text += " in kept rows",
                    some => text += &format!(" {{{}}} in kept rows", named(some)),
                }
                text
            }
            Computation::Window(_) => expr.name().to_string(),
        };
        let calls: Vec<_> = self.window_expr().iter().zip(&self.computations).map(call).collect();
        let only = if self.drops_rows() { ", only kept rows" } else { "" };
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "SeriesExec: [{}]{only}", calls.join(", "))
            }
            DisplayFormatType::TreeRender => writeln!(f, "{}", calls.join(", ")),
        }
    }
}

impl ExecutionPlan for SeriesExec {
    fn name(&self) -> &'static str {
        "SeriesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn schema(&self) -> SchemaRef {
        self.window.schema()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.input()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match self.window.apply_expressions(f)? {
            TreeNodeRecursion::Stop => Ok(TreeNodeRecursion::Stop),
            _ => self.rows.as_ref().map_or(Ok(TreeNodeRecursion::Continue), |rows| f(&rows.condition)),
        }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.window.required_input_ordering()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.window.input_distribution_requirements()
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != 1 {
            return exec_err!("SeriesExec has one input, not {}", children.len());
        }
        let window: Arc<dyn ExecutionPlan> = match options.children_properties {
            ChildrenPropertiesMode::Keep => Arc::clone(&self.window).replace_children(children, options)?,
            ChildrenPropertiesMode::Recompute => {
                Arc::new(WindowAggExec::try_new(self.window_expr().to_vec(), children.swap_remove(0), true)?)
            }
        };
        match window.downcast_ref::<WindowAggExec>() {
            Some(window) => {
                let (computations, rows) = (self.computations.clone(), self.rows.clone());
                Ok(Arc::new(Self::assemble(Arc::new(window.clone()), computations, rows)))
            }
            None => exec_err!("SeriesExec: {} instead of WindowAggExec", window.name()),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input().execute(partition, Arc::clone(&context))?;
        let first = &self.window_expr()[0];
        Ok(Box::pin(SeriesStream::new(
            input,
            self.schema(),
            self.computations.clone(),
            self.rows.clone(),
            first.partition_by().to_vec(),
            first.order_by().to_vec(),
            self.source_of(partition),
            &self.metrics,
            partition,
            &context,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        self.window.statistics_from_inputs(inputs, args)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        if self.drops_rows() { CardinalityEffect::LowerEqual } else { CardinalityEffect::Equal }
    }
}

/// Whether an input is sorted so that each of its series is contiguous and in order.
pub(super) fn is_sorted_for(window: &WindowAggExec) -> Result<bool> {
    let input: &EquivalenceProperties = window.input().properties().equivalence_properties();
    match window.required_input_ordering().into_iter().next().flatten() {
        Some(required) => input.ordering_satisfy_requirement(required.into_single()),
        None => Ok(false),
    }
}
