//! `tallow scan`.

use super::args::values::{positive, time};
use super::args::{OutputArgs, SymbolsArgs};
use super::commands::{Context, Run};
use super::config::Config;
use super::output::{Writer, note, out, warn};
use super::progress::Progress;
use super::{Failure, destination, given, skipped, usage};
use crate::Error;
use crate::Session;
use crate::pipeline::When;
use crate::pipeline::control::Control;
use crate::pipeline::formulas;
use crate::pipeline::outcome::{Ended, ScanStatistics, Skipped};
use crate::pipeline::scan::{Group, MaxAge, Rank, Scan, Sweep};
use clap::{Args as ClapArgs, ValueEnum};
use futures::TryStreamExt;
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, ClapArgs)]
pub(super) struct ScanArgs {
    /// A condition over the bars of a symbol, or the name of a formula that the lake keeps
    #[arg(value_name = "FORMULA|NAME")]
    pub formula: String,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    /// First day or instant of the matches; enough bars before it are read for every indicator
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer wanted
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    #[command(flatten)]
    pub symbols: SymbolsArgs,
    /// The symbols of a file: one per line or separated by commas, # begins a comment; - for standard input
    #[arg(long, value_name = "FILE")]
    pub watchlist: Option<PathBuf>,
    /// The newest bar of each symbol only
    #[arg(long)]
    pub last: bool,
    /// With --last, leave out symbols after whose newest bar the table has bars at more times than this; all leaves out none
    #[arg(long, value_name = "BARS|all", default_value_t = MaxAge::default(), requires = "last")]
    pub max_age: MaxAge,
    /// Order matches by a value, the largest first, or `VALUE asc`
    #[arg(long, value_name = "VALUE")]
    pub rank: Option<String>,
    /// At most so many matches; with --group and --rank, at most so many of each group
    #[arg(long, value_name = "N", value_parser = positive)]
    pub top: Option<usize>,
    /// One row per date or symbol, or with --rank the best of each
    #[arg(long, value_enum)]
    pub group: Option<GroupBy>,
    /// Values that a parameter takes in turn: period=5..20:5 or period=5,10; may be repeated, all are crossed
    #[arg(long, value_name = "NAME=VALUES")]
    pub sweep: Vec<String>,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Stop after this time with what is complete, such as 30s
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Scan a formula that looks into the future
    #[arg(long)]
    pub allow_lookahead: bool,
    /// Write the symbols and files that are left out, and why, to a file
    #[arg(long, value_name = "FILE")]
    pub failures: Option<PathBuf>,
    /// Only show the SQL for the matches
    #[arg(long, conflicts_with_all = ["from", "to", "group", "sweep"])]
    pub sql: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GroupBy {
    Date,
    Symbol,
}

impl Run for ScanArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let (config, cancel) = (&cx.config, &cx.cancel);
        let started = Instant::now();
        destination::check(&self.output)?;
        if let Some(path) = &self.failures {
            destination::check(&skipped::output(path))?;
        }
        let session = config.session().await?;
        let (scan, stored) = self.scan(&session).await?;
        if self.sql {
            out!("{}", scan.sql(&session).await?);
            return Ok(());
        }
        let progress = Arc::new(Progress::new(config, None, "symbols"));
        let control = self.control(Control { cancel: cancel.clone(), ..progress.control() })?;
        let mut found = match scan.run(&session, &control).await {
            Err(_) if cancel.is_cancelled() => {
                progress.clear();
                note(format_args!("interrupted before anything was found"));
                return Err(Failure::Interrupted);
            }
            found => found?,
        };
        warn(config, &found.warnings);
        progress.clear();
        let mut writer = Writer::new(&self.output, Arc::clone(&found.schema))?;
        while let Some(batch) = found.stream.try_next().await? {
            writer.write(&batch)?;
        }
        writer.finish()?;
        let (counts, left_out) = (found.statistics.scan(), found.skipped.get());
        if let Some(path) = &self.failures {
            skipped::write(path, &left_out)?;
        }
        report(config, &counts, &left_out, started.elapsed(), stored.as_deref(), scan.max_age);
        match (counts.ended, left_out.is_empty()) {
            (Ended::Cancelled, _) => Err(Failure::Interrupted),
            (Ended::TimedOut, _) | (_, false) => Err(Failure::Partial),
            (Ended::Complete, true) => Ok(()),
        }
    }
}

impl ScanArgs {
    /// The scan that is asked for, and which formula of the lake it is.
    pub async fn scan(&self, session: &Session) -> Result<(Scan, Option<String>), Failure> {
        let (formula, stored) = formulas::resolve(session, &self.formula).await?;
        let mut sweep = Sweep::default();
        self.sweep.iter().try_for_each(|text| sweep.add(text)).map_err(usage)?;
        let scan = Scan {
            params: given::params(&self.param)?,
            table: given::table_of(self.timeframe.as_deref())?,
            symbols: symbols(self, session).await?,
            members: self.symbols.members(session).await?,
            range: given::times(self.from, self.to)?,
            last: self.last,
            max_age: self.max_age,
            rank: self.rank.as_deref().map(Rank::parse).transpose()?,
            top: self.top,
            group: self.group.map(|g| if g == GroupBy::Date { Group::Date } else { Group::Symbol }),
            sweep,
            allow_lookahead: self.allow_lookahead,
            ..Scan::of(formula)
        };
        Ok((scan, stored))
    }

    /// With the time that the scan may take from now on.
    pub fn control(&self, control: Control) -> Result<Control, Failure> {
        match &self.timeout {
            Some(text) => Ok(control.within(given::duration("--timeout", text)?)),
            None => Ok(control),
        }
    }
}

async fn symbols(args: &ScanArgs, session: &Session) -> Result<Option<Vec<String>>, Failure> {
    let mut all = args.symbols.chosen(session, When::Ever(args.to)).await?.unwrap_or_default();
    if let Some(path) = &args.watchlist {
        let failed = |e| Error::File(path.display().to_string(), e);
        let mut text = String::new();
        if path == Path::new("-") {
            std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        } else {
            text = std::fs::read_to_string(path).map_err(failed)?;
        }
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let words = lines.flat_map(|line| line.split([',', ';', ' ', '\t'])).map(|w| w.trim().trim_matches('"'));
        all.extend(words.filter(|w| !w.is_empty()).map(str::to_string));
        if all.is_empty() {
            return Err(Error::invalid(format!("the watch-list {} names no symbol", path.display())).into());
        }
    }
    let mut seen = HashSet::new();
    all.retain(|symbol| seen.insert(symbol.clone()));
    Ok((!all.is_empty()).then_some(all))
}

fn counted(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// What was found, on standard error.
fn report(
    config: &Config,
    counts: &ScanStatistics,
    left_out: &[Skipped],
    took: Duration,
    stored: Option<&str>,
    max_age: MaxAge,
) {
    let mut said = String::new();
    let early = match counts.ended {
        Ended::Complete => None,
        Ended::Cancelled => Some("interrupted"),
        Ended::TimedOut => Some("out of time"),
    };
    if let Some(early) = early {
        let lost = if counts.given_up { "; their matches could not be brought together in time" } else { "" };
        said += &format!("{early} after {} of {} symbols{lost}\n", counts.scanned, counts.asked);
    }
    if !config.quiet {
        let of = stored.map_or_else(String::new, |name| format!(" of {name}"));
        said += &format!(
            "{}{of} in {} of {} ({:.1} %), {} bars, {:.2} s\n",
            counted(counts.matches, "match", "matches"),
            counts.with_matches,
            counted(counts.scanned, "symbol", "symbols"),
            counts.match_rate() * 100.0,
            counts.bars,
            took.as_secs_f64()
        );
    }
    if counts.too_old > 0 && !config.quiet {
        said += &format!(
            "{} left out: the table has bars at more than {max_age} times after their newest one (--max-age all)\n",
            counted(counts.too_old, "symbol", "symbols")
        );
    }
    if !left_out.is_empty() {
        said += &format!("failed: {} (asked {})\n", left_out.len(), counts.asked);
        said += &skipped::listed(left_out, "--failures FILE writes all");
    }
    if !said.is_empty() {
        note(format_args!("{}", said.trim_end()));
    }
}
