//! `tallow pattern`.

use super::args::OutputArgs;
use super::args::values::{end, time};
use super::commands::{Context, Run};
use super::output::out;
use super::{Failure, given, statement};
use crate::Error;
use crate::Session;
use crate::pipeline::patterns::{self, Source};
use crate::pipeline::search::Pattern;
use clap::{Args as ClapArgs, Subcommand};
use std::io::Read;
use tallow_lake::StoredPattern;
use tallow_udfs::similarity::numbers_of;

#[derive(Debug, Subcommand)]
pub(super) enum PatternCommand {
    /// Keep a stretch of a chart, or a list of numbers, as a pattern
    Add(PatternAddArgs),
    /// List the patterns that the lake keeps
    List(OutputOnlyArgs),
    /// Show a pattern
    Show {
        /// Its name
        name: String,
    },
    /// Let `tallow match --all` look for a pattern again
    Activate {
        /// Its name
        name: String,
    },
    /// Keep a pattern, but let `tallow match --all` pass over it
    Deactivate {
        /// Its name
        name: String,
    },
    #[cfg(feature = "score")]
    /// Train a model on what came after the matches of patterns, and tell how well it does out of sample
    Train(Box<super::train::TrainArgs>),
    /// Remove a pattern for good
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct PatternAddArgs {
    /// What it is to be called: letters, digits, _ and -
    pub name: String,
    /// The symbol to cut it from
    #[arg(long, value_name = "SYMBOL", required_unless_present = "values")]
    pub symbol: Option<String>,
    /// Its first day or instant
    #[arg(long, value_name = "TIME", requires = "symbol", value_parser = time)]
    pub from: Option<i64>,
    /// Its last day or instant, which belongs to it
    #[arg(long, value_name = "TIME", requires = "symbol", value_parser = end)]
    pub to: Option<i64>,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    /// Its closes, oldest first, in place of a symbol: '1 3 2 4 3'; - for standard input
    #[arg(long, value_name = "NUMBERS", conflicts_with_all = ["symbol", "timeframe"], allow_hyphen_values = true)]
    pub values: Option<String>,
    /// A word for its kind
    #[arg(long, value_name = "WORD", default_value = "")]
    pub label: String,
    /// A sentence about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub description: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct OutputOnlyArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for PatternCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        match self {
            PatternCommand::Add(args) => add(&session, args).await,
            PatternCommand::List(args) => {
                statement::run(&session, &cx.config, &patterns::list(&session).await?, &args.output).await
            }
            PatternCommand::Show { name } => show(&patterns::get(session.lake(), &name).await?),
            PatternCommand::Activate { name } => {
                patterns::set_active(&session, &name, true).await?;
                out!("{name} is active");
                Ok(())
            }
            PatternCommand::Deactivate { name } => {
                patterns::set_active(&session, &name, false).await?;
                out!("{name} is not active");
                Ok(())
            }
            #[cfg(feature = "score")]
            PatternCommand::Train(args) => super::train::train(cx, &session, *args).await,
            PatternCommand::Remove { name } => {
                patterns::remove(&session, &name).await?;
                out!("removed {name}");
                Ok(())
            }
        }
    }
}

async fn add(session: &Session, args: PatternAddArgs) -> Result<(), Failure> {
    let source = match (args.values, args.symbol) {
        (Some(values), _) => {
            let mut text = values;
            if text == "-" {
                text.clear();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|e| Error::File("standard input".to_string(), e))?;
            }
            Source::Values(numbers_of(&text).map_err(|e| Failure::Usage(format!("--values: {e}")))?)
        }
        (None, Some(symbol)) => {
            let table = given::table_of(args.timeframe.as_deref())?;
            let (Some(from), Some(to)) = (args.from, args.to) else {
                return Err(Failure::Usage(
                    "--symbol needs --from and --to, the first and the last day of the pattern".to_string(),
                ));
            };
            Source::bars(session, table, symbol, from, to).await?
        }
        (None, None) => return Err(Failure::Usage("expected --symbol or --values".to_string())),
    };
    let mut pattern = patterns::cut(session, &args.name, source).await?;
    (pattern.label, pattern.description) = (args.label, args.description);
    if !patterns::add(session, &pattern).await? {
        out!("pattern `{}` is there already, just so", pattern.id);
        return Ok(());
    }
    show(&pattern)
}

fn show(pattern: &StoredPattern) -> Result<(), Failure> {
    let day = |t: Option<i64>| {
        let time = t.and_then(chrono::DateTime::from_timestamp_micros);
        time.map(|t| t.format("%Y-%m-%d %H:%M").to_string().trim_end_matches(" 00:00").to_string()).unwrap_or_default()
    };
    out!("pattern    {}{}", pattern.id, if pattern.active { "" } else { " (not active)" });
    if let Some(symbol) = &pattern.symbol {
        let timeframe = pattern.timeframe.as_deref().unwrap_or_default();
        out!("from       {symbol} {timeframe}, {} to {}", day(pattern.start_ts), day(pattern.end_ts));
    }
    out!("bars       {}", pattern.bars);
    for (name, text) in [("label", &pattern.label), ("about", &pattern.description)] {
        if !text.is_empty() {
            out!("{name:<10} {text}");
        }
    }
    let shape = Pattern::try_from(pattern)?;
    out!("shape      {}", sparkline(&shape.closes[shape.lead..]));
    Ok(())
}

/// A series as a line of blocks.
fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = tallow_udfs::similarity::descriptor::paa(values, values.len().min(60));
    let (low, high) = shown.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let block = |v: &f64| BLOCKS[(((v - low) / (high - low).max(f64::MIN_POSITIVE)) * 7.0).round() as usize];
    shown.iter().map(block).collect()
}
