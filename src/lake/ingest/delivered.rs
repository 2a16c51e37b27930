//! Delivered rows by (symbol, ts), each key once: of rows with the same key the last one counts.

use crate::sorted_rows::Cursor;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DynComparator, RecordBatch, make_comparator};
use arrow::compute::{SortOptions, filter_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows came in another order than by (symbol, ts); they have to be sorted first.
#[derive(Debug, thiserror::Error)]
#[error("the rows are not in order")]
pub(super) struct OutOfOrder;

/// Delivered rows by (symbol, ts), each key once.
pub(super) struct Delivered {
    rows: SendableRecordBatchStream,
    /// The last row of what was read, which the next may replace.
    held: Option<RecordBatch>,
    /// Rows before it that the cursor has not come to.
    complete: VecDeque<RecordBatch>,
    ended: bool,
    pub cursor: Cursor,
    pub duplicates: u64,
    pub conflicting: u64,
}

impl Delivered {
    pub fn new(rows: SendableRecordBatchStream) -> Delivered {
        Delivered {
            rows,
            held: None,
            complete: VecDeque::new(),
            ended: false,
            cursor: Cursor::default(),
            duplicates: 0,
            conflicting: 0,
        }
    }

    /// Moves to the next row, if it is not at one. False at the end.
    pub async fn fill(&mut self) -> Result<bool> {
        while self.cursor.is_at_end() {
            if let Some(rows) = self.complete.pop_front() {
                self.cursor.set(rows)?;
                continue;
            }
            if self.ended {
                return Ok(false);
            }
            let next = loop {
                match self.rows.try_next().await? {
                    Some(batch) if batch.num_rows() == 0 => {}
                    other => break other,
                }
            };
            let Some(batch) = next else {
                self.ended = true;
                self.complete.extend(self.held.take());
                continue;
            };
            if let Some(held) = self.held.take() {
                match order((&held, 0), (&batch, 0)) {
                    Ordering::Less => self.complete.push_back(held),
                    Ordering::Equal => self.repeated(&held, &batch, [(0, 0)])?,
                    Ordering::Greater => return Err(DataFusionError::External(Box::new(OutOfOrder))),
                }
            }
            let keep = self.last_of_each_key(&batch)?;
            let last = batch.num_rows() - 1;
            self.held = Some(alone(&batch, last)?);
            let rows = batch.slice(0, last);
            let rows = match keep {
                Some(keep) => filter_record_batch(&rows, &keep.slice(0, last))?,
                None => rows,
            };
            self.complete.extend(Some(rows).filter(|rows| rows.num_rows() > 0));
        }
        Ok(true)
    }

    /// A mask of the rows that are the last of their key; `None` if all are.
    fn last_of_each_key(&mut self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let symbols = batch.column(0).as_string_view();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>().values();
        let mut repeated: Vec<usize> = vec![];
        for row in 1..batch.num_rows() {
            if times[row - 1] < times[row] && symbols.views()[row - 1] == symbols.views()[row] {
                continue;
            }
            match order((batch, row - 1), (batch, row)) {
                Ordering::Less => {}
                Ordering::Equal => repeated.push(row - 1),
                Ordering::Greater => return Err(DataFusionError::External(Box::new(OutOfOrder))),
            }
        }
        if repeated.is_empty() {
            return Ok(None);
        }
        let mut keep = vec![true; batch.num_rows()];
        repeated.iter().for_each(|row| keep[*row] = false);
        self.repeated(batch, batch, repeated.into_iter().map(|row| (row, row + 1)))?;
        Ok(Some(keep.into()))
    }

    /// Counts rows that others of the same key follow.
    fn repeated(
        &mut self,
        first: &RecordBatch,
        second: &RecordBatch,
        rows: impl IntoIterator<Item = (usize, usize)>,
    ) -> Result<()> {
        let values = 2..first.num_columns() - 1;
        let same = comparators(first, second, values.map(|column| (column, column)))?;
        for (row, next) in rows {
            self.duplicates += 1;
            self.conflicting += u64::from(!same.iter().all(|compare| compare(row, next).is_eq()));
        }
        Ok(())
    }
}

/// How the keys of two rows stand to each other.
fn order((first, a): (&RecordBatch, usize), (second, b): (&RecordBatch, usize)) -> Ordering {
    let symbols = first.column(0).as_string_view().value(a).cmp(second.column(0).as_string_view().value(b));
    let time = |batch: &RecordBatch, row| batch.column(1).as_primitive::<TimestampMicrosecondType>().value(row);
    symbols.then_with(|| time(first, a).cmp(&time(second, b)))
}

/// A copy of one row that does not keep the rows around it in memory.
fn alone(batch: &RecordBatch, row: usize) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| {
        let one = column.slice(row, 1);
        match one.as_string_view_opt() {
            Some(text) => Arc::new(text.gc()) as ArrayRef,
            None => one,
        }
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

pub(super) fn comparators(
    a: &RecordBatch,
    b: &RecordBatch,
    columns: impl Iterator<Item = (usize, usize)>,
) -> Result<Vec<DynComparator>> {
    let compare = |(i, j): (usize, usize)| make_comparator(a.column(i), b.column(j), SortOptions::default());
    Ok(columns.map(compare).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    fn batch(rows: &[(&str, i64, f64)]) -> RecordBatch {
        let symbols: StringViewArray = rows.iter().map(|row| Some(row.0)).collect();
        let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.1)).collect();
        let closes: Float64Array = rows.iter().map(|row| Some(row.2)).collect();
        let order = Int64Array::from_iter_values(0..rows.len() as i64);
        let columns: [(&str, ArrayRef); 4] = [
            ("symbol", Arc::new(symbols)),
            ("ts", Arc::new(times.with_timezone("UTC"))),
            ("close", Arc::new(closes)),
            ("order", Arc::new(order)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    async fn keys(batches: &[&[(&str, i64, f64)]]) -> Result<(Vec<(String, i64)>, u64, u64)> {
        let batches: Vec<_> = batches.iter().map(|rows| Ok(batch(rows))).collect();
        let rows = RecordBatchStreamAdapter::new(batch(&[]).schema(), futures::stream::iter(batches));
        let mut delivered = Delivered::new(Box::pin(rows));
        let mut keys = vec![];
        while delivered.fill().await? {
            keys.extend(delivered.cursor.key().map(|(symbol, ts)| (symbol.to_string(), ts)));
            delivered.cursor.at += 1;
        }
        Ok((keys, delivered.duplicates, delivered.conflicting))
    }

    #[tokio::test]
    async fn the_last_row_of_a_key_counts_wherever_batches_are_cut() {
        let rows = [("A", 1, 1.0), ("A", 1, 2.0), ("A", 2, 3.0), ("A", 2, 3.0), ("B", 1, 4.0)];
        for cut in 0..rows.len() {
            let (keys, duplicates, conflicting) = keys(&[&rows[..cut], &rows[cut..]]).await.unwrap();
            assert_eq!(keys, [("A".to_string(), 1), ("A".to_string(), 2), ("B".to_string(), 1)], "cut at {cut}");
            assert_eq!((duplicates, conflicting), (2, 1), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn rows_out_of_order_are_an_error() {
        let error = keys(&[&[("B", 1, 1.0)], &[("A", 1, 1.0)]]).await.unwrap_err();
        assert!(error.to_string().contains("not in order"), "{error}");
    }
}
