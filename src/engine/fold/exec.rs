//! The operator.

use super::Fold;
use super::gather::Gathering;
use crate::engine::cancellation::{Cancellation, Turns};
use crate::engine::series_order::BySymbol;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::StreamExt;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

/// Gives every symbol whole to a part of the fold, one part for each partition, and then the fold's rows.
#[derive(Debug)]
pub struct FoldExec {
    input: Arc<dyn ExecutionPlan>,
    fold: Arc<dyn Fold>,
    by_symbol: BySymbol,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FoldExec {
    pub(super) fn try_new(input: Arc<dyn ExecutionPlan>, fold: Arc<dyn Fold>) -> Result<Self> {
        let by_symbol = BySymbol::of(&input.schema())?;
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(fold.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Ok(FoldExec { input, fold, by_symbol, properties, metrics: ExecutionPlanMetricsSet::new() })
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
        self.by_symbol.apply_expressions(f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
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
        let (folding, cancellation) = (self.fold.begin(), Cancellation::of(&context));
        let mut parts = JoinSet::new();
        let (input, columns) = (Arc::clone(&self.input), self.fold.columns());
        let mut streams = vec![];
        for partition in 0..input.output_partitioning().partition_count() {
            let consumer = MemoryConsumer::new(format!("{}[{partition}]", self.fold.describe()));
            let (part, reservation) = (folding.open(&cancellation), consumer.register(context.memory_pool()));
            let gathering = Gathering::new(&input.schema(), columns, part, cancellation.clone(), reservation)?;
            streams.push((input.execute(partition, Arc::clone(&context))?, gathering));
        }
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), 1);
        let (sender, metrics) = (builder.tx(), self.metrics.clone());
        builder.spawn(async move {
            for (mut stream, mut gathering) in streams {
                let mut turns = Turns::new(cancellation.clone());
                parts.spawn(async move {
                    while let Some(batch) = stream.next().await {
                        gathering.next(&batch?)?;
                        turns.next().await?;
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
