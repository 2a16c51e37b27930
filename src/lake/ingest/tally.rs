//! What is counted of a delivery while its rows stream by.

use super::IngestSummary;
use super::canonical::Taken;
use super::counts::Counts;
use super::origin;
use super::quarantine::Reject;
use datafusion::common::{Result, resources_err};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tallow_udfs::calendar::Timeframe;

/// More rejected rows than this are a wrong mapping, not bad rows.
const MAX_REJECTS: usize = 1_000_000;
/// Rows after which misplaced times are judged.
const ENOUGH_ROWS: u64 = 1_000;
/// A rejected row is held up to three times: as it was found, as it is compared with those of the quarantine, and as it is
/// written. All of them may take this share of the memory limit.
const REJECTS_SHARE: usize = 4 * 3;

/// What is counted while rows stream by.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: u64,
    incomplete: u64,
    future: u64,
    warnings: BTreeMap<String, u64>,
    pub rejects: Vec<Reject>,
    reject_bytes: usize,
    offsets: HashMap<i64, u64>,
    misplaced: Vec<i64>,
    /// The file of each chunk.
    files: Vec<usize>,
}

impl Tally {
    /// Adds what became of a chunk.
    pub fn add(&mut self, taken: &mut Taken) {
        self.files.push(taken.file);
        self.rows += taken.rows;
        self.incomplete += taken.incomplete;
        self.future += taken.future;
        taken.warnings.drain().for_each(|(rule, n)| *self.warnings.entry(rule.to_string()).or_default() += n);
        self.reject_bytes += taken.rejects.iter().map(Reject::bytes).sum::<usize>();
        self.rejects.append(&mut taken.rejects);
        taken.offsets.drain().for_each(|(offset, n)| *self.offsets.entry(offset).or_default() += n);
        if self.misplaced.len() < ENOUGH_ROWS as usize {
            self.misplaced.append(&mut taken.misplaced);
        }
    }

    /// Stops an ingest that goes wrong: most times are no opening of a bar, or more rows are rejected than can be kept.
    pub fn check(&self, timeframe: Timeframe, memory_limit: usize) -> Result<()> {
        if self.rows >= ENOUGH_ROWS {
            self.check_origin(timeframe)?;
        }
        let too_many = self.rejects.len() > MAX_REJECTS || self.reject_bytes > memory_limit / REJECTS_SHARE;
        match self.rejects.last().filter(|_| too_many) {
            Some(one) => resources_err!(
                "{} rows break a rule, too many to be kept under the memory limit of {} MiB, such as {} line {}: {} '{}', \
                 expected {}; nothing was written. Are the columns and the format of the times right?",
                self.rejects.len(),
                memory_limit >> 20,
                one.source,
                one.line,
                one.column,
                one.value,
                one.expected
            ),
            None => Ok(()),
        }
    }

    /// Stops where most times are off by the same amount: the bars begin elsewhere.
    pub fn check_origin(&self, timeframe: Timeframe) -> Result<()> {
        let off: u64 = self.offsets.values().sum();
        if off * 2 <= self.rows {
            return Ok(());
        }
        origin::explain(timeframe, &self.misplaced, off, self.rows)
    }

    /// The summary of an ingest whose rows were merged with these counts.
    pub fn summary(&self, so_far: IngestSummary, counts: &Counts) -> IngestSummary {
        let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
        self.rejects.iter().for_each(|r| *rejected.entry(r.rule.clone()).or_default() += 1);
        IngestSummary {
            rows: self.rows,
            new: counts.new,
            unchanged: counts.unchanged,
            restated: counts.restated,
            duplicates: counts.duplicates,
            conflicting: counts.conflicting,
            incomplete: self.incomplete,
            future: self.future,
            rejected,
            warnings: self.warnings.clone(),
            ..so_far
        }
    }
}

/// Which columns a row was delivered with, where the files of a delivery have different ones: what a file does not have,
/// it has not said to be empty.
#[derive(Debug)]
pub(super) struct Provided {
    /// By file, by column of the delivery.
    columns: Vec<Vec<bool>>,
    tally: Arc<Mutex<Tally>>,
}

impl Provided {
    /// `columns` by file, by column of the delivery.
    pub fn new(columns: Vec<Vec<bool>>, tally: &Arc<Mutex<Tally>>) -> Provided {
        Provided { columns, tally: Arc::clone(tally) }
    }

    /// Whether the row with this number in the order of delivery came with a column.
    pub fn has(&self, sequence: i64, column: usize) -> bool {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let file = usize::try_from(sequence >> 32).ok().and_then(|chunk| tally.files.get(chunk));
        file.is_none_or(|&file| self.columns[file].get(column).is_none_or(|has| *has))
    }
}
