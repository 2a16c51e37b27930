//! What a live run decides, without clocks, threads or chance: what happened goes in, what is to be done comes out.
//!
//! Everything around it is a thin shell: feeds, workers that compute, the journal, the lake. A simulation that stands in for all
//! of these (`sim/`) drives the same code through any order of events.

mod admission;
mod counters;
mod dead;
mod event;
mod flush;
mod instants;
mod planted;
mod progress;
mod queue;
mod retry;
mod series;
mod settings;

pub use counters::Counters;
pub use dead::DeadLetter;
pub use event::{Action, Bar, Batch, Candle, Event, Failure, Feed, Micros, Rejection, Sequence, Symbol, Work};
pub use instants::Gather;
pub use planted::Planted;
#[cfg(test)]
pub use planted::PlantedFault;
pub use settings::{Durable, Settings};

use admission::Admission;
use dead::DeadLetters;
use flush::Flush;
use instants::Instants;
use progress::Progress;
use queue::Queue;
use retry::QUERY;
use series::{Arrival, Series};
use std::collections::BTreeMap;

/// The state of a live run.
pub struct Core {
    settings: Settings,
    series: Vec<Series>,
    workers: Vec<Worker>,
    /// Where bars of one time are computed together, those that wait for others.
    instants: Option<Instants>,
    admission: Admission,
    progress: Progress,
    flush: Flush,
    dead: DeadLetters,
    counters: Counters,
    /// Batches that wait to be tried again, by when.
    waiting: BTreeMap<(Micros, Sequence), Batch>,
    /// Candles that wait or are being computed.
    pending: usize,
    next: Sequence,
    flushes: u64,
    /// Up to which candle the journal was written to and asked to be synced.
    appended: Sequence,
    sync_asked: Sequence,
    /// By when what is left has to be done, once nothing is accepted any more; and whether that is over.
    stopping: Option<Micros>,
    is_late: bool,
    finished: bool,
}

/// A worker: the symbols that wait for it, and whether it computes.
#[derive(Default)]
struct Worker {
    queue: Queue,
    is_busy: bool,
}

impl Core {
    /// A run that begins with nothing.
    pub fn new(settings: Settings) -> Core {
        let workers = (0..settings.workers.max(1)).map(|_| Worker::default()).collect();
        Core {
            admission: Admission::default(),
            series: vec![],
            instants: settings.gather.map(Instants::new),
            workers,
            progress: Progress::default(),
            flush: Flush::default(),
            dead: DeadLetters::default(),
            counters: Counters::default(),
            waiting: BTreeMap::new(),
            pending: 0,
            next: 1,
            flushes: 0,
            appended: 0,
            sync_asked: 0,
            stopping: None,
            is_late: false,
            finished: false,
            settings,
        }
    }

    /// Whether a fault was planted for the simulation to find.
    fn has(&self, fault: Planted) -> bool {
        self.settings.planted.has(fault)
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Candles that were accepted and have neither an answer yet nor are dead.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Since when the candle has waited that waits the longest.
    pub fn oldest(&self) -> Option<Micros> {
        self.series.iter().filter_map(|of| of.waiting.front()).map(|work| work.received).min()
    }

    /// Whether everything that was computed is in the lake.
    pub fn is_flushed(&self) -> bool {
        self.flush.is_clean()
    }

    /// Whether what is not in the lake is all being written.
    pub fn is_being_flushed(&self) -> bool {
        self.flush.is_running() && !self.flush.waits()
    }

    /// Rows and candles that are not in the lake.
    pub fn unflushed(&self) -> usize {
        self.flush.unflushed()
    }

    /// The rule that a bar breaks, if it breaks one.
    pub fn broken(&self, now: Micros, bar: &Bar) -> Option<&'static str> {
        self.settings.rules.broken(bar, now)
    }

    /// How many candles may wait.
    pub fn capacity(&self) -> usize {
        self.settings.capacity(self.series.len())
    }

    /// Candles that could not be computed, also those that are answered by now, until the answers are in the lake.
    pub fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dead.iter()
    }

    /// Tells what is known of a symbol from before: its newest bars, of which deliveries may be repeated.
    pub fn know(&mut self, symbol: Symbol, bars: &[Bar]) {
        let of = self.series_of(symbol);
        bars.iter().for_each(|bar| of.know(*bar));
        if let (Some(instants), Some(newest)) = (&mut self.instants, bars.last()) {
            instants.know(symbol, newest.ts);
        }
    }

    /// Dead letters that a run before this one left. One that was answered, and whose answer did not get into the lake, is tried
    /// again like a new one.
    pub fn bury(&mut self, now: Micros, letters: impl IntoIterator<Item = DeadLetter>) {
        for mut letter in letters {
            if letter.gone_with.take().is_some() {
                letter.attempts = 0;
            }
            self.dead.put(now, letter, &self.settings);
        }
    }

    /// Where the numbers of candles that this run accepts begin, behind those of a journal, and the number of the last flush.
    pub fn begin_at(&mut self, next: Sequence, flushes: u64) {
        (self.next, self.flushes) = (next, flushes);
        (self.appended, self.sync_asked) = (next - 1, next - 1);
    }

    /// Says that candles come in the order of their times.
    pub fn in_order(&mut self) {
        self.instants.iter_mut().for_each(Instants::in_order);
    }

    /// Takes note of an event and says what is to be done about it.
    pub fn step(&mut self, now: Micros, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Candle(candle) => self.arrived(now, candle, out),
            Event::Replayed { sequence, candle } => self.replayed(now, sequence, candle),
            Event::Turn => self.turn(now, out),
            Event::Synced { through } => self.progress.synced(through, out),
            Event::Computed { worker, batch, rows } => self.computed(now, worker, &batch, rows),
            Event::Failed { worker, batch, failure, jitter } => self.failed(now, worker, batch, failure, jitter),
            Event::Flushed { through } => self.flushed(through, out),
            Event::FlushFailed { jitter } => {
                self.counters.flush_failures += 1;
                self.flush.failed(now, jitter);
            }
            Event::Skipped { feed, offset } => {
                self.progress.skipped(feed, offset);
                self.flush.touch(now);
            }
            Event::Flush => self.flush.ask(),
            Event::Retry { symbol } => {
                self.dead.retry(now, symbol);
            }
            Event::Drop { symbol } => {
                if self.dead.forget(symbol) > 0 {
                    self.flush.touch(now);
                }
            }
            Event::Stop { deadline } => self.stopping = Some(self.stopping.unwrap_or(deadline)),
        }
    }

    /// When something is to be done even if nothing happens: a turn is due then.
    pub fn due(&self) -> Option<Micros> {
        let retry = self.waiting.keys().next().map(|(at, _)| *at);
        let flush = self.flush.due(&self.settings);
        let dead = self.dead.due().filter(|_| self.stopping.is_none());
        let deadline = self.stopping.filter(|_| !self.is_late);
        let gathered = self.instants.as_ref().and_then(Instants::due);
        [retry, flush, dead, deadline, gathered].into_iter().flatten().min().filter(|_| !self.finished)
    }

    fn series_of(&mut self, symbol: Symbol) -> &mut Series {
        let at = symbol.0 as usize;
        if self.series.len() <= at {
            self.series.resize_with(at + 1, Series::default);
        }
        &mut self.series[at]
    }

    fn arrived(&mut self, now: Micros, candle: Candle, out: &mut Vec<Action>) {
        self.counters.received += 1;
        if let Err(rejection) = self.admit(now, &candle) {
            self.counters.reject(&rejection);
            match (&rejection, candle.offset) {
                (Rejection::Invalid(_), Some(offset)) => {
                    self.progress.skipped(candle.feed, offset);
                    self.flush.touch(now);
                }
                (Rejection::Invalid(_), None) => {}
                _ => self.progress.refused(&candle),
            }
            out.push(Action::Rejected { candle, rejection });
            return;
        }
        let sequence = self.next;
        self.next += 1;
        let journaled = candle.offset.is_none() && self.settings.durable == Durable::Batch;
        if journaled {
            out.push(Action::Append { sequence, candle });
            self.appended = sequence;
        }
        let waits = journaled && !self.has(Planted::AcceptsBeforeSync);
        self.progress.accepted(sequence, &candle, waits, out);
        self.counters.accepted += 1;
        self.enqueue(now, sequence, candle, out);
    }

    /// A candle of the journal, that was accepted before the run was stopped.
    fn replayed(&mut self, now: Micros, sequence: Sequence, candle: Candle) {
        self.counters.received += 1;
        self.counters.accepted += 1;
        self.next = self.next.max(sequence + 1);
        (self.appended, self.sync_asked) = (self.next - 1, self.next - 1);
        self.progress.replayed(sequence);
        self.enqueue(now, sequence, candle, &mut vec![]);
    }

    fn admit(&mut self, now: Micros, candle: &Candle) -> Result<(), Rejection> {
        if self.stopping.is_some() {
            return Err(Rejection::ShuttingDown);
        }
        if let Some(rule) = self.settings.rules.broken(&candle.bar, now) {
            return Err(Rejection::Invalid(rule));
        }
        if self.flush.unflushed() >= self.settings.most_unflushed {
            return Err(Rejection::StoreBehind);
        }
        let capacity = self.capacity();
        self.admission.admit(self.pending, capacity, candle.priority, self.has(Planted::HysteresisInverted))
    }

    fn enqueue(&mut self, now: Micros, sequence: Sequence, candle: Candle, out: &mut Vec<Action>) {
        let step = self.settings.step;
        match self.series_of(candle.symbol).arrival(&candle.bar, step) {
            Arrival::Duplicate => {
                self.counters.duplicates += 1;
                self.progress.done(sequence);
                return;
            }
            Arrival::New { hole } => {
                if let Some((from, until)) = hole {
                    self.counters.holes += 1;
                    out.push(Action::Hole { symbol: candle.symbol, from, until });
                }
            }
            Arrival::Restated if self.has(Planted::CorrectionIsDuplicate) => {
                self.counters.duplicates += 1;
                self.progress.done(sequence);
                return;
            }
            Arrival::Restated => self.counters.restated += 1,
            Arrival::Late => self.counters.late += 1,
        }
        if self.has(Planted::LateIsDone) && self.counters.late > 0 && self.counters.late.is_multiple_of(2) {
            self.counters.late += 1;
            self.counters.duplicates += 1;
            self.progress.done(sequence);
            return;
        }
        self.dead.replaced(&candle);
        self.pending += 1;
        self.wait(now, Work { sequence, candle, received: now, tries: 0, is_partial: false });
    }

    /// Lets work wait for that of other symbols, where they are compared, and then for a worker.
    fn wait(&mut self, now: Micros, work: Work) {
        let ready = match &mut self.instants {
            Some(instants) => instants.hold(now, work),
            None => Some(work),
        };
        ready.into_iter().for_each(|work| self.queue(now, work));
    }

    /// Puts work into the queue of its symbol.
    fn queue(&mut self, now: Micros, work: Work) {
        let (symbol, priority) = (work.candle.symbol, work.candle.priority);
        let ignores = self.has(Planted::ComputesSymbolTwice);
        let worker = if ignores { work.sequence as usize % self.workers.len() } else { self.worker_of(symbol) };
        let of = self.series_of(symbol);
        of.waiting.push_back(work);
        if !of.is_computed || ignores {
            self.workers[worker].queue.put(symbol, now, priority);
        }
    }

    fn worker_of(&self, symbol: Symbol) -> usize {
        symbol.0 as usize % self.workers.len()
    }

    fn turn(&mut self, now: Micros, out: &mut Vec<Action>) {
        self.is_late = self.stopping.is_some_and(|deadline| deadline <= now);
        if self.appended > self.sync_asked {
            self.sync_asked = self.appended;
            out.push(Action::Sync { through: self.appended });
        }
        self.retry_dead(now);
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let batch = entry.remove();
            self.put_back(now, batch);
        }
        let is_last = self.stopping.is_some();
        while let Some(works) = self.instants.as_mut().and_then(|instants| instants.release(now, is_last)) {
            works.into_iter().for_each(|work| self.queue(now, work));
        }
        for worker in 0..self.workers.len() {
            self.dispatch(worker, out);
        }
        self.flush_if_due(now, out);
        self.finish_if_done(out);
    }

    /// Work that is to be tried again, before what came after it.
    fn put_back(&mut self, now: Micros, batch: Batch) {
        let mut symbols = BTreeMap::new();
        let behind = self.has(Planted::RetriesBehind);
        for work in batch.into_iter().rev() {
            let (symbol, priority) = (work.candle.symbol, work.candle.priority);
            let of = self.series_of(symbol);
            if behind {
                of.waiting.push_back(work)
            } else {
                of.waiting.push_front(work)
            }
            of.is_computed = false;
            symbols.insert(symbol, priority);
        }
        for (symbol, priority) in symbols {
            let worker = self.worker_of(symbol);
            self.workers[worker].queue.put(symbol, now, priority);
        }
    }

    /// Gives a worker that is free all there is, up to the size of a batch.
    fn dispatch(&mut self, worker: usize, out: &mut Vec<Action>) {
        if self.workers[worker].is_busy {
            return;
        }
        let mut batch: Batch = vec![];
        while batch.len() < self.settings.batch {
            let Some(symbol) = self.workers[worker].queue.first() else { break };
            let of = &mut self.series[symbol.0 as usize];
            // Work that failed is tried alone, so that it takes nothing down with it.
            let is_suspect = |work: &Work| work.tries >= QUERY.tries;
            if of.waiting.front().is_some_and(is_suspect) {
                if !batch.is_empty() {
                    break;
                }
                batch.extend(of.waiting.pop_front());
                of.is_computed = true;
                self.workers[worker].queue.take(symbol);
                break;
            }
            let room = self.settings.batch - batch.len();
            let clean = of.waiting.iter().take(room).take_while(|work| !is_suspect(work)).count();
            batch.extend(of.waiting.drain(..clean));
            of.is_computed = true;
            self.workers[worker].queue.take(symbol);
        }
        if !batch.is_empty() {
            self.workers[worker].is_busy = true;
            self.counters.batches += 1;
            out.push(Action::Compute { worker, batch });
        }
    }

    fn computed(&mut self, now: Micros, worker: usize, batch: &[Work], rows: usize) {
        self.workers[worker].is_busy = false;
        for work in batch {
            self.progress.done(work.sequence);
            self.counters.answered += 1;
            self.dead.answered(&work.candle);
        }
        self.pending -= batch.len();
        self.flush.add(now, rows, batch.len());
        self.release(now, batch);
    }

    /// Symbols of a batch that is over may be computed again.
    fn release(&mut self, now: Micros, batch: &[Work]) {
        let mut symbols: Vec<Symbol> = batch.iter().map(|work| work.candle.symbol).collect();
        symbols.sort_unstable();
        symbols.dedup();
        for symbol in symbols {
            let worker = self.worker_of(symbol);
            let of = self.series_of(symbol);
            of.is_computed = false;
            if let Some(priority) = of.waiting.iter().map(|work| work.candle.priority).max() {
                self.workers[worker].queue.put(symbol, now, priority);
            }
        }
    }

    fn failed(&mut self, now: Micros, worker: usize, mut batch: Batch, failure: Failure, jitter: u32) {
        self.workers[worker].is_busy = false;
        self.counters.failures += 1;
        let tries = batch.iter().map(|work| work.tries).max().unwrap_or_default() + 1;
        if failure.is_transient && tries < QUERY.tries {
            batch.iter_mut().for_each(|work| work.tries = tries);
            self.counters.retries += 1;
            let first = batch.first().map_or(0, |work| work.sequence);
            self.waiting.insert((now + QUERY.delay(tries, jitter), first), batch);
            return;
        }
        if batch.len() > 1 {
            // One of them is the reason: from now on each is tried alone.
            batch.iter_mut().for_each(|work| work.tries = QUERY.tries);
            self.put_back(now, batch);
            return;
        }
        self.pending -= batch.len();
        for work in &batch {
            self.progress.done(work.sequence);
            self.counters.dead += 1;
            self.counters.dead_dropped += self.dead.add(now, work, &failure.message, &self.settings) as u64;
            let of = self.series_of(work.candle.symbol);
            of.forget(&work.candle.bar);
            if of.waiting.iter().any(|newer| newer.candle.bar.ts == work.candle.bar.ts) {
                self.dead.replaced(&work.candle);
            }
        }
        self.flush.touch(now);
        self.release(now, &batch);
    }

    /// Dead letters whose time has come are candles again.
    fn retry_dead(&mut self, now: Micros) {
        if self.stopping.is_some() {
            return;
        }
        for candle in self.dead.take(now) {
            if self.has(Planted::ForgetsWhatIsRetried) {
                self.dead.remove(&candle);
            }
            let sequence = self.next;
            self.next += 1;
            self.counters.revived += 1;
            self.progress.revived(sequence);
            self.pending += 1;
            self.wait(now, Work { sequence, candle, received: now, tries: 0, is_partial: false });
        }
    }

    fn flush_if_due(&mut self, now: Micros, out: &mut Vec<Action>) {
        let is_last = self.stopping.is_some() && (self.pending == 0 || self.is_late);
        if self.flush.begin(now, is_last, &self.settings) {
            let ignores = self.has(Planted::PositionIgnoresOpen);
            let through = if ignores { self.next - 1 } else { self.progress.position(self.next - 1) };
            let offsets = self.progress.offsets(self.has(Planted::OffsetsIgnoreOpen));
            self.flushes += 1;
            self.dead.flushing(self.flushes);
            out.push(Action::Flush { flush: self.flushes, through, offsets });
            if self.has(Planted::TruncatesBeforeCommit) {
                out.push(Action::Truncate { through });
            }
            if self.has(Planted::AcknowledgesBeforeCommit) {
                self.acknowledge(out);
            }
        }
    }

    fn flushed(&mut self, through: Sequence, out: &mut Vec<Action>) {
        self.counters.flushes += 1;
        self.flush.done();
        self.dead.flushed();
        self.acknowledge(out);
        out.push(Action::Truncate { through });
    }

    fn acknowledge(&mut self, out: &mut Vec<Action>) {
        out.extend(self.progress.flushed().into_iter().map(|(feed, offset)| Action::Ack { feed, offset }));
    }

    fn finish_if_done(&mut self, out: &mut Vec<Action>) {
        if self.stopping.is_none() || self.finished {
            return;
        }
        let is_drained = self.flush.is_clean() && (self.pending == 0 || self.has(Planted::StopsAtOnce));
        if is_drained || self.is_late && !self.flush.is_running() {
            self.finished = true;
            out.push(Action::Finished { pending: self.pending, unflushed: self.flush.unflushed() });
        }
    }
}
