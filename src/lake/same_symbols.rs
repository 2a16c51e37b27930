//! Tables that are read together are cut at the same symbols.
//!
//! Each scan for itself spreads its rows evenly over partitions. An as-of join of two tables, a union, or a table whose newest
//! rows lie in files of their own would then have all rows of a symbol gathered by an exchange that keeps their order; since every
//! input of it comes by symbol, it holds most of them in memory before it can go on. Cut at the same symbols, the rows that
//! belong together meet in one partition by themselves.

use super::guarded::recut_of;
use super::ordered_union::OrderedUnionExec;
use super::ranges::Borders;
use super::recut::Recut;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};
use std::sync::Arc;

/// Cuts the scans of a plan at the same symbols, where it needs their rows in order.
///
/// It runs before distribution and order are enforced, and before filters are pushed into scans.
#[derive(Debug, Default)]
pub struct SameSymbols;

impl PhysicalOptimizerRule for SameSymbols {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let mut scans = vec![];
        ordered_scans(&plan, None, &mut scans)?;
        let chains: Vec<usize> = scans.iter().map(|(_, recut)| recut.chains().len()).collect();
        if chains.iter().sum::<usize>() < 2 {
            return Ok(plan);
        }
        let readers = scans.iter().zip(&chains).map(|((_, recut), chains)| recut.readers / chains.max(&1));
        let target = config.execution.target_partitions;
        let partitions = readers.chain([target]).min().unwrap_or_default();
        if partitions < 2 {
            return Ok(plan);
        }
        let borders = Borders::spreading(scans.iter().flat_map(|(_, recut)| recut.weights()), partitions);
        let borders = borders.padded(target);
        cut(plan, None, &borders)
    }

    fn name(&self) -> &str {
        "same_symbols"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

type Scan<'a> = (&'a FileScanConfig, &'a Arc<Recut>);

/// A scan that can be cut anew, if its rows come in this order.
fn scan_of<'a>(plan: &'a Arc<dyn ExecutionPlan>, order: Option<&LexOrdering>) -> Result<Option<Scan<'a>>> {
    let (Some(scan), Some(order)) = (plan.downcast_ref::<DataSourceExec>(), order) else { return Ok(None) };
    let Some(config) = scan.data_source().downcast_ref::<FileScanConfig>() else { return Ok(None) };
    let is_ordered = plan.equivalence_properties().ordering_satisfy(order.clone())?;
    Ok(recut_of(config).filter(|_| is_ordered).map(|recut| (config, recut)))
}

/// For each input of a plan, the order that the plan needs it in, or that lies above it and the plan keeps.
fn needed_orders(plan: &Arc<dyn ExecutionPlan>, above: Option<&LexOrdering>) -> Vec<Option<LexOrdering>> {
    let children = plan.children().into_iter();
    let own = plan.required_input_ordering().into_iter();
    let kept = plan.maintains_input_order().into_iter();
    let orders = children.zip(own).zip(kept).map(|((child, own), kept)| match own {
        Some(own) => LexOrdering::new(own.into_single().into_iter().map(PhysicalSortExpr::from)),
        None if kept || plan.is::<UnionExec>() => above.and_then(|order| in_terms_of(child, plan, order)),
        None => None,
    });
    orders.collect()
}

/// The order of a plan in terms of its input, where it is one of columns that the plan hands on.
fn in_terms_of(
    child: &Arc<dyn ExecutionPlan>,
    plan: &Arc<dyn ExecutionPlan>,
    order: &LexOrdering,
) -> Option<LexOrdering> {
    let handed_on = |of: &PhysicalSortExpr| {
        let column = of.expr.downcast_ref::<Column>()?;
        let source = match (plan.downcast_ref::<ProjectionExec>(), plan.downcast_ref::<FilterExec>()) {
            (Some(projection), _) => projection.expr().get(column.index())?.expr.downcast_ref::<Column>()?.index(),
            (None, Some(filter)) => match filter.projection() {
                Some(columns) => *columns.get(column.index())?,
                None => column.index(),
            },
            (None, None) => column.index(),
        };
        let schema = child.schema();
        let field = schema.fields().get(source)?;
        let is_same = plan.is::<ProjectionExec>() || field.name() == column.name();
        is_same.then(|| PhysicalSortExpr::new(Arc::new(Column::new(field.name(), source)), of.options))
    };
    LexOrdering::new(order.iter().map(handed_on).collect::<Option<Vec<_>>>()?)
}

fn ordered_scans<'a>(
    plan: &'a Arc<dyn ExecutionPlan>,
    order: Option<&LexOrdering>,
    found: &mut Vec<Scan<'a>>,
) -> Result<()> {
    found.extend(scan_of(plan, order)?);
    for (child, order) in plan.children().into_iter().zip(needed_orders(plan, order)) {
        ordered_scans(child, order.as_ref(), found)?;
    }
    Ok(())
}

/// The plan with scans and unions, of which an order is needed, cut at these symbols.
fn cut(plan: Arc<dyn ExecutionPlan>, order: Option<&LexOrdering>, borders: &Borders) -> Result<Arc<dyn ExecutionPlan>> {
    if let (Some((config, recut)), Some(order)) = (scan_of(&plan, order)?, order) {
        let mut scans = recut.at(config, borders)?;
        return match (scans.len(), scans.pop()) {
            (1, Some(only)) => Ok(only),
            (_, Some(last)) => {
                scans.push(last);
                Ok(merged(&scans, order)?.unwrap_or(plan))
            }
            (_, None) => Ok(plan),
        };
    }
    let children = plan.children();
    if children.is_empty() {
        return Ok(plan);
    }
    let inputs = children.iter().zip(needed_orders(&plan, order));
    let inputs = inputs.map(|(child, order)| cut(Arc::clone(child), order.as_ref(), borders));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    if let (true, Some(order)) = (plan.is::<UnionExec>(), order)
        && let Some(merged) = merged(&inputs, order)?
    {
        return Ok(merged);
    }
    if children.iter().zip(&inputs).all(|(old, new)| Arc::ptr_eq(old, new)) {
        return Ok(plan);
    }
    plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// The union of inputs in this order, if they have it, and the same partitions.
fn merged(inputs: &[Arc<dyn ExecutionPlan>], order: &LexOrdering) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    for input in inputs {
        let is_ordered = input.equivalence_properties().ordering_satisfy(order.clone())?;
        if !is_ordered || !same_ranges(input, &inputs[0], order) {
            return Ok(None);
        }
    }
    Ok(Some(Arc::new(OrderedUnionExec::try_new(inputs.to_vec(), order.clone())?)))
}

/// Whether two inputs are cut at the same values of the first column of their order.
fn same_ranges(a: &Arc<dyn ExecutionPlan>, b: &Arc<dyn ExecutionPlan>, key: &LexOrdering) -> bool {
    match (a.output_partitioning(), b.output_partitioning()) {
        (Partitioning::Range(a), Partitioning::Range(b)) => {
            let by_key = a.ordering().len() == 1 && a.ordering().first() == key.first();
            by_key && a.ordering() == b.ordering() && a.split_points() == b.split_points()
        }
        _ => false,
    }
}
