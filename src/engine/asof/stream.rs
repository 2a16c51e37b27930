//! The merge.

use crate::cancellation::{Cancellation, Turns};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

/// Right batches that the rows of one output batch may come from; more, and the output is cut.
const RIGHT_BATCHES: usize = 16;

/// One input and how its rows compare.
pub(super) struct Side {
    input: SendableRecordBatchStream,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    matching: Arc<dyn PhysicalExpr>,
    key_rows: RowConverter,
    match_rows: RowConverter,
}

/// A batch with its rows in comparable form.
struct Sorted {
    batch: RecordBatch,
    keys: Rows,
    matching: Rows,
    /// Rows with a null among keys and match, if there are any.
    nulls: Option<Vec<bool>>,
}

impl Side {
    pub fn new(
        input: SendableRecordBatchStream,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        matching: Arc<dyn PhysicalExpr>,
    ) -> Result<Self> {
        let schema = input.schema();
        let field = |e: &Arc<dyn PhysicalExpr>| {
            let options = SortOptions { descending: false, nulls_first: false };
            Ok(SortField::new_with_options(e.data_type(&schema)?, options))
        };
        let key_rows = RowConverter::new(keys.iter().map(field).collect::<Result<_>>()?)?;
        let match_rows = RowConverter::new(vec![field(&matching)?])?;
        Ok(Self { input, keys, matching, key_rows, match_rows })
    }

    /// The next batch that has rows.
    async fn next(&mut self) -> Result<Option<Sorted>> {
        while let Some(batch) = self.input.next().await {
            let batch = batch?;
            let rows = batch.num_rows();
            if rows == 0 {
                continue;
            }
            let array = |e: &Arc<dyn PhysicalExpr>| e.evaluate(&batch)?.into_array(rows);
            let keys = self.keys.iter().map(array).collect::<Result<Vec<ArrayRef>>>()?;
            let matching = array(&self.matching)?;
            let nullable = || keys.iter().chain([&matching]);
            let nulls = nullable()
                .any(|a| a.null_count() > 0)
                .then(|| (0..rows).map(|row| nullable().any(|a| a.is_null(row))).collect());
            let (keys, matching) =
                (self.key_rows.convert_columns(&keys)?, self.match_rows.convert_columns(&[matching])?);
            return Ok(Some(Sorted { batch, keys, matching, nulls }));
        }
        Ok(None)
    }
}

impl Sorted {
    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls[row])
    }
}

/// A row of the right input: number of its batch, and row.
type Place = (usize, usize);

struct Merge {
    left: Side,
    right: Side,
    op: Operator,
    schema: SchemaRef,
    /// The left batch at hand and the next of its rows.
    batch: Option<(Sorted, usize)>,
    /// Right batches that are still needed; the first has number `first`.
    held: VecDeque<Sorted>,
    first: usize,
    /// The next right row to look at.
    cursor: Place,
    right_ended: bool,
    /// The last right row that was passed.
    passed: Option<Place>,
    /// The first right batch that a row of the output at hand comes from.
    used: Option<usize>,
    turns: Turns,
    metrics: BaselineMetrics,
    reservation: MemoryReservation,
}

pub(super) fn merge(
    left: Side,
    right: Side,
    op: Operator,
    schema: SchemaRef,
    metrics: BaselineMetrics,
    context: &TaskContext,
    partition: usize,
) -> Result<SendableRecordBatchStream> {
    let merge = Merge {
        left,
        right,
        op,
        schema: Arc::clone(&schema),
        batch: None,
        held: VecDeque::new(),
        first: 0,
        cursor: (0, 0),
        right_ended: false,
        passed: None,
        used: None,
        turns: Turns::new(Cancellation::of(context)),
        metrics,
        reservation: MemoryConsumer::new(format!("AsofExec[{partition}]")).register(context.memory_pool()),
    };
    let stream = futures::stream::try_unfold(merge, |mut merge| async move {
        let next = merge.next().await?;
        Ok(next.map(|batch| (batch, merge)))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

impl Merge {
    /// The next output batch: the rest of a left batch, or as much of it as the held right batches reach.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.turns.next().await?;
        if self.batch.is_none() {
            self.batch = self.left.next().await?.map(|sorted| (sorted, 0));
        }
        let Some((left, start)) = self.batch.take() else {
            self.reservation.free();
            return Ok(None);
        };
        let rows = left.batch.num_rows();
        let mut found: Vec<Option<Place>> = Vec::with_capacity(rows - start);
        let mut row = start;
        while row < rows {
            // The right batches that the cursor has left are let go, but for those that rows were found in.
            if self.held.len() > RIGHT_BATCHES && row > start {
                break;
            }
            let place = if left.is_null(row) { None } else { self.find(&left, row).await? };
            if let Some((batch, _)) = place {
                self.used = Some(self.used.map_or(batch, |used| used.min(batch)));
            }
            found.push(place);
            row += 1;
        }
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let batch = self.assemble(&left.batch.slice(start, row - start), &found)?;
        if row < rows {
            self.batch = Some((left, row));
        }
        self.used = None;
        self.release();
        Ok(Some(batch.record_output(&self.metrics)))
    }

    /// The right row that is nearest to a left row.
    async fn find(&mut self, left: &Sorted, row: usize) -> Result<Option<Place>> {
        let (key, matching) = (left.keys.row(row), left.matching.row(row));
        let backward = matches!(self.op, Operator::GtEq | Operator::Gt);
        while self.fill().await? {
            let (sorted, at) = (&self.held[self.cursor.0 - self.first], self.cursor.1);
            let by_match = || sorted.matching.row(at).cmp(&matching);
            let passes = match sorted.keys.row(at).cmp(&key) {
                Ordering::Less => true,
                Ordering::Greater => false,
                Ordering::Equal => match self.op {
                    Operator::GtEq | Operator::Lt => by_match() != Ordering::Greater,
                    _ => by_match() == Ordering::Less,
                },
            };
            if !passes {
                break;
            }
            self.passed = Some(self.cursor);
            self.cursor.1 += 1;
        }
        let place = if backward { self.passed } else { Some(self.cursor).filter(|_| !self.right_ended) };
        Ok(place.filter(|(batch, at)| {
            self.held.get(batch - self.first).is_some_and(|s| s.keys.row(*at) == key && !s.is_null(*at))
        }))
    }

    /// Makes sure that the cursor stands on a row; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        while !self.right_ended {
            match self.held.get(self.cursor.0 - self.first) {
                Some(sorted) if self.cursor.1 < sorted.batch.num_rows() => return Ok(true),
                Some(_) => {
                    self.cursor = (self.cursor.0 + 1, 0);
                    self.release();
                }
                None => match self.right.next().await? {
                    Some(sorted) => {
                        let bytes = sorted.batch.get_array_memory_size() + sorted.keys.size() + sorted.matching.size();
                        self.reservation.try_grow(bytes)?;
                        self.held.push_back(sorted);
                    }
                    None => self.right_ended = true,
                },
            }
        }
        Ok(false)
    }

    /// Left rows beside the right rows that were found.
    fn assemble(&self, left: &RecordBatch, found: &[Option<Place>]) -> Result<RecordBatch> {
        let places: Vec<(usize, usize)> =
            found.iter().map(|place| place.map_or((0, 0), |(batch, row)| (batch - self.first + 1, row))).collect();
        let width = left.num_columns();
        let mut columns = left.columns().to_vec();
        for (i, field) in self.schema.fields().iter().enumerate().skip(width) {
            let none = new_null_array(field.data_type(), 1);
            let sources: Vec<&dyn Array> = std::iter::once(none.as_ref())
                .chain(self.held.iter().map(|sorted| sorted.batch.column(i - width).as_ref()))
                .collect();
            columns.push(interleave(&sources, &places)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    /// Lets go of the batches before the one that the last row passed is in, unless the output at hand needs them.
    fn release(&mut self) {
        let needed = self.passed.map_or(self.cursor.0, |(batch, _)| batch.min(self.cursor.0));
        let needed = self.used.map_or(needed, |used| used.min(needed));
        while self.first < needed {
            self.first += 1;
            if let Some(sorted) = self.held.pop_front() {
                let bytes = sorted.batch.get_array_memory_size() + sorted.keys.size() + sorted.matching.size();
                self.reservation.shrink(bytes.min(self.reservation.size()));
            }
        }
    }
}
