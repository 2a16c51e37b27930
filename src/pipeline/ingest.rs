//! `Ingest`: files are checked and merged into the lake.

use super::control::{AbortOnDrop, Control, OnProgress, Progress, Unit};
use super::outcome::Skipped;
use crate::Session;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::{Error, Result};
use tallow_lake::{IngestOptions, IngestProgress, IngestSummary};
use tallow_udfs::candle::Timeframe;

/// Files to ingest.
#[derive(Debug, Clone)]
pub struct Ingest {
    /// Length of their bars.
    pub timeframe: Timeframe,
    /// Which files, and how their rows are to be read.
    pub options: IngestOptions,
}

/// How often progress is reported.
const EVERY: Duration = Duration::from_millis(200);

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
        let (so_far, clock) = (IngestProgress::default(), session.engine().clock()?);
        let _reports = AbortOnDrop(clock.spawn(report(Arc::clone(&control.progress), so_far.clone())));
        let work = session.ingest(self.timeframe, self.options.clone(), &so_far);
        let summary = control.limit(&clock, work).await?;
        let skipped = summary.unreadable.iter().map(Skipped::from).collect();
        Ok((summary, skipped))
    }
}

/// First the files are read; rows that have to be sorted are merged when all have been.
async fn report(progress: OnProgress, so_far: IngestProgress) {
    loop {
        tokio::time::sleep(EVERY).await;
        let rows = so_far.rows();
        progress(match (so_far.merged(), so_far.bytes()) {
            (Some(merged), _) => Progress { unit: Unit::Rows, done: merged, total: Some(rows), rows },
            (None, (read, all)) => Progress { unit: Unit::Bytes, done: read, total: Some(all), rows },
        });
    }
}
