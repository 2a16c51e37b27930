//! What the log of a table says of its commits, and the files that no commit needs any more.

use super::change::{COMMIT_ID, RUN};
use super::{Log, in_turn};
use datafusion::common::{DataFusionError, Result};
use deltalake_core::DeltaTable;
use deltalake_core::kernel::CommitInfo;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Commits that are read at the same time.
const READS: usize = 16;

impl Log {
    /// The commits of the table, newest first, with the version of each.
    pub async fn history(&self, limit: Option<usize>) -> Result<Vec<(u64, CommitInfo)>> {
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        in_turn(table.load()).await.map_err(|e| self.failed(e))?;
        let newest = table.version().unwrap_or_default();
        let infos: Vec<CommitInfo> = in_turn(table.history(limit).try_collect()).await.map_err(|e| self.failed(e))?;
        Ok(infos.into_iter().enumerate().map(|(i, info)| (newest.saturating_sub(i as u64), info)).collect())
    }

    /// The runs that the last commits were part of, the newest first.
    pub async fn last_runs(&self, newest: u64, commits: u64) -> Result<Vec<Value>> {
        let oldest = newest.saturating_sub(commits.saturating_sub(1));
        let infos = self.commit_infos(oldest..=newest).await?;
        let runs = infos.into_iter().rev().map(|(_, mut info)| info[RUN].take());
        Ok(runs.filter(|run| !run.is_null()).collect())
    }

    /// The version that the commit with an id made, if it is one of those after `base`.
    pub(super) async fn version_of_commit(&self, id: &str, base: Option<u64>) -> Result<Option<u64>> {
        if !self.exists().await? {
            return Ok(None);
        }
        let newest = self.latest_version(base.unwrap_or_default()).await?;
        let infos = self.commit_infos(base.map_or(0, |base| base + 1)..=newest).await?;
        Ok(infos.into_iter().find(|(_, info)| info[COMMIT_ID] == id).map(|(version, _)| version))
    }

    /// What these commits say of themselves, with their versions.
    async fn commit_infos(&self, versions: RangeInclusive<u64>) -> Result<Vec<(u64, Value)>> {
        let text = |version: u64| async move {
            let path = Path::parse(format!("{}/_delta_log/{version:020}.json", self.folder))?;
            match self.store.get(&path).await {
                Ok(found) => Ok(Some((version, found.bytes().await?))),
                // Logs are cleaned of old commits.
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(DataFusionError::from(error)),
            }
        };
        let texts = stream::iter(versions.map(text).collect::<Vec<_>>()).buffered(READS);
        let texts: Vec<_> = texts.try_collect().await?;
        let mut infos = vec![];
        for (version, text) in texts.into_iter().flatten() {
            let actions = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
            let of_commit = actions.map_while(Result::ok).map(|mut action| action["commitInfo"].take());
            infos.extend(of_commit.filter(Value::is_object).map(|info| (version, info)));
        }
        Ok(infos)
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
}
