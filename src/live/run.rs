//! A live run: the shell around the decisions of [`Core`](crate::core::Core).

use crate::answers::Answers as Sink;
use crate::core::{
    Action, Candle, Core, Counters, Durable, Event, Failure, Feed, Micros, Rejection, Sequence, Settings, Symbol, Work,
};
use crate::feeds::{FeedUrl, FromFeed, Numbers, Of, Raw, Replies, Unreadable, start};
use crate::journal::Journal;
use crate::others::Kept;
use crate::plan::LivePlan;
use crate::series::Series;
use crate::store::{Flushing, Target, Unflushed, read_letters, write};
use crate::warm::newest;
use crate::worker::{Computed, Worker};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tallow_common::{Error, Result};
use tallow_lake::properties::ORIGIN;
use tallow_pipeline::Session;
use tallow_pipeline::incremental::Pipeline;
use tallow_udfs::calendar::{Grid, Origin, Timeframe};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Messages of feeds that wait; each holds many candles.
const MESSAGES: usize = 16;
/// No more is taken from feeds once so large a part of what may wait does: they are held up, not refused.
const HELD_UP: f64 = 0.7;
/// A batch of so few candles is computed where it is: to hand it to another thread would take as long.
const SMALL: usize = 16;
/// How often the lake is asked for newer bars of other lengths.
const LOOK: Duration = Duration::from_secs(30);
/// Lines that are no candles are told of one by one up to so many.
const TOLD: u64 = 20;

/// How a live run is done.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// The length of the bars that are fed, where the text reads bars of several lengths.
    pub timeframe: Option<Timeframe>,
    /// Where journal and dead letters are kept, a folder for each run.
    pub folder: PathBuf,
    /// Whether results are kept in the lake.
    pub keeps_results: bool,
    /// Whether candles are: a feed that replays a table need not be.
    pub keeps_candles: bool,
    /// Bars of the lake before this time are known at the start; by default all.
    pub known_until: Option<i64>,
    /// Whether symbols that the lake does not have are taken.
    pub new_symbols: bool,
    /// How long the run goes on once it is stopped, to do what it has accepted.
    pub drain: Duration,
    /// Sizes and times.
    pub settings: Settings,
}

/// What a live run did.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What was counted.
    pub counters: Counters,
    /// What of the text had no meaning.
    pub notes: Vec<String>,
    /// Lines of feeds that were no candles.
    pub unreadable: u64,
    /// Rows that were emitted.
    pub rows: u64,
    /// Candles that were accepted and not computed, and rows that are not in the lake: a later run does that.
    pub left: (usize, usize),
    /// Candles that could not be computed.
    pub dead_letters: usize,
}

/// A live run that can begin.
pub struct Live {
    session: Arc<Session>,
    plan: LivePlan,
    target: Target,
    options: LiveOptions,
    core: Core,
    journal: Option<Journal>,
    workers: Vec<Option<Worker>>,
    symbols: HashMap<String, Symbol>,
    names: Arc<HashMap<Symbol, Arc<str>>>,
    grid: Option<Grid>,
    /// Bars of other lengths.
    others: Vec<Arc<Kept>>,
    /// Candles of the journal that the lake does not have.
    replayed: Vec<(Sequence, Candle)>,
}

/// The time.
pub(crate) fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Candles that a run before this one left.
const JOURNAL: Feed = Feed(0);

impl Live {
    /// Prepares a run: plans it, takes its journal, and reads the bars that it needs from the lake.
    ///
    /// # Errors
    /// What is computed cannot run live; another run of the same name is there; or the lake cannot be read.
    pub async fn open(session: Arc<Session>, pipeline: &Pipeline, options: LiveOptions) -> Result<Live> {
        let plan = LivePlan::of(&session, pipeline.logical(&session).await?, options.timeframe).await?;
        let folder = options.folder.join(&pipeline.name);
        let origin = origin_of(&session, &plan.table).await?;
        let grid = origin.parse::<Origin>().ok().map(|origin| Grid::new(plan.timeframe, origin));
        let results = match options.keeps_results {
            true => Some(pipeline.result_table(&session).await?),
            false => None,
        };
        let target = Target {
            name: pipeline.name.clone(),
            results,
            candles: options.keeps_candles.then_some((plan.timeframe, origin)),
            dead_letters: folder.join("dead_letters.ndjson"),
        };
        let mut settings = options.settings.clone();
        settings.step = plan.timeframe.fixed_length().filter(|_| plan.timeframe < Timeframe::Day);
        if !options.keeps_candles {
            settings.durable = Durable::None;
        }
        let (journal, entries) = match settings.durable {
            Durable::Batch => {
                let (journal, entries) = Journal::open(&folder)?;
                (Some(journal), entries)
            }
            Durable::None => (None, vec![]),
        };
        let (through, flushed) = reached(&session, &target, &plan.table).await?;
        let workers = settings.workers;
        let mut live = Live {
            core: Core::new(settings),
            session,
            plan,
            target,
            options,
            journal,
            workers: vec![],
            symbols: HashMap::new(),
            names: Arc::default(),
            grid,
            others: vec![],
            replayed: vec![],
        };
        for _ in 0..workers {
            live.workers.push(Some(live.worker().await?));
        }
        live.warm_up().await?;
        for other in &live.plan.others {
            live.others.push(Arc::new(Kept::read(&live.session, other).await?));
        }
        let last = entries.last().map_or(0, |entry| entry.sequence).max(through);
        live.core.begin_at(last + 1, flushed);
        let path = live.target.dead_letters.clone();
        let letters = read_letters(&path, JOURNAL, flushed, |name| live.number(name))?;
        live.core.bury(now(), letters);
        for entry in entries.iter().filter(|entry| entry.sequence > through) {
            let symbol = live.number(&entry.symbol);
            live.replayed.push((entry.sequence, entry.candle(JOURNAL, symbol)));
        }
        Ok(live)
    }

    /// What of the text has no meaning in a live run.
    pub fn notes(&self) -> &[String] {
        &self.plan.notes
    }

    /// The table whose bars are fed.
    pub fn table(&self) -> &str {
        &self.plan.table
    }

    /// How many symbols are known, and how many bars of each are kept; `None`: all.
    pub fn known(&self) -> (usize, Option<usize>) {
        (self.symbols.len(), self.plan.looks.back.map(|_| self.plan.looks.kept()))
    }

    /// The newest bar that is known of each symbol.
    fn newest(&self) -> HashMap<String, i64> {
        let of = |(name, symbol): (&String, &Symbol)| {
            let worker = self.workers.get(symbol.0 as usize % self.workers.len())?.as_ref()?;
            Some((name.clone(), *worker.series.get(symbol)?.times.last()?))
        };
        self.symbols.iter().filter_map(of).collect()
    }

    async fn worker(&self) -> Result<Worker> {
        let copied = self.plan.copy(&self.session).await?;
        Ok(Worker {
            looks: self.plan.looks,
            series: HashMap::new(),
            copied,
            candles: Arc::clone(&self.plan.candles),
            context: self.session.context().task_ctx(),
            emitted: HashMap::new(),
            revisions: HashMap::new(),
        })
    }

    async fn warm_up(&mut self) -> Result<()> {
        let kept = self.plan.looks.kept();
        let known = newest(&self.session, &self.plan.table, self.options.known_until, kept, None).await?;
        for of in known {
            let symbol = self.number(&of.symbol);
            let newest: Vec<_> = of.bars.iter().rev().take(64).rev().copied().collect();
            self.core.know(symbol, &newest);
            let mut series = Series { is_cut: of.is_cut, ..Series::default() };
            for bar in &of.bars {
                series.put(bar);
            }
            let ahead = self.plan.looks.ahead;
            let settled = series.times.len().checked_sub(ahead + 1).map(|last| series.times[last]);
            let at = symbol.0 as usize % self.workers.len();
            if let Some(worker) = self.workers[at].as_mut() {
                worker.emitted.insert(symbol, settled.unwrap_or(i64::MIN));
                worker.series.insert(symbol, series);
            }
        }
        Ok(())
    }

    /// The number of a symbol, which gets one if it has none.
    fn number(&mut self, name: &str) -> Symbol {
        if let Some(known) = self.symbols.get(name) {
            return *known;
        }
        let symbol = Symbol(u32::try_from(self.symbols.len()).unwrap_or(u32::MAX));
        self.symbols.insert(name.to_string(), symbol);
        Arc::make_mut(&mut self.names).insert(symbol, name.into());
        symbol
    }

    /// Runs until all feeds have ended, or until it is stopped, and then until what was accepted is done.
    ///
    /// # Errors
    /// A feed cannot be opened, the journal not written, or results not be handed on.
    pub async fn run(self, feeds: &[FeedUrl], answers: Box<dyn Sink>, stop: CancellationToken) -> Result<Summary> {
        let session = Arc::clone(&self.session);
        let (into, from) = channel(MESSAGES);
        let (numbers, ended) = (Arc::new(Numbers::default()), CancellationToken::new());
        let mut open = vec![];
        let of = Of { session: &session, timeframe: self.plan.timeframe, known: self.newest() };
        for url in feeds {
            open.push(start(url, &of, &numbers, into.clone(), ended.clone())?);
        }
        drop(into);
        let running = Running {
            live: self,
            from,
            open,
            answers,
            replies: Replies::default(),
            unflushed: Unflushed::default(),
            computing: FuturesUnordered::new(),
            flushing: None,
            looking: None,
            looked: tokio::time::Instant::now(),
            here: None,
            waiting: VecDeque::new(),
            line: 0,
            accepted: HashMap::new(),
            unreadable: 0,
            rows: 0,
            left: None,
        };
        let done = session.engine().run(running.run(stop)).await?;
        ended.cancel();
        done
    }
}

async fn origin_of(session: &Session, table: &str) -> Result<String> {
    let name = table.to_string();
    let table = session.on_lake(move |lake| async move { lake.candle_table(&name).await }).await?;
    Ok(table.and_then(|table| table.property(ORIGIN).map(str::to_string)).unwrap_or_else(|| "utc".to_string()))
}

/// Up to which candle, and up to which flush, the lake has what a run of this name made.
async fn reached(session: &Session, target: &Target, table: &str) -> Result<(Sequence, u64)> {
    let (table, applications) = (table.to_string(), target.applications().to_vec());
    let reached = session.on_lake(move |lake| async move { lake.reached(&table, None, applications).await }).await?;
    let of = |at: usize| reached.get(at).copied().flatten().unwrap_or_default();
    Ok((of(0), of(1)))
}

/// A worker is back from a batch.
struct Done {
    at: usize,
    worker: Worker,
    batch: Vec<Work>,
    computed: Computed,
}

/// A run in its course.
struct Running {
    live: Live,
    from: Receiver<FromFeed>,
    open: Vec<Feed>,
    answers: Box<dyn Sink>,
    replies: Replies,
    unflushed: Unflushed,
    computing: FuturesUnordered<JoinHandle<Done>>,
    flushing: Option<JoinHandle<(Flushing, Result<()>)>>,
    /// Bars of other lengths that are being looked for in the lake.
    looking: Option<JoinHandle<Result<Vec<Arc<Kept>>>>>,
    looked: tokio::time::Instant,
    /// A small batch that is computed next, on this thread.
    here: Option<(usize, Vec<Work>)>,
    /// Lines of feeds that are held up.
    waiting: VecDeque<(Feed, Result<Raw, Unreadable>)>,
    /// In which line of its feed the candle stood that is being decided on.
    line: u64,
    accepted: HashMap<Feed, u64>,
    unreadable: u64,
    rows: u64,
    left: Option<(usize, usize)>,
}

impl Running {
    async fn run(mut self, stop: CancellationToken) -> Result<Summary> {
        for (sequence, candle) in std::mem::take(&mut self.live.replayed) {
            self.step(Event::Replayed { sequence, candle })?;
        }
        self.turn().await?;
        let mut is_stopped = false;
        while self.left.is_none() {
            let due = self.live.core.due().map(|due| Duration::from_micros((due - now()).max(0) as u64));
            let takes = self.waiting.is_empty();
            tokio::select! {
                Some(done) = self.computing.next(), if !self.computing.is_empty() => {
                    let Done { at, worker, batch, computed } = done.map_err(|e| Error::invalid(format!("a worker stopped: {e}")))?;
                    self.computed(at, worker, batch, computed).await?;
                }
                done = async { self.flushing.as_mut()?.await.ok() }, if self.flushing.is_some() => {
                    self.flushing = None;
                    self.flushed(done)?;
                }
                told = self.from.recv(), if takes && !is_stopped => match told {
                    Some(told) => {
                        self.told(told)?;
                        while let Ok(more) = self.from.try_recv() {
                            self.told(more)?;
                        }
                    }
                    None => self.open.clear(),
                },
                found = async { self.looking.as_mut()?.await.ok() }, if self.looking.is_some() => {
                    self.looking = None;
                    match found {
                        Some(Ok(others)) => self.live.others = others,
                        Some(Err(error)) => tracing::warn!("bars of other lengths are those of before: {error}"),
                        None => {}
                    }
                }
                () = tokio::time::sleep_until(self.looked + LOOK), if !self.live.others.is_empty() && self.looking.is_none() => {
                    self.look()?;
                }
                () = tokio::time::sleep(due.unwrap_or(Duration::from_secs(3_600))), if due.is_some() => {}
                () = stop.cancelled(), if !is_stopped => {
                    self.open.clear();
                    self.waiting.clear();
                }
            }
            self.submit()?;
            if self.open.is_empty() && self.waiting.is_empty() && !is_stopped {
                is_stopped = true;
                self.stop()?;
            }
            self.turn().await?;
        }
        let counters = self.live.core.counters().clone();
        let dead_letters = self.live.core.dead_letters().filter(|letter| letter.gone_with.is_none()).count();
        let left = self.left.unwrap_or_default();
        let notes = self.live.plan.notes.clone();
        Ok(Summary { counters, notes, unreadable: self.unreadable, rows: self.rows, left, dead_letters })
    }

    /// Looks whether the lake has newer bars of other lengths.
    fn look(&mut self) -> Result<()> {
        self.looked = tokio::time::Instant::now();
        let (session, of_plan, mut kept) =
            (Arc::clone(&self.live.session), self.live.plan.others.clone(), self.live.others.clone());
        let task = self.live.session.engine().spawn(async move {
            for (other, known) in of_plan.iter().zip(&mut kept) {
                if known.is_old(&session, other).await? {
                    *known = Arc::new(Kept::read(&session, other).await?);
                }
            }
            Ok(kept)
        })?;
        self.looking = Some(task);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        let drain = i64::try_from(self.live.options.drain.as_micros()).unwrap_or(i64::MAX);
        self.step(Event::Stop { deadline: now().saturating_add(drain) })
    }

    fn told(&mut self, told: FromFeed) -> Result<()> {
        match told {
            FromFeed::Opened(feed, to) => self.replies.open(feed, to),
            FromFeed::Closed(feed) => {
                self.replies.close(feed);
                self.open.retain(|open| *open != feed);
            }
            FromFeed::Failed(feed, error) => {
                tracing::error!("a feed ended: {error}");
                self.open.retain(|open| *open != feed);
                if self.open.is_empty() {
                    return Err(error);
                }
            }
            FromFeed::Lines(feed, lines) => self.waiting.extend(lines.into_iter().map(|line| (feed, line))),
        }
        Ok(())
    }

    /// Submits lines that wait, as long as there is room.
    fn submit(&mut self) -> Result<()> {
        let room = |core: &Core| (core.pending() as f64) < HELD_UP * core.capacity() as f64;
        while room(&self.live.core)
            && let Some((feed, line)) = self.waiting.pop_front()
        {
            match line.and_then(|raw| self.candle(feed, raw)) {
                Ok((candle, line)) => {
                    self.line = line;
                    self.step(Event::Candle(candle))?;
                }
                Err(Unreadable { line, error }) => self.unreadable(feed, line, &error),
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, feed: Feed, line: u64, error: &str) {
        self.unreadable += 1;
        self.replies.rejected(feed, line, error);
        if self.unreadable <= TOLD {
            tracing::warn!("line {line}: {error}");
        }
    }

    /// What a feed reads, as a candle of the run.
    fn candle(&mut self, feed: Feed, raw: Raw) -> Result<(Candle, u64), Unreadable> {
        let live = &mut self.live;
        let wrong = |error: String| Unreadable { line: raw.line, error };
        if let Some(given) = raw.timeframe.as_deref()
            && given.parse::<Timeframe>().ok() != Some(live.plan.timeframe)
        {
            return Err(wrong(format!("`timeframe` is '{given}': expected {}", live.plan.timeframe)));
        }
        if let Some(grid) = &live.grid
            && grid.bar(raw.bar.ts).0 != raw.bar.ts
        {
            let shown = tallow_common::time::shown(raw.bar.ts);
            return Err(wrong(format!("`ts` is {shown}: no bar of {} begins then", live.plan.timeframe)));
        }
        if !live.options.new_symbols && !live.symbols.contains_key(&raw.symbol) {
            return Err(wrong(format!("`symbol` is '{}': `{}` has no such symbol", raw.symbol, live.plan.table)));
        }
        let symbol = live.number(&raw.symbol);
        Ok((Candle { feed, offset: None, symbol, bar: raw.bar, priority: raw.priority }, raw.line))
    }

    async fn turn(&mut self) -> Result<()> {
        self.step(Event::Turn)?;
        while let Some((at, batch)) = self.here.take() {
            let Some(mut worker) = self.live.workers[at].take() else { break };
            let (names, others) = (Arc::clone(&self.live.names), self.live.others.clone());
            let computed = worker.compute(&batch, &names, &others).await;
            self.computed(at, worker, batch, computed).await?;
            self.step(Event::Turn)?;
        }
        if !self.accepted.is_empty() {
            self.replies.accepted(&std::mem::take(&mut self.accepted));
        }
        Ok(())
    }

    fn step(&mut self, event: Event) -> Result<()> {
        let mut actions = vec![];
        self.live.core.step(now(), event, &mut actions);
        for action in actions {
            self.act(action)?;
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Accepted { feed, .. } => *self.accepted.entry(feed).or_default() += 1,
            Action::Rejected { candle, rejection } => {
                let (line, error) = (self.line, words(rejection));
                self.replies.rejected(candle.feed, line, &error);
                if self.live.core.counters().rejected() <= TOLD {
                    tracing::warn!("line {line}: {error}");
                }
            }
            Action::Hole { symbol, from, until } => {
                let name = self.live.names.get(&symbol).cloned().unwrap_or_default();
                let [from, until] = [from, until].map(tallow_common::time::shown);
                tracing::debug!("{name}: bars are missing from {from} to {until}");
            }
            Action::Append { sequence, candle } => {
                let name = self.live.names.get(&candle.symbol).cloned().unwrap_or_default();
                if let Some(journal) = &mut self.live.journal {
                    journal.append(sequence, &candle, &name);
                }
            }
            Action::Sync { through } => {
                if let Some(journal) = &mut self.live.journal {
                    journal.sync()?;
                }
                self.step(Event::Synced { through })?;
            }
            Action::Compute { worker: at, batch } => {
                if batch.len() <= SMALL && self.here.is_none() {
                    self.here = Some((at, batch));
                    return Ok(());
                }
                let Some(mut worker) = self.live.workers[at].take() else { return Ok(()) };
                let (names, others) = (Arc::clone(&self.live.names), self.live.others.clone());
                let task = self.live.session.engine().spawn(async move {
                    let computed = worker.compute(&batch, &names, &others).await;
                    Done { at, worker, batch, computed }
                })?;
                self.computing.push(task);
            }
            // The feeds that there are have no offsets.
            Action::Flush { flush, through, .. } => self.flush(flush, through)?,
            Action::Ack { .. } => {}
            Action::Truncate { through } => {
                if let Some(journal) = &mut self.live.journal {
                    journal.truncate(through)?;
                }
            }
            Action::Finished { pending, unflushed } => self.left = Some((pending, unflushed)),
        }
        Ok(())
    }

    async fn computed(&mut self, at: usize, mut worker: Worker, batch: Vec<Work>, computed: Computed) -> Result<()> {
        if let Computed::TooOld(symbols) = &computed {
            let (live, kept) = (&self.live, usize::MAX);
            let mut failed = None;
            for symbol in symbols {
                let name = live.names.get(symbol).cloned().unwrap_or_default();
                let until = live.options.known_until;
                match newest(&live.session, &live.plan.table, until, kept, Some(&name)).await {
                    Ok(found) => {
                        let bars: Vec<_> = found.into_iter().flat_map(|of| of.bars).collect();
                        worker.rebuild(*symbol, &bars);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            let (names, others) = (Arc::clone(&self.live.names), self.live.others.clone());
            let again = match failed {
                Some(error) => {
                    let message = format!("bars of the lake cannot be read: {error}");
                    Computed::Failed(Failure { is_transient: true, message })
                }
                None => worker.compute(&batch, &names, &others).await,
            };
            return self.settled(at, worker, batch, again);
        }
        self.settled(at, worker, batch, computed)
    }

    fn settled(&mut self, at: usize, worker: Worker, batch: Vec<Work>, computed: Computed) -> Result<()> {
        self.live.workers[at] = Some(worker);
        let jitter = (now() as u32).wrapping_mul(2_654_435_761);
        match computed {
            Computed::Answers(answers) => {
                let rows = answers.rows.num_rows();
                if rows > 0 {
                    let taken = self.answers.take(&answers.rows, &answers.revisions);
                    taken.map_err(|error| Error::File("results".to_string(), error))?;
                }
                self.rows += rows as u64;
                let live = &self.live;
                if live.target.results.is_some() || live.target.candles.is_some() {
                    let kept = live.target.results.is_some().then_some(answers);
                    self.unflushed.add(batch.iter().map(|work| &work.candle), kept, &live.names);
                }
                self.step(Event::Computed { worker: at, batch, rows })
            }
            Computed::Failed(failure) => {
                tracing::warn!("a batch of {} candles failed: {}", batch.len(), failure.message);
                self.step(Event::Failed { worker: at, batch, failure, jitter })
            }
            Computed::TooOld(_) => {
                let message = "bars before it are neither kept nor in the lake".to_string();
                let failure = Failure { is_transient: false, message };
                self.step(Event::Failed { worker: at, batch, failure, jitter })
            }
        }
    }

    fn flush(&mut self, flush: u64, through: Sequence) -> Result<()> {
        let flushing = Flushing {
            rows: std::mem::take(&mut self.unflushed),
            names: Arc::clone(&self.live.names),
            dead_letters: self.live.core.dead_letters().cloned().collect(),
            flush,
            through,
        };
        let (session, target) = (Arc::clone(&self.live.session), self.live.target.clone());
        let task = self.live.session.engine().spawn(async move {
            let written = write(&session, &target, &flushing).await;
            (flushing, written)
        })?;
        self.flushing = Some(task);
        Ok(())
    }

    fn flushed(&mut self, done: Option<(Flushing, Result<()>)>) -> Result<()> {
        let Some((flushing, written)) = done else {
            return Err(Error::invalid(
                "writing to the lake stopped at a bug: what is not in the lake is in the journal",
            ));
        };
        match written {
            Ok(()) => self.step(Event::Flushed { through: flushing.through }),
            Err(error) => {
                tracing::warn!("results are not written yet: {error}");
                self.unflushed.put_back(flushing.rows);
                self.step(Event::FlushFailed { jitter: (now() as u32).wrapping_mul(2_654_435_761) })
            }
        }
    }
}

/// A rejection in words.
fn words(rejection: Rejection) -> String {
    match rejection {
        Rejection::QueueFull => "as many candles wait as may".to_string(),
        Rejection::Throttled(load) => format!("{load} % of what may wait does, which is too much for its priority"),
        Rejection::Invalid(rule) => format!("it is no candle: {rule}"),
        Rejection::StoreBehind => "too many results wait to be written to the lake".to_string(),
        Rejection::ShuttingDown => "the run is shutting down".to_string(),
    }
}
