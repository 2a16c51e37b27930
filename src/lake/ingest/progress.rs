//! How far an ingest is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far an ingest is. A pass that is repeated starts again.
#[derive(Debug, Default, Clone)]
pub struct IngestProgress(Arc<Passed>);

#[derive(Debug, Default)]
struct Passed {
    rows: AtomicU64,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
    merged: AtomicU64,
}

impl IngestProgress {
    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.0.rows.load(Ordering::Relaxed)
    }

    /// Bytes of the delivered files that were read, and of all of them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.bytes.load(Ordering::Relaxed), self.0.of_bytes.load(Ordering::Relaxed))
    }

    /// Rows that had to be sorted first and have been merged since; `None` where none have yet.
    pub fn merged(&self) -> Option<u64> {
        Some(self.0.merged.load(Ordering::Relaxed)).filter(|rows| *rows > 0)
    }

    pub(super) fn start(&self, bytes: u64) {
        let Passed { rows, bytes: read, of_bytes, merged } = self.0.as_ref();
        [rows, read, merged].into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
        of_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_rows(&self, rows: u64) {
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_merged(&self, rows: u64) {
        self.0.merged.fetch_add(rows, Ordering::Relaxed);
    }
}
