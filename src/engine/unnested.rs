//! Rows out of a list are not unique.
//!
//! DataFusion 55 lets `unnest` keep the functional dependencies of its input: after `select symbol, unnest(..) .. group by
//! symbol` it still believes that a symbol has one row. A later `group by symbol` is then widened by all other columns, and
//! `group by symbol, level_id` loses the second. A node without any dependency is put above every relation with an unnest
//! while SQL is planned, and above every unnest before analysis; it does nothing else and vanishes from the physical plan.

use super::node::{NodeKind, NodeReach, Phase, UnaryNode, above};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, FunctionalDependencies, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::TableFactor;
use std::cell::Cell;
use std::sync::Arc;

/// Puts `Unnested` above every relation of a FROM clause that holds an unnest.
#[derive(Debug)]
pub struct UnnestedRelations;

thread_local! {
    /// Set while a relation is handed to the other planners, which begins with this one again.
    static HANDED_ON: Cell<bool> = const { Cell::new(false) };
}

impl RelationPlanner for UnnestedRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if HANDED_ON.take() {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        HANDED_ON.set(true);
        let planned = context.plan(relation);
        HANDED_ON.set(false);
        let plan = planned?;
        let unnests = plan.exists(|node| Ok(matches!(node, LogicalPlan::Unnest(_))))?;
        let plan = if unnests { Unnested::above(plan)? } else { plan };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}

/// Puts `Unnested` above every unnest.
#[derive(Debug)]
pub struct UnnestedRows;

impl AnalyzerRule for UnnestedRows {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut found = false;
        let plan = plan.transform_up_with_subqueries(|node| {
            if matches!(node, LogicalPlan::Unnest(_)) {
                found = true;
                return Ok(Transformed::yes(Unnested::above(node)?));
            }
            Ok(Transformed::no(node))
        });
        let plan = plan.data()?;
        if !found {
            return Ok(plan);
        }
        // What stands above was given its dependencies when it was made.
        plan.transform_up_with_subqueries(|node| Ok(Transformed::yes(node.recompute_schema()?))).data()
    }

    fn name(&self) -> &str {
        "unnested_rows"
    }
}

/// The rows of its input, of which nothing is known to be unique.
#[derive(Debug)]
pub(super) struct Unnested;

impl Unnested {
    pub const KIND: NodeKind = NodeKind { name: "Unnested", decode: |_| Ok(Arc::new(Unnested)) };

    fn above(input: LogicalPlan) -> Result<LogicalPlan> {
        above(input, Arc::new(Unnested))
    }
}

impl UnaryNode for Unnested {
    fn name(&self) -> &'static str {
        Self::KIND.name
    }

    fn describe(&self) -> String {
        Self::KIND.name.to_string()
    }

    fn schema(&self, input: &DFSchemaRef) -> Result<DFSchemaRef> {
        Ok(Arc::new(input.as_ref().clone().with_functional_dependencies(FunctionalDependencies::empty())?))
    }

    fn input_columns(&self, output: &[usize], _: &DFSchema) -> Vec<usize> {
        output.to_vec()
    }

    fn reach(&self) -> NodeReach {
        NodeReach::OfInput
    }

    fn is_transparent(&self) -> bool {
        true
    }

    fn operator(&self, _: Phase, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(input)
    }

    fn spec(&self) -> Result<Vec<u8>> {
        Ok(vec![])
    }
}
