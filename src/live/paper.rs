//! Strategies that are run live: an account on paper that goes on with the results of the run.

use crate::answers::{Answers, Nobody, Results};
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::TimestampMicrosecondType;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;
use tallow_common::time::{shown, timestamp_type};
use tallow_common::{Error, Result};
use tallow_pipeline::Session;
use tallow_pipeline::backtest::{Options, Paper};
use tallow_pipeline::quoting::quoted;

/// An account that takes results of its strategy's query, and tells what it did with them.
pub struct Account {
    paper: Paper,
    answers: Box<dyn Answers>,
}

/// What a run remembers of its account: the bars since then make it what it is.
#[derive(Serialize, Deserialize)]
struct Begun {
    begins: i64,
    strategy: String,
}

impl Account {
    /// Opens the account of a run, which begins at a time, else with the first bar that comes when the run first begins, as its folder
    /// says. Of a run that knows only what was before a time, and is told what came since, it begins there.
    ///
    /// # Errors
    /// The strategy is wrong or cannot run live, or the folder has the account of another one.
    pub async fn open(
        session: &Session,
        strategy: &Options,
        folder: &Path,
        since: Option<i64>,
        known_until: Option<i64>,
    ) -> Result<Account> {
        let backtest = strategy.backtest(session).await?;
        let from = match known_until {
            Some(until) => since.or(Some(until).filter(|until| *until > i64::MIN)),
            None => Some(begun(session, &backtest.table, strategy, folder, since).await?),
        };
        let paper = Paper::begin(session, &backtest, from, known_until).await?;
        Ok(Account { paper, answers: Box::new(Nobody) })
    }

    /// The query whose results it takes.
    pub fn sql(&self) -> &str {
        self.paper.sql()
    }

    /// Who is told.
    pub fn telling(self, answers: Box<dyn Answers>) -> Account {
        Account { answers, ..self }
    }
}

impl Answers for Account {
    fn take(&mut self, results: Results<'_>) -> std::io::Result<()> {
        // Nothing is bought by a bar that is not closed.
        if results.revisions.is_none() {
            return Ok(());
        }
        let (rows, revisions) = self.paper.take(results.rows).map_err(std::io::Error::other)?;
        match rows.num_rows() {
            0 => Ok(()),
            _ => self.answers.take(Results {
                rows: &rows,
                revisions: Some(&revisions),
                complete: results.complete,
                lines: None,
            }),
        }
    }
}

/// When the account of a folder began.
async fn begun(session: &Session, table: &str, strategy: &Options, folder: &Path, at: Option<i64>) -> Result<i64> {
    let path = folder.join("account.json");
    let named = |error| Error::File(path.display().to_string(), error);
    let strategy = strategy.json()?;
    match std::fs::read(&path) {
        Ok(text) => {
            let begun: Begun = serde_json::from_slice(&text).map_err(|error| named(error.into()))?;
            let said = match at {
                _ if begun.strategy != strategy => "is of another strategy".to_string(),
                Some(at) if at != begun.begins => format!("began at {}", shown(begun.begins)),
                _ => return Ok(begun.begins),
            };
            Err(Error::conflict(format!("the account in {} {said}", path.display()))
                .with_hint("give the run another name, or delete the file: the account then begins anew"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let begins = match at {
                Some(at) => at,
                None => newest(session, table).await?.map_or(i64::MIN / 2, |newest| newest + 1),
            };
            let text = serde_json::to_vec(&Begun { begins, strategy }).map_err(|error| named(error.into()))?;
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text)).map_err(named)?;
            Ok(begins)
        }
        Err(error) => Err(named(error)),
    }
}

/// The newest bar of a table.
async fn newest(session: &Session, table: &str) -> Result<Option<i64>> {
    let sql = format!("select max(ts) as newest from {}", quoted(table));
    let batches = session.collect(session.sql(&sql).await?).await?;
    let Some(batch) = batches.first() else { return Ok(None) };
    let times = cast(batch.column(0), &timestamp_type())?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    Ok(times.iter().next().flatten())
}
