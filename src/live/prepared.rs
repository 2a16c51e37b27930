//! A live run before it begins: its plan, its journal, and what it knows of the lake.

use crate::answers::Elsewhere;
use crate::core::{Candle, Core, Durable, Feed, Gather, Sequence, Settings, Symbol};
use crate::door::{Ask, Door};
use crate::feeds::{FromFeed, Numbers};
use crate::journal::Journal;
use crate::lease::Lease;
use crate::letters::{self, read_letters};
use crate::market::Market;
use crate::oracle::Oracle;
use crate::others::Kept;
use crate::plan::{Asks, LivePlan};
use crate::run::now;
use crate::standing::Standing;
use crate::store::Target;
use crate::symbols::Symbols;
use crate::warm::{Wanted, read};
use crate::worker::{Emitted, How, Known, Worker};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::{Error, Result};
use tallow_engine::standing::Chain;
use tallow_lake::properties::ORIGIN;
use tallow_pipeline::Session;
use tallow_pipeline::incremental::Pipeline;
use tallow_udfs::calendar::{Grid, Origin, Timeframe};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How a live run is done.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// What the text asks for.
    pub asks: Asks,
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
    /// Whether bars are answered that are not closed yet.
    pub provisional: bool,
    /// Whether every result is computed anew from all the bars that it looks at: slower, and a check of what is kept of functions.
    pub recompute: bool,
    /// Whether it is told what passes a limit.
    pub alerts: bool,
    /// Whether the bars of one time are computed together also where their symbols are not compared.
    pub together: bool,
    /// How long they wait for each other.
    pub grace: Duration,
    /// Sizes and times.
    pub settings: Settings,
}

/// A live run that can begin.
pub struct Live {
    pub(crate) session: Arc<Session>,
    pub(crate) plan: LivePlan,
    pub(crate) target: Target,
    pub(crate) options: LiveOptions,
    pub(crate) core: Core,
    pub(crate) journal: Option<Journal>,
    pub(crate) workers: Vec<Option<Worker>>,
    pub(crate) symbols: Symbols,
    /// The plan as a chain, where it is one.
    chain: Option<Arc<Chain>>,
    pub(crate) grid: Option<Grid>,
    /// Bars of other lengths.
    pub(crate) others: Vec<Arc<Kept>>,
    /// Candles of the journal that the lake does not have.
    pub(crate) replayed: Vec<(Sequence, Candle)>,
    /// Where feeds put what they read, and where it is taken from; where it is asked for, and how.
    pub(crate) channel: Option<(Sender<FromFeed>, Receiver<FromFeed>)>,
    /// Who is told what passes a limit.
    pub(crate) notices: Vec<Elsewhere>,
    pub(crate) asked: Option<Receiver<Ask>>,
    asks: Sender<Ask>,
    pub(crate) numbers: Arc<Numbers>,
}

/// Symbols whose bars wait to be taken by a worker.
const WARMING: usize = 64;
/// Messages of feeds that wait; each holds many candles.
const MESSAGES: usize = 16;

/// Candles that a run before this one left.
const JOURNAL: Feed = Feed(0);

impl Live {
    /// Prepares a run: plans it, takes its journal, and reads the bars that it needs from the lake.
    ///
    /// # Errors
    /// What is computed cannot run live; another run of the same name is there; or the lake cannot be read.
    pub async fn open(session: Arc<Session>, pipeline: &Pipeline, options: LiveOptions) -> Result<Live> {
        let plan = LivePlan::of(&session, pipeline.logical(&session).await?, options.timeframe, options.asks).await?;
        let folder = options.folder.join(&pipeline.name);
        let (origin, is_plain) = stored(&session, &plan.table).await?;
        if options.keeps_candles && is_plain {
            let said = format!("the candles that come cannot be kept: `{}` is made of plain files", plan.table);
            return Err(Error::conflict(said).with_hint(
                "ingest them into another lake (the option `lake`), or do not keep what comes (the option `drop-candles`)",
            ));
        }
        let grid = origin.parse::<Origin>().ok().map(|origin| Grid::new(plan.timeframe, origin));
        if options.keeps_results && !plan.has_column("symbol") {
            return Err(Error::invalid(
                "results cannot be kept as a table: they have no column symbol, by which rows of one are told apart",
            ));
        }
        let results = match options.keeps_results {
            true => Some(pipeline.result_table(&session).await?),
            false => None,
        };
        let mut target = Target {
            name: pipeline.name.clone(),
            results,
            candles: options.keeps_candles.then_some((plan.timeframe, origin)),
            dead_letters: letters::file(&folder),
            lease: None,
        };
        let mut settings = options.settings.clone();
        settings.step = plan.timeframe.fixed_length().filter(|_| plan.timeframe < Timeframe::Day);
        if !options.keeps_candles {
            settings.durable = Durable::None;
        }
        if plan.compares || options.together {
            let grace = i64::try_from(options.grace.as_micros()).unwrap_or(i64::MAX);
            settings.gather = Some(Gather { grace, in_order: false });
            // The bars of one time are computed by one, and not in parts.
            (settings.workers, settings.batch) = (1, usize::MAX);
        }
        let (journal, entries) = match settings.durable {
            Durable::Batch => {
                let (journal, entries) = Journal::open(&folder)?;
                (Some(journal), entries)
            }
            Durable::None => (None, vec![]),
        };
        if target.candles.is_some() {
            let lease = Lease::take(&session, &target, &plan.table, &folder, settings.flush_every).await?;
            target.lease = Some(lease);
        }
        let (through, flushed) = reached(&session, &target, &plan.table).await?;
        let chain = match options.recompute {
            true => Err("it was asked for".to_string()),
            false => plan.chain(&session).await?,
        };
        if let Err(reason) = &chain {
            tracing::info!("every result is computed anew from the bars that it looks at: {reason}");
        }
        let workers = settings.workers;
        let (asks, asked) = channel(MESSAGES);
        let mut live = Live {
            core: Core::new(settings),
            session,
            plan,
            target,
            options,
            journal,
            workers: vec![],
            symbols: Symbols::default(),
            chain: chain.ok(),
            grid,
            others: vec![],
            replayed: vec![],
            notices: vec![],
            channel: Some(channel(MESSAGES)),
            asked: Some(asked),
            asks,
            numbers: Arc::default(),
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
        let letters = read_letters(&path, JOURNAL, flushed, |name| live.symbols.number(name))?;
        live.core.bury(now(), letters);
        for entry in entries.iter().filter(|entry| entry.sequence > through) {
            let symbol = live.symbols.number(&entry.symbol);
            live.replayed.push((entry.sequence, entry.candle(JOURNAL, symbol)));
        }
        Ok(live)
    }

    /// Who is told what passes a limit, beside the log.
    pub fn notify(&mut self, notices: Vec<Elsewhere>) {
        self.notices = notices;
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

    /// How others speak with the run once it goes on; `None`: it has begun.
    pub fn door(&self) -> Option<Door> {
        let (into, _) = self.channel.as_ref()?;
        Some(Door { asks: self.asks.clone(), into: into.clone(), numbers: Arc::clone(&self.numbers) })
    }

    /// The folder of the run.
    pub fn folder(&self) -> PathBuf {
        self.options.folder.join(&self.target.name)
    }

    /// Whether results are computed bar by bar.
    pub fn is_bar_by_bar(&self) -> bool {
        self.chain.is_some()
    }

    /// The newest bar that is known of each symbol.
    pub(crate) fn newest(&self) -> HashMap<String, i64> {
        let newest = |symbol: Symbol| self.workers.get(self.worker_of(symbol))?.as_ref()?.newest(symbol);
        self.symbols.all().filter_map(|(name, symbol)| Some((name.to_string(), newest(symbol)?))).collect()
    }

    fn worker_of(&self, symbol: Symbol) -> usize {
        symbol.0 as usize % self.workers.len()
    }

    async fn worker(&self) -> Result<Worker> {
        let how = match &self.chain {
            Some(chain) => How::Standing(Standing::new(Arc::clone(chain), self.plan.looks)),
            None if self.plan.compares => How::Market(Market {
                of_newest: self.plan.of_newest,
                looks: self.plan.looks,
                series: BTreeMap::new(),
                names: HashMap::new(),
                copied: self.plan.copy(&self.session).await?,
                candles: Arc::clone(&self.plan.candles),
                context: self.session.context().task_ctx(),
            }),
            None => How::Oracle(Oracle {
                looks: self.plan.looks,
                series: HashMap::new(),
                copied: self.plan.copy(&self.session).await?,
                candles: Arc::clone(&self.plan.candles),
                context: self.session.context().task_ctx(),
            }),
        };
        Ok(Worker { how, emitted: Emitted::default() })
    }

    /// Reads what is known before the first candle. Each worker takes the bars of its symbols, all at the same time.
    async fn warm_up(&mut self) -> Result<()> {
        let (session, table) = (Arc::clone(&self.session), self.plan.table.clone());
        let wanted = Wanted { until: self.options.known_until, kept: self.plan.looks.kept(), symbol: None };
        let (mut known, mut warm) = (vec![], vec![]);
        for worker in &mut self.workers {
            let Some(mut worker) = worker.take() else { continue };
            let (to, mut from) = channel::<(Known, Arc<str>)>(WARMING);
            known.push(to);
            warm.push(session.engine().spawn(async move {
                while let Some((known, name)) = from.recv().await {
                    worker.warm(known, &name)?;
                }
                Ok::<Worker, Error>(worker)
            })?);
        }
        let count = known.len();
        let mut reading = read(&session, &table, wanted).await?;
        while let Some(of) = reading.next().await? {
            let symbol = self.symbols.number(&of.symbol);
            let newest: Vec<_> = of.bars.iter().rev().take(64).rev().copied().collect();
            self.core.know(symbol, &newest);
            let (name, bars) = (Arc::clone(self.symbols.names().of(symbol)), of.bars);
            let known_of = Known { symbol, bars, is_cut: of.is_cut };
            // One that cannot take it has failed, which is told below.
            let _ = known[symbol.0 as usize % count].send((known_of, name)).await;
        }
        drop(known);
        for (at, warm) in warm.into_iter().enumerate() {
            let warm = warm.await.map_err(|error| Error::invalid(format!("a worker stopped: {error}")))?;
            self.workers[at] = Some(warm?);
        }
        Ok(())
    }
}

/// Where the bars of a table begin, and whether it is made of plain files.
async fn stored(session: &Session, table: &str) -> Result<(String, bool)> {
    let name = table.to_string();
    let table = session.on_lake(move |lake| async move { lake.candle_table(&name).await }).await?;
    let origin = table.as_ref().and_then(|table| table.property(ORIGIN).map(str::to_string));
    let is_plain = table.is_some_and(|table| table.version().is_none());
    Ok((origin.unwrap_or_else(|| "utc".to_string()), is_plain))
}

/// Up to which candle, and up to which flush, the lake has what a run of this name made.
async fn reached(session: &Session, target: &Target, table: &str) -> Result<(Sequence, u64)> {
    let (table, applications) = (table.to_string(), target.applications().to_vec());
    let reached = session.on_lake(move |lake| async move { lake.reached(&table, None, applications).await }).await?;
    let of = |at: usize| reached.get(at).copied().flatten().unwrap_or_default();
    Ok((of(0), of(1)))
}
