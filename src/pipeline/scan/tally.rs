//! Counts matches and the symbols that have any.

use crate::engine::tap::{Tap, TapStream};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::partition;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::TaskContext;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Matches so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    matches: AtomicU64,
    symbols: AtomicU64,
}

impl Tally {
    /// Adds matches, and symbols that have any.
    pub fn add(&self, matches: u64, symbols: u64) {
        self.matches.fetch_add(matches, Ordering::Relaxed);
        self.symbols.fetch_add(symbols, Ordering::Relaxed);
    }

    /// Matches, and symbols that have any.
    pub fn counts(&self) -> (u64, u64) {
        (self.matches.load(Ordering::Relaxed), self.symbols.load(Ordering::Relaxed))
    }
}

/// The tally as a tap, above rows that match.
#[derive(Debug)]
pub(super) struct TallyTap(pub Arc<Tally>);

impl Tap for TallyTap {
    fn name(&self) -> &'static str {
        "matches"
    }

    fn open(&self, schema: &SchemaRef, _: &TaskContext, _: usize) -> Result<Box<dyn TapStream>> {
        Ok(Box::new(TallyStream { tally: Arc::clone(&self.0), symbol: schema.index_of("symbol")?, last: None }))
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

struct TallyStream {
    tally: Arc<Tally>,
    symbol: usize,
    last: Option<ScalarValue>,
}

impl TapStream for TallyStream {
    fn next(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(vec![]);
        }
        let symbols: &ArrayRef = batch.column(self.symbol);
        let mut count = partition(std::slice::from_ref(symbols))?.len() as u64;
        if self.last == Some(ScalarValue::try_from_array(symbols, 0)?) {
            count -= 1;
        }
        self.last = Some(ScalarValue::try_from_array(symbols, rows - 1)?);
        self.tally.add(rows as u64, count);
        Ok(vec![batch])
    }

    fn end(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(vec![])
    }
}
