//! From the logical node to the operator.

use super::exec::AsofExec;
use super::node::AsofJoin;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use std::sync::Arc;

/// Plans as-of joins.
#[derive(Debug)]
pub struct AsofPlanner;

#[async_trait]
impl ExtensionPlanner for AsofPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        state: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(asof) = node.as_any().downcast_ref::<AsofJoin>() else { return Ok(None) };
        let [left, right] = inputs else { return plan_err!("AsofJoin has two inputs, not {}", inputs.len()) };
        let physical = |e: &Expr, schema: &DFSchema| planner.create_physical_expr(e, schema, state, context);
        let (of_left, of_right) = (asof.left.schema(), asof.right.schema());
        let on = asof.on.iter().map(|(l, r)| Ok((physical(l, of_left)?, physical(r, of_right)?)));
        let (l, op, r) = &asof.matching;
        let matching = (physical(l, of_left)?, *op, physical(r, of_right)?);
        let exec = AsofExec::try_new(Arc::clone(left), Arc::clone(right), on.collect::<Result<_>>()?, matching)?;
        Ok(Some(Arc::new(exec)))
    }
}
