//! Delta tables: their log, their files and their commits.

use super::border::Guarded;
use super::files::PARQUET;
use arrow::datatypes::DataType;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
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
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitConflictError, CommitProperties, TransactionError};
use deltalake_core::kernel::{Action, Add, CommitInfo, EagerSnapshot, MetadataExt, Remove, StructType};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::collections::HashMap;
use std::fmt::{Debug, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;
use url::Url;

/// Features that change what a file means and that are not read.
const UNREAD_FEATURES: [&str; 5] = ["deletionVectors", "columnMapping", "v2Checkpoint", "typeWidening", "variantType"];

/// A version of a table: a number, or the last one at a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsOf {
    /// The version with this number.
    Version(u64),
    /// The newest version at this time.
    Time(chrono::DateTime<chrono::Utc>),
}

impl FromStr for AsOf {
    type Err = tallow_common::Error;

    fn from_str(text: &str) -> tallow_common::Result<AsOf> {
        let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
        if digits.len() < 8
            && let Ok(version) = digits.parse()
        {
            return Ok(AsOf::Version(version));
        }
        super::ingest::times::parse_instant(text).map(AsOf::Time).ok_or_else(|| {
            tallow_common::Error::invalid(format!(
                "version '{text}': expected a number such as 12 or v12, or a time such as 2024-01-31 or 2024-01-31T09:30:00Z"
            ))
        })
    }
}

impl Display for AsOf {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            AsOf::Version(version) => write!(f, "v{version}"),
            AsOf::Time(time) => write!(f, "{}", time.to_rfc3339()),
        }
    }
}

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

/// What a commit changes.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub adds: Vec<Add>,
    pub removes: Vec<Add>,
    /// Columns of the table after the commit, where it makes the table or widens it.
    pub schema: Option<SchemaRef>,
    /// Properties of the table, where it makes the table or changes them.
    pub properties: HashMap<String, String>,
    /// Whether rows change, or only how they lie.
    pub data_change: bool,
    /// What happened, in numbers, for the table's history.
    pub metrics: serde_json::Map<String, serde_json::Value>,
    /// What was done, as the history names it.
    pub operation: &'static str,
    /// The run that it is part of, where a run commits to several tables.
    pub run: Option<serde_json::Value>,
}

/// Where a commit tells of its run.
const RUN: &str = "tallowRun";

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Committed(u64),
    /// Somebody else committed since the snapshot was taken.
    Conflict,
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

    /// Whether there is a transaction log.
    pub async fn exists(&self) -> Result<bool> {
        if self.folder.as_ref().is_empty() && self.store_url.as_str().starts_with("file") {
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
                DataFusionError::Plan(format!(
                    "{} has no version {version} that can be read; `tallow history` lists its versions",
                    self.location
                ))
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
        let root = self.store_url.as_str();
        let files = snapshot.files.iter().map(|f| ListingTableUrl::parse(format!("{root}{}", f.meta.location)));
        let files = files.collect::<Result<Vec<_>>>()?;
        if files.is_empty() {
            let nothing = MemTable::try_new(Arc::clone(&snapshot.schema), vec![vec![]])?;
            return Ok(Arc::new(nothing));
        }
        let format = Guarded::new(Arc::new(ParquetFormat::default()), &self.store_url);
        let options = ListingOptions::new(Arc::new(format));
        let config = ListingTableConfig::new_with_multi_paths(files)
            .with_listing_options(options)
            .with_schema(Arc::clone(&snapshot.schema));
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
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        in_turn(table.load_with_datetime(time)).await.map_err(|e| self.failed(e))?;
        let state = table.version().unwrap_or_default();
        let oldest = table.snapshot().ok().and_then(|s| s.version_timestamp(state));
        if oldest.is_some_and(|oldest| oldest > time.timestamp_millis()) {
            return plan_err!("{} did not exist at {}", self.location, time.to_rfc3339());
        }
        Ok(state)
    }

    /// Commits a change against a snapshot (`None` makes the table). Never half done, never over somebody else's commit.
    pub async fn commit(&self, base: Option<&Snapshot>, change: Change) -> Result<Outcome> {
        let mut actions: Vec<Action> = vec![];
        let adds = change.adds.into_iter().map(|add| Action::Add(Add { data_change: change.data_change, ..add }));
        actions.extend(adds);
        let removes = change.removes.iter().map(|add| Action::Remove(removed(add, change.data_change)));
        actions.extend(removes);
        let mut told = change.metrics;
        told.insert("engine".to_string(), format!("tallow {}", env!("CARGO_PKG_VERSION")).into());
        let told: HashMap<String, serde_json::Value> = [
            ("operationMetrics".to_string(), serde_json::Value::Object(told)),
            ("tallowOperation".to_string(), change.operation.into()),
        ]
        .into_iter()
        .chain(change.run.map(|run| (RUN.to_string(), run)))
        .collect();
        let committed = match base {
            None => in_turn(self.create(actions, change.schema, change.properties, told)).await,
            Some(base) => {
                if let Some(metadata) = self.changed_metadata(base, change.schema, change.properties)? {
                    actions.push(Action::Metadata(metadata));
                }
                let operation = if change.data_change {
                    DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None }
                } else {
                    DeltaOperation::Optimize { predicate: None, target_size: 0 }
                };
                let properties = CommitProperties::default().with_metadata(told).with_max_retries(0);
                let commit = CommitBuilder::from(properties).with_actions(actions);
                let commit = commit.build(Some(&base.state), Arc::clone(&self.log), operation);
                in_turn(commit.into_future()).await.map(|done| done.version())
            }
        };
        match committed {
            Ok(version) => Ok(Outcome::Committed(version)),
            Err(error) if is_conflict(&error) => Ok(Outcome::Conflict),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn create(
        &self,
        actions: Vec<Action>,
        schema: Option<SchemaRef>,
        properties: HashMap<String, String>,
        told: HashMap<String, serde_json::Value>,
    ) -> Result<u64, DeltaTableError> {
        let schema = schema.unwrap_or_else(|| Arc::new(datafusion::arrow::datatypes::Schema::empty()));
        let columns: StructType = schema.as_ref().try_into_kernel()?;
        let table = CreateBuilder::new()
            .with_log_store(Arc::clone(&self.log))
            .with_columns(columns.fields().cloned())
            .with_configuration(properties.into_iter().map(|(key, value)| (key, Some(value))))
            .with_raise_if_key_not_exists(false)
            .with_actions(actions)
            .with_commit_properties(CommitProperties::default().with_metadata(told).with_max_retries(0))
            .await?;
        Ok(table.version().unwrap_or_default())
    }

    /// The table's metadata after a commit that widens the schema or sets properties.
    fn changed_metadata(
        &self,
        base: &Snapshot,
        schema: Option<SchemaRef>,
        properties: HashMap<String, String>,
    ) -> Result<Option<deltalake_core::kernel::Metadata>> {
        let widened = schema.filter(|schema| differs(schema, &base.schema));
        let set: Vec<_> = properties.into_iter().filter(|(k, v)| base.properties.get(k) != Some(v)).collect();
        if widened.is_none() && set.is_empty() {
            return Ok(None);
        }
        let mut metadata = base.state.metadata().clone();
        if let Some(schema) = widened {
            let schema: StructType = schema.as_ref().try_into_kernel()?;
            metadata = metadata.with_schema(&schema).map_err(|e| self.failed(e.into()))?;
        }
        for (key, value) in set {
            metadata = metadata.add_config_key(key, value).map_err(|e| self.failed(e.into()))?;
        }
        Ok(Some(metadata))
    }

    /// The commits of the table, newest first, with the version of each.
    pub async fn history(&self, limit: Option<usize>) -> Result<Vec<(u64, CommitInfo)>> {
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        in_turn(table.load()).await.map_err(|e| self.failed(e))?;
        let newest = table.version().unwrap_or_default();
        let infos: Vec<CommitInfo> = in_turn(table.history(limit).try_collect()).await.map_err(|e| self.failed(e))?;
        Ok(infos.into_iter().enumerate().map(|(i, info)| (newest.saturating_sub(i as u64), info)).collect())
    }

    /// The runs that the last commits were part of, the newest first.
    pub async fn last_runs(&self, newest: u64, commits: u64) -> Result<Vec<serde_json::Value>> {
        let text = |version: u64| async move {
            let path = Path::parse(format!("{}/_delta_log/{version:020}.json", self.folder))?;
            match self.store.get(&path).await {
                Ok(found) => Ok(Some(found.bytes().await?)),
                // Logs are cleaned of old commits.
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(DataFusionError::from(error)),
            }
        };
        let versions = (newest.saturating_sub(commits.saturating_sub(1))..=newest).rev();
        let texts = stream::iter(versions.map(text).collect::<Vec<_>>()).buffered(commits as usize);
        let texts: Vec<_> = texts.try_collect().await?;
        let mut runs = vec![];
        for text in texts.into_iter().flatten() {
            let actions = serde_json::Deserializer::from_slice(&text).into_iter::<serde_json::Value>();
            runs.extend(actions.map_while(Result::ok).map(|mut action| action["commitInfo"][RUN].take()));
        }
        runs.retain(|run| !run.is_null());
        Ok(runs)
    }

    /// Deletes files that no version younger than `keep` names. Returns their paths; with `dry_run` deletes none.
    pub async fn vacuum(&self, keep: chrono::Duration, dry_run: bool) -> Result<Vec<String>> {
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        in_turn(table.load()).await.map_err(|e| self.failed(e))?;
        let vacuum = table
            .vacuum()
            .with_retention_period(keep)
            .with_enforce_retention_duration(false)
            .with_mode(deltalake_core::operations::vacuum::VacuumMode::Full)
            .with_dry_run(dry_run);
        let (_, metrics) = in_turn(vacuum.into_future()).await.map_err(|e| self.failed(e))?;
        Ok(metrics.files_deleted)
    }

    /// Deletes files that were written but never committed. What cannot be deleted is left to `vacuum`.
    pub async fn discard(&self, files: &[Add]) {
        for file in files {
            let _ = self.store.delete(&self.path_of(&file.path)).await;
        }
    }

    /// Whether files that were written for the table are all there.
    pub async fn holds(&self, files: &[Add]) -> bool {
        for file in files {
            if self.store.head(&self.path_of(&file.path)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Where a file of the table lies in the store.
    pub fn path_of(&self, name: &str) -> Path {
        self.folder.clone().join(name)
    }

    fn failed(&self, error: DeltaTableError) -> DataFusionError {
        let error = match error {
            DeltaTableError::ObjectStore { source } => DataFusionError::from(source),
            other => DataFusionError::External(Box::new(other)),
        };
        error.context(format!("the table at {}", self.location))
    }
}

impl Snapshot {
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

/// Whether two schemas have other columns, or columns of other types.
fn differs(a: &SchemaRef, b: &SchemaRef) -> bool {
    let plain = |data_type: &DataType| match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    };
    let of = |schema: &SchemaRef| {
        schema.fields().iter().map(|f| (f.name().clone(), plain(f.data_type()))).collect::<Vec<_>>()
    };
    of(a) != of(b)
}

fn removed(add: &Add, data_change: bool) -> Remove {
    Remove {
        path: add.path.clone(),
        data_change,
        deletion_timestamp: Some(chrono::Utc::now().timestamp_millis()),
        extended_file_metadata: Some(true),
        partition_values: Some(add.partition_values.clone()),
        size: Some(add.size),
        ..Default::default()
    }
}

/// Whether a commit failed only because somebody else was first.
fn is_conflict(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::VersionAlreadyExists(_)
                | TransactionError::MaxCommitAttempts(_)
                | TransactionError::CommitConflict(
                    CommitConflictError::ConcurrentAppend
                        | CommitConflictError::ConcurrentDeleteRead
                        | CommitConflictError::ConcurrentDeleteDelete
                        | CommitConflictError::MetadataChanged
                        | CommitConflictError::ConcurrentTransaction
                        | CommitConflictError::ProtocolChanged(_)
                )
        ),
        other => other.to_string().contains("already exists"),
    }
}

/// An error for a table that is not there.
pub(super) fn no_table<T>(location: &str) -> Result<T> {
    exec_err!("there is no table at {location}: `tallow ingest` makes it")
}
