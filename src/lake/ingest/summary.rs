//! What came of an ingest.

use super::cause;
use super::source::{BrokenFile, Source};
use crate::files::symbol_of;
use crate::readable::Unreadable;
use datafusion::common::{DataFusionError, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What an ingest did. `rows` is the sum of `new`, `unchanged`, `restated`, `duplicates`, `incomplete`, `future` and all
/// of `rejected`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IngestSummary {
    /// Files read, and those without a byte.
    pub files: usize,
    /// Files without a row.
    pub empty_files: Vec<String>,
    /// Of the first file with rows, the columns of a candle and what they are made of: a column of the file, or a text.
    pub columns: Vec<(String, String)>,
    /// Columns beyond those that every candle has, of all files.
    pub further: BTreeSet<String>,
    /// Files that were skipped because they cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Rows read.
    pub rows: u64,
    /// Rows for a (symbol, ts) that was not in the table.
    pub new: u64,
    /// Rows that the table had just so.
    pub unchanged: u64,
    /// Rows that replaced other values.
    pub restated: u64,
    /// Rows that a later row of the delivery repeats ...
    pub duplicates: u64,
    /// ... and those of them that say something else than the later one.
    pub conflicting: u64,
    /// Bars marked as not complete, and bars that have not ended yet.
    pub incomplete: u64,
    /// See [`IngestSummary::incomplete`].
    pub future: u64,
    /// Rows in the quarantine, by rule.
    pub rejected: BTreeMap<String, u64>,
    /// Rows that were taken with a warning, by rule.
    pub warnings: BTreeMap<String, u64>,
    /// The version of the table afterwards; `None` where nothing was committed.
    pub version: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

impl IngestSummary {
    /// Skips a file that cannot be read, unless the error is about something else, or there is no other file.
    pub(super) fn skip(&mut self, source: &Source, error: DataFusionError) -> Result<()> {
        if cause::<BrokenFile>(&error).is_none() || self.files <= 1 {
            return Err(error);
        }
        self.files -= 1;
        let symbol = symbol_of(&source.name);
        self.unreadable.push(Unreadable { path: source.path.clone(), symbol, reason: tallow_common::readable(&error) });
        Ok(())
    }
}
