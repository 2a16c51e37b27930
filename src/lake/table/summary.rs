//! What is known of a table, for people.

use super::CandleTable;
use crate::properties::{ORIGIN, TIMEFRAME};

/// What `describe` shows.
#[derive(Debug, Clone)]
pub struct TableSummary {
    /// The path, glob or URL.
    pub location: String,
    /// Number of files and their bytes.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Rows.
    pub rows: usize,
    /// Distinct symbols, where the files are sorted.
    pub symbols: Option<usize>,
    /// First and last time in microseconds, where the files are sorted.
    pub times: Option<(i64, i64)>,
    /// How the rows lie.
    pub layout: &'static str,
    /// Version, where the table has a transaction log.
    pub version: Option<u64>,
    /// Timeframe and origin, where the table knows them.
    pub timeframe: Option<String>,
    /// See [`TableSummary::timeframe`].
    pub origin: Option<String>,
}

impl CandleTable {
    /// What `describe` shows of it.
    pub fn summary(&self) -> TableSummary {
        let sorted = self.profiles.iter().all(|p| p.sorted);
        let runs = || self.profiles.iter().flat_map(|p| &p.runs);
        let times = runs().map(|r| (r.first, r.last)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        TableSummary {
            location: self.files.location.clone(),
            files: self.files.files.len(),
            bytes: self.files.files.iter().map(|m| m.size).sum(),
            rows: self.profiles.iter().map(|p| p.rows).sum(),
            symbols: self.symbols().filter(|_| sorted),
            times: times.filter(|_| sorted && self.epoch.is_none()),
            layout: match (&self.order, sorted) {
                (Some(_), _) => "sorted by (symbol, ts); files hold disjoint symbols: read without sort or shuffle",
                (None, true) => "files sorted by (symbol, ts) but sharing symbols: merged or sorted when read",
                (None, false) => "not sorted by (symbol, ts): sorted when read",
            },
            version: self.version,
            timeframe: self.property(TIMEFRAME).map(str::to_string),
            origin: self.property(ORIGIN).map(str::to_string),
        }
    }
}
