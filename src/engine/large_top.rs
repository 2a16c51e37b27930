//! `ORDER BY .. LIMIT` with a limit that does not fit into memory is a sort.
//!
//! DataFusion keeps the first rows of such a query in a heap, which cannot go to disk: with a limit of millions it fails
//! where the same query without a limit is sorted on disk. Where the heap would take more than its share of the memory,
//! all rows are sorted and the first of them passed on.

use super::series_exec::width;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// Bytes of a row in a heap beside its values: its place and the vector of its key.
const PLACE_BYTES: usize = 64;
/// The heap holds up to this many rows for each that is asked for: those of its batches that have been overtaken, and a
/// copy of the others while it makes room.
const ROWS_HELD: usize = 4;

/// Turns heaps that are too large into sorts. It runs when limits have been pushed into sorts, and before sorts tell the
/// scans below them what they look for.
#[derive(Debug)]
pub(super) struct LargeTop {
    /// The memory limit in bytes.
    pub memory: usize,
}

impl PhysicalOptimizerRule for LargeTop {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| Ok(self.replace(plan))).data()
    }

    fn name(&self) -> &str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl LargeTop {
    pub const NAME: &'static str = "large_top";

    fn replace(&self, plan: Arc<dyn ExecutionPlan>) -> Transformed<Arc<dyn ExecutionPlan>> {
        let Some(sort) = plan.downcast_ref::<SortExec>() else { return Transformed::no(plan) };
        let Some(fetch) = sort.fetch() else { return Transformed::no(plan) };
        let schema = sort.schema();
        let row: usize = schema.fields().iter().map(|f| width(f.data_type())).sum();
        let key: usize = sort.expr().iter().map(|k| k.expr.data_type(&schema).map_or(0, |t| width(&t))).sum();
        let heaps = plan.output_partitioning().partition_count();
        let bytes = fetch.saturating_mul((row + key + PLACE_BYTES) * ROWS_HELD).saturating_mul(heaps);
        if bytes <= self.memory / 2 {
            return Transformed::no(plan);
        }
        let whole = SortExec::new(sort.expr().clone(), Arc::clone(sort.input()));
        let whole = whole.with_preserve_partitioning(sort.preserve_partitioning());
        Transformed::yes(Arc::new(LocalLimitExec::new(Arc::new(whole), fetch)))
    }
}
