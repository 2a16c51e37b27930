//! `Ingest`: files are checked and merged into the lake.

use super::control::Control;
use super::outcome::Skipped;
use crate::Session;
use tallow_common::{Error, Result};
use tallow_lake::{IngestOptions, IngestSummary};
use tallow_udfs::calendar::Timeframe;

/// Files to ingest.
#[derive(Debug, Clone)]
pub struct Ingest {
    /// Length of their bars.
    pub timeframe: Timeframe,
    /// Which files, and how their rows are to be read.
    pub options: IngestOptions,
}

impl Ingest {
    /// Reads, checks and merges the rows, in one commit. Progress counts the bytes of the files, and then the rows that had to
    /// be sorted first.
    ///
    /// # Errors
    /// No row can be read, or merging failed or was stopped; the table is then what it was.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<(IngestSummary, Vec<Skipped>)> {
        if let Some(scale) = self.options.scale.filter(|s| !s.is_finite() || *s <= 0.0) {
            return Err(Error::Argument("scale", format!(" {scale}: expected a number above 0, such as 1e-5")));
        }
        let summary = session.ingest(self.timeframe, self.options.clone(), control).await?;
        let skipped = summary.unreadable.iter().map(Skipped::from).collect();
        Ok((summary, skipped))
    }
}
