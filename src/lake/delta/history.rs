//! What the log of a table says of its commits.

use super::change::{COMMIT_ID, RUN};
use super::{Log, in_turn};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use deltalake_core::DeltaTable;
use deltalake_core::kernel::{Action, CommitInfo};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tallow_common::Error;

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

    /// All that these commits did, in their order.
    ///
    /// # Errors
    /// The log does not have one of them any more, or it cannot be read.
    pub async fn actions(&self, versions: RangeInclusive<u64>) -> Result<Vec<(u64, Vec<Action>)>> {
        let mut commits = vec![];
        for (version, text) in self.commits(versions).await? {
            let Some(text) = text else {
                let said = format!("the log of {} does not have version {version} any more", self.location);
                let error = Error::not_found(said);
                return Err(error.with_hint("logs are cleaned of commits older than 30 days").into());
            };
            let actions = serde_json::Deserializer::from_slice(&text).into_iter::<Action>();
            let actions = actions.collect::<Result<_, _>>().map_err(|e| {
                let said = format!("{}: version {version} of the log", self.location);
                DataFusionError::External(Box::new(e)).context(said)
            })?;
            commits.push((version, actions));
        }
        Ok(commits)
    }

    /// What these commits say of themselves, with their versions.
    async fn commit_infos(&self, versions: RangeInclusive<u64>) -> Result<Vec<(u64, Value)>> {
        let mut infos = vec![];
        for (version, text) in self.commits(versions).await? {
            // Logs are cleaned of old commits.
            let Some(text) = text else { continue };
            let actions = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
            let of_commit = actions.map_while(Result::ok).map(|mut action| action["commitInfo"].take());
            infos.extend(of_commit.filter(Value::is_object).map(|info| (version, info)));
        }
        Ok(infos)
    }

    /// The texts of commits; `None` where the log does not have one any more.
    async fn commits(&self, versions: RangeInclusive<u64>) -> Result<Vec<(u64, Option<Bytes>)>> {
        let text = |version: u64| async move {
            let path = Path::parse(format!("{}/_delta_log/{version:020}.json", self.folder))?;
            match self.store.get(&path).await {
                Ok(found) => Ok((version, Some(found.bytes().await?))),
                Err(object_store::Error::NotFound { .. }) => Ok((version, None)),
                Err(error) => Err(DataFusionError::from(error)),
            }
        };
        stream::iter(versions.map(text).collect::<Vec<_>>()).buffered(READS).try_collect().await
    }
}
