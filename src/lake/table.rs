//! A candle table: files in known order, with or without a transaction log.

use super::as_of::AsOf;
use super::border;
use super::columns::{Columns, has_close, timestamp_type, unit};
use super::delta::{Log, Snapshot};
use super::files::{Files, Format, Kind, symbol_of};
use super::profile::{Known, Profile, ProfileCache};
use super::proof::Prover;
use super::properties::{ORIGIN, TIMEFRAME};
use super::pruning::Selection;
use super::ranges::{chains, disjoint_order};
use super::readable::{Unreadable, readable};
use super::symbols::Symbols;
use super::writer::profile_of;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use object_store::ObjectMeta;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

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
    pub(super) symbols: Symbols,
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

impl CandleTable {
    /// Opens the table behind a path, glob, folder or URL. `Ok(None)`: no files, or none with a time and a close.
    pub async fn open(
        session: &Arc<SessionState>,
        location: &str,
        as_of: Option<&AsOf>,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        if let Some((log, snapshot)) = logged(session, location, as_of).await? {
            return Self::of_snapshot(session, &log, &snapshot, cache).await;
        }
        let Some(files) = Files::list(session.as_ref(), location).await? else { return Ok(None) };
        files.check_not_empty()?;
        let Known { profiles: known, schema } = cache.load(&files.location, &files.files);
        let one_schema = |p: &Profile| p.schema != 0 && known.values().all(|q| q.schema == p.schema);
        let alike = known.len() == files.files.len() && known.values().next().is_some_and(one_schema);
        let file_schema = match schema.filter(|_| files.format.is_delimited()) {
            // Each of many files would have to be opened to find it out again.
            Some(schema) => schema,
            None => files.schema(session.as_ref(), alike).await?,
        };
        Self::new(session, files, file_schema, known, cache, true).await
    }

    /// As [`CandleTable::open`], without the files that cannot be read; each is read whole to find out.
    pub async fn open_readable(
        session: &Arc<SessionState>,
        location: &str,
        as_of: Option<&AsOf>,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        if let Some((log, mut snapshot)) = logged(session, location, as_of).await? {
            let (good, bad) = readable(session, &Files::of_log(&log, &snapshot)).await?;
            snapshot.files.retain(|f| good.iter().any(|meta| meta.location == f.meta.location));
            let table = Self::of_snapshot(session, &log, &snapshot, cache).await?;
            return Ok(table.map(|table| CandleTable { unreadable: bad, ..table }));
        }
        let Some(mut files) = Files::list(session.as_ref(), location).await? else { return Ok(None) };
        let (mut good, mut bad) = readable(session, &files).await?;
        let all = files.files.len();
        files.files = good.clone();
        for (file, reason) in files.odd(session.as_ref()).await?.into_iter().rev() {
            let meta = good.remove(file);
            bad.push(Unreadable { path: files.shown(&meta), symbol: symbol_of(meta.location.as_ref()), reason });
        }
        if good.is_empty() {
            return plan_err!("{location}: none of {all} files can be read");
        }
        files.files = good;
        let file_schema = files.schema(session.as_ref(), false).await?;
        let known = cache.load(&files.location, &files.files).profiles;
        let table = Self::new(session, files, file_schema, known, cache, true).await?;
        Ok(table.map(|table| CandleTable { unreadable: bad, ..table }))
    }

    /// The files that [`CandleTable::open_readable`] skipped.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The table restricted to the parts that may hold these symbols. It may still return rows of others, which the caller has
    /// to drop: a filter in the plan would compare every row, and every page, with a long list.
    pub fn for_symbols(&self, symbols: &Arc<BTreeSet<String>>) -> CandleTable {
        CandleTable { only: Some(Arc::clone(symbols)), ..self.clone() }
    }

    /// The symbols that the table's lists name. Of a row group that holds several, they name the first and the last.
    pub fn listed_symbols(&self) -> impl Iterator<Item = &str> {
        let runs = self.profiles.iter().flat_map(|p| &p.runs);
        runs.flat_map(|run| std::iter::once(run.symbol.as_str()).chain(run.through.as_deref()))
    }

    /// Those of these symbols that no row of the table can have; `None` where the lists cannot say, or would take long to go through.
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
            for (path, profile) in cache.load(&files.location, &files.files).profiles {
                known.entry(path).or_insert(profile);
            }
        }
        // Labels and features have no close; that they are ordered, the log says.
        let is_ordered = !snapshot.files.is_empty() && snapshot.files.iter().all(|f| profile_of(&f.add).is_some());
        let needs_close = !is_ordered;
        let table = Self::new(session, files, Arc::clone(&snapshot.schema), known, cache, needs_close).await?;
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
        needs_close: bool,
    ) -> Result<Option<CandleTable>> {
        if needs_close && !has_close(&file_schema) {
            return Ok(None);
        }
        let session: &dyn Session = state.as_ref();
        let location = files.location.clone();
        let text = files.format.kind != Kind::Parquet;
        let Some(first) = Columns::recognise(&file_schema, None, text) else { return Ok(None) };
        let whole_numbers = file_schema.field(first.ts).data_type().is_integer();
        let epoch = if whole_numbers { sample_epoch(session, &files, &file_schema, first.ts).await? } else { None };
        if let Some(value) = epoch.filter(|value| (1..100_000_000).contains(&value.abs())) {
            return plan_err!(
                "cannot read {location}: its times are whole numbers such as {value}, which are no epochs; `tallow ingest` reads \
                 dates such as 20240131, and here ISO dates, such as 2024-01-31"
            );
        }
        let Some(columns) = Columns::recognise(&file_schema, epoch, text) else { return Ok(None) };
        if columns.zone_assumed {
            tracing::info!("{location}: times without a zone are taken as UTC");
        }
        let sample = epoch;
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
                if names[i] == "ts" && epoch.is_some() { field.with_data_type(timestamp_type()) } else { field }
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let (version, properties) = (None, HashMap::new());
        let mut table = CandleTable {
            files,
            columns,
            profiles: Arc::default(),
            order: None,
            read,
            positions,
            epoch,
            schema,
            version,
            properties,
            unreadable: vec![],
            only: None,
            symbols: Symbols::default(),
        };
        table.profiles = Arc::new(table.profile(state, cache, known, &file_schema).await?);
        if let Some(sample) = sample {
            table.check_epochs(unit(sample))?;
        }
        table.order = disjoint_order(&table.profiles);
        Ok(Some(table))
    }

    /// Checks that the whole numbers that are the times of its files count in one unit.
    fn check_epochs(&self, unit_of_table: TimeUnit) -> Result<()> {
        // Those of text files are proven as they stand, the others as times.
        let raw = |time: i64| match unit_of_table {
            _ if self.epoch.is_some() => time,
            TimeUnit::Second => time / 1_000_000,
            TimeUnit::Millisecond => time / 1_000,
            TimeUnit::Microsecond => time,
            TimeUnit::Nanosecond => time.saturating_mul(1_000),
        };
        for (meta, profile) in self.files.files.iter().zip(self.profiles.iter()) {
            let times = profile.runs.iter().flat_map(|run| [run.first, run.last]);
            // Times around 1970 are small in any unit.
            let mut values = times.map(raw).filter(|value| value.abs() >= 100_000_000);
            if let Some(value) = values.find(|value| unit(*value) != unit_of_table) {
                let unit = format!("{unit_of_table:?}s").to_lowercase();
                return plan_err!(
                    "cannot read {}: its times are whole numbers such as {value}, which are no {unit} as those of other files \
                     are",
                    self.files.shown(meta)
                );
            }
        }
        Ok(())
    }

    /// Proves the order of every file that is not yet `known`, on all threads.
    async fn profile(
        &self,
        session: &Arc<SessionState>,
        cache: &ProfileCache,
        mut known: HashMap<String, Profile>,
        schema: &SchemaRef,
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
                    let mut done = Vec::with_capacity(mine.len());
                    for meta in mine {
                        let path = meta.location.clone();
                        let shown = border::shown(&prover.store_url, &path);
                        let profile = border::reading(&shown, prover.prove(meta)).await.map_err(with_times)?;
                        done.push((path.into(), profile));
                    }
                    Ok::<_, DataFusionError>(done)
                });
            }
            while let Some(done) = workers.join_next().await {
                known.extend(done.map_err(|e| DataFusionError::External(Box::new(e)))??);
            }
            let all = self.files.files.iter().filter_map(|m| Some((m, known.get(m.location.as_ref())?)));
            cache.store(&self.files.location, schema, &all.collect::<Vec<_>>());
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

    /// How many symbols there are, where that is known without reading.
    pub fn symbols(&self) -> Option<usize> {
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
        let mut selection = Selection::of_filters(filters, self.epoch.is_none());
        if let Some(only) = &self.only {
            selection.symbols = Some(match selection.symbols {
                Some(symbols) => symbols.intersection(only).cloned().collect(),
                None => only.as_ref().clone(),
            });
        }
        self.scan_in(session, projection, &selection, limit, partitions).await
    }
}

/// The log of a location and a version of its table. `Ok(None)`: there is no log, and no version is asked for.
async fn logged(session: &Arc<SessionState>, location: &str, as_of: Option<&AsOf>) -> Result<Option<(Log, Snapshot)>> {
    if !location.contains(['*', '?', '[']) && Format::of(location).is_none() {
        let log = Log::at(session.as_ref(), location)?;
        if let Some(snapshot) = log.snapshot(as_of).await? {
            return Ok(Some((log, snapshot)));
        }
    }
    match as_of {
        Some(version) => plan_err!("{location} has no transaction log, so there is no version {version} of it"),
        None => Ok(None),
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
    let reader = files.reader(session);
    for file in &files.files {
        let source = reader.file_source(TableSchema::from(Arc::clone(schema)));
        let config = FileScanConfigBuilder::new(files.store_url.clone(), source)
            .with_projection_indices(Some(vec![ts]))?
            .with_file_compression_type(files.format.compression)
            .with_file_group(FileGroup::new(vec![PartitionedFile::new_from_meta(file.clone())]))
            .build();
        let mut stream = reader.create_physical_plan(session, config).await?.execute(0, session.task_ctx())?;
        while let Some(batch) = stream.next().await {
            let values = cast(batch?.column(0), &DataType::Int64)?;
            if let Some(value) = values.as_primitive::<Int64Type>().iter().flatten().next() {
                return Ok(Some(value));
            }
        }
    }
    Ok(None)
}

/// Says what to do about times in other formats.
fn with_times(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Context(said, error) if error.to_string().contains("Error parsing timestamp") => {
            error.context(format!("{said} (times must be ISO, such as 2024-01-31 or 2024-01-31T09:30:00, or epochs)"))
        }
        error => error,
    }
}

/// An error for a location where no table is.
pub(super) fn nothing_at<T>(location: &str) -> Result<T, DataFusionError> {
    plan_err!("nothing to read at '{location}': expected .parquet, .csv, .json or .ndjson files (also .gz, .zst)")
}
