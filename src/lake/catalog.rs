//! Tables by name: the timeframes of a lake, and any quoted path, glob or URL.

use super::files::{Files, Format};
use super::profile::ProfileCache;
use super::table::{CandleTable, nothing_at};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err, plan_datafusion_err};
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableConfigExt, ListingTableUrl,
};
use datafusion::execution::SessionState;
use object_store::path::Path;
use std::collections::BTreeMap;
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
}

/// How tables get at the state of the session that they belong to, which they must not keep alive.
type StateOf = Box<dyn Fn() -> Option<SessionState> + Send + Sync>;

/// The schema of a session: tables of the lake, tables registered by hand, files by path.
pub struct LakeSchema {
    lake: Lake,
    cache: ProfileCache,
    state: OnceLock<StateOf>,
    /// Timeframes found in the lake; listed once.
    timeframes: Vec<Timeframe>,
    tables: Mutex<BTreeMap<String, Arc<dyn TableProvider>>>,
}

impl LakeSchema {
    /// Lists the timeframes of the lake. A lake that is not there has none.
    pub async fn open(lake: Lake, cache: ProfileCache, session: &dyn datafusion::catalog::Session) -> Result<Self> {
        let timeframes = list_timeframes(&lake, session).await?;
        Ok(Self { lake, cache, state: OnceLock::new(), timeframes, tables: Mutex::default() })
    }

    /// Ties the schema to the session that it is registered in.
    pub(crate) fn belongs_to(&self, state: StateOf) {
        let _ = self.state.set(state);
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Days where there are any, else the longest timeframe.
    fn default_timeframe(&self) -> Option<Timeframe> {
        self.timeframes.iter().find(|t| **t == Timeframe::Day).or_else(|| self.timeframes.iter().max()).copied()
    }

    /// The path, glob or URL that a name stands for; `None` for a name that is no table of the lake.
    fn location(&self, name: &str) -> Option<String> {
        let folder = |t: Timeframe| format!("{}/candles/{t}/", self.lake.url.trim_end_matches('/'));
        if name == "candles" {
            return self.lake.candles.clone().or_else(|| self.default_timeframe().map(folder));
        }
        match name.strip_prefix("candles_") {
            Some(timeframe) => timeframe.parse::<Timeframe>().ok().filter(|t| self.timeframes.contains(t)).map(folder),
            None if is_location(name) => Some(name.to_string()),
            None => None,
        }
    }

    /// The candle table with this name or path, if it is one.
    pub async fn candle_table(&self, name: &str) -> Result<Option<Arc<CandleTable>>> {
        match self.location(name) {
            Some(location) => {
                Ok(CandleTable::open(&Arc::new(self.state()?), &location, &self.cache).await?.map(Arc::new))
            }
            None => Ok(None),
        }
    }

    fn state(&self) -> Result<SessionState> {
        self.state
            .get()
            .and_then(|state| state())
            .ok_or_else(|| DataFusionError::Internal("the lake outlived its session".to_string()))
    }

    fn cached(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn keep(&self, name: &str, table: Arc<dyn TableProvider>) -> Option<Arc<dyn TableProvider>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), table)
    }

    /// Files that hold no candles: labels, reference tables.
    async fn plain_table(&self, location: &str) -> Result<Arc<dyn TableProvider>> {
        let state = self.state()?;
        if Files::list(&state, location).await?.is_none() {
            return nothing_at(location);
        }
        let url = ListingTableUrl::parse(location)?;
        let config = ListingTableConfig::new(url).infer_options(&state).await.map_err(|e| missing(location, &e))?;
        let options: Option<ListingOptions> = config.options.clone();
        if options.is_none() {
            return nothing_at(location);
        }
        let config = config.infer_schema(&state).await.map_err(|e| missing(location, &e))?;
        if config.file_schema.as_ref().is_none_or(|s| s.fields().is_empty()) {
            return nothing_at(location);
        }
        Ok(Arc::new(ListingTable::try_new(config)?))
    }
}

impl Debug for LakeSchema {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeSchema").field("lake", &self.lake).field("timeframes", &self.timeframes).finish()
    }
}

fn missing(location: &str, error: &DataFusionError) -> DataFusionError {
    plan_datafusion_err!("nothing to read at '{location}': {}", error.strip_backtrace())
}

/// Whether a table name is a path, glob or URL.
pub(super) fn is_location(name: &str) -> bool {
    name.contains(['/', '\\', '*']) || Format::of(name).is_some()
}

async fn list_timeframes(lake: &Lake, session: &dyn datafusion::catalog::Session) -> Result<Vec<Timeframe>> {
    let url = ListingTableUrl::parse(format!("{}/candles/", lake.url.trim_end_matches('/')))?;
    let store = session.runtime_env().object_store(url.object_store())?;
    let listed = match store.list_with_delimiter(Some(url.prefix())).await {
        Ok(listed) => listed,
        Err(object_store::Error::NotFound { .. }) => return Ok(vec![]),
        Err(error) => return Err(error.into()),
    };
    let name = |path: &Path| path.filename().and_then(|n| n.parse::<Timeframe>().ok());
    let mut found: Vec<_> = listed.common_prefixes.iter().filter_map(name).collect();
    found.sort();
    Ok(found)
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let registered = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = registered.keys().filter(|name| !is_location(name)).cloned().collect();
        names.extend(self.location("candles").map(|_| "candles".to_string()));
        names.extend(self.timeframes.iter().map(|t| format!("candles_{t}")));
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.cached(name) {
            return Ok(Some(table));
        }
        let Some(location) = self.location(name) else { return Ok(None) };
        let table: Arc<dyn TableProvider> = match self.candle_table(name).await? {
            Some(table) => table,
            None => self.plain_table(&location).await?,
        };
        self.keep(name, Arc::clone(&table));
        Ok(Some(table))
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.location(&name).is_some() {
            return exec_err!("table `{name}` is a table of the lake already");
        }
        Ok(self.keep(&name, table))
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.cached(name).is_some() || self.location(name).is_some()
    }
}
