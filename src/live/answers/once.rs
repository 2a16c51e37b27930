//! Matches of patterns as alerts: one of a pattern and symbol, and then none until a cool-down is over.

use super::{Answers, Results};
use crate::run::now;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use futures::executor::block_on;
use std::io::{ErrorKind, Result};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tallow_common::time::timestamp_type;
use tallow_pipeline::Session;
use tallow_pipeline::alerts::{Alerts, claim, settle};

/// Batches of matches that wait to be looked at.
const WAITING: usize = 64;

/// Hands on matches that are due. Which were, the lake remembers: a search for the newest matches with alerts knows of them too.
pub struct Once {
    waiting: Option<SyncSender<(RecordBatch, bool)>>,
    thread: Option<JoinHandle<()>>,
}

/// Where matches go, and what is remembered of them.
struct Watch {
    session: Arc<Session>,
    /// What bars are called.
    timeframe: String,
    cooldown: Duration,
    answers: Box<dyn Answers>,
}

impl Once {
    /// Matches in bars that are called so, each handed on once in a cool-down.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn new(session: &Arc<Session>, timeframe: &str, cooldown: Duration, answers: Box<dyn Answers>) -> Result<Once> {
        let session = Arc::clone(session);
        let mut watch = Watch { session, timeframe: timeframe.to_string(), cooldown, answers };
        let (waiting, from): (_, Receiver<(RecordBatch, bool)>) = sync_channel(WAITING);
        let look = move || {
            while let Ok((rows, complete)) = from.recv() {
                if let Err(error) = watch.look(&rows, complete) {
                    tracing::error!("matches are not told: {error}");
                }
            }
        };
        let thread = std::thread::Builder::new().name("alerts".to_string()).spawn(look)?;
        Ok(Once { waiting: Some(waiting), thread: Some(thread) })
    }
}

impl Answers for Once {
    fn take(&mut self, results: Results<'_>) -> Result<()> {
        let waiting = self.waiting.as_ref().ok_or(ErrorKind::BrokenPipe)?;
        // A pattern in a bar that is not closed may be gone with the next price.
        match results.revisions {
            None => Ok(()),
            Some(_) => waiting.send((results.rows.clone(), results.complete)).map_err(|_| ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        self.waiting = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Watch {
    fn look(&mut self, rows: &RecordBatch, complete: bool) -> tallow_common::Result<()> {
        let alerts = Alerts { cooldown: self.cooldown, now: now() };
        let matches = self.matches(rows)?;
        let session = Arc::clone(&self.session);
        let due = block_on(claim(&session, matches, usize::MAX, alerts))?.rows;
        if due.num_rows() == 0 {
            return Ok(());
        }
        let revisions = vec![0; due.num_rows()];
        let told = self.answers.take(Results { rows: &due, revisions: Some(&revisions), complete, lines: None });
        block_on(settle(&session, &due, alerts, told.is_ok()))?;
        told.map_err(|error| tallow_common::Error::File("alerts".to_string(), error))
    }

    /// Results as matches are kept: with what their bars are called, and when they end.
    fn matches(&self, rows: &RecordBatch) -> tallow_common::Result<RecordBatch> {
        let (mut fields, mut columns) = (vec![], vec![]);
        for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
            let (name, of): (&str, &DataType) = match field.name().as_str() {
                "ts" => ("end_ts", &timestamp_type()),
                name @ ("symbol" | "pattern") => (name, &DataType::Utf8),
                name => (name, field.data_type()),
            };
            fields.push(Field::new(name, of.clone(), true));
            columns.push(cast(column, of)?);
        }
        fields.push(Field::new("timeframe", DataType::Utf8, true));
        let named: ArrayRef = Arc::new(StringArray::from(vec![self.timeframe.as_str(); rows.num_rows()]));
        columns.push(named);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}
