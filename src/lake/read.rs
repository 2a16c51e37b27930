//! How a candle table is read: which files and rows, in how many partitions, in what order, with which statistics.

use super::files::{Kind, symbol_of};
use super::guarded::with_recut;
use super::in_order::InOrderExec;
use super::pages::Footers;
use super::profile::RowGroup;
use super::pruning::Selection;
use super::ranges::{Borders, Part, chains, cut, disjoint_order, weights};
use super::recut::Recut;
use super::symbol_range::Kept;
use super::table::CandleTable;
use arrow::compute::SortOptions;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, SplitPoint, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::logical_expr::Operator;
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::physical_expr::expressions::{CastExpr, Column, binary, in_list, lit};
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr, RangePartitioning};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use tallow_common::time::timestamp_type;

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// More sorted but overlapping files than this are sorted anew rather than merged: every merged file stays open.
const MAX_MERGED_FILES: usize = 16;

/// Values of an IN list that DataFusion compares with statistics and the page index. It does so by a chain of comparisons, whose
/// types it works out anew at each link: 500 symbols in one list took four seconds.
const PAGE_LIST: usize = 20;
/// With more lists than this, most pages hold a selected symbol.
const PAGE_LISTS: usize = 50;

/// Whether one of the conditions is true, as a tree of little depth.
fn any_of(
    mut conditions: Vec<Arc<dyn PhysicalExpr>>,
    schema: &arrow::datatypes::Schema,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    while conditions.len() > 1 {
        let pairs = conditions.chunks(2).map(|pair| match pair {
            [a, b] => binary(Arc::clone(a), Operator::Or, Arc::clone(b), schema),
            alone => Ok(Arc::clone(&alone[0])),
        });
        conditions = pairs.collect::<Result<_>>()?;
    }
    Ok(conditions.pop())
}

/// What a scan reads, and what it declares of it.
struct Arranged {
    groups: Vec<FileGroup>,
    /// Each group is ordered by (symbol, ts).
    is_ordered: bool,
    partitioning: Option<Partitioning>,
    statistics: Statistics,
}

impl CandleTable {
    /// The rows of some files by (symbol, ts), in one partition. `times` prunes: rows outside of it may come too.
    pub(super) async fn read_in_order(
        &self,
        session: &Arc<SessionState>,
        files: &[usize],
        times: Option<(i64, i64)>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut table = self.clone();
        table.files.files = files.iter().map(|&i| self.files.files[i].clone()).collect();
        table.profiles = Arc::new(files.iter().map(|&i| self.profiles[i].clone()).collect());
        table.order = disjoint_order(&table.profiles);
        let (from, to) = times.unwrap_or((i64::MIN, i64::MAX));
        let selection = Selection { from, to, ..Selection::default() };
        let scan = table.scan_in(session.as_ref(), None, &selection, None, 1).await?;
        let key = ["symbol", "ts"].map(|name| self.schema.index_of(name).map(|i| Column::new(name, i)));
        let [symbol, ts] = key;
        let key = [symbol?, ts?].map(|column| PhysicalSortExpr::new(Arc::new(column), ASCENDING));
        let Some(key) = LexOrdering::new(key) else { return Ok(scan) };
        let scan = match scan.equivalence_properties().ordering_satisfy(key.clone())? {
            true => scan,
            false => Arc::new(SortExec::new(key.clone(), scan).with_preserve_partitioning(true)) as _,
        };
        if scan.output_partitioning().partition_count() == 1 {
            return Ok(scan);
        }
        Ok(Arc::new(SortPreservingMergeExec::new(key, scan)))
    }

    /// Whether all files are.
    pub(super) fn is_sorted(&self) -> bool {
        self.profiles.iter().all(|p| p.sorted)
    }

    pub(super) async fn scan_in(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        selection: &Selection,
        limit: Option<usize>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let readers = self.readers(session, projection.map_or(self.positions.len(), Vec::len));
        let partitions = partitions.min(readers);
        let reader = self.files.reader(session);
        let footers = Footers::of(self, session, selection).await?;
        let source = match self.pruning(selection)?.filter(|_| footers.is_empty()) {
            Some(predicate) => {
                let options = session.default_table_options().parquet.clone();
                let source = ParquetSource::new(self.read.clone()).with_table_parquet_options(options);
                Arc::new(source.with_predicate(predicate)) as Arc<dyn FileSource>
            }
            None => reader.file_source(self.read.clone()),
        };
        let Arranged { groups, is_ordered, partitioning, statistics } =
            self.arranged(selection, partitions, &footers)?;
        let ordering = if is_ordered { self.shown_ordering() } else { vec![] };
        let config = FileScanConfigBuilder::new(self.files.store_url.clone(), source)
            .with_file_compression_type(self.files.format.compression)
            .with_limit(limit)
            .with_file_groups(groups)
            .with_output_ordering(ordering)
            .with_output_partitioning(partitioning);
        let all: Vec<usize> = (0..self.positions.len()).collect();
        let columns = projection.unwrap_or(&all);
        let read: Vec<usize> = columns.iter().map(|&i| self.positions[i]).collect();
        let order = self.ordering_of(&read).filter(|_| is_ordered && !self.shows_order());
        let config = config.with_statistics(statistics).with_projection_indices(Some(read))?.build();
        let scan = reader.create_physical_plan(session, config).await?;
        let scan = match order {
            Some(order) => Arc::new(InOrderExec::new(scan, order)),
            None if is_ordered && limit.is_none() => self.with_recut(scan, selection, footers, readers),
            None => scan,
        };
        self.renamed(scan, columns)
    }

    fn arranged(&self, selection: &Selection, partitions: usize, footers: &Footers) -> Result<Arranged> {
        match &self.order {
            Some(order) => self.by_symbol(order, selection, partitions, footers),
            None if self.is_sorted() && !self.profiles.is_empty() => Ok(self.in_chains(selection, partitions, footers)),
            None => Ok(self.unordered(partitions)),
        }
    }

    /// Files in disjoint symbol ranges, cut into partitions by symbol.
    fn by_symbol(
        &self,
        order: &[usize],
        selection: &Selection,
        partitions: usize,
        footers: &Footers,
    ) -> Result<Arranged> {
        let weights = weights(&self.profiles, order, selection, self.is_divisible());
        let borders = Borders::spreading(weights, partitions);
        let mut partitions = cut(&self.profiles, order, selection, self.is_divisible(), &borders);
        partitions.iter_mut().for_each(|parts| self.narrow(parts, selection, footers));
        let parts: Vec<&Part> = partitions.iter().flatten().collect();
        Ok(Arranged {
            groups: partitions.iter().map(|parts| self.group_of(parts)).collect(),
            is_ordered: true,
            partitioning: self.partitioning(&borders)?,
            statistics: self.table_statistics(&parts),
        })
    }

    /// Partitions of symbols that are cut at these.
    pub(super) fn partitioning(&self, borders: &Borders) -> Result<Option<Partitioning>> {
        let Some(symbol) = LexOrdering::new([self.sort_expr(self.symbol_position())]) else { return Ok(None) };
        let text = |border: &String| SplitPoint::new(vec![ScalarValue::Utf8View(Some(border.clone()))]);
        let splits = borders.symbols().iter().map(text).collect();
        Ok(Some(Partitioning::Range(RangePartitioning::try_new(symbol, splits)?)))
    }

    /// The scan with what it takes to cut it anew, unless this would copy a long list of files.
    fn with_recut(
        &self,
        scan: Arc<dyn ExecutionPlan>,
        selection: &Selection,
        footers: Footers,
        readers: usize,
    ) -> Arc<dyn ExecutionPlan> {
        const MOST_FILES: usize = 1_000;
        let source = scan.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
        let config = source.and_then(|source| source.downcast_ref::<FileScanConfig>());
        let Some(config) = config.filter(|_| self.is_divisible() && self.files.files.len() <= MOST_FILES) else {
            return scan;
        };
        let recut = Recut { table: self.clone(), selection: selection.clone(), footers, readers };
        with_recut(config, recut).unwrap_or(scan)
    }

    /// Sorted files that share symbols: each chain holds files in disjoint symbol ranges, and the chains are merged.
    fn in_chains(&self, selection: &Selection, partitions: usize, footers: &Footers) -> Arranged {
        let parts = |chain: &Vec<usize>| -> Vec<Part> {
            let cut = cut(&self.profiles, chain, selection, self.is_divisible(), &Borders::default());
            let mut parts: Vec<Part> = cut.into_iter().flatten().collect();
            self.narrow(&mut parts, selection, footers);
            parts
        };
        let chains: Vec<Vec<Part>> =
            chains(&self.profiles).iter().map(parts).filter(|parts| !parts.is_empty()).collect();
        let mut groups: Vec<FileGroup> = chains.iter().map(|parts| self.group_of(parts)).collect();
        let is_ordered = groups.len() <= MAX_MERGED_FILES;
        if !is_ordered {
            let files = groups.into_iter().flat_map(FileGroup::into_inner).collect();
            groups = FileGroup::new(files).split_files(partitions);
        } else if groups.is_empty() {
            groups.push(FileGroup::new(vec![]));
        }
        let all: Vec<&Part> = chains.iter().flatten().collect();
        Arranged { groups, is_ordered, partitioning: None, statistics: self.table_statistics(&all) }
    }

    /// Leaves of parts what may hold selected symbols.
    pub(super) fn narrow(&self, parts: &mut [Part], selection: &Selection, footers: &Footers) {
        if let (Some(symbols), Some(column)) = (&selection.symbols, self.columns.symbol) {
            footers.narrow(parts, symbols, self.read.table_schema().field(column).name());
        }
    }

    fn unordered(&self, partitions: usize) -> Arranged {
        let files = self.files.files.iter().map(|m| self.with_symbol(PartitionedFile::new_from_meta(m.clone())));
        let rows = self.profiles.iter().map(|p| p.rows).sum();
        Arranged {
            groups: FileGroup::new(files.collect()).split_files(partitions),
            is_ordered: false,
            partitioning: None,
            statistics: Statistics::new_unknown(self.read.table_schema()).with_num_rows(Precision::Exact(rows)),
        }
    }

    pub(super) fn group_of(&self, parts: &[Part]) -> FileGroup {
        FileGroup::new(parts.iter().map(|part| self.file_of(part)).collect())
    }

    /// Whether parts of a file can be read.
    fn is_divisible(&self) -> bool {
        self.files.format.kind == Kind::Parquet
    }

    /// How many partitions may read so many columns at the same time: a row group is held whole while it is decoded, and those
    /// of all partitions should fit into half of the memory.
    fn readers(&self, session: &dyn Session, columns: usize) -> usize {
        let MemoryLimit::Finite(limit) = session.runtime_env().memory_pool.memory_limit() else { return usize::MAX };
        let sizes = self.files.files.iter().zip(self.profiles.iter()).flat_map(|(file, profile)| {
            let starts = profile.row_groups.iter().map(|group| u64::try_from(group.offset).unwrap_or_default());
            let ends = starts.clone().skip(1).chain([file.size]);
            starts.zip(ends).map(|(start, end)| end.saturating_sub(start))
        });
        let largest = sizes.max().unwrap_or_default() as f64 * columns as f64 / self.positions.len().max(1) as f64;
        ((limit as f64 / 2.0 / largest.max(1.0)) as usize).max(1)
    }

    /// A predicate that skips pages without the selected symbols, where there are more of them than DataFusion compares with
    /// a page index by itself.
    fn pruning(&self, selection: &Selection) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some(symbols) = &selection.symbols else { return Ok(None) };
        let (Some(position), Kind::Parquet) = (self.columns.symbol, self.files.format.kind) else { return Ok(None) };
        // What a filter says of few symbols, DataFusion looks for by itself.
        let least = if self.only.is_some() { 1 } else { PAGE_LIST + 1 };
        if !(least..=PAGE_LISTS * PAGE_LIST).contains(&symbols.len()) {
            return Ok(None);
        }
        // Where the rows of every symbol are known, nothing else is read anyway.
        let touched = || self.profiles.iter().flat_map(|p| &p.runs).filter(|run| selection.touches(run));
        if self.order.is_some() && touched().all(|run| run.through.is_none()) {
            return Ok(None);
        }
        let schema = self.read.table_schema();
        let symbol: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(position).name(), position));
        let literals: Vec<Arc<dyn PhysicalExpr>> =
            symbols.iter().map(|s| lit(ScalarValue::Utf8View(Some(s.clone())))).collect();
        let lists = literals.chunks(PAGE_LIST).map(|part| in_list(Arc::clone(&symbol), part.to_vec(), &false, schema));
        any_of(lists.collect::<Result<Vec<_>>>()?, schema)
    }

    /// The statistics of all that a scan reads, so that counts, minima and maxima need no reading.
    pub(super) fn table_statistics(&self, parts: &[&Part]) -> Statistics {
        let rows = distinct_rows(parts);
        let mut statistics = Statistics::new_unknown(self.read.table_schema()).with_num_rows(Precision::Exact(rows));
        let files: HashSet<usize> = parts.iter().map(|p| p.file).collect();
        let whole: usize = files.iter().map(|&file| self.profiles[file].rows).sum();
        if rows == 0 || rows != whole {
            return statistics;
        }
        let of_parts = parts.iter().map(|part| self.part_statistics(part, 0).column_statistics);
        let merged = of_parts.reduce(|all, more| {
            let columns = all.into_iter().zip(more);
            let merged = columns.map(|(a, b)| ColumnStatistics {
                null_count: a.null_count.add(&b.null_count),
                min_value: a.min_value.min(&b.min_value),
                max_value: a.max_value.max(&b.max_value),
                ..ColumnStatistics::new_unknown()
            });
            merged.collect()
        });
        for (column, merged) in statistics.column_statistics.iter_mut().zip(merged.unwrap_or_default()) {
            *column = merged;
        }
        statistics
    }

    /// Renames columns to their canonical names and casts times, where the file has others.
    fn renamed(&self, scan: Arc<dyn ExecutionPlan>, columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        if self.columns.is_canonical() && self.epoch.is_none() {
            return Ok(scan);
        }
        let schema = scan.schema();
        let exprs = columns.iter().enumerate().map(|(i, &column)| {
            let mut expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(i).name(), i));
            let name = self.schema.field(column).name();
            if let (Some(epoch), "ts") = (&self.epoch, name.as_str()) {
                expr = Arc::new(CastExpr::new(expr, epoch.clone(), None));
                expr = Arc::new(CastExpr::new(expr, timestamp_type(), None));
            }
            ProjectionExpr { expr, alias: name.clone() }
        });
        Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Vec<_>>(), scan)?))
    }

    fn with_symbol(&self, file: PartitionedFile) -> PartitionedFile {
        if self.columns.symbol.is_some() {
            return file;
        }
        let symbol = symbol_of(file.path().as_ref());
        file.with_partition_values(vec![ScalarValue::Utf8View(Some(symbol))])
    }

    /// Position of `symbol` in what is read.
    fn symbol_position(&self) -> usize {
        self.columns.symbol.unwrap_or(self.columns.read.fields().len())
    }

    fn sort_expr(&self, position: usize) -> PhysicalSortExpr {
        let column = Column::new(self.read.table_schema().field(position).name(), position);
        PhysicalSortExpr::new(Arc::new(column), ASCENDING)
    }

    /// Whether files are listed with statistics, which show their order: for text nothing else makes use of them.
    fn shows_order(&self) -> bool {
        self.files.format.kind == Kind::Parquet
    }

    /// The order of what is read, where statistics show it.
    fn shown_ordering(&self) -> Vec<LexOrdering> {
        let key = [self.symbol_position(), self.columns.ts].map(|position| self.sort_expr(position));
        LexOrdering::new(key).filter(|_| self.shows_order()).into_iter().collect()
    }

    /// The order of some of the columns that are read.
    fn ordering_of(&self, read: &[usize]) -> Option<LexOrdering> {
        let known = [self.symbol_position(), self.columns.ts].map(|position| read.iter().position(|r| *r == position));
        let key = known.into_iter().map_while(|i| i).map(|i| {
            let column = Column::new(self.read.table_schema().field(read[i]).name(), i);
            PhysicalSortExpr::new(Arc::new(column), ASCENDING)
        });
        LexOrdering::new(key)
    }

    /// A file as one partition reads it.
    fn file_of(&self, part: &Part) -> PartitionedFile {
        let profile = &self.profiles[part.file];
        let mut file = PartitionedFile::new_from_meta(self.files.files[part.file].clone());
        if part.rows != [0..profile.rows] {
            file = match whole_row_groups(&profile.row_groups, &part.rows) {
                Some(bytes) => file.with_range(bytes.start, bytes.end),
                None => file.with_extension(access_plan(&profile.row_groups, &part.rows)),
            };
        }
        let mut file = self.with_symbol(file);
        if let Some(symbols) = &part.kept {
            file = file.with_extension(Kept { symbols: symbols.clone(), column: self.symbol_position() });
        }
        if !self.shows_order() {
            return file;
        }
        let rows = part.rows.iter().map(ExactSizeIterator::len).sum();
        let statistics = self.part_statistics(part, rows);
        file.with_statistics(Arc::new(if part.kept.is_some() { statistics.to_inexact() } else { statistics }))
    }

    /// The statistics of a part: enough to order and to prune files.
    fn part_statistics(&self, part: &Part, rows: usize) -> Statistics {
        let exact = |min: ScalarValue, max: ScalarValue| ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: Precision::Exact(min),
            max_value: Precision::Exact(max),
            ..ColumnStatistics::new_unknown()
        };
        let mut statistics = Statistics::new_unknown(&self.columns.read).with_num_rows(Precision::Exact(rows));
        let (first, last) = (part.first_symbol.clone(), part.last_symbol.clone());
        if let Some(symbol) = self.columns.symbol {
            let text = |s| ScalarValue::Utf8View(Some(s));
            statistics.column_statistics[symbol] = exact(text(first), text(last));
        }
        let time_type = self.columns.read.field(self.columns.ts).data_type();
        let time = |t: i64| ScalarValue::TimestampMicrosecond(Some(t), Some("UTC".into())).cast_to(time_type);
        if let (Ok(from), Ok(to)) = (time(part.times.0), time(part.times.1)) {
            statistics.column_statistics[self.columns.ts] = exact(from, to);
        }
        statistics
    }
}

/// How many rows parts have; rows around a border count once, although they are read on both sides of it.
fn distinct_rows(parts: &[&Part]) -> usize {
    let mut ranges: Vec<(usize, &Range<usize>)> =
        parts.iter().flat_map(|part| part.rows.iter().map(|rows| (part.file, rows))).collect();
    ranges.sort_by_key(|(file, rows)| (*file, rows.start));
    let (mut count, mut before) = (0, (usize::MAX, 0));
    for (file, rows) in ranges {
        let begin = if before.0 == file { rows.start.max(before.1) } else { rows.start };
        count += rows.end.saturating_sub(begin);
        before = (file, rows.end.max(begin));
    }
    count
}

/// The byte range that holds exactly these rows, if they are whole row groups.
fn whole_row_groups(groups: &[RowGroup], rows: &[Range<usize>]) -> Option<Range<i64>> {
    let [rows] = rows else { return None };
    let (mut from, mut to, mut row) = (None, None, 0);
    for group in groups {
        if row == rows.start {
            from = Some(group.offset);
        }
        if row == rows.end {
            to = Some(group.offset);
        }
        row += group.rows;
    }
    if row == rows.end {
        to = Some(i64::MAX);
    }
    Some(from?..to?)
}

fn access_plan(groups: &[RowGroup], rows: &[Range<usize>]) -> ParquetAccessPlan {
    let mut from = 0;
    let access = groups.iter().map(|group| {
        let (start, end) = (from, from + group.rows);
        from = end;
        let inside: Vec<_> = rows
            .iter()
            .map(|r| r.start.max(start)..r.end.min(end))
            .filter(|r| r.start < r.end)
            .map(|r| r.start - start..r.end - start)
            .collect();
        match inside.as_slice() {
            [] => RowGroupAccess::Skip,
            [all] if all.len() == group.rows => RowGroupAccess::Scan,
            _ => RowGroupAccess::Selection(RowSelection::from_consecutive_ranges(inside.into_iter(), group.rows)),
        }
    });
    ParquetAccessPlan::new(access.collect())
}
