//! Ingest: files of any shape become validated candles in one atomic commit.
//!
//! Rows are parsed, checked and merged as a stream: in the order of delivery if that is the table's order, else through a
//! sort that spills. The commit names the new files; until then nothing of the table has changed, and if somebody else
//! commits first the merge is done again over what they wrote. Rows that break a rule go to the quarantine, a table of its
//! own, in a second commit.

mod archive;
mod arrays;
mod canonical;
mod cells;
mod counts;
mod delivered;
mod delivery;
mod held_rows;
mod listing;
mod mapping;
mod origin;
mod preset;
mod progress;
pub(crate) mod quarantine;
mod run;
mod source;
mod summary;
mod tally;
mod target;
mod upsert;

use datafusion::common::DataFusionError;
pub use mapping::Naming;
pub use preset::Preset;
use progress::IngestProgress;
use regex::Regex;
pub use run::{Merging, Recorded};
pub(super) use run::{ingest, merge_rows};
pub use summary::IngestSummary;

/// What to ingest, and how its rows are to be read.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    /// Paths, globs and URLs.
    pub sources: Vec<String>,
    /// Of archives, the members whose path this matches; `None`: all.
    pub member: Option<Regex>,
    /// Names of the columns, for files without a header.
    pub columns: Option<Vec<String>>,
    /// Which column is what, and where symbols come from.
    pub naming: Naming,
    /// The zone of times that name none, UTC by default.
    pub zone: Option<String>,
    /// Prices are multiplied by this.
    pub scale: Option<f64>,
    /// Times are those of the close.
    pub close_as_ts: bool,
    /// Where bars begin, for a table that is made by this delivery.
    pub origin: Option<String>,
    /// The calendar whose sessions a table has, in the place of any that it had.
    pub calendar: Option<String>,
    /// Read and check, but write nothing.
    pub dry_run: bool,
    /// Tables larger than this get new files for new rows; `None`: 2 GiB.
    pub rewrite_bytes: Option<u64>,
}

/// The cause of an error beneath the context that was added on its way.
fn cause<T: std::error::Error + 'static>(error: &DataFusionError) -> Option<&T> {
    let mut error: &(dyn std::error::Error + 'static) = error;
    loop {
        match error.downcast_ref() {
            Some(found) => return Some(found),
            None => error = error.source()?,
        }
    }
}
