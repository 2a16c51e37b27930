//! The functions of one operator over series, bar by bar.

use super::window::{WindowCall, WindowState};
use super::{ChainState, evaluated};
use crate::series_exec::SeriesExec;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use std::ops::Range;
use std::sync::Arc;
use tallow_udfs::series::{CallState, OutputBuilder, SeriesCall};

/// A function.
#[derive(Debug)]
enum Bound {
    /// One of ours, with its arguments as places among those of the step.
    Series { call: Box<SeriesCall>, args: Vec<usize> },
    /// Any other.
    Window(Box<WindowCall>),
}

/// What a function keeps of a series.
#[derive(Debug)]
pub(super) enum State {
    Series(CallState),
    Window(Box<WindowState>),
}

impl State {
    fn window(&mut self) -> Option<&mut WindowState> {
        match self {
            State::Window(state) => Some(state),
            State::Series(_) => None,
        }
    }

    pub fn fork(&self) -> State {
        match self {
            State::Series(state) => State::Series(state.fork()),
            State::Window(state) => State::Window(state.clone()),
        }
    }
}

#[derive(Debug)]
pub(super) struct SeriesStep {
    /// Distinct arguments of all calls.
    args: Vec<Arc<dyn PhysicalExpr>>,
    bound: Vec<Bound>,
    schema: SchemaRef,
    /// Where the states of its calls begin among those of the chain.
    first: usize,
}

impl SeriesStep {
    /// The functions of an operator, if its series are those of symbols in the order of time, and all of them can be computed bar by bar.
    pub fn of(series: &SeriesExec) -> Result<SeriesStep, String> {
        let expr = series.window_expr().first().ok_or("no function")?;
        let named =
            |expr: &Arc<dyn PhysicalExpr>, name: &str| expr.downcast_ref::<Column>().is_some_and(|c| c.name() == name);
        let by_symbol = matches!(expr.partition_by(), [only] if named(only, "symbol"));
        let by_time = matches!(expr.order_by(), [only] if named(&only.expr, "ts") && !only.options.descending);
        if !by_symbol || !by_time {
            return Err("functions that are not over the bars of a symbol in the order of time".to_string());
        }
        let (mut args, mut bound) = (Vec::<Arc<dyn PhysicalExpr>>::new(), vec![]);
        for (expr, call) in series.window_expr().iter().zip(series.calls()) {
            let place = |expr: &Arc<dyn PhysicalExpr>| match args.iter().position(|known| known == expr) {
                Some(place) => place,
                None => {
                    args.push(Arc::clone(expr));
                    args.len() - 1
                }
            };
            let found = match call {
                Some((call, exprs)) if call.begin().is_some() => {
                    Some(Bound::Series { args: exprs.iter().map(place).collect(), call: Box::new(call.clone()) })
                }
                Some(_) => None,
                None => {
                    let call = WindowCall::of(expr, &series.input().schema()).map_err(|error| error.to_string())?;
                    call.map(Box::new).map(Bound::Window)
                }
            };
            bound.push(found.ok_or_else(|| expr.name().to_string())?);
        }
        Ok(SeriesStep { args, bound, schema: series.schema(), first: 0 })
    }

    /// Says where its states begin, and gives where those of the next step do.
    pub fn number(&mut self, first: usize) -> usize {
        self.first = first;
        first + self.bound.len()
    }

    pub fn begin(&self) -> impl Iterator<Item = State> {
        self.bound.iter().filter_map(|bound| match bound {
            Bound::Series { call, .. } => call.begin().map(State::Series),
            Bound::Window(call) => Some(State::Window(Box::new(call.begin()))),
        })
    }

    pub fn push(
        &self,
        rows: &RecordBatch,
        ranges: &[Range<usize>],
        states: &mut [&mut ChainState],
    ) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let args = evaluated(&self.args, rows)?;
        let mut columns = rows.columns().to_vec();
        for (at, bound) in self.bound.iter().enumerate() {
            let at = self.first + at;
            let column = match bound {
                Bound::Series { call, args: places } => {
                    let args: Vec<ArrayRef> = places.iter().map(|&place| Arc::clone(&args[place])).collect();
                    let args = call.arguments(&args, count)?;
                    let mut out = OutputBuilder::of_rows(call, count);
                    for (range, state) in ranges.iter().zip(states.iter_mut()).filter(|(range, _)| !range.is_empty()) {
                        if let State::Series(state) = &mut state.0[at] {
                            state.push(call, &args, range.clone(), &mut out)?;
                        }
                    }
                    out.finish()
                }
                Bound::Window(call) => {
                    let own = states.iter_mut().map(|state| state.0[at].window());
                    call.push(rows, ranges, own)?
                }
            };
            columns.push(column);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
