//! Delta tables: their log, their files and their commits.

mod attempts;
mod change;
mod history;
mod protocol;
mod vacuum;

use super::as_of::AsOf;
use super::files::PARQUET;
use super::guarded::Guarded;
use arrow::datatypes::SchemaRef;
pub(super) use attempts::Attempts;
pub(super) use change::{Change, transactions};
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl, PartitionedFile,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::ExecutionPlan;
use deltalake_core::kernel::{Add, EagerSnapshot, Transaction};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::{DeltaTable, DeltaTableError};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use protocol::CHANGE_FEED;
use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use tallow_common::Error;
use url::Url;

/// Features that change what a file means and that are not read.
const UNREAD_FEATURES: [&str; 5] = ["deletionVectors", "columnMapping", "v2Checkpoint", "typeWidening", "variantType"];

/// Where a Delta table lies, whether or not it is there yet.
pub(super) struct Log {
    /// The path or URL as it was given.
    pub location: String,
    pub store_url: ObjectStoreUrl,
    /// The store, seen from its root.
    pub store: Arc<dyn ObjectStore>,
    /// The table's folder in the store.
    pub folder: Path,
    /// What the rows that are written are accounted in.
    pub memory: Arc<dyn MemoryPool>,
    log: LogStoreRef,
}

impl Debug for Log {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("location", &self.location).finish()
    }
}

/// One version of a table. What it names does not change: later commits add versions.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub version: u64,
    pub schema: SchemaRef,
    pub properties: HashMap<String, String>,
    pub files: Vec<DataFile>,
    state: EagerSnapshot,
}

/// A data file of a snapshot.
#[derive(Debug, Clone)]
pub(super) struct DataFile {
    pub meta: ObjectMeta,
    /// What the log says of it.
    pub add: Add,
}

/// Runs work on a log, one at a time: the log's library waits for its own file reads on one of the threads that these need
/// too, so that as many loads or commits at once as there are such threads would wait for each other for ever.
async fn in_turn<F: Future>(work: F) -> F::Output {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    work.await
}

impl Log {
    /// The table at a path or URL.
    pub fn at(session: &dyn Session, location: &str) -> Result<Log> {
        let folder = format!("{}/", location.trim_end_matches('/'));
        let listing = ListingTableUrl::parse(&folder)?;
        let store_url = listing.object_store();
        let store = session.runtime_env().object_store(&store_url)?;
        let memory = Arc::clone(&session.runtime_env().memory_pool);
        let folder = listing.prefix().clone();
        let url = Url::parse(listing.as_str()).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let inside: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&store), folder.clone()));
        let log = default_logstore(inside, Arc::clone(&store), &url, &StorageConfig::default());
        Ok(Log { location: location.to_string(), store_url, store, folder, memory, log })
    }

    /// Whether its files lie in a file system, not in a bucket.
    pub fn is_on_disk(&self) -> bool {
        self.store_url.as_str().starts_with("file")
    }

    /// Whether there is a transaction log.
    pub async fn exists(&self) -> Result<bool> {
        if self.folder.as_ref().is_empty() && self.is_on_disk() {
            return Ok(false);
        }
        match self.log.is_delta_table_location().await {
            Ok(found) => Ok(found),
            Err(DeltaTableError::ObjectStore { source: object_store::Error::NotFound { .. } }) => Ok(false),
            // A store that cannot list, such as plain HTTP, holds no log.
            Err(DeltaTableError::ObjectStore { source: object_store::Error::NotImplemented { .. } }) => Ok(false),
            // A file is no folder with a log in it.
            Err(DeltaTableError::ObjectStore { source }) if source.to_string().contains("Not a directory") => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A version of the table, by default the newest. `Ok(None)`: there is no table.
    pub async fn snapshot(&self, as_of: Option<&AsOf>) -> Result<Option<Snapshot>> {
        if !self.exists().await? {
            return Ok(None);
        }
        let version = match as_of {
            None => None,
            Some(AsOf::Version(version)) => Some(*version),
            Some(AsOf::Time(time)) => Some(self.version_at(*time).await?),
        };
        let state = in_turn(EagerSnapshot::try_new(self.log.as_ref(), version)).await.map_err(|e| match version {
            Some(version) => {
                tracing::debug!("{}: {e}", self.location);
                let missing = Error::not_found(format!("{} has no version {version} that can be read", self.location));
                missing.with_hint("the operation `history` lists its versions").into()
            }
            None => self.failed(e),
        })?;
        self.check_readable(&state)?;
        let files = state.try_log_data().map_err(|e| self.failed(e))?;
        let mut found = vec![];
        for view in files.iter() {
            #[allow(deprecated, reason = "the only way to the tags of a file")]
            let add = view.add_action();
            if add.deletion_vector.is_some() {
                return plan_err!("{}: {} has a deletion vector, which tallow does not read", self.location, add.path);
            }
            let location = Path::parse(format!("{}/{}", self.folder, view.object_store_path()))?;
            let last_modified = view.modification_datetime().map_err(|e| self.failed(e))?;
            let size = u64::try_from(add.size).unwrap_or_default();
            found
                .push(DataFile { meta: ObjectMeta { location, last_modified, size, e_tag: None, version: None }, add });
        }
        found.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
        Ok(Some(Snapshot {
            version: state.version(),
            schema: state.arrow_schema(),
            properties: state.metadata().configuration().clone(),
            files: found,
            state,
        }))
    }

    /// The number of the newest version; `known` or a later one.
    pub async fn latest_version(&self, known: u64) -> Result<u64> {
        in_turn(self.log.get_latest_version(known)).await.map_err(|e| self.failed(e))
    }

    /// A version of a table that holds no candles.
    pub fn plain_table(&self, snapshot: &Snapshot) -> Result<Arc<dyn TableProvider>> {
        let files: Vec<String> = snapshot.files.iter().map(|file| file.add.path.clone()).collect();
        self.files_table(&files, &snapshot.schema)
    }

    /// Rows of files in the table's folder; columns that a file lacks are null.
    pub fn files_table(&self, files: &[String], schema: &SchemaRef) -> Result<Arc<dyn TableProvider>> {
        let root = self.store_url.as_str();
        let files = files.iter().map(|file| ListingTableUrl::parse(format!("{root}{}", self.path_of(file))));
        let files = files.collect::<Result<Vec<_>>>()?;
        if files.is_empty() {
            let nothing = MemTable::try_new(Arc::clone(schema), vec![vec![]])?;
            return Ok(Arc::new(nothing));
        }
        let format = Guarded::new(Arc::new(ParquetFormat::default()), &self.store_url);
        let options = ListingOptions::new(Arc::new(format));
        let config = ListingTableConfig::new_with_multi_paths(files)
            .with_listing_options(options)
            .with_schema(Arc::clone(schema));
        Ok(Arc::new(ListingTable::try_new(config)?))
    }

    /// Refuses what would be read wrongly.
    fn check_readable(&self, state: &EagerSnapshot) -> Result<()> {
        let configuration = state.metadata().configuration();
        if let Some(mode) = configuration.get("delta.columnMapping.mode").filter(|mode| *mode != "none") {
            return plan_err!("{}: column mapping (mode `{mode}`) is not read by tallow", self.location);
        }
        let features = state.protocol().reader_features().unwrap_or_default();
        for feature in features.iter().map(ToString::to_string) {
            // Present as a feature, deletion vectors matter only where a file has one.
            if UNREAD_FEATURES.contains(&feature.as_str()) && feature != "deletionVectors" {
                return plan_err!("{}: the table feature `{feature}` is not read by tallow", self.location);
            }
        }
        let partitions = state.metadata().partition_columns();
        if !partitions.is_empty() {
            return plan_err!(
                "{}: tables partitioned by columns ({}) are not read by tallow; ingest their files instead",
                self.location,
                partitions.join(", ")
            );
        }
        Ok(())
    }

    async fn version_at(&self, time: chrono::DateTime<chrono::Utc>) -> Result<u64> {
        let (version, made) = self.version_near(time).await?;
        if made.is_some_and(|made| made > time.timestamp_millis()) {
            let said = format!("{} did not exist at {}", self.location, time.to_rfc3339());
            return Err(Error::not_found(said).into());
        }
        Ok(version)
    }

    /// The version at a time, or the first that is known if the table is younger; and when it was made, in milliseconds.
    async fn version_near(&self, time: chrono::DateTime<chrono::Utc>) -> Result<(u64, Option<i64>)> {
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        in_turn(table.load_with_datetime(time)).await.map_err(|e| self.failed(e))?;
        let version = table.version().unwrap_or_default();
        Ok((version, table.snapshot().ok().and_then(|s| s.version_timestamp(version))))
    }

    /// Whether files that were written for the table are all there.
    pub async fn holds(&self, files: &[Add]) -> bool {
        for file in files {
            if !matches!(self.holds_file(&file.path).await, Ok(true)) {
                return false;
            }
        }
        true
    }

    /// Whether a file of the table is there.
    pub async fn holds_file(&self, name: &str) -> Result<bool> {
        match self.store.head(&self.path_of(name)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Where a file of the table lies in the store.
    pub fn path_of(&self, name: &str) -> Path {
        below(&self.folder, name)
    }

    fn failed(&self, error: DeltaTableError) -> DataFusionError {
        let error = match error {
            DeltaTableError::ObjectStore { source } => DataFusionError::from(source),
            DeltaTableError::Io { source } => DataFusionError::from(source),
            DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_) => {
                Error::not_found(error.to_string()).into()
            }
            DeltaTableError::VersionAlreadyExists(_) | DeltaTableError::Transaction { .. } => {
                Error::conflict(error.to_string()).into()
            }
            other => DataFusionError::External(Box::new(other)),
        };
        error.context(format!("the table at {}", self.location))
    }
}

impl Snapshot {
    /// Whether these transactions are among those that made this version: themselves, or later ones of the same
    /// applications.
    pub async fn includes(&self, log: &Log, transactions: &[Transaction]) -> Result<bool> {
        for transaction in transactions {
            if self.reached(log, &transaction.app_id).await?.is_none_or(|reached| reached < transaction.version) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The last transaction of an application that this version holds.
    pub async fn reached(&self, log: &Log, application: &str) -> Result<Option<i64>> {
        in_turn(self.state.transaction_version(log.log.as_ref(), application)).await.map_err(|e| log.failed(e))
    }

    /// Whether every commit tells which rows it changed.
    pub fn feeds_changes(&self) -> bool {
        self.properties.get(CHANGE_FEED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Rows with these columns, in any order.
    pub async fn read(&self, session: &SessionState, log: &Log, columns: &[&str]) -> Result<Arc<dyn ExecutionPlan>> {
        let format = PARQUET.reader(session, &log.store_url);
        let files = self.files.iter().map(|f| PartitionedFile::new_from_meta(f.meta.clone())).collect();
        let positions = columns.iter().map(|c| self.schema.index_of(c)).collect::<Result<_, _>>()?;
        let source = format.file_source(TableSchema::from(Arc::clone(&self.schema)));
        let config = FileScanConfigBuilder::new(log.store_url.clone(), source)
            .with_file_group(FileGroup::new(files))
            .with_projection_indices(Some(positions))?
            .build();
        format.create_physical_plan(session, config).await
    }
}

/// Where a file with this name lies in a folder; the name may itself begin with folders.
pub(super) fn below(folder: &Path, name: &str) -> Path {
    name.split('/').fold(folder.clone(), |path, part| path.join(part))
}

/// An error for a table that is not there.
pub(super) fn no_table<T>(location: &str) -> Result<T> {
    Err(Error::not_found(format!("there is no table at {location}: the operation `ingest` makes it")).into())
}
