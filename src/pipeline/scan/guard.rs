//! The guard of a scan: which symbols it sees, and what is wrong with them.

use super::Scan;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::node::above;
use tallow_engine::symbol_guard::SymbolGuard;
use tallow_lake::CandleTable;

impl Scan {
    /// Puts the guard above every table, and above what filters its rows; the first is the one that the plan is about.
    pub(super) fn guard_tables(&self, plan: LogicalPlan, columns: &BTreeSet<String>) -> Result<LogicalPlan> {
        let mut beside = false;
        let symbols = self.symbols.as_ref().map(|all| Arc::new(all.iter().cloned().collect::<BTreeSet<_>>()));
        let guarded = plan.transform_down(|node| {
            if !is_scan(&node) || ["symbol", "ts"].iter().any(|c| !node.schema().fields().iter().any(|f| f.name() == c))
            {
                return Ok(Transformed::no(node));
            }
            // The guard leaves out other symbols; the table need not read what it need not.
            let scan = match &symbols {
                Some(symbols) => node.transform_down(|node| reading_only(node, symbols)).data()?,
                None => node,
            };
            let symbols = symbols.as_ref().map(|symbols| symbols.as_ref().clone());
            let guard = SymbolGuard { symbols, columns: columns.clone(), beside };
            beside = true;
            Ok(Transformed::new(above(scan, Arc::new(guard))?, true, TreeNodeRecursion::Jump))
        });
        Ok(guarded.data()?)
    }
}

/// A table of candles without what surely holds none of the symbols.
fn reading_only(
    node: LogicalPlan,
    symbols: &Arc<BTreeSet<String>>,
) -> datafusion::common::Result<Transformed<LogicalPlan>> {
    let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<CandleTable>() else { return Ok(Transformed::no(node)) };
    let source = provider_as_source(Arc::new(table.for_symbols(symbols)));
    Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan.clone() })))
}

/// A table, perhaps under filters and another name.
fn is_scan(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Filter(filter) => is_scan(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => is_scan(&alias.input),
        _ => false,
    }
}
