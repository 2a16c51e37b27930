//! Rows out of a list are not unique.
//!
//! DataFusion 55 lets `unnest` keep the functional dependencies of its input: after `select symbol, unnest(..) .. group by
//! symbol` it still believes that a symbol has one row. A later `group by symbol` is then widened by all other columns, and
//! `group by symbol, level_id` loses the second. A node without any dependency is put above every relation with an unnest
//! while SQL is planned, and above every unnest before analysis; it does nothing else and vanishes from the physical plan.

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchemaRef, FunctionalDependencies, Result, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use datafusion::sql::sqlparser::ast::TableFactor;
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt::Formatter;
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Unnested {
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl Unnested {
    fn new(input: LogicalPlan) -> Result<Self> {
        let schema = input.schema().as_ref().clone();
        let schema = schema.with_functional_dependencies(FunctionalDependencies::empty())?;
        Ok(Self { input, schema: Arc::new(schema) })
    }

    fn above(input: LogicalPlan) -> Result<LogicalPlan> {
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(Self::new(input)?) }))
    }
}

impl PartialOrd for Unnested {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for Unnested {
    fn name(&self) -> &str {
        "Unnested"
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

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unnested")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Self::new(input),
            _ => plan_err!("Unnested has one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// Plans the node as its input.
#[derive(Debug)]
pub struct UnnestedPlanner;

#[async_trait]
impl ExtensionPlanner for UnnestedPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let is_own = node.as_any().is::<Unnested>();
        Ok(inputs.first().filter(|_| is_own).cloned())
    }
}
