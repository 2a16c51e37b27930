//! A live run: the shell around the decisions of [`Core`](crate::core::Core).

mod asked;
mod forming;
mod results;

use crate::alerts::Told;
use crate::answers::Answers as Sink;
use crate::core::{Action, Bar, Candle, Core, Counters, Event, Feed, Micros, Rejection, Symbol, Work};
use crate::door::Ask;
use crate::feeds::{FeedUrl, FromFeed, Of, Raw, Replies, Unreadable, start};
use crate::others::Kept;
use crate::prepared::Live;
use crate::store::{Flushing, Unflushed};
use crate::watch::{WINDOW, Watch};
use crate::worker::{Computed, Worker};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_engine::resources::Usage;
use tallow_udfs::calendar::Timeframe;
use tokio::sync::mpsc::{Receiver, UnboundedSender, channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No more is taken from feeds once so large a part of what may wait does: they are held up, not refused.
const HELD_UP: f64 = 0.7;
/// A batch of so few candles is computed where it is: to hand it to another thread would take as long.
const SMALL: usize = 16;
/// How often the lake is asked for newer bars of other lengths.
const LOOK: Duration = Duration::from_secs(30);
/// How long servers are told what the lake has, once the run has ended.
const LAST: Duration = Duration::from_secs(5);
/// Lines that are no candles are told of one by one up to so many.
const TOLD: u64 = 20;

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

/// The time. It never goes back: where the system's clock is put back, it goes on as it was, so that what is due stays so.
pub(crate) fn now() -> Micros {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    static OFFSET: AtomicI64 = AtomicI64::new(i64::MIN);
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let passed = micros(BEGAN.get_or_init(Instant::now).elapsed());
    let offset = micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()) - passed;
    passed + OFFSET.fetch_max(offset, Ordering::Relaxed).max(offset)
}

impl Live {
    /// Runs until all feeds have ended, or until it is stopped, and then until what was accepted is done.
    ///
    /// # Errors
    /// A feed cannot be opened, the journal not written, or results not be handed on.
    pub async fn run(mut self, feeds: &[FeedUrl], answers: Box<dyn Sink>, stop: CancellationToken) -> Result<Summary> {
        let session = Arc::clone(&self.session);
        let (Some((into, from)), Some(asked)) = (self.channel.take(), self.asked.take()) else {
            return Err(Error::invalid("the run has begun already"));
        };
        if matches!(feeds, [FeedUrl::Replay(_)]) {
            self.core.in_order();
        }
        let (numbers, ended) = (Arc::clone(&self.numbers), CancellationToken::new());
        let (mut open, mut positions) = (vec![], HashMap::new());
        let (alive, mut all_ended) = channel(1);
        let known = self.newest();
        for url in feeds {
            let mut after = 0;
            let position = url.position().map(|key| self.target.application(&key));
            if let Some(application) = &position {
                after = self.after(application).await?;
            }
            let (known, alive, name) = (known.clone(), alive.clone(), self.target.name.as_str());
            let (timeframe, with_forming, folder) = (self.plan.timeframe, self.options.provisional, self.folder());
            let of = Of { session: &session, timeframe, known, with_forming, name, folder, after, alive };
            let feed = start(url, &of, &numbers, into.clone(), ended.clone())?;
            open.push(feed);
            positions.extend(position.map(|application| (feed, application)));
        }
        drop(alive);
        drop(into);
        let running = Running {
            watch: Watch::new(now())?,
            usage: Usage::default(),
            told: Told::default(),
            live: self,
            from,
            asked,
            open,
            answers,
            replies: Replies::default(),
            acknowledges: HashMap::new(),
            positions,
            unflushed: Unflushed::default(),
            computing: FuturesUnordered::new(),
            flushing: None,
            looking: None,
            looked: tokio::time::Instant::now(),
            here: None,
            waiting: VecDeque::new(),
            line: 0,
            accepted: None,
            actions: vec![],
            now: 0,
            formed: BTreeMap::new(),
            unreadable: 0,
            rows: 0,
            left: None,
            wait_for_flush: vec![],
            wait_for_running: vec![],
            reconnects: 0,
            unflushed_since: None,
            flushing_since: None,
        };
        let done = session.engine().run(running.run(stop)).await?;
        ended.cancel();
        // Servers are still told what the lake has.
        let _ = tokio::time::timeout(LAST, all_ended.recv()).await;
        done
    }

    /// Up to which offset the lake has what came of a feed.
    async fn after(&self, application: &str) -> Result<u64> {
        if self.target.candles.is_none() {
            return Err(Error::invalid(
                "how far a feed from Postgres has come is recorded with its candles, which are not kept",
            ));
        }
        let (table, applications) = (self.plan.table.clone(), vec![application.to_string()]);
        let reached =
            self.session.on_lake(move |lake| async move { lake.reached(&table, None, applications).await }).await?;
        Ok(reached.first().copied().flatten().unwrap_or_default())
    }
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
    asked: Receiver<Ask>,
    watch: Watch,
    usage: Usage,
    told: Told,
    open: Vec<Feed>,
    answers: Box<dyn Sink>,
    replies: Replies,
    /// Feeds that are told what the lake has, and by what positions of others are recorded there.
    acknowledges: HashMap<Feed, UnboundedSender<u64>>,
    positions: HashMap<Feed, String>,
    unflushed: Unflushed,
    computing: FuturesUnordered<JoinHandle<Done>>,
    flushing: Option<(Arc<Flushing>, JoinHandle<Result<()>>)>,
    /// Bars of other lengths that are being looked for in the lake.
    looking: Option<JoinHandle<Result<Vec<Arc<Kept>>>>>,
    looked: tokio::time::Instant,
    /// A small batch that is computed next, on this thread.
    here: Option<(usize, Vec<Work>)>,
    /// Lines of feeds that are held up.
    waiting: VecDeque<(Feed, Result<Raw, Unreadable>)>,
    /// In which line of its feed the candle stood that is being decided on.
    line: u64,
    /// Candles of a feed that are accepted since it was told.
    accepted: Option<(Feed, u64)>,
    /// What is to be done: kept so that it need not be allocated for each candle.
    actions: Vec<Action>,
    now: Micros,
    /// The newest bars that are not closed, of symbols for which they were not answered yet.
    formed: BTreeMap<Symbol, Bar>,
    unreadable: u64,
    rows: u64,
    left: Option<(usize, usize)>,
    /// Who waits until what waits to be written is, and until what is being written is.
    wait_for_flush: Vec<oneshot::Sender<()>>,
    wait_for_running: Vec<oneshot::Sender<()>>,
    /// Connections to feeds that were opened again.
    reconnects: u64,
    /// Since when the oldest results wait that are not being written, and those that are.
    unflushed_since: Option<Micros>,
    flushing_since: Option<Micros>,
}

impl Running {
    async fn run(mut self, stop: CancellationToken) -> Result<Summary> {
        for (sequence, candle) in std::mem::take(&mut self.live.replayed) {
            self.step(Event::Replayed { sequence, candle })?;
        }
        self.turn().await?;
        let mut is_stopped = false;
        let mut look = tokio::time::interval(Duration::from_micros(WINDOW.unsigned_abs()));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.left.is_none() {
            let due = self.live.core.due().map(|due| Duration::from_micros((due - now()).max(0) as u64));
            let takes = self.waiting.is_empty();
            tokio::select! {
                Some(done) = self.computing.next(), if !self.computing.is_empty() => {
                    let Done { at, worker, batch, computed } = done.map_err(|e| Error::invalid(format!("a worker stopped: {e}")))?;
                    self.computed(at, worker, batch, computed).await?;
                }
                written = async { (&mut self.flushing.as_mut()?.1).await.ok() }, if self.flushing.is_some() => {
                    if let Some((flushing, _)) = self.flushing.take() {
                        self.flushed(flushing, written)?;
                    }
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
                Some(ask) = self.asked.recv() => self.answer(ask)?,
                _ = look.tick(), if self.live.options.alerts => self.alert(),
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
        if let Some(lease) = &self.live.target.lease
            && let Err(error) = lease.end(&self.live.session, &self.live.target).await
        {
            tracing::warn!("the next run of this name elsewhere has to wait: {error}");
        }
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
            FromFeed::Acknowledges(feed, to) => drop(self.acknowledges.insert(feed, to)),
            FromFeed::Reconnects => self.reconnects += 1,
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
            FromFeed::Lines(feed, lines) => {
                self.replies.came(feed, lines.len());
                self.waiting.extend(lines.into_iter().map(|line| (feed, line)));
            }
        }
        Ok(())
    }

    /// Submits lines that wait, as long as there is room.
    fn submit(&mut self) -> Result<()> {
        let room = |core: &Core| (core.pending() as f64) < HELD_UP * core.capacity() as f64;
        // A clock for all that wait: to ask it for each candle would take a third as long as to decide on it.
        self.now = now();
        while room(&self.live.core)
            && let Some((feed, line)) = self.waiting.pop_front()
        {
            if let Ok(raw) = &line
                && raw.is_forming
            {
                let (offset, line) = (raw.offset, self.forming(feed, raw.clone()));
                if let Err(Unreadable { line, error, .. }) = line {
                    self.unreadable(feed, line, &error);
                }
                if let Some(offset) = offset {
                    self.step_at(self.now, Event::Skipped { feed, offset })?;
                }
                continue;
            }
            match line.and_then(|raw| self.candle(feed, raw)) {
                Ok((candle, line)) => {
                    self.line = line;
                    self.step_at(self.now, Event::Candle(candle))?;
                }
                Err(Unreadable { line, error, offset }) => {
                    self.unreadable(feed, line, &error);
                    if let Some(offset) = offset {
                        self.step_at(self.now, Event::Skipped { feed, offset })?;
                    }
                }
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
        let wrong = |error: String| Unreadable { line: raw.line, error, offset: raw.offset };
        if let Some(given) = raw.timeframe.as_deref()
            && given.parse::<Timeframe>().ok() != Some(live.plan.timeframe)
        {
            return Err(wrong(format!("`timeframe` is '{given}': expected {}", live.plan.timeframe)));
        }
        if let Some(grid) = &live.grid
            && grid.bar(raw.bar.ts).0 != raw.bar.ts
        {
            let shown = shown(raw.bar.ts);
            return Err(wrong(format!("`ts` is {shown}: no bar of {} begins then", live.plan.timeframe)));
        }
        if !live.options.new_symbols && live.symbols.known(&raw.symbol).is_none() {
            return Err(wrong(format!("`symbol` is '{}': `{}` has no such symbol", raw.symbol, live.plan.table)));
        }
        let symbol = live.symbols.number(&raw.symbol);
        Ok((Candle { feed, offset: raw.offset, symbol, bar: raw.bar, priority: raw.priority }, raw.line))
    }

    async fn turn(&mut self) -> Result<()> {
        self.step(Event::Turn)?;
        while let Some((at, batch)) = self.here.take() {
            let Some(mut worker) = self.live.workers[at].take() else { break };
            let (names, others) = (self.live.symbols.names().clone(), self.live.others.clone());
            let computed = worker.compute(&batch, &names, &others).await;
            self.computed(at, worker, batch, computed).await?;
            self.step(Event::Turn)?;
        }
        if !self.formed.is_empty() {
            self.answer_forming().await?;
        }
        if let Some((feed, count)) = self.accepted.take() {
            self.replies.accepted(feed, count);
        }
        Ok(())
    }

    fn step(&mut self, event: Event) -> Result<()> {
        self.step_at(now(), event)
    }

    fn step_at(&mut self, now: Micros, event: Event) -> Result<()> {
        let mut actions = std::mem::take(&mut self.actions);
        self.live.core.step(now, event, &mut actions);
        let done = actions.drain(..).try_for_each(|action| self.act(action));
        self.actions = actions;
        done
    }

    fn act(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Accepted { feed, .. } => match &mut self.accepted {
                Some((of, count)) if *of == feed => *count += 1,
                other => {
                    let before = other.replace((feed, 1));
                    before.into_iter().for_each(|(feed, count)| self.replies.accepted(feed, count));
                }
            },
            Action::Rejected { candle, rejection } => {
                let (line, error) = (self.line, words(rejection));
                self.replies.rejected(candle.feed, line, &error);
                if self.live.core.counters().rejected() <= TOLD {
                    tracing::warn!("line {line}: {error}");
                }
            }
            Action::Hole { symbol, from, until } => {
                let name = self.live.symbols.names().of(symbol);
                let [from, until] = [from, until].map(shown);
                tracing::debug!("{name}: bars are missing from {from} to {until}");
            }
            Action::Append { sequence, candle } => {
                let name = self.live.symbols.names().of(candle.symbol);
                if let Some(journal) = &mut self.live.journal {
                    journal.append(sequence, &candle, name);
                }
            }
            Action::Sync { through } => {
                if let Some(journal) = &mut self.live.journal {
                    journal.sync()?;
                }
                self.step(Event::Synced { through })?;
            }
            Action::Compute { worker: at, batch } => {
                self.watch.begins(now(), &batch);
                if batch.len() <= SMALL && self.here.is_none() {
                    self.here = Some((at, batch));
                    return Ok(());
                }
                let Some(mut worker) = self.live.workers[at].take() else { return Ok(()) };
                let (names, others) = (self.live.symbols.names().clone(), self.live.others.clone());
                let wants_lines = self.answers.wants_lines();
                let task = self.live.session.engine().spawn(async move {
                    let mut computed = worker.compute(&batch, &names, &others).await;
                    if wants_lines {
                        computed.make_lines();
                    }
                    Done { at, worker, batch, computed }
                })?;
                self.computing.push(task);
            }
            Action::Flush { flush, through, offsets } => {
                let recorded = |(feed, offset)| Some((self.positions.get(&feed)?.clone(), offset));
                let positions = offsets.into_iter().filter_map(recorded).collect();
                self.flush(flush, through, positions)?;
            }
            Action::Ack { feed, offset } => {
                if let Some(to) = self.acknowledges.get(&feed) {
                    let _ = to.send(offset);
                }
            }
            Action::Truncate { through } => {
                if let Some(journal) = &mut self.live.journal {
                    journal.truncate(through)?;
                }
            }
            Action::Finished { pending, unflushed } => self.left = Some((pending, unflushed)),
        }
        Ok(())
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
