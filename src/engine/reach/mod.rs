//! How far the columns of a plan look into the past and the future, in bars of each table that they come from.

mod expression;
mod made;
mod plan;
mod scope;
mod shape;
mod sources;
mod widened;

pub use made::{LongerBars, MadeBars};
pub use plan::fades_by_movement;
pub use scope::{PlanScope, Scope, scope};
pub use sources::Sources;
pub use widened::CountedBars;

use datafusion::logical_expr::LogicalPlan;
use plan::of_plan;
use shape::Shape;

/// The reach of a plan's result.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanReach {
    /// For every output column, how far its value looks.
    pub columns: Vec<(String, Sources)>,
    /// How far the decision looks whether a row is there at all: filters and QUALIFY.
    pub rows: Sources,
    /// Whether the result's column `ts` is the time of a table's bars, unchanged.
    pub is_of_bars: bool,
}

impl PlanReach {
    /// The reach of everything together.
    pub fn total(&self) -> Sources {
        self.columns.iter().fold(self.rows.clone(), |all, (_, sources)| all.and(sources))
    }
}

/// Composes the reach of every output column of a plan.
pub fn reach(plan: &LogicalPlan) -> PlanReach {
    reported(plan, of_plan(plan).settled())
}

/// As [`reach`], of rows that may themselves be bars made of smaller ones: what holds when they end.
pub fn reach_at_end(plan: &LogicalPlan) -> PlanReach {
    reported(plan, of_plan(plan))
}

fn reported(plan: &LogicalPlan, shape: Shape) -> PlanReach {
    let fields = plan.schema().fields();
    let is_of_bars = fields.iter().zip(&shape.times).any(|(f, is_time)| f.name() == "ts" && *is_time);
    let columns = fields.iter().map(|f| f.name().clone()).zip(shape.columns).collect();
    PlanReach { columns, rows: shape.rows, is_of_bars }
}

#[cfg(test)]
mod tests {
    use super::sources::UNKNOWN;
    use super::*;
    use crate::node::NodeReach;
    use crate::node::{Phase, UnaryNode, above};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
    use datafusion::logical_expr::logical_plan::table_scan;
    use datafusion::logical_expr::{Expr, Extension, UserDefinedLogicalNodeCore};
    use datafusion::physical_plan::ExecutionPlan;
    use std::fmt::Formatter;
    use std::sync::Arc;
    use tallow_udfs::series::Reach;

    fn bars() -> LogicalPlan {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = [("symbol", DataType::Utf8), ("ts", time), ("close", DataType::Float64)];
        let schema = Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec());
        table_scan(Some("candles"), &schema, None).unwrap().build().unwrap()
    }

    /// A node that somebody added, whose rows look like those of its input.
    #[derive(Debug, PartialEq, Eq, Hash, PartialOrd)]
    struct Foreign(LogicalPlan);

    impl UserDefinedLogicalNodeCore for Foreign {
        fn name(&self) -> &str {
            "Foreign"
        }

        fn inputs(&self) -> Vec<&LogicalPlan> {
            vec![&self.0]
        }

        fn schema(&self) -> &DFSchemaRef {
            self.0.schema()
        }

        fn expressions(&self) -> Vec<Expr> {
            vec![]
        }

        fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
            write!(f, "Foreign")
        }

        fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
            Ok(Foreign(inputs.remove(0)))
        }
    }

    /// A node of ours that states this.
    #[derive(Debug)]
    struct Stating(NodeReach);

    impl UnaryNode for Stating {
        fn name(&self) -> &'static str {
            "Stating"
        }

        fn describe(&self) -> String {
            "Stating".to_string()
        }

        fn schema(&self, input: &DFSchemaRef) -> Result<DFSchemaRef> {
            Ok(Arc::clone(input))
        }

        fn input_columns(&self, output: &[usize], _: &DFSchema) -> Vec<usize> {
            output.to_vec()
        }

        fn reach(&self) -> NodeReach {
            self.0
        }

        fn operator(&self, _: Phase, _: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
            internal_err!("it is not executed")
        }

        fn spec(&self) -> Result<Vec<u8>> {
            Ok(vec![])
        }
    }

    #[test]
    fn a_node_that_states_no_reach_is_not_taken_for_harmless() {
        let foreign = LogicalPlan::Extension(Extension { node: Arc::new(Foreign(bars())) });
        let of_foreign = reach(&foreign);
        assert_eq!((of_foreign.total().furthest(), of_foreign.is_of_bars), (UNKNOWN, false));
    }

    #[test]
    fn a_node_is_taken_at_its_word() {
        let of = |stated| reach(&above(bars(), Arc::new(Stating(stated))).unwrap());
        assert_eq!(of(NodeReach::OfInput), reach(&bars()));
        assert_eq!(of(NodeReach::OfInput).total().furthest(), Reach::NONE);
        assert_eq!(of(NodeReach::Unknown).total().furthest(), UNKNOWN);
    }
}
