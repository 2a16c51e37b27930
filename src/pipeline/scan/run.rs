//! A scan from its plan to its last match.

use super::Scan;
use super::found::Pass;
use super::patience::Patience;
use crate::Session;
use crate::control::{AbortOnDrop, Control, Progress};
use crate::outcome::{Late, Outcome, Statistics};
use crate::relation::{Relation, readable_after, relation};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::ExecutionPlan;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::collections::HashSet;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::Problems;
use tallow_engine::observer::Observer;
use tallow_lake::CandleTable;
use tokio_util::sync::CancellationToken;

/// What a scan goes by.
struct Course {
    control: Control,
    patience: Arc<Patience>,
    /// Cancelled by the caller alone; the token of the control also when time is up.
    cancelled: CancellationToken,
}

/// A scan whose first matches are there, or which was given up before.
struct Begun {
    pass: Pass,
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
    warnings: Problems,
}

impl Scan {
    /// Plans and starts it. Matches come by time, newest first, or as they are ranked or grouped, once all symbols are
    /// done. Files that cannot be read are found and skipped by a second try.
    ///
    /// A scan that is cancelled or out of time ends at the next symbol's border of each partition, and what is complete is
    /// its result. Where that takes long, it is given up: see [`ScanStatistics::given_up`](crate::outcome::ScanStatistics::given_up).
    ///
    /// # Errors
    /// A formula that does not fit the table or looks into the future; bars that cannot be read.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<Outcome> {
        let (clock, read_before) = (session.engine().clock()?, session.bytes_read());
        // Running out of time ends this scan, not all that share the token.
        let ends = control.cancel.child_token();
        let timer = control.deadline.map(|deadline| {
            let ends = ends.clone();
            AbortOnDrop(clock.spawn(async move {
                tokio::time::sleep_until(deadline.into()).await;
                ends.cancel();
            }))
        });
        let course = Course {
            patience: Arc::new(Patience::new(ends.clone(), clock)),
            cancelled: control.cancel.clone(),
            control: Control { cancel: ends, ..control.clone() },
        };
        let begun = async {
            let from = relation(session, &self.table).await?;
            self.first_batch(session, &course, &from).await
        };
        let begun = match begun.await {
            Err(error) => {
                let from = readable_after(session, &self.table, error).await?;
                self.first_batch(session, &course, &from).await?
            }
            Ok(begun) => begun,
        };
        let Begun { pass, schema, batches, warnings } = begun;
        let pass = Arc::new(pass);
        let statistics = Statistics::new(Arc::clone(&pass.plan), read_before);
        let (skipped, counts) = (Arc::clone(&pass), Arc::clone(&pass));
        Ok(Outcome {
            schema,
            stream: matches(batches, pass, timer),
            warnings,
            skipped: Late::new(move || skipped.skipped()),
            statistics: statistics.with_scan(Late::new(move || counts.statistics())),
        })
    }

    /// Runs it over a table up to the first batch: by then every bar has been read.
    async fn first_batch(&self, session: &Session, course: &Course, from: &Relation) -> Result<Begun> {
        let Course { control, patience, cancelled } = course;
        let from = &self.with_symbols(session, from.clone()).await?;
        let total = match &self.symbols {
            Some(symbols) => Some(symbols.iter().collect::<HashSet<_>>().len() as u64),
            None => from.candles().and_then(CandleTable::symbols).map(|n| n as u64),
        };
        let observer = observer(control, total);
        let planned = async {
            let (frame, warnings) = match self.sweep.is_empty() {
                true => self.plan(session, from).await?,
                false => self.swept(session, from).await?,
            };
            Ok::<_, Error>((session.plan(frame).await?, warnings))
        };
        let late = || Error::invalid("the scan was ended before it was planned".to_string());
        let (plan, warnings) = patience.wait(0, planned).await.ok_or_else(late)??;
        let mut pass = Pass {
            name: from.name.clone(),
            table: from.table.clone(),
            symbols: self.symbols.clone(),
            total,
            reads: reads(&plan),
            plan: Arc::clone(&plan),
            swept: None,
            patience: Arc::clone(patience),
            cancelled: cancelled.clone(),
        };
        let mut schema = plan.schema();
        let mut batches = session.execute_with(plan, &|config| observer.extend(config))?.boxed();
        if self.sweep.is_empty() {
            batches = match patience.wait_while(|| pass.matches().0, batches.next()).await {
                Some(first) => stream::iter(first.transpose()?.map(Ok)).chain(batches).boxed(),
                None => stream::empty().boxed(),
            };
        } else {
            let all: Option<Result<Vec<RecordBatch>>> = patience.wait(0, batches.try_collect()).await;
            let given_up = all.is_none();
            let (rows, counts) = self.sweep.rows(&all.transpose()?.unwrap_or_default())?;
            pass.swept = Some(counts);
            schema = rows.schema();
            batches = if given_up { stream::empty().boxed() } else { stream::iter([Ok(rows)]).boxed() };
        }
        Ok(Begun { pass, schema, batches, warnings })
    }
}

/// Follows the symbols of a scan, and ends it early.
fn observer(control: &Control, total: Option<u64>) -> Observer {
    let progress = Arc::clone(&control.progress);
    let on_symbol = move |done: u64| {
        // Every tenth, for whoever follows without a terminal.
        if let Some(total) = total.filter(|total| done.is_multiple_of(total.div_ceil(10).max(1))) {
            tracing::debug!("{done} of {total} symbols");
        }
        progress(Progress::symbols(done, total));
    };
    Observer::new(on_symbol).stopped_by(control.cancel.clone())
}

/// All matches; none any more once the scan is given up.
fn matches(
    batches: BoxStream<'static, Result<RecordBatch>>,
    pass: Arc<Pass>,
    timer: Option<AbortOnDrop<()>>,
) -> BoxStream<'static, Result<RecordBatch>> {
    let next = |(mut batches, pass, timer): (BoxStream<'static, _>, Arc<Pass>, _)| async move {
        let batch = pass.patience.wait_while(|| pass.matches().0, batches.next()).await??;
        Some((batch, (batches, pass, timer)))
    };
    stream::unfold((batches, pass, timer), next).boxed()
}

/// Whether a plan has a source of rows.
fn reads(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    let is_empty = matches!(plan.name(), "EmptyExec" | "PlaceholderRowExec");
    if children.is_empty() { !is_empty } else { children.into_iter().any(reads) }
}
