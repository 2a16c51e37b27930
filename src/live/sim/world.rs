//! The world of a run.

use super::dice::Dice;
use super::model::{Bars, Candles, Journal, Store, Unflushed, affected, batch};
use crate::core::{
    Action, Bar, Batch, Candle, Core, Durable, Event, Failure, Feed, Gather, Micros, Planted, PlantedFault, Rejection,
    Sequence, Settings, Symbol,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

const SECOND: Micros = 1_000_000;
const STEP: Micros = 60 * SECOND;
/// A process that is killed again and again gets nothing done.
const MOST_CRASHES: u64 = 6;
/// The feed without offsets, and the one that has them.
const PUSHED: Feed = Feed(0);
const LOGGED: Feed = Feed(1);

/// What a run that went well did, or what was wrong.
pub type Outcome = Result<Done, String>;

#[derive(Debug)]
pub struct Done {
    pub steps: u64,
    pub crashes: u64,
}

/// What happens in the world, beside what the run itself does.
#[derive(Debug, Clone)]
enum Happening {
    /// A candle reaches the run; it was sent by this life of the process, if it is of a feed that is connected.
    Delivery {
        candle: Candle,
    },
    /// The sender of a candle looks whether it was accepted, and sends it again if it was not.
    Resend {
        candle: Candle,
    },
    Due,
    OfRun {
        life: u64,
        event: Event,
    },
    /// A flush has ended, well or not.
    FlushEnds {
        life: u64,
        through: Sequence,
        works: bool,
        jitter: u32,
    },
    Crash,
    Start,
    Stop,
    /// Somebody asks for dead letters to be tried again.
    Retry,
    /// Somebody asks for what waits to be written to the lake.
    Flush,
    Heal,
}

/// How likely things are, of a thousand; another world with each seed.
struct Odds {
    twice: u64,
    late: u64,
    lost: u64,
    corrected: u64,
    poison: u64,
    compute_fails: u64,
    flush_fails: u64,
    crash: u64,
}

pub struct World {
    dice: Dice,
    now: Micros,
    happenings: BinaryHeap<Reverse<(Micros, u64)>>,
    what: BTreeMap<u64, Happening>,
    count: u64,
    odds: Odds,
    tells: bool,
    is_healed: bool,
    // The market.
    symbols: u32,
    /// When nothing comes of the feed without offsets.
    outage: Option<(Micros, Micros)>,
    final_candles: Candles,
    poison: BTreeSet<(Symbol, Micros)>,
    /// The feed with offsets: what it has, in order, and since when.
    log: Vec<(Micros, Candle)>,
    /// Candles that their senders know to be accepted.
    settled: BTreeSet<Key>,
    // The run.
    core: Option<Core>,
    life: u64,
    settings: Settings,
    memory: Candles,
    unflushed: Unflushed,
    flushing: Option<Unflushed>,
    keys: BTreeMap<Sequence, Key>,
    computing: BTreeMap<Symbol, usize>,
    finished: bool,
    replayed: usize,
    /// Whether so many candles waited since the queue was nearly empty that some may be refused.
    was_high: bool,
    stop_at: Option<Micros>,
    // What outlives the process.
    store: Store,
    journal: Journal,
    steps: u64,
    crashes: u64,
    due_at: Option<Micros>,
}

/// A candle as its sender knows it.
type Key = (Symbol, Micros, u64);

fn key(candle: &Candle) -> Key {
    (candle.symbol, candle.bar.ts, candle.bar.values[3].to_bits())
}

impl World {
    pub fn new(seed: u64, planted: Option<Planted>, tells: bool) -> World {
        let mut dice = Dice::new(seed);
        // Each seed has faults of some kinds only: where everything fails at once, much is never reached.
        let mut odd = |most: u64| if dice.often(500) { dice.below(most) } else { 0 };
        let odds = Odds {
            twice: odd(300),
            late: odd(300),
            lost: odd(200),
            corrected: odd(200),
            poison: odd(30),
            compute_fails: odd(300),
            flush_fails: odd(600),
            crash: odd(40),
        };
        let mut settings = Settings {
            workers: 1 + dice.below(3) as usize,
            batch: 1 + dice.below(20) as usize,
            queue: 4 + dice.below(60) as usize,
            durable: Durable::Batch,
            flush_every: (1 + dice.below(30) as Micros) * SECOND,
            flush_rows: 1 + dice.below(200) as usize,
            dead_retry: ((1 + dice.below(60) as Micros) * SECOND, 1 + dice.below(3) as u32),
            step: Some(STEP),
            planted: PlantedFault { fault: planted },
            ..Settings::default()
        };
        let symbols = 1 + dice.below(6) as u32;
        // Some runs compare symbols.
        if dice.below(4) == 0 {
            settings.gather = Some(Gather { grace: (1 + dice.below(5) as Micros) * SECOND, in_order: false });
            (settings.workers, settings.batch) = (1, usize::MAX);
        }
        let mut world = World {
            now: 1_000 * STEP,
            happenings: BinaryHeap::new(),
            what: BTreeMap::new(),
            count: 0,
            odds,
            tells,
            is_healed: false,
            symbols,
            outage: None,
            final_candles: Candles::new(),
            poison: BTreeSet::new(),
            log: vec![],
            settled: BTreeSet::new(),
            core: None,
            life: 0,
            settings,
            memory: Candles::new(),
            unflushed: Unflushed::default(),
            flushing: None,
            keys: BTreeMap::new(),
            computing: BTreeMap::new(),
            finished: false,
            replayed: 0,
            was_high: false,
            stop_at: None,
            store: Store::default(),
            journal: Journal::default(),
            steps: 0,
            crashes: 0,
            due_at: None,
            dice,
        };
        world.plan();
        world
    }

    /// What the market does, and when what else happens.
    fn plan(&mut self) {
        let bars = 3 + self.dice.below(25) as Micros;
        let begin = self.now;
        self.at(begin - 1, Happening::Start);
        if self.dice.often(300) {
            let from = begin + self.dice.below(bars as u64) as Micros * STEP;
            self.outage = Some((from, from + (1 + self.dice.below(15) as Micros) * STEP));
        }
        for bar in 0..bars {
            for symbol in 0..self.symbols {
                let (symbol, ts) = (Symbol(symbol), begin + bar * STEP - STEP);
                let feed = if symbol.0 % 2 == 0 { PUSHED } else { LOGGED };
                let priority = self.dice.below(11) as u8;
                let close = 100.0 + self.dice.below(1_000) as f64;
                let candle = Candle { feed, offset: None, symbol, bar: bar_of(ts, close), priority };
                if feed == PUSHED && self.dice.often(self.odds.poison) {
                    self.poison.insert((symbol, ts));
                } else {
                    self.final_candles.entry(symbol).or_default().insert(ts, candle.bar);
                }
                let comes = begin + bar * STEP + self.dice.below(50_000) as Micros;
                if feed == PUSHED && self.dice.often(self.odds.corrected) && !self.poison.contains(&(symbol, ts)) {
                    // At once, so that its sender does not send the first version again.
                    let corrected = Candle { bar: bar_of(ts, close + 0.25), ..candle };
                    self.final_candles.entry(symbol).or_default().insert(ts, corrected.bar);
                    self.at(comes, Happening::Delivery { candle });
                    let soon = 1 + self.dice.below(5_000_000) as Micros;
                    self.send(comes + soon, corrected);
                    continue;
                }
                self.send(comes, candle);
                if self.dice.often(self.odds.corrected) && !self.poison.contains(&(symbol, ts)) {
                    // Long after all that may still come of the first version.
                    let corrected = Candle { bar: bar_of(ts, close + 0.5), ..candle };
                    let later = comes + 20 * STEP + self.dice.below(300) as Micros * SECOND;
                    self.final_candles.entry(symbol).or_default().insert(ts, corrected.bar);
                    self.send(later, corrected);
                }
            }
        }
        self.log.sort_by_key(|(when, _)| *when);
        for at in 0..self.log.len() {
            let (when, candle) = &mut self.log[at];
            candle.offset = Some(at as u64 + 1);
            let (when, candle) = (*when, *candle);
            self.at(when, Happening::Delivery { candle });
        }
        let end = begin + bars * STEP;
        if self.dice.often(300) {
            let when = begin + self.dice.below((end - begin) as u64) as Micros;
            self.at(when, Happening::Stop);
        }
        if self.dice.often(300) {
            let when = begin + self.dice.below((end - begin) as u64) as Micros;
            self.at(when, Happening::Retry);
        }
        for _ in 0..self.dice.below(4) {
            let when = begin + self.dice.below((end - begin) as u64) as Micros;
            self.at(when, Happening::Flush);
        }
        self.at(begin + (bars + 40) * STEP, Happening::Heal);
        self.at(begin + (bars + 60) * STEP, Happening::Stop);
    }

    /// A candle is sent, maybe twice, late or not at all at first. What a log has is delivered from there.
    fn send(&mut self, when: Micros, candle: Candle) {
        if candle.feed == LOGGED {
            self.log.push((when, candle));
            return;
        }
        let when = match self.outage {
            // All that was held up comes at the same time.
            Some((from, until)) if (from..until).contains(&when) => until + self.dice.below(20_000) as Micros,
            _ => when,
        };
        let delay = if self.dice.often(self.odds.late) { self.dice.below(180) as Micros * SECOND } else { 0 };
        if !self.dice.often(self.odds.lost) {
            self.at(when + delay, Happening::Delivery { candle });
        }
        if self.dice.often(self.odds.twice) {
            let again = self.dice.below(100) as Micros * SECOND;
            self.at(when + again, Happening::Delivery { candle });
        }
        self.at(when + 200 * SECOND, Happening::Resend { candle });
    }

    fn at(&mut self, when: Micros, what: Happening) {
        self.count += 1;
        self.happenings.push(Reverse((when, self.count)));
        self.what.insert(self.count, what);
    }

    fn tell(&self, said: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>12.6} {}", (self.now - 1_000 * STEP) as f64 / SECOND as f64, said());
        }
    }

    pub fn run(mut self) -> Outcome {
        while let Some(Reverse((when, id))) = self.happenings.pop() {
            let Some(what) = self.what.remove(&id) else { continue };
            self.now = self.now.max(when);
            self.steps += 1;
            if self.steps > 2_000_000 {
                return Err("it goes on for ever".to_string());
            }
            self.happens(what)?;
            if self.is_healed && self.finished {
                return self.check_end();
            }
        }
        Err(format!("the run did not finish: {} pending", self.core.as_ref().map_or(0, Core::pending)))
    }

    fn happens(&mut self, what: Happening) -> Result<(), String> {
        match what {
            Happening::Start => self.start()?,
            Happening::Crash => {
                if !self.is_healed && self.core.take().is_some() {
                    self.tell(|| "the process is killed".to_string());
                    self.crashes += 1;
                    self.ends();
                }
            }
            Happening::Heal => {
                self.is_healed = true;
                self.odds.compute_fails = 0;
                self.odds.flush_fails = 0;
            }
            Happening::Stop => {
                let deadline = self.now + 60 * SECOND;
                match self.core {
                    Some(_) => {
                        self.stop_at.get_or_insert(self.now);
                        self.tell(|| "it is asked to stop".to_string());
                        self.step(Event::Stop { deadline })?;
                    }
                    None => self.at(self.now + SECOND, Happening::Stop),
                }
            }
            Happening::Retry => {
                if self.core.is_some() {
                    self.tell(|| "dead letters are to be tried again".to_string());
                    self.step(Event::Retry { symbol: None })?;
                }
            }
            Happening::Flush => {
                if self.core.is_some() {
                    self.tell(|| "what waits is to be written".to_string());
                    self.step(Event::Flush)?;
                }
            }
            Happening::Delivery { candle } => {
                if self.core.is_some() {
                    self.step(Event::Candle(candle))?;
                }
            }
            Happening::Resend { candle } => {
                if !self.settled.contains(&key(&candle)) {
                    if self.core.is_some() {
                        self.step(Event::Candle(candle))?;
                    }
                    self.at(self.now + 30 * SECOND, Happening::Resend { candle });
                }
            }
            Happening::Due => {
                self.due_at = None;
                self.turn()?;
            }
            Happening::OfRun { life, event } => {
                if life == self.life && self.core.is_some() {
                    self.compute_ends(&event);
                    if let Event::Synced { through } = &event {
                        self.journal.synced = self.journal.synced.max(*through);
                    }
                    self.step(event)?;
                }
            }
            Happening::FlushEnds { life, through, works, jitter } => {
                if life != self.life || self.core.is_none() {
                    // The store may have got it before the process was killed.
                    return Ok(());
                }
                let Some(rows) = self.flushing.take() else { return Ok(()) };
                if works {
                    self.step(Event::Flushed { through })?;
                } else {
                    // What was written or not is there still, beside what came meanwhile.
                    let newer = std::mem::replace(&mut self.unflushed, rows);
                    for (symbol, bars) in newer.candles {
                        self.unflushed.candles.entry(symbol).or_default().extend(bars);
                    }
                    self.unflushed.results.extend(newer.results);
                    self.step(Event::FlushFailed { jitter })?;
                }
            }
        }
        Ok(())
    }

    /// A process begins with what the lake and the journal hold.
    fn start(&mut self) -> Result<(), String> {
        self.life += 1;
        self.tell(|| "the process starts".to_string());
        let mut core = Core::new(self.settings.clone());
        for (symbol, bars) in &self.store.candles {
            core.know(*symbol, &bars.values().copied().collect::<Vec<_>>());
        }
        core.bury(self.now, self.store.dead().cloned());
        self.memory = self.store.candles.clone();
        self.core = Some(core);
        let entries: Vec<(Sequence, Candle)> =
            self.journal.entries.iter().filter(|(sequence, _)| *sequence > self.store.through).copied().collect();
        let next = self.journal.entries.last().map_or(0, |(sequence, _)| *sequence).max(self.store.through) + 1;
        let flush = self.store.flush;
        self.core_mut()?.begin_at(next, flush);
        self.replayed = entries.len();
        for (sequence, candle) in entries {
            self.keys.insert(sequence, key(&candle));
            self.step(Event::Replayed { sequence, candle })?;
        }
        // A feed with offsets delivers again from the last that was acknowledged.
        let from = self.store.offsets.get(&LOGGED).copied().unwrap_or_default();
        let is_there = |(when, candle): &&(Micros, Candle)| candle.offset > Some(from) && *when <= self.now;
        let again: Vec<Candle> = self.log.iter().filter(is_there).map(|(_, candle)| *candle).collect();
        for (i, candle) in again.into_iter().enumerate() {
            self.at(self.now + 1_000 + i as Micros, Happening::Delivery { candle });
        }
        self.turn()
    }

    /// The process is gone, and with it all that was in memory only.
    fn ends(&mut self) {
        self.core = None;
        self.memory.clear();
        self.unflushed = Unflushed::default();
        self.flushing = None;
        self.computing.clear();
        self.keys.clear();
        self.was_high = false;
        self.stop_at = None;
        let survive = self.dice.below(4) as usize;
        self.journal.crash(survive);
        self.at(self.now + SECOND, Happening::Start);
    }

    fn core_mut(&mut self) -> Result<&mut Core, String> {
        self.core.as_mut().ok_or_else(|| "no process".to_string())
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        self.one(event)?;
        self.turn()
    }

    fn turn(&mut self) -> Result<(), String> {
        if self.core.is_none() {
            return Ok(());
        }
        self.one(Event::Turn)?;
        let due = self.core.as_ref().and_then(Core::due);
        if let Some(due) = due.filter(|due| self.due_at.is_none_or(|known| *due < known)) {
            let when = due.max(self.now + 1);
            self.due_at = Some(when);
            self.at(when, Happening::Due);
        }
        Ok(())
    }

    fn one(&mut self, event: Event) -> Result<(), String> {
        self.tell(|| format!("{event:?}").chars().take(200).collect());
        if let (Event::Candle(_), Some(core)) = (&event, &self.core) {
            let load = core.pending() as f64 / core.capacity() as f64;
            self.was_high = load >= 0.8 || self.was_high && load >= 0.2;
        }
        let mut actions = vec![];
        let now = self.now;
        self.core_mut()?.step(now, event, &mut actions);
        for action in actions {
            self.tell(|| format!("    {action:?}").chars().take(200).collect());
            self.act(action)?;
            if self.core.is_none() {
                return Ok(());
            }
        }
        if self.crashes < MOST_CRASHES && !self.is_healed && self.dice.often(self.odds.crash) {
            let soon = self.dice.below(5_000) as Micros;
            self.at(self.now + soon, Happening::Crash);
        }
        self.check_step()
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        let life = self.life;
        match action {
            Action::Append { sequence, candle } => {
                self.journal.entries.push((sequence, candle));
                self.keys.insert(sequence, key(&candle));
            }
            Action::Sync { through } => {
                let takes = 50 + self.dice.below(3_000) as Micros;
                self.at(self.now + takes, Happening::OfRun { life, event: Event::Synced { through } });
            }
            Action::Accepted { sequence, .. } => {
                if let Some(key) = self.keys.get(&sequence) {
                    self.settled.insert(*key);
                }
            }
            Action::Rejected { candle, rejection } => self.rejected(candle, rejection)?,
            Action::Hole { .. } => {}
            Action::Compute { worker, batch } => self.compute(worker, batch)?,
            Action::Flush { flush, through, offsets } => self.flush(flush, through, offsets)?,
            Action::Ack { offset, .. } => {
                if self.store.offsets.get(&LOGGED).is_none_or(|known| *known < offset) {
                    return Err(format!("offset {offset} is acknowledged before it is in the store"));
                }
            }
            Action::Truncate { through } => self.journal.truncate(through),
            Action::Finished { pending, unflushed } => {
                self.tell(|| format!("finished: {pending} pending, {unflushed} unflushed"));
                let took = self.now - self.stop_at.take().unwrap_or(self.now);
                let is_left = pending > 0 || unflushed > 0;
                if is_left && (self.is_healed || took < 60 * SECOND) {
                    return Err(format!("it left {pending} pending and {unflushed} unflushed after {took} us"));
                }
                if self.is_healed && took > 60 * SECOND {
                    return Err("it took more than a minute to stop".to_string());
                }
                self.finished = self.is_healed;
                if !self.is_healed {
                    self.ends();
                }
            }
        }
        Ok(())
    }

    fn rejected(&mut self, candle: Candle, rejection: Rejection) -> Result<(), String> {
        let Some(core) = &self.core else { return Ok(()) };
        let load = core.pending() as f64 / core.capacity() as f64;
        match rejection {
            Rejection::Throttled(_) if !self.was_high => return Err(format!("refused at a load of {load:.2}")),
            Rejection::QueueFull if load < 1.0 => return Err(format!("full at a load of {load:.2}")),
            _ => {}
        }
        if candle.feed == LOGGED {
            // A feed with offsets holds back what is not taken.
            self.at(self.now + SECOND, Happening::Delivery { candle });
        }
        Ok(())
    }

    /// A worker computes: all of a batch, or nothing of it.
    fn compute(&mut self, worker: usize, batch: Batch) -> Result<(), String> {
        let symbols: BTreeSet<Symbol> = batch.iter().map(|work| work.candle.symbol).collect();
        for symbol in &symbols {
            if let Some(other) = self.computing.insert(*symbol, worker) {
                return Err(format!("{symbol:?} is computed by {other} and by {worker}"));
            }
        }
        // Where symbols are compared, candles come in the order of their times, and only those of one time as they came.
        let gathers = self.settings.gather.is_some();
        let mut before: BTreeMap<(Symbol, Option<Micros>), Sequence> = BTreeMap::new();
        for work in &batch {
            let key = (work.candle.symbol, gathers.then_some(work.candle.bar.ts));
            let last = before.insert(key, work.sequence);
            if last.is_some_and(|last| last > work.sequence && work.tries == 0) {
                return Err(format!("{:?}: {} comes after {last:?}", work.candle.symbol, work.sequence));
            }
        }
        let poisoned = batch.iter().any(|work| self.poison.contains(&(work.candle.symbol, work.candle.bar.ts)));
        let takes = 20 + self.dice.below(20_000) as Micros;
        let jitter = self.dice.next() as u32;
        let event = if poisoned || self.dice.often(self.odds.compute_fails) {
            let is_transient = !poisoned;
            Event::Failed { worker, batch, failure: Failure { is_transient, message: "it failed".to_string() }, jitter }
        } else {
            Event::Computed { worker, rows: batch.len(), batch }
        };
        let life = self.life;
        self.at(self.now + takes, Happening::OfRun { life, event });
        Ok(())
    }

    /// The results of a batch are there; those of one that failed are not, and the state is what it was.
    fn compute_ends(&mut self, event: &Event) {
        let (batch, works) = match event {
            Event::Computed { batch, .. } => (batch, true),
            Event::Failed { batch, .. } => (batch, false),
            _ => return,
        };
        for work in batch {
            self.computing.remove(&work.candle.symbol);
            if !works {
                continue;
            }
            let Candle { symbol, bar, .. } = work.candle;
            let bars: &mut Bars = self.memory.entry(symbol).or_default();
            bars.insert(bar.ts, bar);
            self.unflushed.results.extend(affected(symbol, bars, bar.ts));
            self.unflushed.candles.entry(symbol).or_default().insert(bar.ts, bar);
        }
    }

    fn flush(&mut self, flush: u64, through: Sequence, offsets: BTreeMap<Feed, u64>) -> Result<(), String> {
        if self.flushing.is_some() {
            return Err("two flushes at the same time".to_string());
        }
        let rows = std::mem::take(&mut self.unflushed);
        let works = !self.dice.often(self.odds.flush_fails);
        // Some errors come after the commit: the answer was lost.
        let writes = works || self.dice.often(300);
        let begins = writes || self.dice.often(500);
        let takes = 1_000 + self.dice.below(5_000_000) as Micros;
        let jitter = self.dice.next() as u32;
        if begins {
            let dead = self.core.as_ref().map(|core| core.dead_letters().cloned().collect()).unwrap_or_default();
            self.store.write_results(&rows, dead);
        }
        if writes {
            self.store.write_candles(&rows, flush, through, &offsets);
        }
        self.flushing = Some(rows);
        let life = self.life;
        self.at(self.now + takes, Happening::FlushEnds { life, through, works, jitter });
        Ok(())
    }

    fn check_step(&self) -> Result<(), String> {
        let Some(core) = &self.core else { return Ok(()) };
        let counters = core.counters();
        let came = counters.accepted + counters.revived;
        let went = counters.answered + counters.dead + counters.duplicates + core.pending() as u64;
        if came != went {
            return Err(format!("{came} candles came and {went} went or wait: {counters:?}"));
        }
        if counters.received != counters.accepted + counters.rejected() {
            return Err(format!("candles are lost on arrival: {counters:?}"));
        }
        if core.pending() > core.capacity() + self.replayed + core.dead_letters().count() + counters.revived as usize {
            return Err(format!("{} candles wait, of {} that may", core.pending(), core.capacity()));
        }
        Ok(())
    }

    fn check_end(&self) -> Outcome {
        let dead: BTreeSet<(Symbol, Micros)> = self.store.dead().map(|d| (d.candle.symbol, d.candle.bar.ts)).collect();
        for (symbol, ts, _) in &self.settled {
            let is_stored = self.store.candles.get(symbol).is_some_and(|bars| bars.contains_key(ts));
            if !is_stored && !dead.contains(&(*symbol, *ts)) {
                return Err(format!("{symbol:?} {ts} was accepted and is lost"));
            }
        }
        if let Some(lost) = dead.iter().find(|key| !self.poison.contains(*key)) {
            // What only failed for a time may be dead, but then it is told so.
            self.tell(|| format!("{lost:?} is a dead letter"));
        }
        let mut wanted = self.final_candles.clone();
        for (symbol, ts) in &dead {
            let stored = self.store.candles.get(symbol).and_then(|bars| bars.get(ts)).copied();
            let of = wanted.entry(*symbol).or_default();
            match stored {
                // The letter was of another version, or of none that counts.
                Some(bar) => of.insert(*ts, bar),
                None => of.remove(ts),
            };
        }
        wanted.retain(|_, bars| !bars.is_empty());
        if self.store.candles != wanted {
            let differs = wanted.iter().find(|(symbol, bars)| self.store.candles.get(symbol) != Some(bars));
            let first = differs.map(|(symbol, bars)| {
                let stored = self.store.candles.get(symbol).cloned().unwrap_or_default();
                let at = bars.iter().find(|(ts, bar)| stored.get(ts) != Some(bar));
                format!("{symbol:?}: {at:?} instead of {:?}", at.and_then(|(ts, _)| stored.get(ts)))
            });
            return Err(format!("the store has other candles: {first:?}"));
        }
        let (results, mut stored) = (batch(&wanted), self.store.results.clone());
        // A candle may have been computed and written, but for its own row, before a crash, and be dead since.
        stored.retain(|key, _| results.contains_key(key) || !dead.contains(key));
        if stored != results {
            let differs = results.iter().find(|(key, value)| stored.get(key) != Some(value));
            let more = stored.keys().find(|key| !results.contains_key(key));
            return Err(format!("the store has other results than the candles give: {differs:?}, {more:?}"));
        }
        Ok(Done { steps: self.steps, crashes: self.crashes })
    }
}

fn bar_of(ts: Micros, close: f64) -> Bar {
    Bar { ts, values: [close, close + 1.0, close - 1.0, close, 10.0] }
}
