//! Window functions that are no series functions, bar by bar.

use arrow::array::{ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::{concat, concat_batches};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::window::{
    PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr,
};
use datafusion::physical_plan::windows::WindowUDFExpr;
use std::ops::Range;
use std::sync::Arc;
use tallow_udfs::rolling::{LagBars, Lagged};

/// A window function.
#[derive(Debug)]
pub(super) enum WindowCall {
    /// `lag_bars`.
    Lag { begun: Lagged, series: Arc<dyn PhysicalExpr> },
    /// An aggregate of all rows so far.
    SoFar(AggregateFunctionExpr),
    /// Any that looks so many rows back.
    Rows { expr: Arc<dyn WindowExpr>, back: usize },
}

/// What it keeps of a series.
#[derive(Debug, Clone)]
pub(super) enum WindowState {
    Lag(Lagged),
    /// The state of the aggregate; none before the first row.
    SoFar(Vec<ScalarValue>),
    /// The last rows.
    Rows(Option<RecordBatch>),
}

/// More rows than these are not kept.
const MOST: usize = 10_000;

impl WindowCall {
    /// A window function over rows in the order of time; `None`: it cannot be computed bar by bar.
    pub fn of(expr: &Arc<dyn WindowExpr>, input: &arrow::datatypes::Schema) -> Result<Option<WindowCall>> {
        let frame = expr.get_window_frame();
        // Neither is told by the expression itself.
        let has_clause = ["FILTER", "NULLS"].iter().any(|clause| {
            let name = expr.name().replace("NULLS LAST", "").replace("NULLS FIRST", "");
            name.contains(clause)
        });
        if let Some(standard) = expr.as_any().downcast_ref::<StandardWindowExpr>() {
            let function = standard.get_standard_func_expr();
            let Some(udf) = function.as_any().downcast_ref::<WindowUDFExpr>() else { return Ok(None) };
            if let (Some(lag), Some(series)) = (udf.fun().inner().downcast_ref::<LagBars>(), udf.args().first()) {
                let begun = lag.begin(udf.args(), &series.return_field(input)?)?;
                return Ok(begun.map(|begun| WindowCall::Lag { begun, series: Arc::clone(series) }));
            }
            let back = match udf.fun().name() {
                "lag" if !has_clause => offset(udf.args()),
                "first_value" | "last_value" | "nth_value" if !has_clause => rows_back(frame),
                _ => None,
            };
            return Ok(back.map(|back| WindowCall::Rows { expr: Arc::clone(expr), back }));
        }
        let aggregate = match expr.as_any().downcast_ref::<PlainAggregateWindowExpr>() {
            Some(plain) => Some(plain.get_aggregate_expr()),
            None => expr.as_any().downcast_ref::<SlidingAggregateWindowExpr>().map(|of| of.get_aggregate_expr()),
        };
        let Some(aggregate) = aggregate.filter(|_| !has_clause) else { return Ok(None) };
        let is_so_far = frame.start_bound.is_unbounded() && matches!(frame.end_bound, WindowFrameBound::CurrentRow);
        if is_so_far && aggregate.order_bys().is_empty() && !aggregate.is_distinct() {
            return Ok(Some(WindowCall::SoFar(aggregate.clone())));
        }
        Ok(rows_back(frame).map(|back| WindowCall::Rows { expr: Arc::clone(expr), back }))
    }

    pub fn begin(&self) -> WindowState {
        match self {
            WindowCall::Lag { begun, .. } => WindowState::Lag(begun.clone()),
            WindowCall::SoFar(_) => WindowState::SoFar(vec![]),
            WindowCall::Rows { .. } => WindowState::Rows(None),
        }
    }

    /// The column of the next rows of some series.
    pub fn push<'s>(
        &self,
        rows: &RecordBatch,
        ranges: &[Range<usize>],
        states: impl Iterator<Item = Option<&'s mut WindowState>>,
    ) -> Result<ArrayRef> {
        let wrong = || exec_datafusion_err!("the state of another function");
        let series = ranges.iter().zip(states).filter(|(range, _)| !range.is_empty());
        match self {
            WindowCall::Lag { begun: _, series: expr } => {
                let values = expr.evaluate(rows)?.into_array(rows.num_rows())?;
                let mut out = Vec::with_capacity(rows.num_rows());
                for (range, state) in series {
                    let Some(WindowState::Lag(lagged)) = state else { return Err(wrong()) };
                    lagged.push(&values, range.clone(), &mut out)?;
                }
                if out.is_empty() {
                    return Ok(new_empty_array(values.data_type()));
                }
                ScalarValue::iter_to_array(out)
            }
            WindowCall::SoFar(aggregate) => {
                let args = super::evaluated(&aggregate.expressions(), rows)?;
                let mut out = Vec::with_capacity(rows.num_rows());
                for (range, state) in series {
                    let Some(WindowState::SoFar(held)) = state else { return Err(wrong()) };
                    let mut accumulator = aggregate.create_accumulator()?;
                    if !held.is_empty() {
                        let held = held.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
                        accumulator.merge_batch(&held)?;
                    }
                    for row in range.clone() {
                        let args: Vec<ArrayRef> = args.iter().map(|array| array.slice(row, 1)).collect();
                        accumulator.update_batch(&args)?;
                        out.push(accumulator.evaluate()?);
                    }
                    *held = accumulator.state()?;
                }
                if out.is_empty() {
                    return Ok(new_empty_array(aggregate.field().data_type()));
                }
                ScalarValue::iter_to_array(out)
            }
            WindowCall::Rows { expr, back } => {
                let mut parts = vec![];
                for (range, state) in series {
                    let Some(WindowState::Rows(held)) = state else { return Err(wrong()) };
                    let new = rows.slice(range.start, range.len());
                    let all = match held.take() {
                        Some(held) => concat_batches(&rows.schema(), [&held, &new])?,
                        None => concat_batches(&rows.schema(), [&new])?,
                    };
                    let count = all.num_rows();
                    parts.push(expr.evaluate(&all)?.slice(count - range.len(), range.len()));
                    let kept = count.min(*back);
                    *held = Some(all.slice(count - kept, kept));
                }
                match parts.as_slice() {
                    [] => Ok(new_empty_array(expr.field()?.data_type())),
                    parts => Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
                }
            }
        }
    }
}

/// How many rows `lag(x, n)` looks back.
fn offset(args: &[Arc<dyn PhysicalExpr>]) -> Option<usize> {
    use datafusion::physical_expr::expressions::Literal;
    let Some(given) = args.get(1) else { return Some(1) };
    let value = given.downcast_ref::<Literal>()?.value();
    let ScalarValue::Int64(Some(rows)) = value.cast_to(&arrow::datatypes::DataType::Int64).ok()? else { return None };
    usize::try_from(rows).ok().filter(|rows| *rows <= MOST)
}

/// How many rows a frame looks back, if it is rows that it counts and it looks at none that follow.
fn rows_back(frame: &WindowFrame) -> Option<usize> {
    let count = |value: &ScalarValue| {
        let value = value.cast_to(&arrow::datatypes::DataType::UInt64).ok()?;
        let ScalarValue::UInt64(Some(rows)) = value else { return None };
        usize::try_from(rows).ok().filter(|rows| *rows <= MOST)
    };
    let is_over = matches!(&frame.end_bound, WindowFrameBound::CurrentRow | WindowFrameBound::Preceding(_));
    match &frame.start_bound {
        _ if frame.units != WindowFrameUnits::Rows || !is_over => None,
        WindowFrameBound::Preceding(rows) => count(rows),
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Following(_) => None,
    }
}
