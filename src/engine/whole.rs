//! What operators that see whole symbols ask of their input.

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::sort_expr::LexOrdering;
use datafusion::physical_plan::{Distribution, InputDistributionRequirements};
use std::sync::Arc;

/// By symbol, then by time.
pub(super) fn order(schema: &SchemaRef) -> Result<LexOrdering> {
    let ascending = SortOptions { descending: false, nulls_first: false };
    let key = |name: &str| -> Result<PhysicalSortExpr> {
        Ok(PhysicalSortExpr::new(Arc::new(Column::new(name, schema.index_of(name)?)), ascending))
    };
    LexOrdering::new([key("symbol")?, key("ts")?]).ok_or_else(|| internal_datafusion_err!("an order without keys"))
}

/// A symbol is in one partition, given that order.
pub(super) fn distribution(order: &LexOrdering) -> InputDistributionRequirements {
    InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(vec![Arc::clone(&order[0].expr)])])
}
