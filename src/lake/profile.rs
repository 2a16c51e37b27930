//! Whether a file is sorted by (symbol, ts), and where its symbols lie: proven by reading those two columns once.
//!
//! Statistics show that files are disjoint, not that their rows are sorted. The proof is kept on disk by path, size and
//! modification time, so that a file is read for it once.

use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use datafusion::common::Result;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rows of one symbol in a file, or of several where it is not known where each begins. The last of them may go on in the
/// run that follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub symbol: String,
    /// The last symbol, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// How many there are.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub symbols: usize,
    /// First row.
    pub start: usize,
    /// First and last time, microseconds.
    pub first: i64,
    pub last: i64,
}

fn one() -> usize {
    1
}

fn is_one(symbols: &usize) -> bool {
    *symbols == 1
}

impl Run {
    /// The rows of one symbol.
    pub fn of(symbol: &str, start: usize, first: i64, last: i64) -> Run {
        Run { symbol: symbol.to_string(), through: None, symbols: 1, start, first, last }
    }

    /// The last symbol of the run, which is mostly its only one.
    pub fn last_symbol(&self) -> &str {
        self.through.as_deref().unwrap_or(&self.symbol)
    }
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    pub rows: usize,
    /// Whether (symbol, ts) strictly increases.
    pub sorted: bool,
    /// One per symbol, in file order; empty if the file is not sorted.
    pub runs: Vec<Run>,
    /// Empty for formats that have none.
    pub row_groups: Vec<RowGroup>,
    /// A hash of the file's schema; 0 where it is not known without reading further.
    pub schema: u64,
}

/// A row group of a Parquet file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct RowGroup {
    pub rows: usize,
    /// Byte offset of its first page, by which readers assign row groups to byte ranges.
    pub offset: i64,
}

impl Profile {
    /// The rows of a run.
    pub fn rows_of(&self, run: usize) -> std::ops::Range<usize> {
        let end = self.runs.get(run + 1).map_or(self.rows, |next| next.start);
        self.runs[run].start..end
    }

    /// The rows of some runs that follow each other.
    pub fn rows_of_runs(&self, runs: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.rows_of(runs.start).start..self.rows_of(runs.end - 1).end
    }

    /// How many symbols the file holds.
    pub fn symbols(&self) -> usize {
        let goes_on = |pair: &&[Run]| pair[0].last_symbol() == pair[1].symbol;
        self.runs.iter().map(|run| run.symbols).sum::<usize>() - self.runs.windows(2).filter(goes_on).count()
    }

    /// Without spare capacity: there may be a hundred thousand of them.
    fn trimmed(mut self) -> Profile {
        self.runs.shrink_to_fit();
        self.row_groups.shrink_to_fit();
        self
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry<Place, Facts> {
    path: Place,
    size: u64,
    modified: i64,
    profile: Facts,
}

/// Raised when the meaning of a profile changes.
const VERSION: u32 = 3;

#[derive(Debug, Serialize, Deserialize)]
struct CacheFile<E> {
    version: u32,
    /// Names and types in which the files were read.
    columns: Vec<(String, String)>,
    entries: Vec<E>,
}

/// What is known of the files of a table.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By path.
    pub profiles: HashMap<String, Profile>,
    /// The schema in which they were read, where all of them are known.
    pub schema: Option<SchemaRef>,
}

/// Profiles on disk: one JSON file per table location.
#[derive(Debug, Clone)]
pub struct ProfileCache {
    folder: Option<PathBuf>,
}

impl ProfileCache {
    /// Keeps profiles in `folder`; `None` keeps none.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    fn file(&self, location: &str) -> Option<PathBuf> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        location.hash(&mut hasher);
        self.folder.as_ref().map(|folder| folder.join(format!("{:016x}.json", hasher.finish())))
    }

    /// What is known of the files of a table; a file that has changed since is not among them.
    pub(super) fn load(&self, location: &str, files: &[object_store::ObjectMeta]) -> Known {
        let Some(text) = self.file(location).and_then(|path| std::fs::read(path).ok()) else { return Known::default() };
        let read = serde_json::from_slice::<CacheFile<Entry<String, Profile>>>(&text);
        drop(text);
        let Ok(cache) = read else { return Known::default() };
        if cache.version != VERSION {
            return Known::default();
        }
        let there: HashMap<&str, &object_store::ObjectMeta> =
            files.iter().map(|meta| (meta.location.as_ref(), meta)).collect();
        let is_there = |entry: &Entry<String, Profile>| {
            let meta = there.get(entry.path.as_str());
            meta.is_some_and(|meta| entry.size == meta.size && entry.modified == modified(meta))
        };
        let known = cache.entries.into_iter().filter(is_there);
        let profiles: HashMap<String, Profile> = known.map(|entry| (entry.path, entry.profile.trimmed())).collect();
        let field = |(name, kind): &(String, String)| Some(Field::new(name, kind.parse().ok()?, true));
        let fields = || cache.columns.iter().map(field).collect::<Option<Fields>>();
        let schema = (profiles.len() == files.len()).then(fields).flatten();
        Known { profiles, schema: schema.map(|fields| Arc::new(Schema::new(fields))) }
    }

    /// Keeps the profiles of a table. A cache that cannot be written costs time, not correctness.
    pub(super) fn store(&self, location: &str, schema: &SchemaRef, profiles: &[(&object_store::ObjectMeta, &Profile)]) {
        let Some(path) = self.file(location) else { return };
        let entries = profiles.iter().map(|(meta, profile)| Entry {
            path: meta.location.as_ref(),
            size: meta.size,
            modified: modified(meta),
            profile: *profile,
        });
        let columns = schema.fields().iter().map(|f| (f.name().clone(), f.data_type().to_string())).collect();
        let cache = CacheFile { version: VERSION, columns, entries: entries.collect() };
        if let Err(error) = write(&path, &cache) {
            tracing::debug!("profiles of {location} not kept: {error}");
        }
    }
}

/// Written beside and renamed: another process sees the old file or the new one.
fn write(path: &Path, cache: &impl Serialize) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut beside = BufWriter::new(tempfile::NamedTempFile::new_in(folder)?);
    serde_json::to_writer(&mut beside, cache).map_err(std::io::Error::other)?;
    let beside = beside.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    beside.persist(path).map_err(|e| e.error)?;
    Ok(())
}

fn modified(meta: &object_store::ObjectMeta) -> i64 {
    meta.last_modified.timestamp_nanos_opt().unwrap_or_default()
}

/// Follows the rows of one file in order.
#[derive(Debug)]
pub(super) struct Profiler {
    profile: Profile,
    last: Option<(String, i64)>,
}

impl Profiler {
    pub fn new(row_groups: Vec<RowGroup>, schema: u64) -> Self {
        Self { profile: Profile { rows: 0, sorted: true, runs: vec![], row_groups, schema }, last: None }
    }

    /// Whether the rows so far are sorted; if not, only the row count can still change.
    pub fn is_sorted(&self) -> bool {
        self.profile.sorted
    }

    /// Adds a stretch of rows of one symbol; `times` is not empty, `None` where a time is null.
    pub fn stretch(&mut self, symbol: Option<&str>, times: Option<&[i64]>, rows: usize) {
        let start = self.profile.rows;
        self.profile.rows += rows;
        let (Some(symbol), Some(times), true) = (symbol, times, self.profile.sorted) else {
            self.profile.sorted = false;
            return;
        };
        let increasing = times.windows(2).all(|w| w[0] < w[1]);
        let follows = match &self.last {
            None => true,
            Some((last, time)) if last == symbol => *time < times[0],
            Some((last, _)) => last.as_str() < symbol,
        };
        if !increasing || !follows {
            self.profile.sorted = false;
            return;
        }
        let last = times[times.len() - 1];
        match self.profile.runs.last_mut() {
            Some(run) if run.symbol == symbol => run.last = last,
            _ => self.profile.runs.push(Run::of(symbol, start, times[0], last)),
        }
        match &mut self.last {
            Some((name, time)) if name == symbol => *time = last,
            other => *other = Some((symbol.to_string(), last)),
        }
    }

    pub fn finish(mut self) -> Profile {
        if !self.profile.sorted {
            self.profile.runs = vec![];
        }
        self.profile.trimmed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_go_on_over_stretches() {
        let mut profiler = Profiler::new(vec![], 0);
        profiler.stretch(Some("A"), Some(&[1, 2]), 2);
        profiler.stretch(Some("A"), Some(&[3]), 1);
        profiler.stretch(Some("B"), Some(&[1]), 1);
        let profile = profiler.finish();
        assert!(profile.sorted);
        assert_eq!(profile.rows_of(0), 0..3);
        assert_eq!(profile.rows_of(1), 3..4);
        assert_eq!((profile.runs[0].first, profile.runs[0].last), (1, 3));
    }

    #[test]
    fn a_repeated_time_is_not_sorted() {
        let mut profiler = Profiler::new(vec![], 0);
        profiler.stretch(Some("A"), Some(&[1, 1]), 2);
        assert!(!profiler.finish().sorted);
    }

    #[test]
    fn a_symbol_that_comes_back_is_not_sorted() {
        let mut profiler = Profiler::new(vec![], 0);
        for symbol in ["A", "B", "A"] {
            profiler.stretch(Some(symbol), Some(&[5]), 1);
        }
        let profile = profiler.finish();
        assert!(!profile.sorted);
        assert_eq!(profile.rows, 3);
    }
}
