//! Plans that are computed bar by bar: a chain of filters, projections and series functions that stay where their series end.
//!
//! DataFusion runs a plan over all the rows that its results look at. For a plan that gets one further bar of each symbol again and
//! again, that is hundreds of bars for one. A [`Chain`] is the same operators with the same expressions, which are handed only the
//! new rows: what they have to know of those before is kept by symbol, as a [`ChainState`].

mod series;
mod window;

use crate::series_exec::SeriesExec;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::streaming::StreamingTableExec;
use series::{SeriesStep, State};
use std::ops::Range;
use std::sync::Arc;

/// The operators of a plan, from the rows that come to the rows that go.
#[derive(Debug)]
pub struct Chain {
    input: SchemaRef,
    output: SchemaRef,
    steps: Vec<Step>,
}

/// What a chain keeps of one series.
#[derive(Debug)]
pub struct ChainState(Vec<State>);

#[derive(Debug)]
enum Step {
    Filter { predicate: Arc<dyn PhysicalExpr>, columns: Option<Vec<usize>> },
    Project { exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    Series(SeriesStep),
}

impl Chain {
    /// The chain of a plan over rows that are put into a streaming table.
    ///
    /// # Errors
    /// The operator that cannot be computed bar by bar, as the plan shows it.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Chain, String> {
        let (mut steps, mut node) = (vec![], plan);
        let input = loop {
            if let Some(filter) = node.downcast_ref::<FilterExec>().filter(|filter| filter.fetch().is_none()) {
                let columns = filter.projection().as_ref().map(|columns| columns.to_vec());
                steps.push(Step::Filter { predicate: Arc::clone(filter.predicate()), columns });
                node = filter.input();
            } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
                let exprs = projection.expr().iter().map(|of| Arc::clone(&of.expr)).collect();
                steps.push(Step::Project { exprs, schema: projection.schema() });
                node = projection.input();
            } else if let Some(series) = node.downcast_ref::<SeriesExec>() {
                steps.push(Step::Series(SeriesStep::of(series)?));
                node = series.input();
            } else if let Some(table) = node.downcast_ref::<StreamingTableExec>().filter(|t| t.limit().is_none()) {
                break table.schema();
            } else {
                return Err(node.name().to_string());
            }
        };
        steps.reverse();
        // The state of a series is one list for all calls, in the order of the steps.
        let mut first = 0;
        for step in &mut steps {
            if let Step::Series(step) = step {
                first = step.number(first);
            }
        }
        Ok(Chain { input, output: plan.schema(), steps })
    }

    /// The columns of the rows that come.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// The columns of the rows that go.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// What is kept of a series that has no bars yet.
    pub fn begin(&self) -> ChainState {
        let calls = self.steps.iter().filter_map(|step| if let Step::Series(step) = step { Some(step) } else { None });
        ChainState(calls.flat_map(SeriesStep::begin).collect())
    }

    /// Takes the next bars of some series: `ranges` says which rows are whose, in the order of `states`. Gives the rows that come of
    /// them, and in the same way whose they are.
    ///
    /// # Errors
    /// An expression or a function fails. Some states have moved then, and none is to be used any more.
    pub fn push(
        &self,
        rows: RecordBatch,
        mut ranges: Vec<Range<usize>>,
        states: &mut [&mut ChainState],
    ) -> Result<(RecordBatch, Vec<Range<usize>>)> {
        let mut rows = rows;
        for step in &self.steps {
            rows = match step {
                Step::Filter { predicate, columns } => {
                    let kept = filtered(&rows, predicate, &mut ranges)?;
                    match columns {
                        Some(columns) => kept.project(columns)?,
                        None => kept,
                    }
                }
                Step::Project { exprs, schema } => {
                    let count = rows.num_rows();
                    let columns = evaluated(exprs, &rows)?;
                    let options = RecordBatchOptions::new().with_row_count(Some(count));
                    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?
                }
                Step::Series(step) => step.push(&rows, &ranges, states)?,
            };
        }
        Ok((rows, ranges))
    }
}

impl ChainState {
    /// Another one that goes on from here by itself.
    pub fn fork(&self) -> ChainState {
        ChainState(self.0.iter().map(State::fork).collect())
    }
}

fn evaluated(exprs: &[Arc<dyn PhysicalExpr>], rows: &RecordBatch) -> Result<Vec<arrow::array::ArrayRef>> {
    exprs.iter().map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows())).collect()
}

/// The rows that a filter keeps; `ranges` are those of the kept rows after it.
fn filtered(rows: &RecordBatch, predicate: &Arc<dyn PhysicalExpr>, ranges: &mut [Range<usize>]) -> Result<RecordBatch> {
    let keep = predicate.evaluate(rows)?.into_array(rows.num_rows())?;
    let keep: &BooleanArray =
        keep.as_boolean_opt().ok_or_else(|| exec_datafusion_err!("{predicate} is no condition"))?;
    let keep = if keep.null_count() > 0 { prep_null_mask_filter(keep) } else { keep.clone() };
    if keep.true_count() == keep.len() {
        return Ok(rows.clone());
    }
    let mut start = 0;
    for range in ranges {
        let count = keep.values().slice(range.start, range.len()).count_set_bits();
        *range = start..start + count;
        start += count;
    }
    Ok(filter_record_batch(rows, &keep)?)
}
