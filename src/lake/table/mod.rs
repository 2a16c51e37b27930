//! A candle table: files in known order, with or without a transaction log.

mod epoch;
mod open;
mod summary;

use super::columns::Columns;
use super::files::{Files, symbol_of};
use super::profile::Profile;
use super::pruning::Selection;
use super::ranges::chains;
use super::readable::Unreadable;
use super::symbols::Symbols;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableType;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
pub use summary::TableSummary;
use tallow_common::{Error, Ranges};

/// How much has to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadSize {
    /// Rows.
    pub rows: usize,
    /// Bytes of files, of all their columns.
    pub bytes: u64,
}

/// Files of candles with canonical columns, known order and symbol ranges.
#[derive(Debug, Clone)]
pub struct CandleTable {
    pub(super) files: Files,
    pub(super) columns: Columns,
    pub(super) profiles: Arc<Vec<Profile>>,
    /// Files in symbol order, if they are sorted and hold disjoint symbol ranges.
    pub(super) order: Option<Vec<usize>>,
    pub(super) read: TableSchema,
    /// Positions of the table's columns in `read`.
    pub(super) positions: Vec<usize>,
    /// Times that have to be cast after reading, from this type.
    pub(super) epoch: Option<DataType>,
    pub(super) schema: SchemaRef,
    /// Version and properties, where the table has a transaction log.
    version: Option<u64>,
    properties: HashMap<String, String>,
    /// Files that were skipped because they cannot be read.
    unreadable: Vec<Unreadable>,
    /// Only runs with these symbols are read; rows of others may come with them.
    pub(super) only: Option<Arc<BTreeSet<String>>>,
    /// Only runs that touch these ranges are read; rows outside of them may come with them.
    pub(super) within: Option<Arc<Ranges>>,
    pub(super) symbols: Symbols,
}

impl CandleTable {
    /// The files that [`CandleTable::open_readable`] skipped.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The table restricted to the parts that may hold these symbols. It may still return rows of others, which the caller has
    /// to drop: a filter in the plan would compare every row, and every page, with a long list.
    pub fn for_symbols(&self, symbols: &Arc<BTreeSet<String>>) -> CandleTable {
        CandleTable { only: Some(Arc::clone(symbols)), ..self.clone() }
    }

    /// The table restricted to the parts that may hold rows in these ranges. It may still return others, which the caller
    /// has to drop.
    pub fn within(&self, ranges: &Arc<Ranges>) -> CandleTable {
        CandleTable { within: Some(Arc::clone(ranges)), ..self.clone() }
    }

    /// About how much has to be read of the table, as far as it is restricted.
    pub fn read_size(&self) -> ReadSize {
        let selection =
            Selection { symbols: self.only.as_deref().cloned(), ranges: self.within.clone(), ..Selection::default() };
        let mut size = ReadSize::default();
        for (profile, file) in self.profiles.iter().zip(&self.files.files) {
            let selected = (0..profile.runs.len()).filter(|&run| selection.touches(&profile.runs[run]));
            let rows = match profile.runs.is_empty() {
                true => profile.rows,
                false => selected.map(|run| profile.rows_of(run).len()).sum(),
            };
            size.rows += rows;
            size.bytes += (file.size as f64 * rows as f64 / profile.rows.max(1) as f64) as u64;
        }
        size
    }

    /// The version that is read of a table with a transaction log.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// The symbols that the table's lists name. Of a row group that holds several, they name the first and the last.
    pub fn listed_symbols(&self) -> impl Iterator<Item = &str> {
        let runs = self.profiles.iter().flat_map(|p| &p.runs);
        runs.flat_map(|run| std::iter::once(run.symbol.as_str()).chain(run.through.as_deref()))
    }

    /// Those of these symbols that no row of the table can have; `None` where the lists cannot say, or would take long to go
    /// through.
    pub fn surely_without<'a>(&self, symbols: impl IntoIterator<Item = &'a str>) -> Option<BTreeSet<&'a str>> {
        const MOST_RUNS: usize = 100_000;
        let runs = || self.profiles.iter().flat_map(|p| &p.runs);
        let is_listed = self.profiles.iter().all(|p| p.sorted) && runs().next().is_some();
        if !is_listed || runs().nth(MOST_RUNS).is_some() {
            return None;
        }
        let mut missing: BTreeSet<&str> = symbols.into_iter().collect();
        for run in runs().filter(|run| run.symbol.as_str() <= run.last_symbol()) {
            let held = missing.range::<&str, _>(run.symbol.as_str()..=run.last_symbol());
            for symbol in held.copied().collect::<Vec<_>>() {
                missing.remove(symbol);
            }
        }
        Some(missing)
    }

    /// Files without a row, and the symbols that their names stand for.
    pub fn empty_files(&self) -> Vec<(String, String)> {
        let empty = self.files.files.iter().zip(self.profiles.iter()).filter(|(_, profile)| profile.rows == 0);
        empty.map(|(meta, _)| (self.files.shown(meta), symbol_of(meta.location.as_ref()))).collect()
    }

    /// Whether the names of the files are the symbols.
    pub fn is_named_by_files(&self) -> bool {
        self.columns.symbol.is_none()
    }

    /// What is known of each file.
    pub(super) fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Files in the longest chain that follow each other without overlap; the others lie beside them.
    pub(super) fn longest_chain(&self) -> usize {
        chains(&self.profiles).iter().map(Vec::len).max().unwrap_or_default()
    }

    /// A property of a table with a transaction log.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// How many symbols there are, where that is known without reading.
    pub fn symbols(&self) -> Option<usize> {
        let runs = || self.profiles.iter().flat_map(|p| &p.runs);
        if self.order.is_some() {
            return Some(self.profiles.iter().map(Profile::symbols).sum());
        }
        runs().all(|r| r.through.is_none()).then(|| runs().map(|r| &r.symbol).collect::<HashSet<_>>().len())
    }

    /// How many symbols there are, or at least so many where only reading would tell: a file of the newest bars, which mostly holds all
    /// of them, may share symbols with others.
    pub fn least_symbols(&self) -> usize {
        let of_file = self.profiles.iter().map(Profile::symbols);
        self.symbols().unwrap_or_else(|| of_file.max().unwrap_or(0))
    }
}

#[async_trait]
impl TableProvider for CandleTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions().max(1);
        let mut selection = Selection::of_filters(filters, self.epoch.is_none());
        if let Some(only) = &self.only {
            selection.symbols = Some(match selection.symbols {
                Some(symbols) => symbols.intersection(only).cloned().collect(),
                None => only.as_ref().clone(),
            });
        }
        selection.ranges.clone_from(&self.within);
        self.scan_in(session, projection, &selection, limit, partitions).await
    }
}

/// An error for a location where no table is.
pub(super) fn nothing_at<T>(location: &str) -> Result<T, DataFusionError> {
    let missing =
        format!("nothing to read at '{location}': expected .parquet, .csv, .json or .ndjson files (also .gz, .zst)");
    Err(Error::not_found(missing).into())
}
