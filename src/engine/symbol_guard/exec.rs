//! The operator.

use super::findings::Findings;
use super::node::SymbolGuard;
use super::stream::{Counters, Guarding};
use crate::node::UnaryNode;
use crate::observer::Observer;
use crate::series_order::BySymbol;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use futures::{StreamExt, stream};
use std::fmt::Formatter;
use std::sync::Arc;

/// Passes on whole symbols that can be used.
#[derive(Debug)]
pub struct SymbolGuardExec {
    guard: Arc<SymbolGuard>,
    input: Arc<dyn ExecutionPlan>,
    by_symbol: BySymbol,
    metrics: ExecutionPlanMetricsSet,
}

impl SymbolGuardExec {
    pub(super) fn try_new(guard: Arc<SymbolGuard>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let by_symbol = BySymbol::of(&input.schema())?;
        Ok(SymbolGuardExec { guard, input, by_symbol, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// What it does.
    pub fn node(&self) -> &dyn UnaryNode {
        self.guard.as_ref()
    }
}

impl DisplayAs for SymbolGuardExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let text = self.guard.describe().replacen("SymbolGuard", "SymbolGuardExec", 1);
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str(&text),
            DisplayFormatType::TreeRender => writeln!(f, "{text}"),
        }
    }
}

impl ExecutionPlan for SymbolGuardExec {
    fn name(&self) -> &'static str {
        "SymbolGuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
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
        vec![true]
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
            (Some(input), true) => Ok(Arc::new(SymbolGuardExec::try_new(Arc::clone(&self.guard), input)?)),
            _ => exec_err!("SymbolGuardExec has one input"),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (schema, observer) = (self.schema(), Observer::of(&context));
        let stop = observer.stop().clone();
        let reservation = MemoryConsumer::new(format!("SymbolGuardExec[{partition}]")).register(context.memory_pool());
        let counters = Counters::new(&self.metrics, partition);
        let findings = Findings::of(&context);
        let guarding = Guarding::new(&self.guard, &schema, observer, findings, counters, reservation)?;
        let input = self.input.execute(partition, context)?;
        let input = match self.guard.beside {
            true => input.boxed(),
            false => input.take_until(stop.cancelled_owned()).boxed(),
        };
        let batches = stream::try_unfold((input, Some(guarding)), |(mut input, guarding)| async move {
            let Some(mut guarding) = guarding else { return Ok(None) };
            match input.next().await {
                Some(batch) => {
                    let passed = guarding.next(batch?)?;
                    Ok(Some((passed, (input, Some(guarding)))))
                }
                None => Ok::<_, DataFusionError>(Some((guarding.end()?, (input, None)))),
            }
        });
        let batches = batches.flat_map(|passed| match passed {
            Ok(batches) => stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
