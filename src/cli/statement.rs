//! Statements, run one after the other; the result of each that has one is written.

use super::args::{Format, OutputArgs, RangeArgs};
use super::config::Config;
use super::output::{Writer, warn};
use super::progress::Progress;
use super::skipped::partial;
use super::{Failure, destination, given};
use crate::Session;
use crate::pipeline::outcome::Outcome;
use crate::pipeline::query::{Executed, Query};
use futures::TryStreamExt;
use std::sync::Arc;

/// Runs a query for some times and symbols.
pub(super) async fn run_in_range(
    session: &Session,
    config: &Config,
    query: Query,
    range: &RangeArgs,
    output: &OutputArgs,
) -> Result<(), Failure> {
    destination::check(output)?;
    let options = given::options(session, range, query.options).await?;
    run(session, config, &Query { options, ..query }, output).await
}

/// Runs a query and writes its results.
pub(super) async fn run(session: &Session, config: &Config, query: &Query, output: &OutputArgs) -> Result<(), Failure> {
    destination::check(output)?;
    let mut statements = query.begin(session).await?;
    warn(config, &statements.warnings);
    let is_one = output.output.is_some() || output.format.is_some_and(Format::is_binary);
    if statements.results() > 1 && is_one {
        return Err(Failure::Usage("the results of several statements cannot share one file".to_string()));
    }
    loop {
        let progress = Arc::new(Progress::new(config, None, "rows").hidden(output.streams_to_terminal()));
        let Some(executed) = statements.next(session, &progress.control()).await? else { break };
        let (rows, statistics) = match executed {
            Executed::Rows(mut outcome) => (write(&mut outcome, &progress, output).await?, outcome.statistics),
            Executed::Done(statistics) => (0, statistics),
        };
        progress.clear();
        progress.finish(Some(&statistics), rows as u64, statistics.bytes_read(session));
    }
    partial(&statements.skipped())
}

/// Writes a result, and returns its rows.
async fn write(outcome: &mut Outcome, progress: &Progress, output: &OutputArgs) -> Result<usize, Failure> {
    let mut writer = Writer::new(output, Arc::clone(&outcome.schema))?;
    while let Some(batch) = outcome.stream.try_next().await? {
        writer.write(&batch)?;
        // Batches may always be there, and then nothing else lets go of this thread: an interrupt is heard here.
        tokio::task::yield_now().await;
    }
    progress.clear();
    writer.finish()
}
