//! Runs that compute everything in steps: some symbols at a time, each step a commit, so that a run that was stopped goes on
//! where it was.

use super::pipeline::{Done, Pipeline, Prepared, Run};
use super::work::{Extent, Work};
use crate::Session;
use crate::control::{Control, Progress, Unit};
use crate::outcome::Skipped;
use chrono::Utc;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Code, Error, Ranges, Result, Times};
use tallow_lake::properties::UNFINISHED;
use tallow_lake::{Effort, PipelineError, Replaced, Replacement, ResultKind};

/// So many symbols may fail for reasons of their own; beyond that, something is wrong with all.
const MOST_FAILURES: usize = 32;

/// How far a run has come that computes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Unfinished {
    /// The last symbol that is done.
    through: String,
    /// The versions of the sources when it began: what changed since will have to be looked at again.
    sources: BTreeMap<String, u64>,
}

/// A run that computes everything, so many symbols at a time.
pub(super) struct Backfill<'a> {
    pub pipeline: &'a Pipeline,
    pub session: &'a Session,
    pub prepared: &'a Prepared,
    pub work: Work,
    pub open_from: i64,
    /// About how many bars of each symbol are read; known once the run has begun.
    pub bars_of_symbol: u64,
}

impl Backfill<'_> {
    /// Computes all that is not done yet. A symbol that cannot be computed does not stop the others.
    pub async fn run(mut self, symbols_a_step: usize, control: &Control) -> Result<Run> {
        let all = self.symbols().await?;
        let unfinished = self.unfinished().await?;
        let mut is_first = unfinished.is_none();
        let mut state = unfinished.unwrap_or_else(|| Unfinished {
            through: String::new(),
            sources: self.work.sources.iter().map(|source| (source.table.clone(), source.to)).collect(),
        });
        for source in &mut self.work.sources {
            // What came after the run began is looked at by the next one.
            source.to = state.sources.get(&source.table).copied().unwrap_or(source.to);
        }
        let waiting: Vec<String> = all.iter().filter(|s| is_first || **s > state.through).cloned().collect();
        let (total, mut rows, mut last, mut failed) = (all.len() as u64, 0, None, vec![]);
        self.bars_of_symbol = self.work.bars() / total.max(1);
        let mut done = total - waiting.len() as u64;
        let steps = waiting.len().div_ceil(symbols_a_step.max(1));
        for (step, symbols) in waiting.chunks(symbols_a_step.max(1)).enumerate() {
            state.through = symbols.last().cloned().unwrap_or_default();
            let mark = if step + 1 == steps { None } else { Some(&state) };
            let computed = self.step(symbols.to_vec(), is_first, mark, &mut failed, control).await;
            let written = computed.map_err(|error| with_progress(error, done, total))?;
            if let Replaced::Written(written) = written {
                (rows, last, is_first) = (rows + written.rows, Some(written.version), false);
            }
            done += symbols.len() as u64;
            (control.progress)(Progress { unit: Unit::Symbols, done, total: Some(total), rows });
        }
        self.record(&failed).await?;
        let done = last.map_or(Done::Nothing, |version| Done::Written { rows, version });
        Ok(Run { work: self.work, done, failed })
    }

    /// Writes the rows of some symbols, without those that cannot be computed.
    async fn step(
        &self,
        symbols: Vec<String>,
        is_first: bool,
        unfinished: Option<&Unfinished>,
        failed: &mut Vec<Skipped>,
        control: &Control,
    ) -> Result<Replaced> {
        let clock = self.session.engine().clock()?;
        match control.limit(&clock, self.write(&symbols, is_first, unfinished)).await {
            Err(error) if may_be_of_a_symbol(&error) => {}
            done => return done,
        }
        let faulty = control.limit(&clock, self.faulty(&symbols)).await?;
        let rest: Vec<String> =
            symbols.into_iter().filter(|symbol| !faulty.iter().any(|f| f.symbol == *symbol)).collect();
        failed.extend(faulty);
        control.limit(&clock, self.write(&rest, is_first, unfinished)).await
    }

    async fn write(&self, symbols: &[String], is_first: bool, unfinished: Option<&Unfinished>) -> Result<Replaced> {
        let effort = Effort::begin(self.bars_of_symbol * symbols.len() as u64);
        let (rows, ranges) = self.computed(symbols).await?;
        let mut properties = self.prepared.properties.clone();
        properties.insert(UNFINISHED.to_string(), unfinished.map(written).transpose()?.unwrap_or_default());
        let replacement = Replacement {
            rows,
            // The first step leaves nothing of what was there.
            ranges: if is_first { Arc::new(Ranges::all()) } else { ranges },
            kind: self.pipeline.kind().unwrap_or(ResultKind::Results),
            properties,
            // What it is made from is true of the table when all of it is there.
            sources: if unfinished.is_some() { vec![] } else { self.pipeline.transactions(&self.work) },
            whole_symbols: true,
            open_from: self.open_from,
            once: false,
            effort,
            progress: Box::new(|_| {}),
        };
        let table = self.pipeline.table()?;
        self.session.on_lake(move |lake| async move { lake.replace(&table, replacement).await }).await
    }

    /// The rows of some symbols, and where they lie.
    async fn computed(&self, symbols: &[String]) -> Result<(Arc<dyn ExecutionPlan>, Arc<Ranges>)> {
        let mut ranges = Ranges::default();
        symbols.iter().for_each(|symbol| ranges.add(symbol, &Times::all()));
        let ranges = Arc::new(ranges);
        let needed = self.work.sources.iter().map(|source| (source.table.clone(), Arc::clone(&ranges))).collect();
        let extent = Extent::Ranges { affected: Arc::clone(&ranges), needed, whole_history: vec![] };
        let of_symbols = Work { extent, ..self.work.clone() };
        let rows = self
            .session
            .physical(&of_symbols.restrict(self.prepared.plan.clone(), self.pipeline.definition.is_ordered())?)
            .await?;
        Ok((rows, ranges))
    }

    /// Those of some symbols that cannot be computed, found by computing ever fewer of them at a time.
    async fn faulty(&self, symbols: &[String]) -> Result<Vec<Skipped>> {
        let (mut waiting, mut faulty) = (vec![symbols], vec![]);
        while let Some(part) = waiting.pop() {
            let error = match self.computed(part).await {
                Ok((rows, _)) => {
                    let rows = self.session.execute(rows)?;
                    match rows.try_for_each(|_| async { Ok(()) }).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            match part {
                _ if !may_be_of_a_symbol(&error) || faulty.len() >= MOST_FAILURES => return Err(error),
                [symbol] => faulty.push(Skipped { symbol: symbol.clone(), reason: error.to_string() }),
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    waiting.extend([second, first]);
                }
            }
        }
        Ok(faulty)
    }

    /// All symbols of the sources, in order.
    async fn symbols(&self) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for source in &self.work.sources {
            let table = source.table.clone();
            let of_table = self.session.on_lake(move |lake| async move { lake.symbols(&table).await }).await?;
            all.extend(of_table.iter().flat_map(|symbols| symbols.iter().cloned()));
        }
        Ok(all)
    }

    /// How far an earlier run of the same definition has come.
    async fn unfinished(&self) -> Result<Option<Unfinished>> {
        let known = self.pipeline.known(self.session).await?;
        if !self.prepared.is_unfinished(&known) {
            return Ok(None);
        }
        Ok(known.get(UNFINISHED).and_then(|text| serde_json::from_str(text).ok()))
    }

    /// Keeps what went wrong, in the place of what went wrong before.
    async fn record(&self, failed: &[Skipped]) -> Result<()> {
        let (pipeline, time) = (self.pipeline.name.clone(), Utc::now().timestamp_micros());
        let error = |Skipped { symbol, reason }: &Skipped| PipelineError {
            pipeline: self.pipeline.name.clone(),
            symbol: symbol.clone(),
            error: reason.clone(),
            time,
        };
        let failed: Vec<PipelineError> = failed.iter().map(error).collect();
        let replace = move |all: &mut Vec<PipelineError>| {
            all.retain(|error| error.pipeline != pipeline);
            all.extend(failed.iter().cloned());
            Ok(())
        };
        self.session.on_lake(|lake| async move { lake.change_records("PIPELINE", replace).await }).await
    }
}

fn written(state: &Unfinished) -> Result<String> {
    serde_json::to_string(state).map_err(|error| Error::invalid(error.to_string()))
}

/// Whether something may be wrong with a symbol, and not with the request or the machine.
fn may_be_of_a_symbol(error: &Error) -> bool {
    !matches!(error.code(), Code::Cancelled | Code::Timeout | Code::Resources | Code::Conflict | Code::Unavailable)
}

fn with_progress(error: Error, done: u64, total: u64) -> Error {
    match error.code() {
        Code::Cancelled | Code::Timeout if done > 0 => {
            let said = format!("{error}: {done} of {total} symbols are done; the same run goes on from there");
            Error::known(error.code(), said)
        }
        _ => error,
    }
}
