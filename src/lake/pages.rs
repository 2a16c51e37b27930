//! Which pages of sorted Parquet files hold some symbols, by the index that the files bring: what is listed of a file names the
//! first and the last symbol of a stretch, of which a page is a part.

use super::files::Kind;
use super::profile::Run;
use super::pruning::Selection;
use super::ranges::Part;
use super::table::CandleTable;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, Range};
use std::sync::Arc;

/// In more files than this, the pages are not looked for: each of their footers would be read first.
const FILES: usize = 64;

/// The footers of some files of a table, by position.
#[derive(Clone, Default)]
pub(super) struct Footers(HashMap<usize, Arc<ParquetMetaData>>);

impl Footers {
    /// Those of the files that hold selected symbols, unless it is known of every symbol where it lies, or there are many files.
    pub async fn of(table: &CandleTable, session: &dyn Session, selection: &Selection) -> Result<Footers> {
        let is_listed = |run: &Run| run.through.is_none();
        let has_pages = table.columns.symbol.is_some() && table.files.format.kind == Kind::Parquet && table.is_sorted();
        if selection.symbols.is_none() || !has_pages {
            return Ok(Footers::default());
        }
        let touched = table.profiles.iter().enumerate().filter(|(_, profile)| {
            let mut runs = profile.runs.iter().filter(|run| selection.touches(run));
            runs.any(|run| !is_listed(run))
        });
        let touched: Vec<usize> = touched.map(|(file, _)| file).collect();
        if touched.len() > FILES {
            return Ok(Footers::default());
        }
        let runtime = session.runtime_env();
        let store = runtime.object_store(&table.files.store_url)?;
        let cache = runtime.cache_manager.get_file_metadata_cache();
        let mut footers = HashMap::new();
        for file in touched {
            let footer = DFParquetMetadata::new(store.as_ref(), &table.files.files[file])
                .with_file_metadata_cache(Some(Arc::clone(&cache)))
                .with_page_index_policy(Some(PageIndexPolicy::Optional));
            // A file that cannot be read is told of when it is.
            if let Ok(footer) = footer.fetch_metadata().await {
                footers.insert(file, footer);
            }
        }
        Ok(Footers(footers))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves of parts the rows in pages that may hold a symbol.
    pub fn narrow(&self, parts: &mut [Part], symbols: &BTreeSet<String>, column: &str) {
        for part in parts {
            let footer = self.0.get(&part.file);
            if let Some(pages) = footer.and_then(|footer| pages_with(footer, column, symbols)) {
                part.rows = common(&part.rows, &pages);
            }
        }
    }
}

/// The rows of pages that may hold one of the symbols, in order; `None`: the file has no index of this column.
fn pages_with(footer: &ParquetMetaData, column: &str, symbols: &BTreeSet<String>) -> Option<Vec<Range<usize>>> {
    let columns = footer.file_metadata().schema_descr().columns();
    let leaf = columns.iter().position(|known| known.path().parts() == [column])?;
    let (values, places) = (footer.column_index()?, footer.offset_index()?);
    let mut rows: Vec<Range<usize>> = vec![];
    let mut begin = 0;
    for (at, group) in footer.row_groups().iter().enumerate() {
        let count = usize::try_from(group.num_rows()).ok()?;
        let ColumnIndexMetaData::BYTE_ARRAY(values) = values.get(at)?.get(leaf)? else { return None };
        let pages = places.get(at)?.get(leaf)?.page_locations();
        let starts = pages.iter().map(|page| usize::try_from(page.first_row_index).ok());
        let starts = starts.collect::<Option<Vec<_>>>()?;
        for (page, start) in starts.iter().enumerate() {
            let text =
                |value: Option<&[u8]>| value.and_then(|value| std::str::from_utf8(value).ok().map(str::to_string));
            let (Some(first), Some(last)) = (text(values.min_value(page)), text(values.max_value(page))) else {
                return None;
            };
            if first <= last && symbols.range((Bound::Included(first), Bound::Included(last))).next().is_some() {
                let end = starts.get(page + 1).copied().unwrap_or(count);
                match rows.last_mut() {
                    Some(before) if before.end == begin + start => before.end = begin + end,
                    _ => rows.push(begin + start..begin + end),
                }
            }
        }
        begin += count;
    }
    Some(rows)
}

/// What two lists of ranges in order have in common.
fn common(one: &[Range<usize>], other: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut a, mut b) = (one.iter().peekable(), other.iter().peekable());
    let mut both = vec![];
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let range = x.start.max(y.start)..x.end.min(y.end);
        let x_is_over = x.end <= y.end;
        if !range.is_empty() {
            both.push(range);
        }
        if x_is_over {
            a.next()
        } else {
            b.next()
        };
    }
    both
}

#[cfg(test)]
mod tests {
    use super::common;

    #[test]
    fn what_two_lists_have_in_common() {
        assert_eq!(common(&[0..10, 20..30], &[5..22, 25..26, 29..40]), [5..10, 20..22, 25..26, 29..30]);
        assert!(common(&[0..10], &[10..20]).is_empty());
        assert_eq!(common(&[0..10], &[0..10]), [0..10]);
    }
}
