//! `tallow match`.

use super::args::values::{into_instead, positive};
use super::args::{OutputArgs, SymbolsArgs};
use super::commands::{Context, Run};
use super::output::{Writer, note};
use super::progress::Progress;
use super::skipped::partial;
use super::{Failure, destination, given, usage};
use crate::Session;
use crate::pipeline::When;
use crate::pipeline::matching::{Found, Kept, Look, Match, MatchEvent, MatchJob, Scoring, Searched};
use crate::pipeline::materialize::result_table;
use crate::pipeline::search::{self, Adjust, Counts, SearchOptions};
use clap::Args as ClapArgs;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::redact::redacted;
use tallow_lake::ResultKind;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::search::Stages;

/// What is searched for, where and how.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct SearchArgs {
    /// A pattern that the lake keeps, or its closes: '1 3 2 4 3'
    #[arg(value_name = "PATTERN|NUMBERS", required_unless_present = "all", allow_hyphen_values = true)]
    pub pattern: Option<String>,
    /// All active patterns
    #[arg(long, conflicts_with = "pattern")]
    pub all: bool,
    /// Windows that end with the newest bar of each symbol
    #[arg(long, conflicts_with = "history")]
    pub latest: bool,
    /// All windows of the past [this is the default]
    #[arg(long)]
    pub history: bool,
    /// At most so many matches of each pattern
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    pub top: usize,
    /// Only matches that are nearer than this share of random windows
    #[arg(long, value_name = "SHARE")]
    pub percentile: Option<f64>,
    #[command(flatten)]
    pub symbols: SymbolsArgs,
    /// Lengths of the bars, or tables or files of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF,...", value_delimiter = ',')]
    pub timeframe: Vec<String>,
    /// What is compared: price, or price,averages [default: both where the pattern has 59 bars before it]
    #[arg(long, value_name = "CHANNELS")]
    pub channels: Option<String>,
    /// What a channel counts, such as price=0.6,averages=0.4,slopes=0.1
    #[arg(long, value_name = "NAME=WEIGHT,...", value_delimiter = ',')]
    pub weights: Vec<String>,
    /// How far a path may warp, such as price=0.12,averages=0.10
    #[arg(long, value_name = "NAME=SHARE,...", value_delimiter = ',')]
    pub bands: Vec<String>,
    /// Lengths of windows as multiples of the pattern's
    #[arg(long, value_name = "FACTOR,...", default_value = "0.9,0.95,1,1.05,1.1")]
    pub scales: String,
    /// Let a pattern match the bars that it was cut from
    #[arg(long)]
    pub self_matches: bool,
    /// With --latest: compare the newest bars of every symbol, not only of the fifth that correlates best with the pattern
    #[arg(long)]
    pub exact: bool,
    /// Random windows that percentiles are counted among
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub null: u32,
}

#[derive(Debug, ClapArgs)]
pub(super) struct MatchArgs {
    #[command(flatten)]
    pub search: SearchArgs,
    /// With --latest: only matches that no alert was given for within the cool-down, which are remembered
    #[arg(long)]
    pub alert: bool,
    /// How long a pattern stays silent about a symbol after an alert
    #[arg(long, value_name = "DURATION", default_value = "24h", requires = "alert")]
    pub cooldown: String,
    #[cfg(feature = "score")]
    /// Add what a model predicts for each match: a trained one, a path to an .onnx file, or heuristic
    #[arg(long, value_name = "MODEL")]
    pub score: Option<String>,
    #[cfg(feature = "score")]
    /// The symbol of an index, for the features of --score [default: all symbols with equal weights]
    #[arg(long, value_name = "SYMBOL")]
    pub benchmark: Option<String>,
    #[cfg(feature = "report")]
    /// Write a chart of each match into a folder too, as PNG
    #[arg(long, value_name = "DIR")]
    pub png: Option<PathBuf>,
    /// Add the matches to those that a table keeps of earlier runs, each with its run_id and found_at: NAME for matches_NAME,
    /// ./folder or a URL
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    /// The former name of --into
    #[arg(long = "to", hide = true, value_name = "TABLE", value_parser = into_instead)]
    pub _to: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for MatchArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        destination::check(&self.output)?;
        let session = cx.config.session().await?;
        deliver(&session, cx, &self, async |job: &MatchJob, found: &Found| {
            #[cfg(feature = "report")]
            if let Some(folder) = &self.png {
                use crate::pipeline::report::match_charts;
                let charts = match_charts(&session, job, found, found.rows.num_rows()).await?;
                let figures: Vec<_> = charts.into_iter().map(Into::into).collect();
                super::pictures::write(figures.iter(), folder)?;
            }
            let mut writer = Writer::new(&self.output, found.rows.schema())?;
            writer.write(&found.rows)?;
            writer.finish()?;
            Ok(())
        })
        .await
    }
}

/// Searches as it is asked for, and delivers what is found.
pub(super) async fn deliver(
    session: &Session,
    cx: &Context,
    args: &MatchArgs,
    to: impl AsyncFnOnce(&MatchJob, &Found) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut request = args.request()?;
    request.symbols = args.search.symbols.chosen(session, When::Newest(None)).await?;
    let job = request.prepare(session).await?;
    #[cfg(feature = "report")]
    super::pictures::make_folder(args.png.as_deref())?;
    for warning in &job.warnings {
        note(format_args!("warning: {warning}"));
    }
    let quiet = cx.config.quiet;
    #[cfg(feature = "score")]
    if let Some(walk) = args.score.as_deref().filter(|model| *model == crate::pipeline::score::Model::WALK && !quiet) {
        note(format_args!(
            "{walk}: not trained; what a driftless random walk with the volatility of each match would do"
        ));
    }
    let progress = Arc::new(Progress::new(&cx.config, None, "symbols"));
    let control = progress.control();
    let mut show = |event: MatchEvent<'_>| match event {
        MatchEvent::Searched(searched) => {
            progress.clear();
            show_searched(searched, quiet);
        }
        MatchEvent::Kept(_) if quiet => {}
        MatchEvent::Kept(kept) => {
            let table = job.request.into.as_deref().unwrap_or_default();
            let Kept { rows, run_id, version } = kept;
            note(format_args!("{rows} rows added to {}, version {version}, run {run_id}", redacted(table)));
        }
        MatchEvent::Claimed(claimed) => {
            if claimed.silent > 0 && !quiet {
                let (silent, cooldown) = (claimed.silent, &args.cooldown);
                note(format_args!("{silent} silent: reported within {cooldown}, or of a bar that was reported before"));
            }
            if claimed.elsewhere > 0 {
                note(format_args!(
                    "warning: {} left to another run that is reporting them; if it was killed, they are due in two minutes",
                    claimed.elsewhere
                ));
            }
        }
    };
    let delivered = job.deliver(session, &control, &mut show, async |found: &Found| to(&job, found).await).await;
    progress.clear();
    partial(&delivered?)
}

impl MatchArgs {
    fn request(&self) -> Result<Match, Failure> {
        for (given, option) in [(self.alert, "--alert"), (self.search.exact, "--exact")] {
            if given && !self.search.latest {
                return Err(Failure::Usage(format!("{option} is about the newest bars: give --latest too")));
            }
        }
        let cooldown = match self.cooldown.as_str() {
            "0" => Duration::ZERO,
            text => given::duration("--cooldown", text)?,
        };
        let look = match self.search.latest {
            true => Look::Latest { exact: self.search.exact, cooldown: self.alert.then_some(cooldown) },
            false => Look::History,
        };
        let into = self.into.as_deref().map(|name| result_table(ResultKind::Matches, name)).transpose()?;
        Ok(Match { look, score: self.scoring()?, into, ..self.search.request()? })
    }

    #[cfg(feature = "score")]
    fn scoring(&self) -> Result<Option<Scoring>, Failure> {
        match (&self.score, &self.benchmark) {
            (None, Some(_)) => Err(Failure::Usage("--benchmark belongs to --score".to_string())),
            (Some(model), benchmark) => Ok(Some(Scoring { model: model.clone(), benchmark: benchmark.clone() })),
            (None, None) => Ok(None),
        }
    }

    #[cfg(not(feature = "score"))]
    fn scoring(&self) -> Result<Option<Scoring>, Failure> {
        Ok(None)
    }
}

impl SearchArgs {
    fn request(&self) -> Result<Match, Failure> {
        let tables = match self.timeframe.is_empty() {
            true => vec![given::table_of(None)?],
            false => self.timeframe.iter().map(|t| given::table_of(Some(t.trim()))).collect::<Result<Vec<_>, _>>()?,
        };
        Ok(Match { tables, options: self.options()?, ..Match::of(self.pattern.clone()) })
    }

    fn options(&self) -> Result<SearchOptions, Failure> {
        let weights = numbers("--weights", &self.weights, &["price", "averages", "slopes"])?;
        let bands = numbers("--bands", &self.bands, &["price", "averages"])?;
        let adjust = Adjust {
            price: weights.get("price").copied(),
            averages: weights.get("averages").copied(),
            slopes: weights.get("slopes").copied(),
            price_band: bands.get("price").copied(),
            averages_band: bands.get("averages").copied(),
        };
        let default = SearchOptions::default();
        Ok(SearchOptions {
            k: self.top,
            channels: self.channels.as_deref().map(search::channels).transpose().map_err(usage)?,
            adjust,
            scales: search::scales(&self.scales).map_err(usage)?,
            null: Null { size: self.null as usize, ..default.null },
            percentile: self.percentile,
            self_matches: self.self_matches,
            ..default
        })
    }
}

/// `name=number` pairs.
fn numbers(option: &str, given: &[String], allowed: &[&str]) -> Result<HashMap<String, f64>, Failure> {
    let pair = |text: &String| {
        let wrong = || Failure::Usage(format!("{option} '{text}': expected {}=NUMBER", allowed.join("=NUMBER, ")));
        let (name, number) = text.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        if !allowed.contains(&name) { Err(wrong()) } else { Ok((name.to_string(), number)) }
    };
    given.iter().map(pair).collect()
}

fn show_searched(searched: &Searched, quiet: bool) {
    if quiet {
        return;
    }
    let Searched { timeframe, warnings, stages, took } = searched;
    for warning in warnings {
        note(format_args!("warning: {warning}"));
    }
    for (pattern, counts) in stages {
        note(format_args!("{pattern} in {timeframe}: {}", describe(counts)));
    }
    note(format_args!("{:.2} s", took.as_secs_f64()));
}

/// What each stage saw and dropped.
fn describe(counts: &Counts) -> String {
    let Stages { symbols, short, windows, kim, keogh, keogh_reversed, abandoned, whole } = counts.stages;
    let mut said = String::new();
    if let Some((seen, kept)) = counts.prescreened {
        said += &format!("{seen} symbols prescreened, {kept} kept; ");
    }
    said += &format!("{symbols} symbols, {windows} windows");
    let dropped: Vec<String> =
        [(kim, "LB_Kim"), (keogh, "LB_Keogh"), (keogh_reversed, "LB_Keogh reversed"), (abandoned, "abandoned DTW")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, stage)| format!("{count} by {stage}"))
            .collect();
    if !dropped.is_empty() {
        said += &format!("; dropped {}", dropped.join(", "));
    }
    said += &format!("; {whole} compared whole");
    if short > 0 {
        said += &format!("; {short} symbols have too few bars");
    }
    said
}
