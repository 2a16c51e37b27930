//! Files that were written into a table's folder and belong to no version of it yet.

use super::delta::{Log, below};
use datafusion::common::Result;
use deltalake_core::kernel::Add;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Files on their way into a table. Dropped before a commit has taken them over, they are deleted.
#[derive(Debug)]
pub(super) struct UncommittedFiles {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    adds: Vec<Add>,
    /// Whether a commit may name them: they are then not to be deleted.
    released: bool,
}

impl UncommittedFiles {
    /// No file of a table yet.
    pub fn of(log: &Log) -> UncommittedFiles {
        UncommittedFiles { store: Arc::clone(&log.store), folder: log.folder.clone(), adds: vec![], released: false }
    }

    pub fn push(&mut self, add: Add) {
        self.adds.push(add);
    }

    /// What a commit says of them.
    pub fn adds(&self) -> &[Add] {
        &self.adds
    }

    pub fn is_empty(&self) -> bool {
        self.adds.is_empty()
    }

    /// Leaves them to a commit, which may name them from now on.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Takes them back: no commit names them.
    pub fn reclaim(&mut self) {
        self.released = false;
    }

    /// Passes on the result of further work; if that failed, the files are deleted first.
    pub async fn keep_if_ok<T>(&mut self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            self.discard().await;
        }
        done
    }

    /// Deletes them. What cannot be deleted is left to `vacuum`.
    pub async fn discard(&mut self) {
        self.discard_since(0).await;
    }

    /// Deletes those from a number on.
    pub async fn discard_since(&mut self, first: usize) {
        while self.adds.len() > first
            && let Some(add) = self.adds.last()
        {
            let _ = self.store.delete(&below(&self.folder, &add.path)).await;
            self.adds.pop();
        }
    }
}

impl Drop for UncommittedFiles {
    fn drop(&mut self) {
        if self.released || self.adds.is_empty() {
            return;
        }
        // Work that is cancelled or panics cannot wait for its files to be deleted; its runtime may still do it.
        let Ok(runtime) = Handle::try_current() else { return };
        let (store, folder, adds) = (Arc::clone(&self.store), self.folder.clone(), std::mem::take(&mut self.adds));
        runtime.spawn(async move {
            for add in adds {
                let _ = store.delete(&below(&folder, &add.path)).await;
            }
        });
    }
}
