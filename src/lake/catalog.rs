//! Tables by name: the timeframes of a lake, and any quoted path, glob or URL.

use super::as_of::AsOf;
use super::border::{self, Guarded};
use super::columns;
use super::delta::{Log, no_table};
use super::files::{Files, Format};
use super::formulas::StoredFormula;
use super::ingest::{self, IngestOptions, IngestProgress, IngestSummary};
use super::maintenance::{self, HistoryEntry, OptimizeSummary};
use super::overwrite::{self, Computed, Written};
use super::patterns::{StoredAlert, StoredPattern};
use super::profile::ProfileCache;
use super::properties::ORIGIN;
use super::results::{self, ResultKind};
use super::small_table::{self, Record};
use super::table::{CandleTable, nothing_at};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err, plan_datafusion_err, plan_err};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::listing::{ListingTable, ListingTableConfig, ListingTableConfigExt, ListingTableUrl};
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use object_store::path::Path;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tallow_udfs::candle::Timeframe;

/// Where candles lie.
#[derive(Debug, Clone)]
pub struct Lake {
    /// Path or URL; one folder per timeframe under `candles/`.
    pub url: String,
    /// A path, glob or URL that is `candles`, in place of the lake's default timeframe.
    pub candles: Option<String>,
    /// Read tables as they were; by default as they are.
    pub as_of: Option<AsOf>,
}

/// How tables get at the state of the session that they belong to, which they must not keep alive.
type StateOf = Box<dyn Fn() -> Option<SessionState> + Send + Sync>;

/// The schema of a session: tables of the lake, tables registered by hand, files by path.
pub struct LakeSchema {
    lake: Lake,
    cache: ProfileCache,
    state: OnceLock<StateOf>,
    /// Tables found in the lake.
    found: Mutex<Found>,
    tables: Mutex<BTreeMap<String, Cached>>,
    /// Names of hidden tables, the oldest first.
    hidden: Mutex<VecDeque<String>>,
}

/// Timeframes that have tables.
#[derive(Debug, Clone, Default)]
struct Found {
    candles: Vec<Timeframe>,
    quarantine: Vec<Timeframe>,
    /// Names of computed tables, such as `labels_4h`.
    computed: Vec<String>,
    /// Small tables, such as that of formulas.
    small: Vec<&'static str>,
}

/// Matches in the lake's default timeframe; those of others are `matches_4h` and so on.
const MATCHES: &str = "matches";

/// Tables that every lake may have one of.
const SMALL: [&str; 3] = [StoredFormula::TABLE, StoredPattern::TABLE, StoredAlert::TABLE];

/// `"candles@readable"` is a table of candles without the files that cannot be read.
pub(crate) const READABLE: &str = "@readable";

/// Names of tables that only plans know begin with this.
const HIDDEN: char = '#';

/// Hidden tables that are kept. A plan holds its own.
const MOST_HIDDEN: usize = 1_000;

/// A table that was opened before.
#[derive(Debug, Clone)]
enum Cached {
    /// Files without a log are what they were when the session first saw them.
    Fixed(Arc<dyn TableProvider>),
    /// A table with a log is read as it is by now.
    Logged { log: Arc<Log>, version: u64, table: Arc<dyn TableProvider> },
}

impl LakeSchema {
    /// Lists the timeframes of the lake. A lake that is not there has none.
    pub async fn open(lake: Lake, cache: ProfileCache, session: &dyn datafusion::catalog::Session) -> Result<Self> {
        let found = Mutex::new(Found::list(&lake, session).await?);
        Ok(Self { lake, cache, state: OnceLock::new(), found, tables: Mutex::default(), hidden: Mutex::default() })
    }

    fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ingests files into the table of a timeframe, which is made if it is not there.
    pub async fn ingest(
        &self,
        timeframe: Timeframe,
        options: &IngestOptions,
        progress: &IngestProgress,
    ) -> Result<IngestSummary> {
        let state = Arc::new(self.state()?);
        let done = ingest::ingest(&state, &self.cache, &self.lake.url, timeframe, options, progress).await;
        self.look_again().await?;
        done
    }

    /// Timeframes that the lake has candles of, shortest first.
    pub fn timeframes(&self) -> Vec<Timeframe> {
        self.found().candles
    }

    /// Where the bars of a timeframe begin, if its table says so.
    pub async fn origin(&self, timeframe: Timeframe) -> Result<Option<String>> {
        let name = format!("candles_{timeframe}");
        let of = |table: &CandleTable| table.property(ORIGIN).map(str::to_string);
        match self.candle_table(&name).await {
            Ok(table) => Ok(table.as_deref().and_then(of)),
            // A file that cannot be read does not change where bars begin.
            Err(error) => match self.table(&format!("{name}{READABLE}")).await {
                Ok(Some(table)) => Ok(table.downcast_ref::<CandleTable>().and_then(of)),
                _ => Err(error),
            },
        }
    }

    /// Length and origin of the bars of a table: as its properties say, as its folder is called, or as most of its first
    /// bars follow each other.
    pub async fn bars(&self, name: &str) -> Result<Option<(Timeframe, String)>> {
        let Some(provider) = self.table(name).await? else { return Ok(None) };
        let Some(table) = provider.downcast_ref::<CandleTable>() else { return Ok(None) };
        let summary = table.summary();
        let origin = summary.origin.unwrap_or_else(|| "utc".to_string());
        let by_folder = || Timeframe::named(summary.location.trim_end_matches('/').rsplit('/').next()?);
        let timeframe = match summary.timeframe.and_then(|t| t.parse().ok()).or_else(by_folder) {
            Some(timeframe) => Some(timeframe),
            None => usual_step(&provider, &self.state()?).await?,
        };
        Ok(timeframe.map(|timeframe| (timeframe, origin)))
    }

    /// The columns of a table of the lake or a path.
    pub async fn columns(&self, name: &str) -> Result<Vec<String>> {
        match self.table(name).await? {
            Some(table) => Ok(table.schema().fields().iter().map(|f| f.name().clone()).collect()),
            None => plan_err!("there is no table `{name}`"),
        }
    }

    /// Merges rows that are candles already, ordered by (symbol, ts), into the table of a timeframe.
    pub async fn merge(
        &self,
        timeframe: Timeframe,
        origin: &str,
        rows: Arc<dyn ExecutionPlan>,
    ) -> Result<IngestSummary> {
        let state = Arc::new(self.state()?);
        let done = ingest::merge_rows(&state, &self.cache, &self.lake.url, timeframe, origin, &rows).await;
        self.look_again().await?;
        done
    }

    /// Writes a result table whole: one of the lake by its name, such as `labels_4h`, or one at a place (see
    /// [`ResultKind::table`]).
    pub async fn replace(&self, table: &str, rows: Computed) -> Result<Written> {
        let log = self.result_log(table, rows.kind)?;
        let written = overwrite::overwrite(&Arc::new(self.state()?), &log, rows).await?;
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(table);
        self.look_again().await?;
        Ok(written)
    }

    /// Whether a result may be written to a table; [`LakeSchema::replace`] asks too, but by then much may be computed.
    pub async fn check_replaceable(
        &self,
        table: &str,
        kind: ResultKind,
        properties: &HashMap<String, String>,
    ) -> Result<()> {
        overwrite::check(&Arc::new(self.state()?), &self.result_log(table, kind)?, kind, properties).await
    }

    fn result_log(&self, table: &str, kind: ResultKind) -> Result<Log> {
        Log::at(&self.state()?, &kind.location(&self.lake.url, table)?)
    }

    /// All rows of a small table.
    pub async fn records<T: Record>(&self) -> Result<Vec<T>> {
        let state = Arc::new(self.state()?);
        small_table::read(&state, &Log::at(state.as_ref(), &self.folder(T::TABLE))?).await
    }

    /// Changes the rows of a small table, in one commit.
    pub async fn change_records<T: Record, R>(
        &self,
        operation: &'static str,
        of: impl Fn(&mut Vec<T>) -> Result<R>,
    ) -> Result<R> {
        let state = Arc::new(self.state()?);
        let result =
            small_table::change(&state, &Log::at(state.as_ref(), &self.folder(T::TABLE))?, operation, of).await?;
        self.look_again().await?;
        Ok(result)
    }

    /// Keeps a table under a name that begins with `#`: it is not listed, and forgotten after many others.
    pub(crate) fn keep_hidden(&self, name: &str, table: Arc<dyn TableProvider>) {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        hidden.retain(|known| known != name);
        hidden.push_back(name.to_string());
        if hidden.len() > MOST_HIDDEN
            && let Some(oldest) = hidden.pop_front()
        {
            self.drop_hidden(&oldest);
        }
        self.keep(name, Cached::Fixed(table));
    }

    /// Forgets a table.
    pub(crate) fn drop_hidden(&self, name: &str) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn folder(&self, name: &str) -> String {
        format!("{}/{name}/", self.lake.url.trim_end_matches('/'))
    }

    /// Brings a table into the layout that is read fastest.
    pub async fn optimize(&self, name: &str, file_bytes: Option<u64>) -> Result<OptimizeSummary> {
        maintenance::optimize(&Arc::new(self.state()?), &self.cache, &self.log(name)?, file_bytes).await
    }

    /// The commits of a table, newest first.
    pub async fn history(&self, name: &str, limit: Option<usize>) -> Result<Vec<HistoryEntry>> {
        maintenance::history(&self.log(name)?, limit).await
    }

    /// Deletes files that no version younger than `keep` needs; returns their names.
    pub async fn vacuum(&self, name: &str, keep: chrono::Duration, dry_run: bool) -> Result<Vec<String>> {
        let log = self.log(name)?;
        if !log.exists().await? {
            return no_table(&log.location);
        }
        log.vacuum(keep, dry_run).await
    }

    fn log(&self, name: &str) -> Result<Log> {
        match self.location(name)? {
            Some((location, _)) => Log::at(&self.state()?, &location),
            None => plan_err!("there is no table `{name}`; `tallow tables` lists them"),
        }
    }

    /// Takes notice of tables that were made since the session began.
    async fn look_again(&self) -> Result<()> {
        let found = Found::list(&self.lake, &self.state()?).await?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Ties the schema to the session that it is registered in.
    pub(crate) fn belongs_to(&self, state: StateOf) {
        let _ = self.state.set(state);
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// The path, glob or URL that a name stands for, and the version that it names after `@`; `None` for a name that is
    /// no table of the lake.
    fn location(&self, name: &str) -> Result<Option<(String, Option<AsOf>)>> {
        let folder = |family: &str, t: Timeframe| format!("{}/{family}/{t}/", self.lake.url.trim_end_matches('/'));
        let (plain, version) = match name.rsplit_once('@') {
            Some((plain, version)) if !version.contains('/') => {
                let version = version.parse().map_err(|e: crate::Error| DataFusionError::Plan(e.to_string()))?;
                (plain, Some(version))
            }
            _ => (name, None),
        };
        let found = self.found();
        let of_family = |family: &str, known: &[Timeframe]| {
            let timeframe = plain.strip_prefix(family)?.strip_prefix('_')?.parse::<Timeframe>().ok()?;
            known.contains(&timeframe).then(|| folder(family, timeframe))
        };
        let own = if plain == "candles" {
            self.lake.candles.clone().or_else(|| found.default_timeframe().map(|t| folder("candles", t)))
        } else if plain == MATCHES {
            let own = found.default_timeframe().map(|t| format!("{MATCHES}_{t}"));
            let own = own.filter(|own| found.computed.contains(own));
            own.and_then(|own| own.strip_prefix(MATCHES).map(|t| self.folder(&format!("{MATCHES}/{}", &t[1..]))))
        } else if found.small.contains(&plain) {
            Some(self.folder(plain))
        } else {
            of_family("candles", &found.candles).or_else(|| of_family("quarantine", &found.quarantine)).or_else(|| {
                let known = results::of_name(plain).filter(|_| found.computed.iter().any(|known| known == plain));
                known.map(|(kind, rest)| results::folder(&self.lake.url, kind, rest))
            })
        };
        let location = own.or_else(|| is_location(plain).then(|| plain.to_string()));
        let as_of = version.or_else(|| self.lake.as_of.clone());
        Ok(location.map(|location| (location, as_of)))
    }

    /// The candle table with this name or path, if it is one.
    pub async fn candle_table(&self, name: &str) -> Result<Option<Arc<CandleTable>>> {
        match self.location(name)? {
            Some((location, as_of)) => {
                let state = Arc::new(self.state()?);
                Ok(CandleTable::open(&state, &location, as_of.as_ref(), &self.cache).await?.map(Arc::new))
            }
            None => Ok(None),
        }
    }

    /// As [`LakeSchema::candle_table`], with the name to read it by: where files of it cannot be read, it is the table
    /// without them.
    pub async fn candle_table_despite_files(&self, name: &str) -> Result<Option<(String, Arc<CandleTable>)>> {
        let error = match self.candle_table(name).await {
            Ok(table) => return Ok(table.map(|table| (name.to_string(), table))),
            Err(error) => error,
        };
        let rest = format!("{name}{READABLE}");
        match self.table(&rest).await {
            Ok(Some(table)) => match table.downcast_ref::<CandleTable>() {
                Some(table) if !table.unreadable().is_empty() => Ok(Some((rest, Arc::new(table.clone())))),
                _ => Err(error),
            },
            _ => Err(error),
        }
    }

    pub(super) fn state(&self) -> Result<SessionState> {
        self.state
            .get()
            .and_then(|state| state())
            .ok_or_else(|| DataFusionError::Internal("the lake outlived its session".to_string()))
    }

    fn cached(&self, name: &str) -> Option<Cached> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn keep(&self, name: &str, table: Cached) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), table);
    }

    /// The quarantine of a timeframe that has candles and no row was ever rejected of.
    fn empty_quarantine(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let timeframe = name.strip_prefix("quarantine_")?.parse().ok()?;
        let known = self.found().candles.contains(&timeframe);
        known.then(|| Arc::new(EmptyTable::new(ingest::quarantine::schema())) as _)
    }

    /// A table with a transaction log, of candles or of anything else.
    async fn logged(&self, location: &str, as_of: Option<&AsOf>) -> Result<Option<Cached>> {
        if location.contains(['*', '?', '[']) || Format::of(location).is_some() {
            return Ok(None);
        }
        let state = Arc::new(self.state()?);
        let log = Log::at(state.as_ref(), location)?;
        let Some(snapshot) = log.snapshot(as_of).await? else { return Ok(None) };
        let table: Arc<dyn TableProvider> = match CandleTable::of_snapshot(&state, &log, &snapshot, &self.cache).await?
        {
            Some(table) => Arc::new(table),
            None => log.plain_table(&snapshot)?,
        };
        Ok(Some(Cached::Logged { log: Arc::new(log), version: snapshot.version, table }))
    }

    /// Files that hold no candles: labels, reference tables.
    async fn plain_table(&self, location: &str) -> Result<Arc<dyn TableProvider>> {
        let state = self.state()?;
        if Files::list(&state, location).await?.is_none() {
            return nothing_at(location);
        }
        let url = ListingTableUrl::parse(location)?;
        let store_url = url.object_store();
        let config = ListingTableConfig::new(url).infer_options(&state).await.map_err(|e| missing(location, e))?;
        let Some(mut options) = config.options.clone() else { return nothing_at(location) };
        options.format = Arc::new(Guarded::new(options.format, &store_url));
        let config = config.with_listing_options(options);
        let config = config.infer_schema(&state).await.map_err(|e| missing(location, e))?;
        if config.file_schema.as_ref().is_none_or(|s| s.fields().is_empty()) {
            return nothing_at(location);
        }
        Ok(Arc::new(ListingTable::try_new(config)?))
    }
}

impl Debug for LakeSchema {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeSchema").field("lake", &self.lake).field("found", &self.found()).finish()
    }
}

/// The timeframe whose length most of a table's first bars keep from the bar before.
async fn usual_step(table: &Arc<dyn TableProvider>, state: &SessionState) -> Result<Option<Timeframe>> {
    const ROWS: usize = 4096;
    let schema = table.schema();
    let (Ok(symbol), Ok(ts)) = (schema.index_of("symbol"), schema.index_of("ts")) else { return Ok(None) };
    let plan = table.scan(state, Some(&vec![symbol, ts]), &[], Some(ROWS)).await?;
    let mut stream = plan.execute(0, state.task_ctx())?;
    let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut rows = 0;
    while rows < ROWS
        && let Some(batch) = stream.try_next().await?
    {
        rows += batch.num_rows();
        let symbols = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let times = arrow::compute::cast(batch.column(1), &columns::timestamp_type())?;
        let (symbols, times) = (symbols.as_string::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
        for (symbol, time) in symbols.iter().zip(times) {
            if let (Some(symbol), Some(time)) = (symbol, time) {
                all.entry(symbol.to_string()).or_default().push(time);
            }
        }
    }
    let mut steps: BTreeMap<i64, usize> = BTreeMap::new();
    for times in all.values_mut() {
        times.sort_unstable();
        for pair in times.windows(2).filter(|pair| pair[0] < pair[1]) {
            *steps.entry(pair[1] - pair[0]).or_default() += 1;
        }
    }
    let day = 86_400_000_000;
    let usual = steps.into_iter().max_by_key(|(_, count)| *count).map(|(step, _)| step);
    Ok(usual.and_then(|step| match step / day {
        28..=31 => Some(Timeframe::Month),
        _ => Timeframe::of_length(step),
    }))
}

fn missing(location: &str, error: DataFusionError) -> DataFusionError {
    if border::is_named(&error) {
        return error;
    }
    plan_datafusion_err!("nothing to read at '{location}': {}", error.strip_backtrace())
}

/// Whether a table name is a path, glob or URL.
pub(super) fn is_location(name: &str) -> bool {
    name.contains(['/', '\\', '*']) || Format::of(name).is_some()
}

impl Found {
    async fn list(lake: &Lake, session: &dyn datafusion::catalog::Session) -> Result<Found> {
        let mut computed = vec![];
        for family in ResultKind::ALL.map(ResultKind::prefix) {
            let tables = list_folders(lake, session, family).await?.into_iter().map(|name| format!("{family}_{name}"));
            computed.extend(tables.filter(|table| results::of_name(table).is_some()));
        }
        let mut small = vec![];
        for name in SMALL {
            if list_folders(lake, session, name).await?.iter().any(|folder| folder == "_delta_log") {
                small.push(name);
            }
        }
        Ok(Found {
            candles: list_timeframes(lake, session, "candles").await?,
            quarantine: list_timeframes(lake, session, "quarantine").await?,
            computed,
            small,
        })
    }

    /// Days where there are any, else the longest timeframe.
    fn default_timeframe(&self) -> Option<Timeframe> {
        self.candles.iter().find(|t| **t == Timeframe::Day).or_else(|| self.candles.iter().max()).copied()
    }
}

async fn list_timeframes(
    lake: &Lake,
    session: &dyn datafusion::catalog::Session,
    family: &str,
) -> Result<Vec<Timeframe>> {
    let mut found: Vec<_> =
        list_folders(lake, session, family).await?.iter().filter_map(|name| Timeframe::named(name)).collect();
    found.sort();
    Ok(found)
}

/// Names of the folders of a family.
async fn list_folders(lake: &Lake, session: &dyn datafusion::catalog::Session, family: &str) -> Result<Vec<String>> {
    let url = ListingTableUrl::parse(format!("{}/{family}/", lake.url.trim_end_matches('/')))?;
    let store = session.runtime_env().object_store(url.object_store())?;
    let listed = match store.list_with_delimiter(Some(url.prefix())).await {
        Ok(listed) => listed,
        Err(object_store::Error::NotFound { .. } | object_store::Error::NotImplemented { .. }) => return Ok(vec![]),
        Err(error) => {
            let hint = match url.object_store().as_str() {
                "file:///" => "",
                _ => " (are the address and, in the environment, region and credentials right?)",
            };
            return Err(DataFusionError::from(error).context(format!("cannot list the lake {}{hint}", lake.url)));
        }
    };
    let name = |path: &Path| path.filename().map(str::to_string);
    Ok(listed.common_prefixes.iter().filter_map(name).collect())
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let registered = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |name: &&String| !is_location(name) && !name.contains('@') && !name.starts_with(HIDDEN);
        let mut names: Vec<String> = registered.keys().filter(own).cloned().collect();
        drop(registered);
        let found = self.found();
        if self.lake.candles.is_some() || found.default_timeframe().is_some() {
            names.push("candles".to_string());
        }
        names.extend(found.candles.iter().map(|t| format!("candles_{t}")));
        names.extend(found.quarantine.iter().map(|t| format!("quarantine_{t}")));
        names.extend(found.computed);
        names.extend(found.small.iter().map(ToString::to_string));
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.cached(name) {
            Some(Cached::Fixed(table)) => return Ok(Some(table)),
            Some(Cached::Logged { log, version, table }) => {
                let fixed = self.lake.as_of.is_some() || name.contains('@');
                if fixed || log.latest_version(version).await? == version {
                    return Ok(Some(table));
                }
            }
            None => {}
        }
        if let Some(whole) = name.strip_suffix(READABLE) {
            let Some((location, as_of)) = self.location(whole)? else { return Ok(None) };
            let state = Arc::new(self.state()?);
            let table = CandleTable::open_readable(&state, &location, as_of.as_ref(), &self.cache).await?;
            let Some(table) = table else { return Ok(None) };
            let table: Arc<dyn TableProvider> = Arc::new(table);
            self.keep(name, Cached::Fixed(Arc::clone(&table)));
            return Ok(Some(table));
        }
        let Some((location, as_of)) = self.location(name)? else { return Ok(self.empty_quarantine(name)) };
        let logged = self.logged(&location, as_of.as_ref()).await?;
        // Files that a killed run left in a quarantine belong to none of its versions.
        if logged.is_none()
            && let Some(empty) = self.empty_quarantine(name)
        {
            return Ok(Some(empty));
        }
        let opened = match logged {
            Some(logged) => logged,
            None => Cached::Fixed(match self.candle_table(name).await? {
                Some(table) => table,
                None => self.plain_table(&location).await?,
            }),
        };
        let (Cached::Fixed(table) | Cached::Logged { table, .. }) = &opened;
        let table = Arc::clone(table);
        self.keep(name, opened);
        Ok(Some(table))
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.location(&name)?.is_some() {
            return exec_err!("table `{name}` is a table of the lake already");
        }
        self.keep(&name, Cached::Fixed(table));
        Ok(None)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let removed = self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(removed.map(|(Cached::Fixed(table) | Cached::Logged { table, .. })| table))
    }

    fn table_exist(&self, name: &str) -> bool {
        let name = name.strip_suffix(READABLE).unwrap_or(name);
        self.cached(name).is_some()
            || self.location(name).is_ok_and(|l| l.is_some())
            || self.empty_quarantine(name).is_some()
    }
}
