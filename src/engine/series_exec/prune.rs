//! Tells each [`SeriesExec`] which fields the plan above reads, and in which rows.

use super::node::SeriesExec;
use super::reads::{Fields, KeptRows, Reads};
use crate::within;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, split_conjunction};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use std::sync::Arc;

/// What a plan's output is read for.
struct Above {
    /// By column.
    reads: Vec<Reads>,
    /// Which rows "some rows" are.
    rows: Option<KeptRows>,
}

impl Above {
    fn everything(plan: &Arc<dyn ExecutionPlan>) -> Above {
        Above { reads: vec![Reads::all(); plan.schema().fields().len()], rows: None }
    }

    fn nothing(plan: &Arc<dyn ExecutionPlan>) -> Above {
        Above { reads: vec![Reads::default(); plan.schema().fields().len()], rows: None }
    }

    /// With what rows are needed; where that cannot be said of the columns, all of them.
    fn with_rows(self, rows: Option<KeptRows>) -> Above {
        match rows {
            Some(_) => Above { rows, ..self },
            None => Above { reads: self.reads.into_iter().map(Reads::in_all_rows).collect(), rows },
        }
    }
}

/// Tells the operators of a whole plan.
pub(super) fn prune(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let above = Above::everything(&plan);
    below(plan, above)
}

/// Walks down through the operators that name columns one by one; any other operator is taken to read everything.
fn below(plan: Arc<dyn ExecutionPlan>, above: Above) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(series) = plan.downcast_ref::<SeriesExec>() {
        return below_series(series, above);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let mut input = Above::nothing(projection.input());
        for (expr, reads) in projection.expr().iter().zip(&above.reads) {
            note(&expr.expr, reads, &mut input.reads);
        }
        let source = |column: usize| projection.expr().get(column).map(|of| Arc::clone(&of.expr));
        let rows = above.rows.map(|rows| in_terms_of(rows, source)).transpose()?.flatten();
        let input = below(Arc::clone(projection.input()), input.with_rows(rows))?;
        return with_child(plan, input);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let input = above_input(filter, above)?;
        let input = below(Arc::clone(filter.input()), input)?;
        return with_child(plan, input);
    }
    if let Some(aggregate) =
        plan.downcast_ref::<AggregateExec>().filter(|a| a.mode().input_mode() == AggregateInputMode::Raw)
    {
        let input = below(Arc::clone(aggregate.input()), above_aggregated(aggregate))?;
        return with_child(plan, input);
    }
    if let (true, [child]) = (hands_on_columns(&plan), plan.children().as_slice()) {
        let mut input = above.with_rows(None);
        plan.apply_expressions(&mut |expr| {
            note(expr, &Reads::all(), &mut input.reads);
            Ok(TreeNodeRecursion::Continue)
        })?;
        let input = below(Arc::clone(child), input)?;
        return with_child(plan, input);
    }
    let children = plan.children().into_iter().map(|child| prune(Arc::clone(child))).collect::<Result<Vec<_>>>()?;
    let changed = plan.children().iter().zip(&children).any(|(old, new)| !Arc::ptr_eq(old, new));
    if changed { with_children(plan, children) } else { Ok(plan) }
}

/// Whether an operator hands on the columns of its input as they are: it orders, gathers, spreads or limits rows.
fn hands_on_columns(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<GlobalLimitExec>()
}

/// What an aggregate reads of the rows that it aggregates.
fn above_aggregated(aggregate: &AggregateExec) -> Above {
    let mut input = Above::nothing(aggregate.input());
    let groups = aggregate.group_expr().input_exprs();
    let aggregated = aggregate.aggr_expr().iter().flat_map(|function| {
        let all = function.all_expressions();
        all.args.into_iter().chain(all.order_by_exprs)
    });
    let filters = aggregate.filter_expr().iter().flatten().map(Arc::clone);
    for expr in groups.into_iter().chain(aggregated).chain(filters) {
        note(&expr, &Reads::all(), &mut input.reads);
    }
    input
}

/// What a filter, and all above it, reads of its input. Of the columns that it does not look at itself, only the rows that
/// [`within`](crate::within::within) keeps are read.
fn above_input(filter: &FilterExec, above: Above) -> Result<Above> {
    let schema = filter.input().schema();
    let mut input = Above::nothing(filter.input());
    let positions: Vec<usize> = match filter.projection() {
        Some(positions) => positions.to_vec(),
        None => (0..schema.fields().len()).collect(),
    };
    for (position, reads) in positions.iter().zip(&above.reads) {
        input.reads[*position].add(reads);
    }
    let column = |position: usize| Arc::new(Column::new(schema.field(position).name(), position)) as _;
    let rows = above.rows.map(|rows| in_terms_of(rows, |output| positions.get(output).map(|p| column(*p))));
    let mut input = input.with_rows(rows.transpose()?.flatten());
    let ranges = split_conjunction(filter.predicate()).into_iter().find(|condition| within::is_within(condition));
    if let (Some(ranges), None) = (ranges, &input.rows) {
        input.reads = input.reads.into_iter().map(Reads::in_kept_rows).collect();
        input.rows = Some(KeptRows { condition: Arc::clone(ranges), only: true });
    }
    // Whether a row is kept that is dropped later does not matter.
    let is_only = input.rows.as_ref().is_some_and(|rows| rows.only);
    let reads = if is_only { Reads::all().in_kept_rows() } else { Reads::all() };
    note(filter.predicate(), &reads, &mut input.reads);
    Ok(input)
}

fn below_series(series: &SeriesExec, above: Above) -> Result<Arc<dyn ExecutionPlan>> {
    let width = series.input().schema().fields().len();
    // The operator has to know the rows before it computes anything.
    let is_input = |rows: &KeptRows| columns_of(&rows.condition).into_iter().all(|column| column < width);
    let rows = above.rows.clone().filter(is_input);
    let above = above.with_rows(rows);
    // It looks at rows around those that are kept.
    let rows = above.rows.clone().map(|rows| KeptRows { only: false, ..rows });
    let mut input = Above { reads: above.reads[..width].to_vec(), rows };
    for expr in series.window_expr() {
        let all = expr.all_expressions();
        for used in all.args.iter().chain(&all.partition_by_exprs).chain(&all.order_by_exprs) {
            note(used, &Reads::all(), &mut input.reads);
        }
    }
    if let Some(rows) = &above.rows {
        note(&rows.condition, &Reads::all(), &mut input.reads);
    }
    let input = below(Arc::clone(series.input()), input)?;
    let restricted: Arc<dyn ExecutionPlan> = Arc::new(series.with_reads(&above.reads[width..], above.rows));
    with_child(restricted, input)
}

/// The same rows in terms of other columns: each is replaced by what it is made of. `None` where that is not known.
fn in_terms_of(rows: KeptRows, source: impl Fn(usize) -> Option<Arc<dyn PhysicalExpr>>) -> Result<Option<KeptRows>> {
    let mut is_known = true;
    let replaced = rows.condition.transform_down(|node| {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        let Some(source) = source(column.index()) else {
            is_known = false;
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::new(source, true, TreeNodeRecursion::Jump))
    });
    let replaced = replaced.data()?;
    Ok(is_known.then_some(KeptRows { condition: replaced, only: rows.only }))
}

fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut columns = vec![];
    let _ = expr.apply(|node| {
        columns.extend(node.downcast_ref::<Column>().map(Column::index));
        Ok(TreeNodeRecursion::Continue)
    });
    columns
}

fn with_child(plan: Arc<dyn ExecutionPlan>, child: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let same = plan.children().first().is_some_and(|old| Arc::ptr_eq(old, &child));
    if same { Ok(plan) } else { with_children(plan, vec![child]) }
}

fn with_children(
    plan: Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// Records what `expr`, of which `reads` is read, reads of the columns below.
fn note(expr: &Arc<dyn PhysicalExpr>, reads: &Reads, below: &mut [Reads]) {
    let _ = expr.apply(|node| {
        if let Some((column, field)) = field_of_column(node) {
            below[column].add(&reads.of(&Fields::one(field)));
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Some(column) = node.downcast_ref::<Column>() {
            // Of a bare column is read whatever is read of the expression.
            let is_bare = Arc::ptr_eq(node, expr);
            below[column.index()].add(&if is_bare { reads.clone() } else { reads.of(&Fields::All) });
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// `get_field(column, 'name')`
fn field_of_column(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, String)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let function: &ScalarUDF = call.fun();
    let [column, name, ..] = call.args() else { return None };
    let column = column.downcast_ref::<Column>().filter(|_| function.name() == "get_field")?;
    let name = name.downcast_ref::<Literal>()?.value().try_as_str()??;
    Some((column.index(), name.to_string()))
}
