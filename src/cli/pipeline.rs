//! `tallow pipeline`.

use super::args::values::{origin, parsed, positive};
use super::commands::{Context, Run};
use super::label::LabelChoice;
use super::output::{note, out};
use super::progress::Progress;
use super::{Failure, given, skipped};
use crate::Session;
use crate::pipeline::control::Control;
use crate::pipeline::incremental::{self, Definition, Done, Extent, LatestMatches, Pipeline, RunOptions, Source, Work};
use crate::pipeline::resample::{Fill, Resample};
use clap::{Args as ClapArgs, Subcommand};
use std::sync::Arc;
use tallow_common::time::shown;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, Subcommand)]
pub(super) enum PipelineCommand {
    /// Define one: a query, a scan, labels, longer bars or matches, and the table that their result is kept in
    Add(Box<AddArgs>),
    /// List all
    List,
    /// Show how one is defined
    Show(NameArgs),
    /// Forget one; its table stays
    Remove(NameArgs),
    /// Bring tables up to date: computes what changes of the sources affect
    Run(RunArgs),
    /// Show how far tables are behind
    Status(StatusArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct AddArgs {
    /// Its name: letters, digits and _
    pub name: String,
    #[command(flatten)]
    pub what: What,
    /// A value for `:name`, or of labels a parameter of triple_barrier; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Length of the bars: those that stand for `candles`, or that are labelled
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>, conflicts_with = "resample")]
    pub timeframe: Option<Timeframe>,
    /// The table to keep the result in: NAME for results_NAME, labels_NAME or matches_NAME, ./folder or a URL [default: the pipeline's name;
    /// of labels and longer bars, the timeframe]
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    #[command(flatten, next_help_heading = "Labels")]
    pub labels: LabelChoice,
    /// Make longer bars from these [default: the longest stored that divide them]
    #[arg(long, value_name = "TF", value_parser = parsed::<Timeframe>, requires = "resample", help_heading = "Longer bars")]
    pub from: Option<Timeframe>,
    /// Where longer bars begin [default: that of the source]
    #[arg(long, value_name = "ORIGIN", value_parser = origin, requires = "resample", help_heading = "Longer bars")]
    pub origin: Option<String>,
    /// What stands where there was no trade: none or prev_close
    #[arg(long, default_value = "none", value_parser = parsed::<Fill>, requires = "resample", help_heading = "Longer bars")]
    pub fill: Fill,
    /// At most so many matches of a run
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive, requires = "pattern", help_heading = "Matches")]
    pub top: usize,
    /// Only matches that are nearer than this share of random windows
    #[arg(long, value_name = "SHARE", requires = "pattern", help_heading = "Matches")]
    pub percentile: Option<f64>,
    /// Compare the newest bars of every symbol, not only of the fifth that correlates best with the pattern
    #[arg(long, requires = "pattern", help_heading = "Matches")]
    pub exact: bool,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(super) struct What {
    /// A query with the columns symbol and ts, or the name of a named query
    #[arg(long, value_name = "SQL|NAME")]
    pub query: Option<String>,
    /// The bars that fulfil a formula
    #[arg(long, value_name = "FORMULA")]
    pub scan: Option<String>,
    /// Labels of every bar of --timeframe
    #[arg(long, requires = "timeframe")]
    pub label: bool,
    /// Longer bars of this length
    #[arg(long, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub resample: Option<Timeframe>,
    /// Matches of a pattern that the lake keeps, at the newest bar of each symbol: a run adds those that it finds, each with its
    /// run_id and found_at
    #[arg(long = "match", id = "pattern", value_name = "PATTERN")]
    pub pattern: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct NameArgs {
    /// Its name
    pub name: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// Their names; each runs after those whose tables it reads
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub names: Vec<String>,
    /// All pipelines
    #[arg(long)]
    pub all: bool,
    /// Compute everything anew, also by another definition than before
    #[arg(long)]
    pub full: bool,
    /// Compute so many symbols at a time where everything is computed, each step a commit: a run that was stopped goes on where it
    /// was [default: as many as have 20 million bars]
    #[arg(long, value_name = "symbols=N", value_parser = chunk)]
    pub chunk: Option<usize>,
    /// Only show what would be done
    #[arg(long, conflicts_with = "chunk")]
    pub dry_run: bool,
}

/// `symbols=500`, or the number alone.
fn chunk(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix("symbols=").unwrap_or(text).parse().ok();
    number.filter(|symbols| *symbols > 0).ok_or_else(|| "expected a number of symbols, such as symbols=500".to_string())
}

#[derive(Debug, ClapArgs)]
pub(super) struct StatusArgs {
    /// Of this one only
    pub name: Option<String>,
}

impl Run for PipelineCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        match self {
            PipelineCommand::Add(args) => add(&session, *args).await,
            PipelineCommand::List => list(&session).await,
            PipelineCommand::Show(args) => show(&session, &args.name).await,
            PipelineCommand::Remove(args) => remove(&session, &args.name).await,
            PipelineCommand::Run(args) => run(cx, &session, args).await,
            PipelineCommand::Status(args) => status(&session, args.name.as_deref()).await,
        }
    }
}

impl AddArgs {
    fn definition(&self) -> Result<Definition, Failure> {
        let params = || -> Result<_, Failure> {
            let params = given::params(&self.param)?;
            let value = |name: &str| (name.to_string(), params.get(name).unwrap_or_default().to_string());
            Ok(params.names().map(value).collect())
        };
        let What { query, scan, label: _, resample, pattern } = &self.what;
        Ok(match (query, scan, pattern, resample) {
            (Some(query), ..) => {
                Definition::Query { query: query.clone(), params: params()?, timeframe: self.timeframe }
            }
            (_, Some(formula), ..) => {
                let table = self.timeframe.map_or_else(|| "candles".to_string(), |t| format!("candles_{t}"));
                Definition::Scan { formula: formula.clone(), params: params()?, table }
            }
            (_, _, Some(pattern), _) => Definition::Match(LatestMatches {
                pattern: pattern.clone(),
                timeframe: self.timeframe,
                top: self.top,
                percentile: self.percentile,
                exact: self.exact,
            }),
            (.., Some(timeframe)) => Definition::Resample(Resample {
                timeframe: *timeframe,
                from: self.from,
                origin: self.origin.clone(),
                fill: self.fill,
            }),
            _ => {
                let missing = || Failure::Usage("--label needs --timeframe".to_string());
                Definition::Label(self.labels.of(self.timeframe.ok_or_else(missing)?, &self.param)?)
            }
        })
    }
}

async fn add(session: &Session, args: AddArgs) -> Result<(), Failure> {
    let definition = args.definition()?;
    let into = args.into.clone().unwrap_or_else(|| definition.default_table(&args.name));
    let pipeline = Pipeline { name: args.name, definition, into };
    let is_new = incremental::add(session, &pipeline, chrono::Utc::now().timestamp_micros()).await?;
    let there = if is_new { "" } else { " (it was there already)" };
    out!("{}  {}  into {}{there}", pipeline.name, pipeline.definition.kind(), pipeline.table()?);
    Ok(())
}

async fn list(session: &Session) -> Result<(), Failure> {
    let all = incremental::all(session).await?;
    if all.is_empty() {
        out!("no pipeline; add one: tallow pipeline add oversold --scan 'rsi(14) < 30'");
        return Ok(());
    }
    let width = all.iter().map(|pipeline| pipeline.name.len()).max().unwrap_or_default();
    for pipeline in all {
        let (kind, table) = (pipeline.definition.kind(), pipeline.table()?);
        out!("{:<width$}  {kind:<8}  {table}  {}", pipeline.name, pipeline.definition.describe());
    }
    Ok(())
}

async fn show(session: &Session, name: &str) -> Result<(), Failure> {
    let pipeline = incremental::find(session, name).await?;
    out!("name       {}", pipeline.name);
    out!("kind       {}", pipeline.definition.kind());
    out!("table      {}", pipeline.table()?);
    out!("computes   {}", pipeline.definition.describe());
    Ok(())
}

async fn remove(session: &Session, name: &str) -> Result<(), Failure> {
    let pipeline = incremental::remove(session, name).await?;
    out!("{} is forgotten; its table {} stays", pipeline.name, pipeline.table()?);
    Ok(())
}

async fn run(cx: &Context, session: &Session, args: RunArgs) -> Result<(), Failure> {
    let mut chosen = vec![];
    if args.all {
        chosen = incremental::all(session).await?;
    }
    for name in &args.names {
        chosen.push(incremental::find(session, name).await?);
    }
    let options = RunOptions { full: args.full, symbols_a_step: args.chunk };
    let mut failed = vec![];
    for pipeline in incremental::in_order(session, chosen).await? {
        if args.dry_run {
            let work = pipeline.work(session, options).await?;
            show_work(&pipeline, &work)?;
            match incremental::estimate(session, &pipeline, &work).await? {
                Some(takes) => out!("  takes    about {:.1} s, by what earlier runs took", takes.as_secs_f64()),
                None if work.extent == Extent::Nothing => {}
                None => out!("  takes    no earlier run tells how long"),
            }
            continue;
        }
        let progress = Arc::new(Progress::new(&cx.config, None, "rows"));
        let control = Control { cancel: cx.cancel.clone(), ..progress.control() };
        let run = match pipeline.run(session, options, &control).await {
            Err(error) if cx.cancel.is_cancelled() => {
                progress.clear();
                note(format_args!("{}: {}", pipeline.name, error));
                return Err(Failure::Interrupted);
            }
            done => done?,
        };
        let incremental::Run { work, done, failed: of_run } = run;
        failed.extend(of_run);
        progress.clear();
        let table = pipeline.table()?;
        let (rows, said) = match done {
            Done::Nothing => (0, "up to date".to_string()),
            Done::Written { rows, version } => (rows, format!("{rows} rows written to {table}, version {version}")),
            Done::ByAnother { version } => {
                (0, format!("another run had done the same already: {table}, version {version}"))
            }
        };
        out!("{}  {said}  ({})", pipeline.name, sources(&work.sources));
        show_why(&work)?;
        progress.finish(None, rows, session.bytes_read());
    }
    skipped::partial(&failed)
}

/// `candles_1d 11 to 12: 2500 rows changed`
fn sources(sources: &[Source]) -> String {
    let of = |Source { table, from, to, changed, .. }: &Source| match from {
        Some(from) if from == to => format!("{table} {to}"),
        Some(from) => format!("{table} {from} to {to}, {changed} rows changed"),
        None => format!("{table} {to}"),
    };
    sources.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// Why more is computed than what lies near the changes.
fn show_why(work: &Work) -> Result<(), Failure> {
    match &work.extent {
        Extent::Everything(reason) => out!("           everything is computed: {reason}"),
        Extent::Ranges { whole_history, .. } if !whole_history.is_empty() => {
            out!("           reads the whole history because of {}", whole_history.join(", "));
        }
        _ => {}
    }
    Ok(())
}

fn show_work(pipeline: &Pipeline, work: &Work) -> Result<(), Failure> {
    out!("{}  into {}", pipeline.name, pipeline.table()?);
    for source in &work.sources {
        out!("  source   {}", sources(std::slice::from_ref(source)));
    }
    if let Extent::Ranges { affected, .. } = &work.extent {
        out!("  rows     {}", spans(affected));
    }
    for Source { table, read, .. } in work.sources.iter().filter(|source| source.read.rows > 0) {
        let of = match &work.extent {
            Extent::Ranges { needed, .. } => needed.get(table).map(|ranges| format!("{}; ", spans(ranges))),
            _ => None,
        };
        let megabytes = read.bytes as f64 / 1e6;
        out!("  reads    {table}: {}about {} bars, {megabytes:.1} MB", of.unwrap_or_default(), read.rows);
    }
    if work.extent == Extent::Nothing {
        out!("  up to date");
    }
    show_why(work)
}

/// Of how many symbols, and which times.
fn spans(ranges: &tallow_common::Ranges) -> String {
    let symbols = match (ranges.symbols().count(), ranges.of_all().is_empty()) {
        (_, false) => "all symbols".to_string(),
        (1, true) => "1 symbol".to_string(),
        (symbols, true) => format!("{symbols} symbols"),
    };
    let time = |time: i64, open: &str| match time {
        i64::MIN | i64::MAX => open.to_string(),
        time => shown(time),
    };
    let hull = ranges.hull().map(|hull| {
        let last = if hull.end == i64::MAX { hull.end } else { hull.end - 1 };
        let (first, last) = (time(hull.start, "their beginning"), time(last, "their end"));
        format!(", {first} to {last}")
    });
    format!("{symbols}{}", hull.unwrap_or_default())
}

async fn status(session: &Session, name: Option<&str>) -> Result<(), Failure> {
    let chosen = match name {
        Some(name) => vec![incremental::find(session, name).await?],
        None => incremental::all(session).await?,
    };
    for pipeline in chosen {
        let status = incremental::status(session, &pipeline).await?;
        out!("{}  {}", pipeline.name, status.table);
        let Some(commit) = &status.last_commit else {
            out!("  never run");
            continue;
        };
        let time = commit.time.and_then(chrono::DateTime::from_timestamp_millis);
        let time = time.map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default();
        out!("  last run {time}, version {}: {}", commit.version, commit.metrics);
        out!("  rows     {}", status.rows);
        for (source, (from, to)) in &status.sources {
            match from {
                Some(from) if from == to => out!("  source   {source} {to}: up to date"),
                Some(from) => out!("  source   {source} {from} of {to}: {} versions behind", to - from),
                None => out!("  source   {source}: not used yet"),
            }
        }
        if let (Some(newest), Some(source)) = (status.newest, status.newest_source) {
            out!("  newest   {}, of bars up to {}", shown(newest), shown(source));
        }
    }
    Ok(())
}
