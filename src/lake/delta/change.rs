//! One commit to the log of a table.

use super::protocol::{CHANGE_FEED, Checked, with_change_feed};
use super::{Log, Snapshot, in_turn};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitConflictError, CommitProperties, TransactionError};
use deltalake_core::kernel::{Action, Add, AddCDCFile, MetadataExt, Remove, StructType, Transaction};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// What a commit changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub adds: Vec<Add>,
    pub removes: Vec<Add>,
    /// Columns of the table after the commit, where it makes the table or widens it.
    pub schema: Option<SchemaRef>,
    /// Properties of the table, where it makes the table or changes them.
    pub properties: HashMap<String, String>,
    /// Whether rows change, or only how they lie.
    pub data_change: bool,
    /// Whether the table has a change feed from now on, if it has none yet.
    pub feeds_changes: bool,
    /// Files with the rows that were inserted, updated and deleted: of a table with a change feed, where the files that are
    /// added and removed do not tell.
    pub changed_rows: Vec<Add>,
    /// What happened, in numbers, for the table's history.
    pub metrics: serde_json::Map<String, Value>,
    /// What was done, as the history names it.
    pub operation: &'static str,
    /// The run that it is part of, where a run commits to several tables.
    pub run: Option<Value>,
    /// What the table holds from now on: of each application, up to which of its versions.
    pub transactions: Vec<Transaction>,
    /// Whether these name the work of the commit, which then takes effect once, whoever does it and however often.
    pub once: bool,
}

/// Where a commit names its run.
pub(super) const RUN: &str = "tallowRun";
/// Where a commit has its id.
pub(super) const COMMIT_ID: &str = "tallowCommit";

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed(u64),
    /// Somebody else committed since the snapshot was taken, or this commit did and the answer was lost.
    Conflict,
}

impl Log {
    /// Commits a change against a snapshot (`None` makes the table). Never half done, never over somebody else's commit.
    /// [`super::Attempts`] is what callers use: it knows what a conflict or an error means.
    pub(super) async fn commit(&self, base: Option<&Snapshot>, id: &str, change: Change) -> Result<Outcome> {
        let info = commit_info(id, &change);
        let properties = CommitProperties::default().with_metadata(info).with_max_retries(0);
        let properties = properties.with_application_transactions(change.transactions);
        let data_change = change.data_change;
        let adds = change.adds.into_iter().map(|add| Action::Add(Add { data_change, ..add }));
        let removes = change.removes.iter().map(|add| Action::Remove(removed(add, data_change)));
        let changed = change.changed_rows.into_iter().map(|file| Action::Cdc(changed_rows(file)));
        let mut actions: Vec<Action> = adds.chain(removes).chain(changed).collect();
        let mut set = change.properties;
        if change.feeds_changes {
            set.insert(CHANGE_FEED.to_string(), "true".to_string());
        }
        let committed = match base {
            None => in_turn(self.create(actions, change.schema, set, properties)).await,
            Some(base) => {
                if set.contains_key(CHANGE_FEED) && !base.feeds_changes() {
                    let protocol = with_change_feed(base.state.protocol()).map_err(|e| self.failed(e))?;
                    actions.push(Action::Protocol(protocol));
                }
                if let Some(metadata) = self.changed_metadata(base, change.schema, set)? {
                    actions.push(Action::Metadata(metadata));
                }
                let operation = if data_change {
                    DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None }
                } else {
                    DeltaOperation::Optimize { predicate: None, target_size: 0 }
                };
                let commit = CommitBuilder::from(properties).with_actions(actions);
                let checked = Checked::new(&base.state).map_err(|e| self.failed(e))?;
                let commit = commit.build(Some(&checked), Arc::clone(&self.log), operation);
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
        commit: CommitProperties,
    ) -> Result<u64, DeltaTableError> {
        let schema = schema.unwrap_or_else(|| Arc::new(Schema::empty()));
        let columns: StructType = schema.as_ref().try_into_kernel()?;
        let table = CreateBuilder::new()
            .with_log_store(Arc::clone(&self.log))
            .with_columns(columns.fields().cloned())
            .with_configuration(properties.into_iter().map(|(key, value)| (key, Some(value))))
            .with_raise_if_key_not_exists(false)
            .with_actions(actions)
            .with_commit_properties(commit)
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
}

/// What the history of the table keeps of a commit.
fn commit_info(id: &str, change: &Change) -> HashMap<String, Value> {
    let mut metrics = change.metrics.clone();
    metrics.insert("engine".to_string(), format!("tallow {}", env!("CARGO_PKG_VERSION")).into());
    let info = [
        ("operationMetrics", Value::Object(metrics)),
        ("tallowOperation", change.operation.into()),
        (COMMIT_ID, id.into()),
    ];
    let info = info.into_iter().chain(change.run.clone().map(|run| (RUN, run)));
    info.map(|(key, value)| (key.to_string(), value)).collect()
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

fn changed_rows(file: Add) -> AddCDCFile {
    AddCDCFile { path: file.path, size: file.size, partition_values: HashMap::new(), data_change: false, tags: None }
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

/// What a table holds once it is made from these versions of its sources.
pub(crate) fn transactions(sources: &[(String, u64)]) -> Vec<Transaction> {
    let version = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
    sources.iter().map(|(name, reached)| Transaction::new(name, version(*reached))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;

    #[test]
    fn text_is_text_however_it_lies_in_memory() {
        let schema = |kind| -> SchemaRef { Arc::new(Schema::new(vec![Field::new("symbol", kind, true)])) };
        assert!(!differs(&schema(DataType::Utf8View), &schema(DataType::Utf8)));
        assert!(differs(&schema(DataType::Int64), &schema(DataType::Utf8)));
    }

    #[test]
    fn only_a_commit_of_others_is_a_conflict() {
        let conflict = TransactionError::CommitConflict(CommitConflictError::ConcurrentTransaction);
        assert!(is_conflict(&DeltaTableError::VersionAlreadyExists(3)));
        assert!(is_conflict(&DeltaTableError::Transaction { source: conflict }));
        assert!(!is_conflict(&DeltaTableError::Generic("no space left".to_string())));
    }
}
