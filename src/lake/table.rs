//! A candle table: files in known order, with or without a transaction log.

use super::columns::{Columns, instant, unit};
use super::delta::{AsOf, Log, Snapshot};
use super::files::{Files, Format, Kind, symbol_of};
use super::profile::{Profile, ProfileCache, RowGroup};
use super::proof::Prover;
use super::ranges::{Part, Wanted, chains, cut, disjoint_order};
use super::writer::profile_of;
use arrow::array::AsArray;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::JoinSet;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DataFusionError, Result, ScalarValue, SplitPoint, Statistics, plan_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::physical_plan::{FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::physical_expr::expressions::{CastExpr, Column, binary, in_list, lit};
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr, RangePartitioning};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use object_store::ObjectMeta;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// More sorted but overlapping files than this are sorted anew rather than merged: every merged file stays open.
const MAX_MERGED_FILES: usize = 16;

/// Values of an IN list that DataFusion still compares with the page index.
const PAGE_LIST: usize = 20;
/// With more lists than this, most pages hold a wanted symbol.
const PAGE_LISTS: usize = 50;

/// Files of candles with canonical columns, known order and symbol ranges.
#[derive(Debug, Clone)]
pub struct CandleTable {
    files: Files,
    columns: Columns,
    profiles: Vec<Profile>,
    /// Files in symbol order, if they are sorted and hold disjoint symbol ranges.
    order: Option<Vec<usize>>,
    read: TableSchema,
    /// Positions of the table's columns in `read`.
    positions: Vec<usize>,
    /// Times that have to be cast after reading, from this type.
    epoch: Option<DataType>,
    schema: SchemaRef,
    /// Version and properties, where the table has a transaction log.
    version: Option<u64>,
    properties: HashMap<String, String>,
}

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

/// Property of a table: the length of its bars.
pub(super) const TIMEFRAME: &str = "tallow.timeframe";
/// Property of a table: where its bars begin.
pub(super) const ORIGIN: &str = "tallow.origin";

impl CandleTable {
    /// Opens the table behind a path, glob, folder or URL. `Ok(None)`: no files, or none with a time and a close.
    pub async fn open(
        session: &Arc<SessionState>,
        location: &str,
        as_of: Option<&AsOf>,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        if !location.contains(['*', '?', '[']) && Format::of(location).is_none() {
            let log = Log::at(session.as_ref(), location)?;
            if let Some(snapshot) = log.snapshot(as_of).await? {
                return Self::of_snapshot(session, &log, &snapshot, cache).await;
            }
        }
        if let Some(version) = as_of {
            return plan_err!("{location} has no transaction log, so there is no version {version} of it");
        }
        let Some(files) = Files::list(session.as_ref(), location).await? else { return Ok(None) };
        files.check_not_empty()?;
        let known = cache.load(&files.location, &files.files);
        let one_schema = |p: &Profile| p.schema != 0 && known.values().all(|q| q.schema == p.schema);
        let alike = known.len() == files.files.len() && known.values().next().is_some_and(one_schema);
        let file_schema = files.schema(session.as_ref(), alike).await?;
        Self::new(session, files, file_schema, known, cache).await
    }

    /// The table as a version of its log has it.
    pub(super) async fn of_snapshot(
        session: &Arc<SessionState>,
        log: &Log,
        snapshot: &Snapshot,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        let files = Files::of_log(log, snapshot);
        let mut known = HashMap::new();
        for file in &snapshot.files {
            if let Some(profile) = profile_of(&file.add) {
                known.insert(file.meta.location.to_string(), profile);
            }
        }
        if known.len() < snapshot.files.len() {
            for (path, profile) in cache.load(&files.location, &files.files) {
                known.entry(path).or_insert(profile);
            }
        }
        let table = Self::new(session, files, Arc::clone(&snapshot.schema), known, cache).await?;
        Ok(table.map(|table| CandleTable {
            version: Some(snapshot.version),
            properties: snapshot.properties.clone(),
            ..table
        }))
    }

    async fn new(
        state: &Arc<SessionState>,
        files: Files,
        file_schema: SchemaRef,
        known: HashMap<String, Profile>,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        let session: &dyn Session = state.as_ref();
        let location = files.location.clone();
        let text = files.format.kind != Kind::Parquet;
        let Some(first) = Columns::recognise(&file_schema, None, text) else { return Ok(None) };
        let whole_numbers = file_schema.field(first.ts).data_type().is_integer();
        let epoch = if whole_numbers { sample_epoch(session, &files, &file_schema, first.ts).await? } else { None };
        let Some(columns) = Columns::recognise(&file_schema, epoch, text) else { return Ok(None) };
        if columns.zone_assumed {
            tracing::info!("{location}: times without a zone are taken as UTC");
        }
        let epoch = epoch.filter(|_| text).map(|value| DataType::Timestamp(unit(value), Some("UTC".into())));

        let mut read = TableSchema::builder(Arc::clone(&columns.read));
        let mut names = columns.names.clone();
        if columns.symbol.is_none() {
            read = read.with_table_partition_cols(vec![Arc::new(Field::new("symbol", DataType::Utf8View, false))]);
            names.push("symbol".to_string());
        }
        let read = read.build();
        let positions = canonical_order(&names);
        let fields: Vec<Field> = positions
            .iter()
            .map(|&i| {
                let field = read.table_schema().field(i).clone().with_name(&names[i]);
                if names[i] == "ts" && epoch.is_some() { field.with_data_type(instant()) } else { field }
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let (version, properties) = (None, HashMap::new());
        let mut table = CandleTable {
            files,
            columns,
            profiles: vec![],
            order: None,
            read,
            positions,
            epoch,
            schema,
            version,
            properties,
        };
        table.profiles = table.profile(state, cache, known).await?;
        table.order = disjoint_order(&table.profiles);
        Ok(Some(table))
    }

    /// Proves the order of every file that is not yet `known`, on all threads.
    async fn profile(
        &self,
        session: &Arc<SessionState>,
        cache: &ProfileCache,
        mut known: HashMap<String, Profile>,
    ) -> Result<Vec<Profile>> {
        let missing = self.files.files.iter().filter(|m| !known.contains_key(m.location.as_ref()));
        let mut missing: Vec<ObjectMeta> = missing.cloned().collect();
        if !missing.is_empty() {
            let share = missing.len().div_ceil(session.config().target_partitions().max(1));
            let mut workers = JoinSet::new();
            while !missing.is_empty() {
                let mine = missing.split_off(missing.len().saturating_sub(share));
                let prover = self.prover(session);
                workers.spawn(async move {
                    let mut done = vec![];
                    for meta in mine {
                        let path = meta.location.to_string();
                        let profile = prover.prove(meta).await.map_err(|e| cannot_read(&path, e))?;
                        done.push((path, profile));
                    }
                    Ok::<_, DataFusionError>(done)
                });
            }
            while let Some(done) = workers.join_next().await {
                known.extend(done.map_err(|e| DataFusionError::External(Box::new(e)))??);
            }
            let all = self.files.files.iter().filter_map(|m| Some((m, known.get(m.location.as_ref())?)));
            cache.store(&self.files.location, &all.collect::<Vec<_>>());
        }
        Ok(self.files.files.iter().filter_map(|m| known.remove(m.location.as_ref())).collect())
    }

    /// What is known of each file.
    pub(super) fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Files in the longest chain that follow each other without overlap; the others lie beside them.
    pub(super) fn longest_chain(&self) -> usize {
        chains(&self.profiles).iter().map(Vec::len).max().unwrap_or_default()
    }

    /// The length of the bars and where they begin, where the table knows.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    fn prover(&self, session: &Arc<SessionState>) -> Prover {
        let mut projection = vec![self.columns.ts];
        projection.extend(self.columns.symbol);
        Prover {
            session: Arc::clone(session),
            task: session.task_ctx(),
            format: self.files.format,
            store_url: self.files.store_url.clone(),
            store: Arc::clone(&self.files.store),
            read: self.read.clone(),
            named_by_file: self.columns.symbol.is_none(),
            projection,
        }
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
        PhysicalSortExpr::new(Arc::new(column), SortOptions { descending: false, nulls_first: false })
    }

    fn ordering(&self) -> Option<LexOrdering> {
        LexOrdering::new([self.sort_expr(self.symbol_position()), self.sort_expr(self.columns.ts)])
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
        let rows = part.rows.iter().map(ExactSizeIterator::len).sum();
        self.with_symbol(file).with_statistics(Arc::new(self.part_statistics(part, rows)))
    }

    /// What is known of a part: enough to order files by, and to leave files out.
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

    /// Facts for people.
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

    /// How many symbols there are, where that can be told without reading.
    fn symbols(&self) -> Option<usize> {
        let runs = || self.profiles.iter().flat_map(|p| &p.runs);
        if self.order.is_some() {
            return Some(runs().map(|r| r.symbols).sum());
        }
        runs().all(|r| r.through.is_none()).then(|| runs().map(|r| &r.symbol).collect::<HashSet<_>>().len())
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
        self.scan_in(session, projection, &self.wanted(filters), limit, partitions).await
    }
}

impl CandleTable {
    /// The rows of some files by (symbol, ts), in one partition; of these times only, roughly.
    pub(super) async fn read_in_order(
        &self,
        session: &Arc<SessionState>,
        files: &[usize],
        times: Option<(i64, i64)>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut table = self.clone();
        table.files.files = files.iter().map(|&i| self.files.files[i].clone()).collect();
        table.profiles = files.iter().map(|&i| self.profiles[i].clone()).collect();
        table.order = disjoint_order(&table.profiles);
        let (from, to) = times.unwrap_or((i64::MIN, i64::MAX));
        let wanted = Wanted { from, to, ..Wanted::default() };
        let scan = table.scan_in(session.as_ref(), None, &wanted, None, 1).await?;
        let key = ["symbol", "ts"].map(|name| self.schema.index_of(name).map(|i| Column::new(name, i)));
        let [symbol, ts] = key;
        let ascending = SortOptions { descending: false, nulls_first: false };
        let key = [symbol?, ts?].map(|column| PhysicalSortExpr::new(Arc::new(column), ascending));
        let Some(key) = LexOrdering::new(key) else { return Ok(scan) };
        let scan = match table.is_sorted() {
            true => scan,
            false => Arc::new(SortExec::new(key.clone(), scan).with_preserve_partitioning(true)) as _,
        };
        if scan.output_partitioning().partition_count() == 1 {
            return Ok(scan);
        }
        Ok(Arc::new(SortPreservingMergeExec::new(key, scan)))
    }

    fn is_sorted(&self) -> bool {
        self.profiles.iter().all(|p| p.sorted)
    }

    async fn scan_in(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        wanted: &Wanted,
        limit: Option<usize>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let reader = self.files.format.reader(session);
        let source = match self.pruning(wanted)? {
            Some(predicate) => {
                let options = session.default_table_options().parquet.clone();
                let source = ParquetSource::new(self.read.clone()).with_table_parquet_options(options);
                Arc::new(source.with_predicate(predicate)) as Arc<dyn FileSource>
            }
            None => reader.file_source(self.read.clone()),
        };
        let mut config = FileScanConfigBuilder::new(self.files.store_url.clone(), source)
            .with_file_compression_type(self.files.format.compression)
            .with_limit(limit);

        let divisible = self.files.format.kind == Kind::Parquet;
        let mut statistics = Statistics::new_unknown(self.read.table_schema());
        if let Some(order) = &self.order {
            let ranges = cut(&self.profiles, order, wanted, divisible, partitions);
            let groups = ranges.partitions.iter();
            let groups: Vec<_> =
                groups.map(|parts| FileGroup::new(parts.iter().map(|p| self.file_of(p)).collect())).collect();
            let splits = ranges.partitions.iter().skip(1).filter_map(|parts| parts.first());
            let splits =
                splits.map(|p| SplitPoint::new(vec![ScalarValue::Utf8View(Some(p.first_symbol.clone()))])).collect();
            config = config.with_file_groups(groups).with_output_ordering(self.ordering().into_iter().collect());
            if let Some(symbol) = LexOrdering::new([self.sort_expr(self.symbol_position())]) {
                let range = RangePartitioning::try_new(symbol, splits)?;
                config = config.with_output_partitioning(Some(Partitioning::Range(range)));
            }
            let parts: Vec<&Part> = ranges.partitions.iter().flatten().collect();
            statistics = self.table_statistics(&parts, ranges.rows);
        } else if self.is_sorted() && !self.profiles.is_empty() {
            // Each chain holds files in disjoint symbol ranges; chains overlap and are merged.
            let chains = chains(&self.profiles);
            let parts = |chain: &Vec<usize>| -> Vec<Part> {
                cut(&self.profiles, chain, wanted, divisible, 1).partitions.into_iter().flatten().collect()
            };
            let chains: Vec<Vec<Part>> = chains.iter().map(parts).filter(|parts| !parts.is_empty()).collect();
            let groups: Vec<FileGroup> =
                chains.iter().map(|parts| FileGroup::new(parts.iter().map(|p| self.file_of(p)).collect())).collect();
            let all: Vec<&Part> = chains.iter().flatten().collect();
            let rows = all.iter().flat_map(|p| &p.rows).map(ExactSizeIterator::len).sum();
            statistics = self.table_statistics(&all, rows);
            config = if groups.len() <= MAX_MERGED_FILES {
                let groups = if groups.is_empty() { vec![FileGroup::new(vec![])] } else { groups };
                config.with_file_groups(groups).with_output_ordering(self.ordering().into_iter().collect())
            } else {
                let files = groups.into_iter().flat_map(FileGroup::into_inner).collect();
                config.with_file_groups(FileGroup::new(files).split_files(partitions))
            };
        } else {
            let plain = self.files.files.iter().map(|m| self.with_symbol(PartitionedFile::new_from_meta(m.clone())));
            config = config.with_file_groups(FileGroup::new(plain.collect()).split_files(partitions));
            statistics.num_rows = Precision::Exact(self.profiles.iter().map(|p| p.rows).sum());
        }
        let all: Vec<usize> = (0..self.positions.len()).collect();
        let columns = projection.unwrap_or(&all);
        let read = columns.iter().map(|&i| self.positions[i]).collect();
        let config = config.with_statistics(statistics).with_projection_indices(Some(read))?.build();
        let scan = reader.create_physical_plan(session, config).await?;
        self.renamed(scan, columns)
    }

    /// A predicate that leaves out pages without the wanted symbols, where there are more of them than DataFusion looks
    /// for in a page index by itself.
    fn pruning(&self, wanted: &Wanted) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some(symbols) = &wanted.symbols else { return Ok(None) };
        let (Some(position), Kind::Parquet) = (self.columns.symbol, self.files.format.kind) else { return Ok(None) };
        if !(PAGE_LIST + 1..=PAGE_LISTS * PAGE_LIST).contains(&symbols.len()) {
            return Ok(None);
        }
        let schema = self.read.table_schema();
        let symbol: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(position).name(), position));
        let literals: Vec<Arc<dyn PhysicalExpr>> =
            symbols.iter().map(|s| lit(ScalarValue::Utf8View(Some(s.clone())))).collect();
        let lists = literals.chunks(PAGE_LIST).map(|part| in_list(Arc::clone(&symbol), part.to_vec(), &false, schema));
        let lists = lists.collect::<Result<Vec<_>>>()?.into_iter().map(Ok);
        lists.reduce(|a, b: Result<Arc<dyn PhysicalExpr>>| binary(a?, Operator::Or, b?, schema)).transpose()
    }

    /// What is known of all that a scan reads, so that counts and ends need no reading.
    fn table_statistics(&self, parts: &[&Part], rows: usize) -> Statistics {
        let mut statistics = Statistics::new_unknown(self.read.table_schema()).with_num_rows(Precision::Exact(rows));
        let files: HashSet<usize> = parts.iter().map(|p| p.file).collect();
        let whole: usize = files.iter().map(|&file| self.profiles[file].rows).sum();
        if rows == 0 || rows != whole {
            return statistics;
        }
        let each: Vec<Statistics> = parts.iter().map(|p| self.part_statistics(p, 0)).collect();
        for (position, column) in statistics.column_statistics.iter_mut().enumerate() {
            let of = |s: &Statistics| s.column_statistics.get(position).cloned();
            let known = each.iter().filter_map(of);
            let merged = known.reduce(|a, b| ColumnStatistics {
                null_count: a.null_count.add(&b.null_count),
                min_value: a.min_value.min(&b.min_value),
                max_value: a.max_value.max(&b.max_value),
                ..ColumnStatistics::new_unknown()
            });
            if let Some(merged) = merged {
                *column = merged;
            }
        }
        statistics
    }

    /// What filters leave of the table, where they say so plainly.
    fn wanted(&self, filters: &[Expr]) -> Wanted {
        let mut wanted = Wanted { symbols: wanted_symbols(filters), ..Wanted::default() };
        if self.epoch.is_none() {
            for filter in filters {
                narrow_times(filter, &mut wanted);
            }
        }
        wanted
    }
}

impl CandleTable {
    /// Gives columns their canonical names and times their type, where the file has others.
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
                expr = Arc::new(CastExpr::new(expr, instant(), None));
            }
            ProjectionExpr { expr, alias: name.clone() }
        });
        Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Vec<_>>(), scan)?))
    }
}

/// symbol, ts, open, high, low, close, volume, then the rest as it lies.
fn canonical_order(names: &[String]) -> Vec<usize> {
    let known = ["symbol", "ts", "open", "high", "low", "close", "volume"];
    let first = known.iter().filter_map(|k| names.iter().position(|n| n == k));
    let rest = (0..names.len()).filter(|&i| !known.contains(&names[i].as_str()));
    first.chain(rest).collect()
}

/// A value of a whole-number time column.
async fn sample_epoch(session: &dyn Session, files: &Files, schema: &SchemaRef, ts: usize) -> Result<Option<i64>> {
    let source = files.format.reader(session).file_source(TableSchema::from(Arc::clone(schema)));
    let config = FileScanConfigBuilder::new(files.store_url.clone(), source)
        .with_projection_indices(Some(vec![ts]))?
        .with_file_compression_type(files.format.compression)
        .with_file_group(FileGroup::new(vec![PartitionedFile::new_from_meta(files.files[0].clone())]))
        .with_limit(Some(1))
        .build();
    let plan = files.format.reader(session).create_physical_plan(session, config).await?;
    let mut stream = plan.execute(0, session.task_ctx())?;
    match stream.next().await {
        Some(batch) => {
            let values = cast(batch?.column(0), &DataType::Int64)?;
            Ok(values.as_primitive::<Int64Type>().iter().flatten().next())
        }
        None => Ok(None),
    }
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

/// Takes in what a filter says of the time: a comparison of `ts` with a literal, or several with AND.
fn narrow_times(filter: &Expr, wanted: &mut Wanted) {
    let is_ts = |e: &Expr| matches!(e, Expr::Column(c) if c.name == "ts");
    let micros = |e: &Expr| match e {
        Expr::Literal(value, _) => match value.cast_to(&instant()) {
            Ok(ScalarValue::TimestampMicrosecond(at, _)) => at,
            _ => None,
        },
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            narrow_times(left, wanted);
            narrow_times(right, wanted);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, at) = match (is_ts(left), is_ts(right)) {
                (true, false) => (Some(*op), micros(right)),
                (false, true) => (op.swap(), micros(left)),
                _ => return,
            };
            let Some(at) = at else { return };
            match op {
                Some(Operator::Eq) => (wanted.from, wanted.to) = (wanted.from.max(at), wanted.to.min(at)),
                Some(Operator::Gt | Operator::GtEq) => wanted.from = wanted.from.max(at),
                Some(Operator::Lt | Operator::LtEq) => wanted.to = wanted.to.min(at),
                _ => {}
            }
        }
        Expr::Between(between) if !between.negated && is_ts(&between.expr) => {
            wanted.from = wanted.from.max(micros(&between.low).unwrap_or(i64::MIN));
            wanted.to = wanted.to.min(micros(&between.high).unwrap_or(i64::MAX));
        }
        _ => {}
    }
}

/// The symbols that filters leave, where they say so by `=` or `IN`.
fn wanted_symbols(filters: &[Expr]) -> Option<BTreeSet<String>> {
    let mut wanted: Option<BTreeSet<String>> = None;
    for set in filters.iter().filter_map(symbols_of) {
        wanted = Some(match wanted {
            Some(so_far) => so_far.intersection(&set).cloned().collect(),
            None => set,
        });
    }
    wanted
}

fn symbols_of(filter: &Expr) -> Option<BTreeSet<String>> {
    let is_symbol = |e: &Expr| matches!(e, Expr::Column(c) if c.name == "symbol");
    let text = |e: &Expr| match e {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_string),
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_symbol(left) => {
            text(right).map(|s| BTreeSet::from([s]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_symbol(right) => {
            text(left).map(|s| BTreeSet::from([s]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (mut a, b) = (symbols_of(left)?, symbols_of(right)?);
            a.extend(b);
            Some(a)
        }
        Expr::InList(list) if !list.negated && is_symbol(&list.expr) => list.list.iter().map(text).collect(),
        _ => None,
    }
}

/// Says which file it is, and what to do about times in other formats.
fn cannot_read(path: &str, error: DataFusionError) -> DataFusionError {
    let hint = if error.to_string().contains("Error parsing timestamp") {
        " (times must be ISO, such as 2024-01-31 or 2024-01-31T09:30:00, or epochs)"
    } else {
        ""
    };
    error.context(format!("cannot read {path}{hint}"))
}

/// An error for a location where no table is.
pub(super) fn nothing_at<T>(location: &str) -> Result<T, DataFusionError> {
    plan_err!("nothing to read at '{location}': expected .parquet, .csv, .json or .ndjson files (also .gz, .zst)")
}
