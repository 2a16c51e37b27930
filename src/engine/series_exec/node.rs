//! The plan node.

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
        Ok(Self::assemble(window, computations))
    }

    fn assemble(window: Arc<WindowAggExec>, computations: Vec<Computation>) -> Self {
        let properties = window.properties().as_ref().clone().with_emission_type(EmissionType::Incremental);
        Self { window, computations, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// The window expressions.
    pub fn window_expr(&self) -> &[Arc<dyn WindowExpr>] {
        self.window.window_expr()
    }

    /// The input.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        self.window.input()
    }

    /// Restricts the struct fields to compute, per window expression; `None` keeps all.
    #[must_use]
    pub fn with_wanted(&self, wanted: &[Option<Vec<String>>]) -> Self {
        let mut computations = self.computations.clone();
        for (computation, names) in computations.iter_mut().zip(wanted) {
            if let (Computation::Series { call, args }, Some(names)) = (computation, names) {
                let set = OutputSet::named(call.function().signature(), names.iter().map(String::as_str));
                **call = call.as_ref().clone().with_wanted(set);
                let mut remain = call.drop_unused_options().into_iter();
                args.retain(|_| remain.next().unwrap_or(true));
            }
        }
        Self::assemble(Arc::clone(&self.window), computations)
    }

    /// The struct fields that are computed, per window expression; `None`: all.
    pub fn wanted(&self) -> Vec<Option<Vec<String>>> {
        let fields = |computation: &Computation| {
            let Computation::Series { call, .. } = computation else { return None };
            let outputs = &call.function().signature().outputs;
            let names = outputs.iter().enumerate().filter(|(i, _)| call.wanted().contains(*i));
            Some(names.map(|(_, o)| o.name.clone()).collect::<Vec<_>>()).filter(|names| names.len() < outputs.len())
        };
        self.computations.iter().map(fields).collect()
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
                if call.wanted().count() < signature.outputs.len() {
                    let fields = signature.outputs.iter().enumerate().filter(|(i, _)| call.wanted().contains(*i));
                    let fields: Vec<_> = fields.map(|(_, o)| o.name.as_str()).collect();
                    text += &format!(".{{{}}}", fields.join(", "));
                }
                text
            }
            Computation::Window(_) => expr.name().to_string(),
        };
        let calls: Vec<_> = self.window_expr().iter().zip(&self.computations).map(call).collect();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "SeriesExec: [{}]", calls.join(", ")),
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
        self.window.apply_expressions(f)
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
            Some(window) => Ok(Arc::new(Self::assemble(Arc::new(window.clone()), self.computations.clone()))),
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
        CardinalityEffect::Equal
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
