//! Deletes the files of a table that only old versions need.
//!
//! The library's own vacuum refuses tables with a change feed, as it refuses commits to them (see `protocol.rs`).

use super::{Log, no_table};
use datafusion::common::Result;
use deltalake_core::kernel::Action;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::HashSet;

/// Files that are deleted at the same time.
const DELETIONS: usize = 16;

impl Log {
    /// Deletes files that no version younger than `keep` names. Returns their names; with `dry_run` deletes none.
    pub async fn vacuum(&self, keep: chrono::Duration, dry_run: bool) -> Result<Vec<String>> {
        let cutoff = chrono::Utc::now() - keep;
        let Some(newest) = self.snapshot(None).await? else { return no_table(&self.location) };
        let (oldest, _) = self.version_near(cutoff).await?;
        let needed = self.files_since(oldest, newest.version).await?;
        let mut found = vec![];
        let mut listed = self.store.list(Some(&self.folder));
        while let Some(file) = listed.try_next().await? {
            let Some(name) = self.name_of(&file.location).filter(|name| is_data(name)) else { continue };
            if file.last_modified < cutoff && !needed.contains(&name) {
                found.push(name);
            }
        }
        found.sort();
        if !dry_run {
            let deletions: Vec<_> = found.iter().map(|name| self.delete(name)).collect();
            stream::iter(deletions).buffer_unordered(DELETIONS).try_collect::<()>().await?;
        }
        Ok(found)
    }

    /// The files that some version from `oldest` to `newest` names.
    async fn files_since(&self, oldest: u64, newest: u64) -> Result<HashSet<String>> {
        let first = self.snapshot(Some(&super::AsOf::Version(oldest))).await?;
        let mut needed: HashSet<String> = first.iter().flat_map(|s| &s.files).map(|f| f.add.path.clone()).collect();
        for (_, actions) in self.actions(oldest + 1..=newest).await? {
            needed.extend(actions.into_iter().filter_map(|action| match action {
                Action::Add(add) => Some(add.path),
                Action::Cdc(changed) => Some(changed.path),
                _ => None,
            }));
        }
        Ok(needed)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.path_of(name)).await {
            // Another vacuum was first.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The name of a file in the table's folder.
    fn name_of(&self, location: &Path) -> Option<String> {
        let parts: Vec<_> = location.prefix_match(&self.folder)?.map(|part| part.as_ref().to_string()).collect();
        Some(parts.join("/"))
    }
}

/// Whether a file holds rows: what is hidden does not, but for the change feed.
fn is_data(name: &str) -> bool {
    name.starts_with("_change_data/") || !name.starts_with(['_', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_and_what_is_hidden_stay() {
        assert!(is_data("part-0.parquet") && is_data("_change_data/part-0.parquet"));
        assert!(!is_data("_delta_log/00000000000000000000.json") && !is_data(".crc") && !is_data("_tmp/x"));
    }
}
