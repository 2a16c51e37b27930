//! Counts matches and the symbols that have any, and holds back those of a symbol until it is known to be complete.

use super::guard::Guard;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::partition;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::TaskContext;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use std::fmt::{Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_engine::tap::{Tap, TapStream};

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
pub(super) struct TallyTap {
    /// `None`: rows are not counted here.
    pub tally: Option<Arc<Tally>>,
    /// Knows which symbols turned out not to be fit after some of their rows had passed it.
    pub guard: Arc<Guard>,
}

impl Debug for TallyTap {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "TallyTap")
    }
}

impl Tap for TallyTap {
    fn name(&self) -> &'static str {
        "matches"
    }

    fn open(&self, schema: &SchemaRef, _: &TaskContext, _: usize) -> Result<Box<dyn TapStream>> {
        let (tally, guard) = (self.tally.clone(), Arc::clone(&self.guard));
        Ok(Box::new(TallyStream { tally, guard, symbol: schema.index_of("symbol")?, held: vec![], last: None }))
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

struct TallyStream {
    tally: Option<Arc<Tally>>,
    guard: Arc<Guard>,
    symbol: usize,
    /// Rows of the last symbol, which may go on.
    held: Vec<RecordBatch>,
    last: Option<ScalarValue>,
}

impl TallyStream {
    /// Whether the rows of a symbol that has ended count.
    fn counts(&self, symbol: &ScalarValue, rows: usize) -> bool {
        let fit = !self.guard.is_unfit(symbol);
        if let Some(tally) = self.tally.as_ref().filter(|_| fit) {
            tally.add(rows as u64, 1);
        }
        fit
    }

    /// Passes on the rows of the symbol that was held back.
    fn release(&mut self, passed: &mut Vec<RecordBatch>) {
        let held = std::mem::take(&mut self.held);
        let Some(symbol) = self.last.take() else { return };
        if self.counts(&symbol, held.iter().map(RecordBatch::num_rows).sum()) {
            passed.extend(held);
        }
    }
}

impl TapStream for TallyStream {
    fn next(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let symbols: &ArrayRef = batch.column(self.symbol);
        let mut ranges = partition(std::slice::from_ref(symbols))?.ranges();
        let Some(end) = ranges.pop() else { return Ok(vec![]) };
        let symbol_at = |row: usize| ScalarValue::try_from_array(symbols, row);
        let mut passed = vec![];
        // Symbols that end in this batch are passed on in one piece.
        let mut piece: Option<Range<usize>> = None;
        for range in ranges {
            let symbol = symbol_at(range.start)?;
            if self.last.as_ref() == Some(&symbol) {
                self.held.push(batch.slice(range.start, range.len()));
                self.release(&mut passed);
                continue;
            }
            self.release(&mut passed);
            if self.counts(&symbol, range.len()) {
                piece = Some(piece.map_or(range.start, |p| p.start)..range.end);
            } else {
                passed.extend(piece.take().map(|p| batch.slice(p.start, p.len())));
            }
        }
        let symbol = symbol_at(end.start)?;
        if self.last.as_ref() != Some(&symbol) {
            self.release(&mut passed);
            self.last = Some(symbol);
        }
        passed.extend(piece.map(|p| batch.slice(p.start, p.len())));
        self.held.push(batch.slice(end.start, end.len()));
        Ok(passed)
    }

    fn end(&mut self) -> Result<Vec<RecordBatch>> {
        let mut passed = vec![];
        self.release(&mut passed);
        Ok(passed)
    }
}
