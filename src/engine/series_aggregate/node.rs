//! The logical node.

use super::exec::{Final, Partial, Running};
use super::function::SeriesAggregate;
use crate::node::{NodeReach, Phase, UnaryNode, above, positions};
use crate::node_exec::{NodeExec, Shape, Work};
use crate::series_order::BySymbol;
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use std::sync::Arc;

/// An aggregate over the series of a plan's rows.
#[derive(Debug, Clone)]
pub(super) struct SeriesAggregateNode(pub Arc<dyn SeriesAggregate>);

/// Puts an aggregate above a plan, which has the columns `symbol`, `ts` and those that the aggregate reads.
///
/// # Errors
/// A column that is missing.
pub fn aggregated(input: LogicalPlan, function: Arc<dyn SeriesAggregate>) -> Result<LogicalPlan> {
    above(input, node(function))
}

/// The node of an aggregate.
pub fn node(function: Arc<dyn SeriesAggregate>) -> Arc<dyn UnaryNode> {
    Arc::new(SeriesAggregateNode(function))
}

impl SeriesAggregateNode {
    fn reads(&self) -> Vec<&str> {
        ["symbol", "ts"].into_iter().chain(self.0.columns()).collect()
    }
}

impl UnaryNode for SeriesAggregateNode {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn describe(&self) -> String {
        format!("SeriesAggregate: {}", self.0.describe())
    }

    fn schema(&self, input: &DFSchemaRef) -> Result<DFSchemaRef> {
        for name in self.reads() {
            if !input.fields().iter().any(|f| f.name() == name) {
                let known: Vec<_> = input.fields().iter().map(|f| f.name().as_str()).collect();
                return plan_err!("there is no column `{name}` to search in; there are {}", known.join(", "));
            }
        }
        Ok(Arc::new(DFSchema::try_from(self.0.schema().as_ref().clone())?))
    }

    fn input_columns(&self, _: &[usize], input: &DFSchema) -> Vec<usize> {
        positions(&self.reads(), input)
    }

    fn reach(&self) -> NodeReach {
        NodeReach::Unknown
    }

    fn operator(&self, phase: Phase, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let function = || Arc::clone(&self.0);
        let (schema, by_symbol, partitions, work): (_, _, _, Arc<dyn Work>) = match phase {
            Phase::Whole => {
                let states = self.operator(Phase::Partial, input)?;
                return self.operator(Phase::Final, states);
            }
            Phase::Partial => {
                let by_symbol = Some(BySymbol::of(&input.schema())?);
                let partitions = input.output_partitioning().partition_count();
                let work = Partial { function: function(), running: Running::default() };
                (self.0.state_schema(), by_symbol, partitions, Arc::new(work))
            }
            Phase::Final => (self.0.schema(), None, 1, Arc::new(Final(function()))),
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        let shape = Shape { by_symbol, keeps_order: false, properties };
        Ok(NodeExec::plan(Arc::new(self.clone()), phase, input, shape, work))
    }

    fn spec(&self) -> Result<Vec<u8>> {
        self.0.spec()
    }
}
