//! How a change gets into a table that others write to at the same time: once, and over nobody's work.
//!
//! A writer starts from the newest version and commits against it. Where another writer commits first, it starts again from
//! what is then the newest version. An answer can get lost, and a conflict can be one with oneself: what a store wrote on a
//! request that seemed to fail stands in the way when the request is repeated. So before work is done again, or a file is
//! deleted, the log is asked whether the commit is in it, by the transactions that it carries or else by its id.

use super::change::{Change, Outcome};
use super::{Log, Snapshot};
use crate::uncommitted::UncommittedFiles;
use datafusion::common::Result;
use deltalake_core::kernel::Transaction;
use std::time::Duration;
use tallow_common::Error;
use uuid::Uuid;

/// How often a commit is tried when others commit first.
const ATTEMPTS: u32 = 10;

/// The attempts of one writer to commit.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: u32,
    keeps_files: bool,
}

impl Attempts {
    /// For files that do not depend on the version that they are committed against: a conflict does not make them useless.
    pub fn keeping_files() -> Attempts {
        Attempts { keeps_files: true, ..Attempts::default() }
    }

    /// Commits a change against the version that it was made from. Returns the version that holds it, or `None` after
    /// another writer was first: the caller then loads the table anew and makes the change again. `written` are the files of
    /// this attempt, deleted when it is certain that no commit names them.
    ///
    /// # Errors
    /// Other writers were first too often, or the log cannot be written.
    pub async fn commit(
        &mut self,
        log: &Log,
        base: Option<&Snapshot>,
        change: Change,
        written: &mut [&mut UncommittedFiles],
    ) -> Result<Option<u64>> {
        self.commit_as(&Uuid::new_v4().to_string(), log, base, change, written).await
    }

    async fn commit_as(
        &mut self,
        id: &str,
        log: &Log,
        base: Option<&Snapshot>,
        change: Change,
        written: &mut [&mut UncommittedFiles],
    ) -> Result<Option<u64>> {
        let work = if change.once { change.transactions.clone() } else { vec![] };
        if let Some(base) = base.filter(|_| !work.is_empty())
            && base.includes(log, &work).await?
        {
            discard(written).await;
            return Ok(Some(base.version));
        }
        // Whoever waits for the answer may be gone before it comes.
        written.iter_mut().for_each(|files| files.release());
        let failure = match log.commit(base, id, change).await {
            Ok(Outcome::Committed(version)) => return Ok(Some(version)),
            Ok(Outcome::Conflict) => None,
            Err(error) => Some(error),
        };
        match landed(id, &work, log, base).await {
            Ok(None) => written.iter_mut().for_each(|files| files.reclaim()),
            Ok(landed) => return Ok(landed),
            Err(error) => {
                let said = format!("{}: it is not known whether the commit is in the log", log.location);
                return Err(failure.unwrap_or(error).context(said));
            }
        }
        self.failed += 1;
        let gives_up = failure.is_some() || self.failed >= ATTEMPTS;
        if gives_up || !self.keeps_files {
            discard(written).await;
        }
        match failure {
            Some(error) => Err(error),
            None if gives_up => {
                let said =
                    format!("{}: {ATTEMPTS} times another writer committed first; nothing was written", log.location);
                Err(Error::conflict(said).with_hint("try again").into())
            }
            None => {
                tracing::info!("{}: another writer committed first", log.location);
                tokio::time::sleep(pause(self.failed)).await;
                Ok(None)
            }
        }
    }
}

/// The version with a commit that got no answer, or that of a conflict.
async fn landed(id: &str, work: &[Transaction], log: &Log, base: Option<&Snapshot>) -> Result<Option<u64>> {
    if work.is_empty() {
        return log.version_of_commit(id, base.map(|base| base.version)).await;
    }
    match log.snapshot(None).await? {
        Some(newest) if newest.includes(log, work).await? => Ok(Some(newest.version)),
        _ => Ok(None),
    }
}

async fn discard(written: &mut [&mut UncommittedFiles]) {
    for files in written {
        files.discard().await;
    }
}

/// Longer each time, and by chance, so that writers that met once do not meet again.
fn pause(failed: u32) -> Duration {
    let most = 20 << failed.min(6);
    let chance = Uuid::new_v4().as_u64_pair().0 % most;
    Duration::from_millis(most / 2 + chance / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::{Layout, TableWriter};
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::SchemaRef;
    use datafusion::execution::{SessionState, SessionStateBuilder};
    use std::path::Path;
    use std::sync::Arc;

    fn state() -> SessionState {
        SessionStateBuilder::new().with_default_features().build()
    }

    fn log_in(folder: &Path) -> Log {
        Log::at(&state(), &folder.display().to_string()).unwrap()
    }

    fn rows(value: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![value])) as _)]).unwrap()
    }

    async fn write(log: &Log, value: i64) -> (UncommittedFiles, Change) {
        let batch = rows(value);
        let schema: SchemaRef = batch.schema();
        let mut writer = TableWriter::new(log, Arc::clone(&schema), Layout::Unsorted).unwrap();
        let pushed = writer.push(batch).await;
        let (files, ()) = writer.finish(pushed).await.unwrap();
        let adds = files.adds().to_vec();
        (files, Change { adds, schema: Some(schema), data_change: true, operation: "TEST", ..Change::default() })
    }

    async fn append(log: &Log, value: i64) {
        let mut attempts = Attempts::default();
        loop {
            let base = log.snapshot(None).await.unwrap();
            let (mut files, change) = write(log, value).await;
            if attempts.commit(log, base.as_ref(), change, &mut [&mut files]).await.unwrap().is_some() {
                return;
            }
        }
    }

    /// Files in the folder, and those that the newest version names.
    async fn files(folder: &Path) -> (usize, usize) {
        let names = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
        let there = names.filter(|name| name.to_string_lossy().ends_with(".parquet")).count();
        (there, log_in(folder).snapshot(None).await.unwrap().unwrap().files.len())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writers_at_once_commit_each_change_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |value| {
            let log = log_in(folder.path());
            async move { append(&log, value).await }
        };
        futures::future::join_all((0..4).map(write)).await;
        assert_eq!(files(folder.path()).await, (4, 4));
        let log = log_in(folder.path());
        assert_eq!(log.latest_version(0).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_lost_is_not_made_again() {
        for transactions in [vec![], vec![Transaction::new("run", 7)]] {
            let folder = tempfile::tempdir().unwrap();
            let log = log_in(folder.path());
            append(&log, 1).await;
            let base = log.snapshot(None).await.unwrap();
            let (mut files_of_it, change) = write(&log, 2).await;
            let change = Change { transactions: transactions.clone(), once: true, ..change };
            assert_eq!(log.commit(base.as_ref(), "id", change.clone()).await.unwrap(), Outcome::Committed(1));
            append(&log, 3).await;
            // It is tried once more, with the same files, against the version that it was made from.
            let mut attempts = Attempts::default();
            let again = attempts.commit_as("id", &log, base.as_ref(), change, &mut [&mut files_of_it]).await.unwrap();
            assert!(again.is_some());
            drop(files_of_it);
            assert_eq!(files(folder.path()).await, (3, 3));
        }
    }

    #[tokio::test]
    async fn a_transaction_that_the_table_has_is_not_committed_by_a_new_run() {
        let folder = tempfile::tempdir().unwrap();
        let log = log_in(folder.path());
        for value in [1, 2] {
            let base = log.snapshot(None).await.unwrap();
            let (mut written, change) = write(&log, value).await;
            let change = Change { transactions: vec![Transaction::new("run", 7)], once: true, ..change };
            let done = Attempts::default().commit(&log, base.as_ref(), change, &mut [&mut written]).await.unwrap();
            assert_eq!(done, Some(0));
        }
        assert_eq!(files(folder.path()).await, (1, 1));
    }

    #[tokio::test]
    async fn the_files_of_a_conflict_are_deleted_or_kept_for_the_next_attempt() {
        for (mut attempts, left) in [(Attempts::default(), (1, 1)), (Attempts::keeping_files(), (2, 1))] {
            let folder = tempfile::tempdir().unwrap();
            let log = log_in(folder.path());
            let (mut written, change) = write(&log, 1).await;
            append(&log, 2).await;
            assert_eq!(attempts.commit(&log, None, change, &mut [&mut written]).await.unwrap(), None);
            assert_eq!(files(folder.path()).await, left);
        }
    }
}
