//! The functions of one operator over series, bar by bar.

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

/// A call, with its arguments as places among those of the step.
#[derive(Debug)]
struct Bound {
    call: SeriesCall,
    args: Vec<usize>,
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
            let Some((call, exprs)) = call.filter(|(call, _)| call.begin().is_some()) else {
                return Err(expr.name().to_string());
            };
            let place = |expr: &Arc<dyn PhysicalExpr>| match args.iter().position(|known| known == expr) {
                Some(place) => place,
                None => {
                    args.push(Arc::clone(expr));
                    args.len() - 1
                }
            };
            bound.push(Bound { args: exprs.iter().map(place).collect(), call: call.clone() });
        }
        Ok(SeriesStep { args, bound, schema: series.schema(), first: 0 })
    }

    pub fn calls(&self) -> impl Iterator<Item = &SeriesCall> {
        self.bound.iter().map(|bound| &bound.call)
    }

    /// Says where its states begin, and gives where those of the next step do.
    pub fn number(&mut self, first: usize) -> usize {
        self.first = first;
        first + self.bound.len()
    }

    pub fn begin(&self) -> impl Iterator<Item = CallState> {
        self.calls().filter_map(SeriesCall::begin)
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
            let args: Vec<ArrayRef> = bound.args.iter().map(|&arg| Arc::clone(&args[arg])).collect();
            let args = bound.call.arguments(&args, count)?;
            let mut out = OutputBuilder::of_rows(&bound.call, count);
            for (range, state) in ranges.iter().zip(states.iter_mut()).filter(|(range, _)| !range.is_empty()) {
                state.0[self.first + at].push(&bound.call, &args, range.clone(), &mut out)?;
            }
            columns.push(out.finish());
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
