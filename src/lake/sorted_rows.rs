//! Rows by (symbol, ts), as they are merged: a stream of them, and a place in it.

use super::writer::conform;
use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use std::sync::Arc;

/// A place in some rows.
#[derive(Default)]
pub(super) struct Cursor {
    batch: Option<(RecordBatch, StringViewArray, ScalarBuffer<i64>)>,
    pub at: usize,
}

impl Cursor {
    pub fn set(&mut self, batch: RecordBatch) -> Result<()> {
        let symbols = batch.column(0).as_string_view().clone();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        if symbols.null_count() > 0 || times.null_count() > 0 {
            return exec_err!("a row of the table has no symbol or no time");
        }
        let times = times.values().clone();
        self.batch = Some((batch, symbols, times));
        self.at = 0;
        Ok(())
    }

    pub fn is_at_end(&self) -> bool {
        self.batch.as_ref().is_none_or(|(_, _, times)| self.at >= times.len())
    }

    pub fn key(&self) -> Option<(&str, i64)> {
        self.batch.as_ref().filter(|(_, _, t)| self.at < t.len()).map(|(_, s, t)| (s.value(self.at), t[self.at]))
    }

    /// Takes rows from here while `is_part` holds for their keys.
    pub fn take_while(&mut self, is_part: impl Fn((&str, i64)) -> bool) -> Option<RecordBatch> {
        let (batch, symbols, times) = self.batch.as_ref()?;
        let from = self.at;
        while self.at < times.len() && is_part((symbols.value(self.at), times[self.at])) {
            self.at += 1;
        }
        Some(batch.slice(from, self.at - from))
    }

    pub fn batch(&self) -> Option<&RecordBatch> {
        self.batch.as_ref().map(|(batch, _, _)| batch)
    }
}

/// Rows in order, with the columns of a schema.
pub(super) struct SortedRows {
    rows: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    pub cursor: Cursor,
}

impl SortedRows {
    /// `None`: no rows.
    pub fn new(rows: Option<SendableRecordBatchStream>, schema: &SchemaRef) -> SortedRows {
        SortedRows { rows, schema: Arc::clone(schema), cursor: Cursor::default() }
    }

    /// Moves to the next row, if it is not at one.
    pub async fn fill(&mut self) -> Result<()> {
        while self.cursor.is_at_end() {
            let Some(rows) = &mut self.rows else { return Ok(()) };
            match rows.try_next().await? {
                Some(batch) if batch.num_rows() > 0 => self.cursor.set(conform(&batch, &self.schema)?)?,
                Some(_) => {}
                None => {
                    self.rows = None;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
