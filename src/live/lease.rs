//! One run of a name for a table: the table itself records who it is, and until when.
//!
//! The folder of the journal is locked, but another machine has another folder. So each run has a number, which it records with a
//! time when it begins and with each flush; another is refused until that time. Whoever slept through it, and was taken the
//! place of, finds another number at its next flush, which then writes nothing: what it holds stays in its journal.

use crate::core::Micros;
use crate::run::now;
use crate::store::{Target, candles_schema, plan_of};
use arrow::array::RecordBatch;
use std::path::Path;
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_lake::{Merging, Recorded};
use tallow_pipeline::Session;
use uuid::Uuid;

/// How long a run is waited for that says nothing, at least: it writes when bars come.
const LEAST: Micros = 300_000_000;

/// What a run has recorded in the table of its candles.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// Under which names.
    owner: String,
    until: String,
    /// The number of the run.
    number: u64,
    length: Micros,
}

impl Lease {
    /// Takes the place of the one run of this name, which keeps its number in a folder: after a crash it is the same again.
    ///
    /// # Errors
    /// Another has it.
    pub async fn take(
        session: &Session,
        target: &Target,
        table: &str,
        folder: &Path,
        flush_every: Micros,
    ) -> Result<Lease> {
        let lease = Lease {
            owner: target.application("owner"),
            until: target.application("until"),
            number: number(folder)?,
            length: LEAST.max(flush_every.saturating_mul(3)),
        };
        let (owner, until) = lease.recorded(session, table).await?;
        let is_others = owner.is_some_and(|owner| owner != lease.number);
        let until = until.and_then(|until| i64::try_from(until).ok()).filter(|until| is_others && *until > now());
        if let Some(until) = until {
            let name = &target.name;
            let said = format!("the live run `{name}` goes on elsewhere, and has `{table}` until {}", shown(until));
            return Err(Error::conflict(said).with_hint("end it, wait until then, or give this run a name of its own"));
        }
        lease.record(session, target, owner, lease.next()).await?;
        Ok(lease)
    }

    /// Gives it back, so that another run need not wait.
    pub async fn end(&self, session: &Session, target: &Target) -> Result<()> {
        self.record(session, target, Some(self.number), 0).await
    }

    /// What a flush records.
    pub fn sources(&self) -> [(String, u64); 2] {
        [(self.owner.clone(), self.number), (self.until.clone(), self.next())]
    }

    /// What the table must have recorded for it.
    pub fn held(&self) -> Recorded {
        Recorded { application: self.owner.clone(), reached: Some(self.number) }
    }

    /// The error of a run that was taken the place of.
    pub async fn check(&self, session: &Session, target: &Target, table: &str) -> Result<()> {
        match self.recorded(session, table).await? {
            (Some(owner), _) if owner != self.number => {
                let said = format!("another live run `{}` has taken the place of this one in `{table}`", target.name);
                Err(Error::conflict(said).with_hint("what is not in the lake is in the journal of this one"))
            }
            _ => Ok(()),
        }
    }

    fn next(&self) -> u64 {
        now().saturating_add(self.length).unsigned_abs()
    }

    async fn recorded(&self, session: &Session, table: &str) -> Result<(Option<u64>, Option<u64>)> {
        let (table, names) = (table.to_string(), vec![self.owner.clone(), self.until.clone()]);
        let reached = session.on_lake(move |lake| async move { lake.reached(&table, None, names).await }).await?;
        let of = |at: usize| reached.get(at).copied().flatten();
        Ok((of(0), of(1)))
    }

    /// A commit without rows.
    async fn record(&self, session: &Session, target: &Target, known: Option<u64>, until: u64) -> Result<()> {
        let Some((timeframe, origin)) = target.candles.clone() else { return Ok(()) };
        let sources = [(self.owner.clone(), self.number), (self.until.clone(), until)];
        let only_if = Recorded { application: self.owner.clone(), reached: known };
        let none = plan_of(RecordBatch::new_empty(candles_schema()))?;
        let merged = session.on_lake(move |lake| async move {
            lake.merge(
                timeframe,
                &origin,
                none,
                Merging { operation: "LIVE", sources: &sources, only_if: Some(&only_if) },
            )
            .await
        });
        merged.await.map(drop)
    }
}

/// The number of the run that keeps its journal in a folder.
fn number(folder: &Path) -> Result<u64> {
    let path = folder.join("owner");
    let failed = |error| Error::File(path.display().to_string(), error);
    match std::fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::invalid(format!("{}: '{}' is not the number of a run", path.display(), text.trim()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Tables record numbers that are not below 0.
            let number = Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)).as_u128() as u64 >> 1;
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, number.to_string())).map_err(failed)?;
            Ok(number)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_folder_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = number(&folder.path().join("run")).unwrap();
        assert_eq!(number(&folder.path().join("run")).unwrap(), first);
        assert_ne!(number(&folder.path().join("other")).unwrap(), first);
        std::fs::write(folder.path().join("owner"), "me").unwrap();
        assert!(number(folder.path()).unwrap_err().to_string().ends_with("'me' is not the number of a run"));
    }
}
