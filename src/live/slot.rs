//! The table that a live plan reads its candles from: whatever was put there for this run of it.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::col;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of candles by (symbol, ts).
#[derive(Debug)]
pub(crate) struct Slot {
    schema: SchemaRef,
    rows: Mutex<RecordBatch>,
}

impl Slot {
    /// A place for rows of a table.
    pub fn new(schema: SchemaRef) -> Arc<Slot> {
        Arc::new(Slot { rows: Mutex::new(RecordBatch::new_empty(Arc::clone(&schema))), schema })
    }

    /// Puts rows there, in the place of those that were.
    pub fn put(&self, rows: RecordBatch) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    /// The table.
    pub fn table(self: &Arc<Slot>) -> Result<Arc<dyn TableProvider>> {
        let table = StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::clone(self) as _])?;
        Ok(Arc::new(table.with_sort_order(vec![col("symbol").sort(true, false), col("ts").sort(true, false)])))
    }
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter([Ok(rows)])))
    }
}
