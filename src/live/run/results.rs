//! What becomes of batches: their results are handed on at once, and written to the lake later.

use super::{Running, now};
use crate::answers::Results;
use crate::core::{Event, Failure, Sequence, Symbol, Work};
use crate::store::{Flushing, write};
use crate::warm::{Wanted, read};
use crate::worker::{Answers, Computed, Worker};
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::{Code, Error, Result};

impl Running {
    pub(super) async fn computed(
        &mut self,
        at: usize,
        mut worker: Worker,
        batch: Vec<Work>,
        computed: Computed,
    ) -> Result<()> {
        // Of a table that is replayed, and of one that candles are written into, the bars that came can be read again.
        let options = &self.live.options;
        if let Computed::TooOld(symbols) = &computed
            && (options.keeps_candles || options.known_until.is_some())
        {
            let (names, others) = (self.live.symbols.names().clone(), self.live.others.clone());
            let again = match self.rebuild(&mut worker, symbols).await {
                Ok(()) => worker.compute(&batch, &names, &others).await,
                Err(error) => {
                    let message = format!("bars of the lake cannot be read: {error}");
                    Computed::Failed(Failure { is_transient: true, message })
                }
            };
            return self.settled(at, worker, batch, again);
        }
        self.settled(at, worker, batch, computed)
    }

    /// Reads all bars of some symbols, for a change from a time on.
    async fn rebuild(&mut self, worker: &mut Worker, symbols: &[(Symbol, i64)]) -> Result<()> {
        self.watch.rebuilt(now(), symbols.len());
        let (live, names) = (&self.live, self.live.symbols.names());
        for (symbol, from) in symbols {
            let mut bars = BTreeMap::new();
            // Of a table that is replayed, the bars that came are those up to the newest.
            let until = worker.newest(*symbol).map(|newest| newest + 1);
            let wanted = Wanted { until, kept: usize::MAX, symbol: Some(names.of(*symbol)) };
            let mut reading = read(&live.session, &live.plan.table, wanted).await?;
            while let Some(of) = reading.next().await? {
                bars.extend(of.bars.into_iter().map(|bar| (bar.ts, bar)));
            }
            let flushing = self.flushing.iter().flat_map(|(flushing, _)| flushing.rows.bars_of(*symbol));
            bars.extend(flushing.chain(self.unflushed.bars_of(*symbol)).map(|bar| (bar.ts, bar)));
            let bars: Vec<_> = bars.into_values().collect();
            worker.rebuild(*symbol, &bars, *from, names)?;
        }
        Ok(())
    }

    fn settled(&mut self, at: usize, worker: Worker, batch: Vec<Work>, computed: Computed) -> Result<()> {
        self.live.workers[at] = Some(worker);
        let jitter = (now() as u32).wrapping_mul(2_654_435_761);
        match computed {
            Computed::Answers(answers) => {
                let rows = answers.rows.num_rows();
                if rows > 0 {
                    self.hand_on(&answers).map_err(|error| Error::File("results".to_string(), error))?;
                }
                self.rows += rows as u64;
                self.watch.answered(now(), &batch);
                self.unflushed_since.get_or_insert_with(now);
                if self.live.target.results.is_some() {
                    self.unflushed.add_answers(Answers { lines: None, ..answers });
                }
                if self.live.target.candles.is_some() {
                    self.unflushed.add_candles(batch.iter().map(|work| &work.candle));
                }
                self.step(Event::Computed { worker: at, batch, rows })
            }
            Computed::Failed(failure) => {
                tracing::warn!("a batch of {} candles failed: {}", batch.len(), failure.message);
                self.watch.failed(now(), &batch);
                self.step(Event::Failed { worker: at, batch, failure, jitter })
            }
            Computed::TooOld(_) => {
                let message =
                    "it is older than the bars that are kept, and those before it are not in the lake".to_string();
                self.watch.failed(now(), &batch);
                let failure = Failure { is_transient: false, message };
                self.step(Event::Failed { worker: at, batch, failure, jitter })
            }
        }
    }

    /// Hands results on; of all symbols together, those apart of which bars may be missing.
    fn hand_on(&mut self, answers: &Answers) -> std::io::Result<()> {
        let Answers { rows, revisions, partial, .. } = answers;
        if !partial.contains(&true) {
            let lines = answers.lines.as_deref();
            return self.answers.take(Results { rows, revisions: Some(revisions), complete: true, lines });
        }
        for complete in [true, false] {
            let keep: Vec<bool> = partial.iter().map(|is_partial| *is_partial != complete).collect();
            let revisions = revisions.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(revision, _)| *revision);
            let revisions: Vec<u32> = revisions.collect();
            let rows = filter_record_batch(rows, &BooleanArray::from(keep)).map_err(std::io::Error::other)?;
            if rows.num_rows() > 0 {
                self.answers.take(Results { rows: &rows, revisions: Some(&revisions), complete, lines: None })?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, flush: u64, through: Sequence, positions: Vec<(String, u64)>) -> Result<()> {
        let flushing = Arc::new(Flushing {
            rows: std::mem::take(&mut self.unflushed),
            names: self.live.symbols.names().clone(),
            dead_letters: self.live.core.dead_letters().cloned().collect(),
            flush,
            through,
            positions,
        });
        let since = self.unflushed_since.take();
        self.wait_for_running.append(&mut self.wait_for_flush);
        let (session, target, of_task) =
            (Arc::clone(&self.live.session), self.live.target.clone(), Arc::clone(&flushing));
        let task = self.live.session.engine().spawn(async move { write(&session, &target, &of_task).await })?;
        self.flushing = Some((flushing, task));
        self.flushing_since = since;
        Ok(())
    }

    pub(super) fn flushed(&mut self, flushing: Arc<Flushing>, written: Option<Result<()>>) -> Result<()> {
        let (Some(flushing), Some(written)) = (Arc::into_inner(flushing), written) else {
            return Err(Error::invalid(
                "writing to the lake stopped at a bug: what is not in the lake is in the journal",
            ));
        };
        match written {
            Ok(()) => {
                self.flushing_since = None;
                for to in self.wait_for_running.drain(..) {
                    // Who does not wait any more need not be told.
                    let _ = to.send(());
                }
                self.step(Event::Flushed { through: flushing.through })
            }
            Err(error) if matches!(error, Error::Known { code: Code::Conflict, .. }) => Err(error),
            Err(error) => {
                tracing::warn!("results are not written yet: {error}");
                self.wait_for_flush.append(&mut self.wait_for_running);
                self.unflushed_since = self.flushing_since.take().or(self.unflushed_since);
                self.unflushed.put_back(flushing.rows);
                self.step(Event::FlushFailed { jitter: (now() as u32).wrapping_mul(2_654_435_761) })
            }
        }
    }
}
