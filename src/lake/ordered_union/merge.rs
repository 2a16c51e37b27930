//! The merge, run by run: how many rows an input has in front of all others is found by halving, and they are handed on together.
//!
//! Files of a table mostly follow each other in time: of each symbol, one has hundreds of rows before another has any. Comparing
//! row by row, as a merge does that knows nothing of its inputs, took more time than all indicators.

use arrow::array::{ArrayRef, DynComparator, RecordBatch, make_comparator};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::metrics::{BaselineMetrics, RecordOutput};
use futures::{Stream, StreamExt, stream};
use std::cmp::Ordering;

/// Inputs in the order of a key, and what of them is next.
pub(super) struct Merge {
    inputs: Vec<SendableRecordBatchStream>,
    key: LexOrdering,
    /// By input; `None`: there are no more rows, once all have been filled.
    heads: Vec<Option<Head>>,
    ended: Vec<bool>,
    /// By pair of inputs: how rows of the one compare with rows of the other, for each column of the key.
    comparators: Vec<Option<Vec<DynComparator>>>,
    merged: BatchCoalescer,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
}

/// A batch of an input, of which the rows before `row` have been handed on.
struct Head {
    batch: RecordBatch,
    key: Vec<ArrayRef>,
    row: usize,
}

impl Merge {
    pub fn new(
        inputs: Vec<SendableRecordBatchStream>,
        key: LexOrdering,
        schema: SchemaRef,
        batch_size: usize,
        reservation: MemoryReservation,
        metrics: BaselineMetrics,
    ) -> Merge {
        let all = inputs.len();
        Merge {
            inputs,
            key,
            heads: (0..all).map(|_| None).collect(),
            ended: vec![false; all],
            comparators: (0..all * all).map(|_| None).collect(),
            merged: BatchCoalescer::new(schema, batch_size).with_biggest_coalesce_batch_size(Some(batch_size / 2)),
            reservation,
            metrics,
        }
    }

    /// The rows of all inputs in order.
    pub fn into_stream(self) -> impl Stream<Item = Result<RecordBatch>> + Send {
        stream::try_unfold(self, |mut merge| async move {
            let next = merge.next().await?;
            Ok(next.map(|batch| (batch.record_output(&merge.metrics), merge)))
        })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.merged.next_completed_batch() {
                return Ok(Some(batch));
            }
            self.fill().await?;
            let compute = self.metrics.elapsed_compute().clone();
            let _timer = compute.timer();
            match self.least()? {
                Some(run) => self.hand_on(run)?,
                None if self.merged.is_empty() => return Ok(None),
                None => self.merged.finish_buffered_batch()?,
            }
        }
    }

    /// Sees to it that every input that has rows left has some at hand.
    async fn fill(&mut self) -> Result<()> {
        for input in 0..self.inputs.len() {
            while self.heads[input].is_none() && !self.ended[input] {
                let Some(batch) = self.inputs[input].next().await.transpose()? else {
                    self.ended[input] = true;
                    break;
                };
                if batch.num_rows() == 0 {
                    continue;
                }
                let column = |of: &datafusion::physical_expr::PhysicalSortExpr| {
                    of.expr.evaluate(&batch)?.into_array(batch.num_rows())
                };
                let key = self.key.iter().map(column).collect::<Result<_>>()?;
                self.heads[input] = Some(Head { batch, key, row: 0 });
                let all = self.inputs.len();
                (0..all).for_each(|other| self.comparators[input.min(other) * all + input.max(other)] = None);
                let held = self.heads.iter().flatten().map(|head| head.batch.get_array_memory_size()).sum();
                self.reservation.try_resize(held)?;
            }
        }
        Ok(())
    }

    /// The input whose next row comes first, and up to which row of its batch no other has one that comes before.
    fn least(&mut self) -> Result<Option<(usize, usize)>> {
        let (mut first, mut second) = (None, None);
        for input in 0..self.heads.len() {
            let Some(row) = self.heads[input].as_ref().map(|head| head.row) else { continue };
            if self.is_before((input, row), first)? {
                (first, second) = (Some((input, row)), first);
            } else if self.is_before((input, row), second)? {
                second = Some((input, row));
            }
        }
        let Some((input, row)) = first else { return Ok(None) };
        let rows = self.heads[input].as_ref().map_or(0, |head| head.batch.num_rows());
        // Twice as far with each step, then by halves.
        let (mut low, mut step) = (row + 1, 1);
        while low + step < rows && self.is_before((input, low + step), second)? {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_before((input, middle), second)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Some((input, low)))
    }

    /// Whether a row of an input comes before that of another; of equal rows, that of the earlier input does.
    fn is_before(&mut self, (input, row): (usize, usize), other: Option<(usize, usize)>) -> Result<bool> {
        let Some((other, at)) = other else { return Ok(true) };
        let all = self.heads.len();
        let (a, b) = (input.min(other), input.max(other));
        let (Some(head_a), Some(head_b)) = (&self.heads[a], &self.heads[b]) else { return Ok(true) };
        let comparators = match &mut self.comparators[a * all + b] {
            Some(known) => known,
            unknown => {
                let columns = head_a.key.iter().zip(&head_b.key).zip(self.key.iter());
                let comparators = columns.map(|((a, b), of)| make_comparator(a, b, of.options));
                unknown.insert(comparators.collect::<std::result::Result<_, _>>()?)
            }
        };
        let (row_a, row_b) = if input < other { (row, at) } else { (at, row) };
        let unequal = comparators.iter().map(|compare| compare(row_a, row_b)).find(|found| found.is_ne());
        Ok(match unequal.unwrap_or(Ordering::Less) {
            Ordering::Less => input < other,
            _ => input > other,
        })
    }

    fn hand_on(&mut self, (input, until): (usize, usize)) -> Result<()> {
        let Some(head) = &mut self.heads[input] else { return Ok(()) };
        let rows = head.batch.slice(head.row, until - head.row);
        head.row = until;
        if until == head.batch.num_rows() {
            self.heads[input] = None;
        }
        Ok(self.merged.push_batch(rows)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::compute::SortOptions;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
    use datafusion::physical_expr::PhysicalSortExpr;
    use datafusion::physical_expr::expressions::Column;
    use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{TryStreamExt, executor::block_on};
    use proptest::prelude::*;
    use std::sync::Arc;

    type Row = (u8, i64);

    fn schema() -> SchemaRef {
        let fields = [("symbol", DataType::Utf8View), ("ts", DataType::Int64)];
        Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, false)).to_vec()))
    }

    fn batches(rows: &[Row], size: usize) -> Vec<RecordBatch> {
        let batch = |rows: &[Row]| {
            let symbols: StringViewArray = rows.iter().map(|(s, _)| Some(format!("A symbol of length {s}"))).collect();
            let times: Int64Array = rows.iter().map(|(_, ts)| *ts).collect();
            RecordBatch::try_new(schema(), vec![Arc::new(symbols), Arc::new(times)]).unwrap()
        };
        rows.chunks(size).map(batch).collect()
    }

    fn merged(inputs: &[Vec<Row>], size: usize) -> Vec<Row> {
        let stream = |rows: &Vec<Row>| -> SendableRecordBatchStream {
            let batches = batches(rows, size).into_iter().map(Ok);
            Box::pin(RecordBatchStreamAdapter::new(schema(), stream::iter(batches.collect::<Vec<_>>())))
        };
        let ascending = SortOptions { descending: false, nulls_first: false };
        let key = [("symbol", 0), ("ts", 1)];
        let key = key.map(|(name, i)| PhysicalSortExpr::new(Arc::new(Column::new(name, i)), ascending));
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let merge = Merge::new(
            inputs.iter().map(stream).collect(),
            LexOrdering::new(key).unwrap(),
            schema(),
            5,
            MemoryConsumer::new("merge").register(&pool),
            BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0),
        );
        let batches: Vec<RecordBatch> = block_on(merge.into_stream().try_collect()).unwrap();
        let rows = batches.iter().flat_map(|batch| {
            let symbols = batch.column(0).as_string_view().iter().flatten();
            let symbols = symbols.map(|symbol| symbol.rsplit(' ').next().unwrap().parse().unwrap());
            symbols.zip(batch.column(1).as_primitive::<Int64Type>().values().to_vec()).collect::<Vec<_>>()
        });
        rows.collect()
    }

    #[test]
    fn months_of_symbols_become_symbols() {
        let inputs = [vec![(1, 1), (1, 2), (2, 1), (2, 2)], vec![(1, 3), (2, 3)], vec![]];
        assert_eq!(merged(&inputs, 3), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]);
    }

    proptest! {
        #[test]
        fn merged_is_sorted(mut inputs in prop::collection::vec(prop::collection::vec((0u8..4, 0i64..30), 0..40), 0..6), size in 1usize..9) {
            inputs.iter_mut().for_each(|rows| rows.sort_unstable());
            let mut all: Vec<Row> = inputs.concat();
            all.sort_unstable();
            prop_assert_eq!(merged(&inputs, size), all);
        }
    }
}
