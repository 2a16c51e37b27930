//! `tallow live`.

mod asked;
mod emit;
mod patterns;
mod seen;
mod settings;
mod what;

use super::Failure;
use super::args::values::parsed;
use super::commands::{Context, Run};
use super::output::note;
use crate::live::{Durable, FeedUrl, Live, LiveOptions, Replay, Settings, Summary};
use crate::pipeline::incremental::Definition;
use asked::{Address, LiveCommand};
use clap::Args as ClapArgs;
use emit::{Emit, Notify};
use patterns::PatternArgs;
pub(super) use settings::duration;
pub(super) use settings::{LiveConfig, LiveFile};
use settings::{Profile, When};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::time::instant;
use tallow_serve::listen;
use tallow_udfs::calendar::Timeframe;
use tokio_util::sync::CancellationToken;
use what::What;

/// The name of a run that nothing gives one.
const UNNAMED: &str = "live";

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct LiveArgs {
    #[command(subcommand)]
    pub command: Option<LiveCommand>,
    /// What is computed: SQL with the columns symbol and ts, the name of a named query or of a pipeline, or a formula, whose bars
    /// are emitted as they close
    #[arg(value_name = "SQL|NAME|FORMULA", required_unless_present_any = ["strategy", "pattern"], conflicts_with_all = ["strategy", "pattern"])]
    pub what: Option<String>,
    /// Trade on paper with this strategy of the lake, NAME or NAME@VERSION: what it enters and leaves, and its account after each
    /// bar
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "provisional"])]
    pub strategy: Option<String>,
    /// With --strategy: when the account begins [default: with the first bar that comes]
    #[arg(long, value_name = "TIME", requires = "strategy", value_parser = instant)]
    pub since: Option<i64>,
    #[command(flatten)]
    pub patterns: PatternArgs,
    /// Where candles come from: - for lines of JSON on standard input, tcp://HOST:PORT to listen for them, http://HOST:PORT to have
    /// them posted, an exchange such as binance://BTCUSDT,ETHUSDT, replay://TABLE[?speed=100x&from=..&to=..] for bars of the lake;
    /// may be repeated
    #[arg(long, value_name = "FEED", default_value = "-", value_parser = parsed::<FeedUrl>)]
    pub feed: Vec<FeedUrl>,
    /// Length of the bars that come, and that stand for `candles` [default: that of the bars which are read, or days]
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Option<Timeframe>,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Keep results in this table too: NAME for results_NAME, ./folder or a URL [default: a pipeline's own, otherwise none]
    #[arg(long, value_name = "TABLE")]
    pub to: Option<String>,
    /// Where results go as they happen, as lines of JSON: - for standard output, a file, tcp://HOST:PORT where somebody listens, a
    /// web address that they are posted to, command:COMMAND for the standard input of a command, or none; may be repeated
    #[arg(long, value_name = "WHERE", default_value = "-", value_parser = parsed::<Emit>)]
    pub emit: Vec<Emit>,
    /// Serve metrics, health and what else is known of the run at HOST:PORT [env: TALLOW_LIVE_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Who is told what passes a limit, as a line of JSON: command:COMMAND, which gets it on its standard input, or a web address that
    /// it is posted to; may be repeated
    #[arg(long, value_name = "WHERE", value_parser = parsed::<Notify>)]
    pub notify: Vec<Notify>,
    /// Show how the run is doing
    #[arg(long)]
    pub watch: bool,
    /// Name of the run, under which it goes on after a stop or a crash [default: that of the query, or `live`]
    #[arg(long)]
    pub name: Option<String>,
    /// Folder of the journal, in which candles are until they are in the lake
    /// [default: ./tallow-live; env: TALLOW_LIVE_JOURNAL]
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// When a candle is accepted: once it is in the journal on disk (batch), or at once (none)
    /// [default: batch; env: TALLOW_LIVE_DURABLE]
    #[arg(long, value_enum)]
    pub durable: Option<When>,
    /// Do not merge the candles that come into the lake; with --feed replay:// they are there
    #[arg(long)]
    pub drop_candles: bool,
    /// Take symbols that the lake does not have
    #[arg(long)]
    pub new_symbols: bool,
    /// Answer bars that are not closed yet, too: marked as not complete, and not kept
    #[arg(long)]
    pub provisional: bool,
    /// Compute every result anew from all the bars that it looks at, as a check: slower
    #[arg(long)]
    pub recompute: bool,
    /// What matters most, which sets workers, sizes of batches and how often results are written
    /// [default: throughput; env: TALLOW_LIVE_PROFILE]
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// How many compute at the same time [default: the profile's; env: TALLOW_LIVE_WORKERS]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// How long results wait to be written to the lake
    /// [default: 60s; env: TALLOW_LIVE_FLUSH]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub flush: Option<Duration>,
    /// How long bars of one time wait for those of other symbols, where these are compared
    /// [default: 2s; env: TALLOW_LIVE_GRACE]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub grace: Option<Duration>,
    /// How long the run goes on once it is stopped, to do what it has accepted
    /// [default: 30s; env: TALLOW_LIVE_DRAIN]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub drain: Option<Duration>,
}

impl Run for LiveArgs {
    async fn run(mut self, cx: &Context) -> Result<(), Failure> {
        if let Some(command) = self.command.take() {
            return command.run(cx).await;
        }
        let config = &cx.config.live.clone().with(self.profile);
        let journal = config.journal.or(self.journal.clone());
        let session = Arc::new(cx.config.session().await?);
        let replays = self.feed.iter().filter_map(|feed| match feed {
            FeedUrl::Replay(replay) => Some(replay),
            _ => None,
        });
        let replays: Vec<&Replay> = replays.collect();
        let names_symbols =
            self.feed.iter().any(|feed| matches!(feed, FeedUrl::Exchange(of) if !of.symbols.is_empty()));
        let known_until = replays.iter().map(|replay| replay.from.unwrap_or(i64::MIN)).min();
        let What { pipeline, asks, account } = self.computed(&session, &journal, known_until).await?;
        let is_stored = self.to.is_none() && pipeline.into != UNNAMED;
        let mut settings = Settings::default();
        settings.workers = config.workers.or(self.workers.map(Some)).unwrap_or(cx.config.threads()).max(1);
        (settings.batch, settings.flush_rows) = (config.batch.value, config.flush_rows.value);
        settings.flush_every = i64::try_from(config.flush.or(self.flush).as_micros()).unwrap_or(i64::MAX);
        settings.durable = match config.durable.or(self.durable) {
            When::Batch => Durable::Batch,
            When::None => Durable::None,
        };
        let options = LiveOptions {
            asks,
            timeframe: self.timeframe,
            folder: journal.clone(),
            keeps_results: self.to.is_some() || is_stored,
            keeps_candles: !self.drop_candles && replays.is_empty(),
            known_until,
            new_symbols: self.new_symbols || !replays.is_empty() || names_symbols,
            drain: config.drain.or(self.drain),
            together: account.is_some(),
            grace: config.grace.or(self.grace),
            provisional: self.provisional,
            recompute: self.recompute,
            // Bars of the past come as fast as they can be computed, and wait for that.
            alerts: replays.len() < self.feed.len(),
            settings,
        };
        let mut answers = emit::open(&self.emit)?;
        if let Some(account) = account {
            answers = Box::new(account.telling(answers));
        }
        answers = self.patterns.answers(&session, self.bars(), answers)?;
        let mut live = Live::open(Arc::clone(&session), &pipeline, options).await?;
        live.notify(self.notify.iter().map(Notify::open).collect::<Result<_, _>>()?);
        if !cx.config.quiet {
            // Of a formula, the order is not the user's.
            let notes = live.notes().iter().filter(|_| !matches!(pipeline.definition, Definition::Scan { .. }));
            notes.for_each(|said| note(format_args!("note: {said}")));
            let (symbols, bars) = live.known();
            let how = match (live.is_bar_by_bar(), bars) {
                (true, _) => "results come bar by bar".to_string(),
                (false, Some(bars)) => format!("{bars} bars of each are kept"),
                (false, None) => "all bars of each are kept".to_string(),
            };
            note(format_args!("{}: {symbols} symbols are known, {how}", live.table()));
        }
        let ended = CancellationToken::new();
        let posted = self.feed.iter().filter_map(|feed| match feed {
            FeedUrl::Http(address) => Some(address),
            _ => None,
        });
        let mut served = None;
        let own = config.listen.or(self.listen.clone().map(Some));
        for address in posted.chain(&own) {
            let listening = listen(address).await?;
            note(format_args!("listening on http://{}", listening.address()));
            if served.is_none() {
                served = Some(Address::keep(&live.folder(), listening.address())?);
            }
            if let Some(door) = live.door() {
                session.engine().spawn(listening.serve(door, Arc::clone(&session), ended.clone()))?;
            }
        }
        if self.watch
            && std::io::stderr().is_terminal()
            && let Some(door) = live.door()
        {
            session.engine().spawn(seen::show(door, ended.clone()))?;
        }
        let summary = live.run(&self.feed, answers, cx.cancel.clone()).await;
        ended.cancel();
        let summary = summary?;
        if !cx.config.quiet {
            say(&summary);
        }
        Ok(())
    }
}

/// What a run did, on standard error: standard output has the results.
fn say(summary: &Summary) {
    let counters = &summary.counters;
    note(format_args!("received   {}, {} unreadable", counters.received, summary.unreadable));
    note(format_args!(
        "accepted   {}: {} duplicates, {} corrected, {} late",
        counters.accepted, counters.duplicates, counters.restated, counters.late
    ));
    note(format_args!("rejected   {}", counters.rejected()));
    note(format_args!("rows       {} in {} batches", summary.rows, counters.batches));
    if summary.dead_letters > 0 {
        note(format_args!("dead       {}: could not be computed", summary.dead_letters));
    }
    if summary.left != (0, 0) {
        let (pending, unflushed) = summary.left;
        note(format_args!(
            "left       {pending} candles, {unflushed} rows: the next run of this name goes on with them"
        ));
    }
}
