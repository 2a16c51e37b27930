//! The lake: its tables by name, and what can be done to them.

mod bars;
mod names;
mod provider;
#[cfg(test)]
mod threads;

use super::as_of::AsOf;
use super::change_feed::{self, Changed};
use super::delta::{Log, no_table};
use super::files::Format;
use super::ingest::{self, IngestOptions, IngestSummary, Merging};
use super::kind::{CANDLES, ResultKind, candles_folder};
use super::maintenance::{self, HistoryEntry, OptimizeSummary};
use super::overwrite::{self, Computed, Earlier, Written};
use super::profile::ProfileCache;
use super::replace::{self, Replaced, Replacement};
use super::small_table::{self, Record};
use datafusion::catalog::{MemoryCatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use names::{TableNames, is_location};
use provider::Cached;
pub use provider::READABLE;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{Debug, Formatter};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tallow_common::control::OnProgress;
use tallow_common::{Code, ComputeThreads, Error};
use tallow_udfs::calendar::Timeframe;

/// Which lake is opened, and as of when.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// Path or URL; one folder per timeframe under `candles/`.
    pub url: String,
    /// A path, glob or URL that is `candles`, in place of the lake's default timeframe.
    pub candles: Option<String>,
    /// Read tables as they were; by default as they are.
    pub as_of: Option<AsOf>,
    /// Whether files beside those of the lake are not read, whoever names them: those who ask are not those whose files they are.
    pub confined: bool,
}

impl LakeOptions {
    /// Whether a file beside those of the lake may be read.
    pub(super) fn permits(&self, path: &str) -> Result<()> {
        if !self.confined {
            return Ok(());
        }
        let said = format!("'{path}' is not in the lake, and no other files are read here");
        Err(Error::known(Code::Forbidden, said).into())
    }
}

/// A lake: the tables in its folder, tables registered by hand, and files by path.
///
/// As a [`SchemaProvider`] it can be registered in any session. Folders are listed and logs, footers and small tables read on
/// the threads that compute for the session, whoever asks; what writes runs on the thread that calls it.
pub struct Lake {
    options: LakeOptions,
    cache: ProfileCache,
    /// What files are read and written with. It knows no catalog, since the catalog of a session holds the lake.
    state: Arc<SessionState>,
    names: Mutex<TableNames>,
    tables: Mutex<BTreeMap<String, Cached>>,
    /// Names of hidden tables, the oldest first.
    hidden: Mutex<VecDeque<String>>,
}

impl Lake {
    /// Opens a lake with the configuration and the runtime of a session. A lake that is not there has no tables.
    pub async fn open(options: LakeOptions, cache: ProfileCache, session: SessionState) -> Result<Lake> {
        let builder = SessionStateBuilder::new_from_existing(session);
        let state = builder.with_catalog_list(Arc::new(MemoryCatalogProviderList::new())).build();
        let lake = Lake {
            options,
            cache,
            state: Arc::new(state),
            names: Mutex::default(),
            tables: Mutex::default(),
            hidden: Mutex::default(),
        };
        lake.refresh().await?;
        Ok(lake)
    }

    /// The lake as it was: tables of files are read at a version or a time, those that were registered as they are.
    #[must_use]
    pub fn at(&self, as_of: AsOf) -> Lake {
        let registered = |(name, _): &(&String, &Cached)| self.location(name).is_ok_and(|location| location.is_none());
        let owned = |(name, table): (&String, &Cached)| (name.clone(), table.clone());
        let tables = self.tables().iter().filter(registered).map(owned).collect();
        Lake {
            options: LakeOptions { as_of: Some(as_of), ..self.options.clone() },
            cache: self.cache.clone(),
            state: Arc::clone(&self.state),
            names: Mutex::new(self.names()),
            tables: Mutex::new(tables),
            hidden: Mutex::new(self.hidden().clone()),
        }
    }

    /// Reads on the threads that compute for the session.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        ComputeThreads::run(self.state.config(), work).await
    }

    /// Which lake it is.
    pub fn options(&self) -> &LakeOptions {
        &self.options
    }

    /// What files are read and written with.
    pub(super) fn state(&self) -> &Arc<SessionState> {
        &self.state
    }

    fn names(&self) -> TableNames {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Cached>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hidden(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds tables that were made since the lake was opened.
    async fn refresh(&self) -> Result<()> {
        let (url, state) = (self.options.url.clone(), Arc::clone(&self.state));
        let names = self.reading(async move { TableNames::list(&url, state.as_ref()).await }).await?;
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    /// Ingests files into the table of a timeframe, which is made if it is not there. Progress counts the bytes of the files, and
    /// then the rows that had to be sorted first.
    pub async fn ingest(
        &self,
        timeframe: Timeframe,
        options: &IngestOptions,
        progress: &OnProgress,
    ) -> Result<IngestSummary> {
        let done = ingest::ingest(&self.state, &self.cache, &self.options.url, timeframe, options, progress).await;
        self.refresh().await?;
        done
    }

    /// Merges rows that are candles already, ordered by (symbol, ts), into the table of a timeframe, whose bars begin by an
    /// origin.
    ///
    /// # Errors
    /// What must be recorded already is not; nothing is written then.
    pub async fn merge(
        &self,
        timeframe: Timeframe,
        origin: &str,
        rows: Arc<dyn ExecutionPlan>,
        merging: Merging<'_>,
    ) -> Result<IngestSummary> {
        let (state, cache, url) = (&self.state, &self.cache, &self.options.url);
        let done = ingest::merge_rows(state, cache, url, (timeframe, origin), &rows, merging).await;
        self.refresh().await?;
        done
    }

    /// Puts computed rows in the place of all that a result table holds: one of the lake by its name, such as `labels_4h`,
    /// or one at a place (see [`ResultKind::table`]).
    pub async fn overwrite(&self, table: &str, rows: Computed) -> Result<Written> {
        match self.write(table, rows, Earlier::Replaced).await? {
            Replaced::Written(written) => Ok(written),
            Replaced::UpToDate { version } => Ok(Written { rows: 0, files: 0, version }),
        }
    }

    /// Writes computed rows to a result table; what becomes of those that it has, `earlier` says.
    pub async fn write(&self, table: &str, rows: Computed, earlier: Earlier) -> Result<Replaced> {
        let log = self.result_log(table, rows.kind)?;
        let written = overwrite::write(&self.state, &log, rows, earlier).await?;
        self.tables().remove(table);
        self.refresh().await?;
        Ok(written)
    }

    /// Puts computed rows in the place of those that a result table holds in some ranges.
    pub async fn replace(&self, table: &str, rows: Replacement) -> Result<Replaced> {
        let log = self.result_log(table, rows.kind)?;
        let replaced = replace::replace(&self.state, &self.cache, &log, rows).await?;
        self.tables().remove(table);
        self.refresh().await?;
        Ok(replaced)
    }

    /// Of each of these applications, the last transaction that a result table holds, or, without a kind, one of candles.
    pub async fn reached(
        &self,
        table: &str,
        kind: Option<ResultKind>,
        applications: Vec<String>,
    ) -> Result<Vec<Option<u64>>> {
        let log = match kind {
            Some(kind) => self.result_log(table, kind)?,
            None => Log::at(self.state.as_ref(), &self.folder(&candles_folder(table)?))?,
        };
        let reached = async move {
            let Some(snapshot) = log.snapshot(None).await? else { return Ok(vec![None; applications.len()]) };
            let mut reached = vec![];
            for application in applications {
                let version = snapshot.reached(&log, &application).await?;
                reached.push(version.and_then(|version| u64::try_from(version).ok()));
            }
            Ok(reached)
        };
        self.reading(reached).await
    }

    /// The properties of a result table; none if it is not there.
    pub async fn properties(&self, table: &str, kind: ResultKind) -> Result<HashMap<String, String>> {
        let log = self.result_log(table, kind)?;
        let properties = async move { Ok(log.snapshot(None).await?.map(|snapshot| snapshot.properties)) };
        Ok(self.reading(properties).await?.unwrap_or_default())
    }

    /// Whether a result may be written to a table; [`Lake::overwrite`] asks too, but by then much may be computed.
    pub async fn check_overwrite(
        &self,
        table: &str,
        kind: ResultKind,
        properties: &HashMap<String, String>,
    ) -> Result<()> {
        overwrite::check(&self.state, &self.result_log(table, kind)?, kind, properties).await
    }

    fn result_log(&self, table: &str, kind: ResultKind) -> Result<Log> {
        Log::at(self.state.as_ref(), &kind.location(&self.options.url, table)?)
    }

    /// All rows of a small table.
    pub async fn records<T: Record>(&self) -> Result<Vec<T>> {
        let (state, log) = (Arc::clone(&self.state), self.record_log::<T>()?);
        self.reading(async move { small_table::read(&state, &log).await }).await
    }

    /// Changes the rows of a small table, in one commit.
    pub async fn change_records<T: Record, R>(
        &self,
        operation: &'static str,
        of: impl Fn(&mut Vec<T>) -> Result<R>,
    ) -> Result<R> {
        let result = small_table::change(&self.state, &self.record_log::<T>()?, operation, of).await?;
        self.refresh().await?;
        Ok(result)
    }

    fn record_log<T: Record>(&self) -> Result<Log> {
        Log::at(self.state.as_ref(), &self.folder(T::TABLE))
    }

    /// Brings a table into the layout that is read fastest.
    pub async fn optimize(&self, name: &str, file_bytes: Option<u64>) -> Result<OptimizeSummary> {
        maintenance::optimize(&self.state, &self.cache, &self.log(name)?, file_bytes).await
    }

    /// The commits of a table, newest first.
    pub async fn history(&self, name: &str, limit: Option<usize>) -> Result<Vec<HistoryEntry>> {
        let log = self.log(name)?;
        self.reading(async move { maintenance::history(&log, limit).await }).await
    }

    /// The rows of a table that changed after one version, up to and with another, by default the newest: its columns,
    /// `_change_type` (`insert`, `update_preimage`, `update_postimage`, `delete`), `_commit_version` and
    /// `_commit_timestamp`.
    pub async fn changes(&self, name: &str, from: u64, to: Option<u64>) -> Result<Arc<dyn TableProvider>> {
        let log = self.log(name)?;
        self.reading(async move { change_feed::changes(&log, from, to).await }).await
    }

    /// Where a table, which has the columns symbol and ts, changed between two versions.
    pub async fn changed(&self, name: &str, from: u64, to: u64) -> Result<Changed> {
        if from == to {
            return Ok(Changed::default());
        }
        let (state, changes) = (Arc::clone(&self.state), self.changes(name, from, Some(to)).await?);
        self.reading(async move { change_feed::changed(state.as_ref(), &changes).await }).await
    }

    /// Deletes the files that only versions older than `keep` need; returns their names.
    pub async fn vacuum(&self, name: &str, keep: chrono::Duration, dry_run: bool) -> Result<Vec<String>> {
        let log = self.log(name)?;
        if !log.exists().await? {
            return no_table(&log.location);
        }
        log.vacuum(keep, dry_run).await
    }

    /// The columns of a table of the lake or a path.
    pub async fn columns(&self, name: &str) -> Result<Vec<String>> {
        match self.table(name).await? {
            Some(table) => Ok(table.schema().fields().iter().map(|f| f.name().clone()).collect()),
            None => Err(Error::not_found(format!("there is no table `{name}`")).into()),
        }
    }

    fn log(&self, name: &str) -> Result<Log> {
        match self.location(name)? {
            Some((location, _)) => Log::at(self.state.as_ref(), &location),
            None => {
                let missing = Error::not_found(format!("there is no table `{name}`"));
                Err(missing.with_hint("the operation `tables` lists them").into())
            }
        }
    }

    /// A folder of the lake, or a file in it.
    fn folder(&self, path: &str) -> String {
        let slash = if Format::of(path).is_some() { "" } else { "/" };
        format!("{}/{path}{slash}", self.options.url.trim_end_matches('/'))
    }

    /// The path, glob or URL that a name stands for, and the version that it names after `@`; `None` for a name that is
    /// no table of the lake.
    fn location(&self, name: &str) -> Result<Option<(String, Option<AsOf>)>> {
        let (plain, version) = match name.rsplit_once('@') {
            Some((plain, version)) if !version.contains('/') => {
                let version = version.parse::<AsOf>()?;
                (plain, Some(version))
            }
            _ => (name, None),
        };
        let given = self.options.candles.clone().filter(|_| plain == CANDLES);
        let own = given.or_else(|| self.names().folder(plain).map(|folder| self.folder(folder)));
        let location = own.or_else(|| is_location(plain).then(|| plain.to_string()));
        if location.as_deref() == Some(plain) {
            self.options.permits(plain)?;
        }
        let as_of = version.or_else(|| self.options.as_of.clone());
        Ok(location.map(|location| (location, as_of)))
    }
}

impl Debug for Lake {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lake").field("options", &self.options).field("names", &self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
    use datafusion::datasource::empty::EmptyTable;

    fn state() -> SessionState {
        SessionStateBuilder::new().with_default_features().build()
    }

    async fn lake(folder: &std::path::Path, state: SessionState) -> Arc<Lake> {
        let options = LakeOptions { url: folder.display().to_string(), candles: None, as_of: None, confined: false };
        Arc::new(Lake::open(options, ProfileCache::new(None), state).await.unwrap())
    }

    #[tokio::test]
    async fn a_lake_does_not_keep_the_session_alive_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = state();
        let lake = lake(folder.path(), state.clone()).await;
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("public", Arc::clone(&lake) as _).unwrap();
        state.catalog_list().register_catalog("tallow".to_string(), Arc::new(catalog));
        let held = Arc::downgrade(&lake);
        drop((lake, state));
        assert!(held.upgrade().is_none());
    }

    #[tokio::test]
    async fn tables_come_by_name_and_by_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("candles/1d")).unwrap();
        let text = "symbol,ts,close\nA,2024-01-01,1\nA,2024-01-02,2\n";
        std::fs::write(folder.path().join("candles/1d/a.csv"), text).unwrap();
        let lake = lake(folder.path(), state()).await;
        let own = Arc::new(EmptyTable::new(Arc::new(arrow::datatypes::Schema::empty())));
        lake.register_table("mine".to_string(), Arc::clone(&own) as _).unwrap();
        assert_eq!(lake.table_names(), ["candles", "candles_1d", "mine"]);
        let path = folder.path().join("candles/1d/a.csv").display().to_string();
        for name in ["candles", "candles_1d", "candles_daily", path.as_str()] {
            assert_eq!(lake.columns(name).await.unwrap(), ["symbol", "ts", "close"], "{name}");
        }
        assert!(lake.table_exist("quarantine_1d") && !lake.table_exist("quarantine_1h"));
        assert!(lake.table("labels_1d").await.unwrap().is_none());
        assert!(lake.register_table("candles_1d".to_string(), own).is_err());
    }
}
