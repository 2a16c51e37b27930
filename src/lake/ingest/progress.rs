//! How far an ingest is.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_common::control::{OnProgress, Progress, Unit};

/// Counts what an ingest has read and merged, and reports it. A pass that is repeated starts again.
#[derive(Clone)]
pub(super) struct IngestProgress {
    passed: Arc<Passed>,
    report: OnProgress,
}

#[derive(Debug, Default)]
struct Passed {
    rows: AtomicU64,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
    merged: AtomicU64,
}

impl Debug for IngestProgress {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.passed.fmt(f)
    }
}

impl IngestProgress {
    pub fn new(report: &OnProgress) -> IngestProgress {
        IngestProgress { passed: Arc::default(), report: Arc::clone(report) }
    }

    /// A pass over files of so many bytes begins.
    pub fn start(&self, of_bytes: u64) {
        let Passed { rows, bytes, merged, .. } = self.passed.as_ref();
        [rows, bytes, merged].into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.passed.of_bytes.store(of_bytes, Ordering::Relaxed);
    }

    /// So many rows were read.
    pub fn add_rows(&self, rows: u64) {
        self.passed.rows.fetch_add(rows, Ordering::Relaxed);
        self.report();
    }

    /// So many bytes of the files were read.
    pub fn add_bytes(&self, bytes: u64) {
        self.passed.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.report();
    }

    /// So many of the rows that had to be sorted first were merged.
    pub fn add_merged(&self, rows: u64) {
        self.passed.merged.fetch_add(rows, Ordering::Relaxed);
        self.report();
    }

    /// First the files are read; rows that have to be sorted are merged when all have been.
    fn report(&self) {
        let Passed { rows, bytes, of_bytes, merged } = self.passed.as_ref();
        let [rows, bytes, of_bytes, merged] = [rows, bytes, of_bytes, merged].map(|n| n.load(Ordering::Relaxed));
        (self.report)(match merged {
            0 => Progress { unit: Unit::Bytes, done: bytes, total: Some(of_bytes), rows },
            _ => Progress { unit: Unit::Rows, done: merged, total: Some(rows), rows },
        });
    }
}
