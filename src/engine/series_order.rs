//! What operators that read series after series ask of their input: each symbol in one partition, its rows in time order.

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::sort_expr::{LexOrdering, OrderingRequirements};
use datafusion::physical_plan::{Distribution, InputDistributionRequirements};
use std::sync::Arc;

/// Ordered by symbol, then by time, and partitioned by symbol.
#[derive(Debug, Clone)]
pub(super) struct BySymbol(LexOrdering);

impl BySymbol {
    /// Of rows with the columns `symbol` and `ts`.
    pub fn of(schema: &SchemaRef) -> Result<BySymbol> {
        let ascending = SortOptions { descending: false, nulls_first: false };
        let key = |name: &str| -> Result<PhysicalSortExpr> {
            Ok(PhysicalSortExpr::new(Arc::new(Column::new(name, schema.index_of(name)?)), ascending))
        };
        let order = LexOrdering::new([key("symbol")?, key("ts")?]);
        Ok(BySymbol(order.ok_or_else(|| internal_datafusion_err!("an order without keys"))?))
    }

    /// For `required_input_ordering`.
    pub fn ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.0.clone()))]
    }

    /// For `input_distribution_requirements`.
    pub fn distribution(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(vec![Arc::clone(&self.0[0].expr)])])
    }

    /// For `apply_expressions`.
    pub fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in &self.0 {
            if f(&key.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}
