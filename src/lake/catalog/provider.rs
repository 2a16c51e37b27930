//! A lake as the schema of a session: tables by name, opened when they are asked for.

use super::Lake;
use super::names::is_location;
use crate::as_of::AsOf;
use crate::delta::Log;
use crate::files::{Files, Format};
use crate::guarded::Guarded;
use crate::isolation;
use crate::kind::CANDLES;
use crate::profile::ProfileCache;
use crate::table::{CandleTable, nothing_at};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::listing::{ListingTable, ListingTableConfig, ListingTableConfigExt, ListingTableUrl};
use datafusion::execution::SessionState;
use std::sync::Arc;
use tallow_common::{Code, Error};

/// `"candles@readable"` is a table of candles without the files that cannot be read.
pub const READABLE: &str = "@readable";

/// Names of tables that only plans know begin with this.
const HIDDEN: char = '#';

/// Hidden tables that are kept. A plan holds its own.
const MOST_HIDDEN: usize = 1_000;

/// A table that was opened before.
#[derive(Debug, Clone)]
pub(super) enum Cached {
    /// Files without a log are what they were when they were first seen.
    Fixed(Arc<dyn TableProvider>),
    /// A table with a log is read as it is by now.
    Logged { log: Arc<Log>, version: u64, table: Arc<dyn TableProvider> },
}

impl Cached {
    fn table(&self) -> Arc<dyn TableProvider> {
        let (Cached::Fixed(table) | Cached::Logged { table, .. }) = self;
        Arc::clone(table)
    }
}

impl Lake {
    /// The candle table with this name or path, if it is one.
    pub async fn candle_table(&self, name: &str) -> Result<Option<Arc<CandleTable>>> {
        if self.names().is_kept_file(name) {
            return Ok(None);
        }
        let Some((location, as_of)) = self.location(name)? else { return Ok(None) };
        let (state, cache) = (Arc::clone(&self.state), self.cache.clone());
        let open = async move { CandleTable::open(&state, &location, as_of.as_ref(), &cache).await };
        Ok(self.reading(open).await?.map(Arc::new))
    }

    /// As [`Lake::candle_table`], with the name to read it by: where files of it cannot be read, it is the table
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

    /// Keeps a table under a name that begins with `#`: it is not listed, and forgotten after many others.
    pub fn keep_hidden(&self, name: &str, table: Arc<dyn TableProvider>) {
        let mut hidden = self.hidden();
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
    pub fn drop_hidden(&self, name: &str) {
        self.tables().remove(name);
    }

    fn keep(&self, name: &str, table: Cached) {
        self.tables().insert(name.to_string(), table);
    }

    /// The table that was opened under a name, as long as it is the newest version.
    async fn opened(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let cached = self.tables().get(name).cloned();
        match cached {
            Some(Cached::Logged { log, version, table }) => {
                let is_fixed = self.options.as_of.is_some() || name.contains('@');
                let newest = async move { log.latest_version(version).await };
                let is_newest = is_fixed || self.reading(newest).await? == version;
                Ok(is_newest.then_some(table))
            }
            other => Ok(other.map(|fixed| fixed.table())),
        }
    }

    async fn open_by_name(&self, name: &str) -> Result<Option<Cached>> {
        let Some((location, as_of)) = self.location(name)? else { return Ok(None) };
        let (state, cache, place) = (Arc::clone(&self.state), self.cache.clone(), location.clone());
        let logged = async move { open_logged(&state, &cache, &place, as_of.as_ref()).await };
        if let Some(logged) = self.reading(logged).await? {
            return Ok(Some(logged));
        }
        // Files that a killed run left in a quarantine belong to none of its versions.
        if self.empty_table(name).is_some() {
            return Ok(None);
        }
        let table: Arc<dyn TableProvider> = match self.candle_table(name).await? {
            Some(table) => table,
            None => {
                let state = Arc::clone(&self.state);
                self.reading(async move { plain_table(&state, &location).await }).await?
            }
        };
        Ok(Some(Cached::Fixed(table)))
    }

    async fn open_readable(&self, name: &str) -> Result<Option<Cached>> {
        let Some((location, as_of)) = self.location(name)? else { return Ok(None) };
        let (state, cache) = (Arc::clone(&self.state), self.cache.clone());
        let open = async move { CandleTable::open_readable(&state, &location, as_of.as_ref(), &cache).await };
        let table = self.reading(open).await?;
        Ok(table.map(|table| Cached::Fixed(Arc::new(table))))
    }

    /// A table that is there as soon as others are, though nothing was written to it yet.
    fn empty_table(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.names().empty(name).map(|schema| Arc::new(EmptyTable::new(schema)) as _)
    }
}

/// A table with a transaction log, of candles or of anything else.
async fn open_logged(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    location: &str,
    as_of: Option<&AsOf>,
) -> Result<Option<Cached>> {
    if location.contains(['*', '?', '[']) || Format::of(location).is_some() {
        return Ok(None);
    }
    let log = Log::at(state.as_ref(), location)?;
    let Some(snapshot) = log.snapshot(as_of).await? else { return Ok(None) };
    let candles = CandleTable::of_snapshot(state, &log, &snapshot, cache).await?;
    let table: Arc<dyn TableProvider> = match candles {
        Some(table) => Arc::new(table),
        None => log.plain_table(&snapshot)?,
    };
    Ok(Some(Cached::Logged { log: Arc::new(log), version: snapshot.version, table }))
}

/// Files that hold no candles: labels, reference tables.
async fn plain_table(state: &SessionState, location: &str) -> Result<Arc<dyn TableProvider>> {
    if Files::list(state, location).await?.is_none() {
        return nothing_at(location);
    }
    let url = ListingTableUrl::parse(location)?;
    let store_url = url.object_store();
    let config = ListingTableConfig::new(url).infer_options(state).await.map_err(|e| missing(location, e))?;
    let Some(mut options) = config.options.clone() else { return nothing_at(location) };
    options.format = Arc::new(Guarded::new(options.format, &store_url));
    let config = config.with_listing_options(options);
    let config = config.infer_schema(state).await.map_err(|e| missing(location, e))?;
    if config.file_schema.as_ref().is_none_or(|s| s.fields().is_empty()) {
        return nothing_at(location);
    }
    Ok(Arc::new(ListingTable::try_new(config)?))
}

fn missing(location: &str, error: DataFusionError) -> DataFusionError {
    if isolation::is_named(&error) {
        return error;
    }
    let said = format!("nothing to read at '{location}': {}", error.strip_backtrace());
    match Error::from(error).code() {
        Code::Invalid => Error::not_found(said),
        code => Error::known(code, said),
    }
    .into()
}

#[async_trait]
impl SchemaProvider for Lake {
    fn table_names(&self) -> Vec<String> {
        let is_named = |name: &&String| !is_location(name) && !name.contains('@') && !name.starts_with(HIDDEN);
        let mut names: Vec<String> = self.tables().keys().filter(is_named).cloned().collect();
        let found = self.names();
        if self.options.candles.is_some() || found.default_timeframe().is_some() {
            names.push(CANDLES.to_string());
        }
        names.extend(found.all());
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.opened(name).await? {
            return Ok(Some(table));
        }
        let opened = match name.strip_suffix(READABLE) {
            Some(name) => self.open_readable(name).await?,
            None => self.open_by_name(name).await?,
        };
        let Some(opened) = opened else { return Ok(self.empty_table(name)) };
        let table = opened.table();
        self.keep(name, opened);
        Ok(Some(table))
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.location(&name)?.is_some() {
            return Err(Error::conflict(format!("table `{name}` is a table of the lake already")).into());
        }
        self.keep(&name, Cached::Fixed(table));
        Ok(None)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let removed = self.tables().remove(name);
        Ok(removed.map(|cached| cached.table()))
    }

    fn table_exist(&self, name: &str) -> bool {
        let name = name.strip_suffix(READABLE).unwrap_or(name);
        self.tables().contains_key(name)
            || self.location(name).is_ok_and(|location| location.is_some())
            || self.names().empty(name).is_some()
    }
}
