//! `tallow strategy`.

use super::args::OutputArgs;
use super::commands::{Context, Run};
use super::output::{out, write};
use super::strategy_args::{MoneyArgs, StrategyArgs, TrialArgs, add_params};
use super::{Failure, backtest, destination};
use crate::Session;
use crate::pipeline::strategies;
use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, Subcommand)]
pub(super) enum StrategyCommand {
    /// Keep a strategy under a name; one that is there gets a new version
    Add(Box<AddArgs>),
    /// List the newest version of each
    List,
    /// Show all versions of one, and its options
    Show {
        /// NAME or NAME@VERSION
        name: String,
    },
    /// Try one on the past, year by year
    Test(TestArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct AddArgs {
    /// Its name: letters, digits and _
    #[arg(value_name = "NAME")]
    pub strategy: String,
    /// A sentence about it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    #[command(flatten)]
    pub rules: StrategyArgs,
    /// A value for `:name` in the formulas; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    #[command(flatten, next_help_heading = "Money")]
    pub money: MoneyArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct TestArgs {
    /// NAME or NAME@VERSION
    pub name: String,
    #[command(flatten)]
    pub trial: TrialArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for StrategyCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        match self {
            StrategyCommand::Add(args) => add(&session, *args).await,
            StrategyCommand::List => list(&session).await,
            StrategyCommand::Show { name } => show(&session, &name).await,
            StrategyCommand::Test(args) => test(cx, &session, args).await,
        }
    }
}

/// Its options, as they are typed.
fn typed(strategy: &tallow_lake::StoredStrategy) -> Result<String, Failure> {
    let options = strategies::options(strategy)?;
    let words = options.iter().map(|(name, text)| match name.strip_prefix("param.") {
        Some(param) => format!("--param {param}={text}"),
        None if text == "true" => format!("--{}", name.replace('_', "-")),
        None if text.chars().all(|c| c.is_ascii_alphanumeric() || "_.%@".contains(c)) => {
            format!("--{} {text}", name.replace('_', "-"))
        }
        None => format!("--{} '{text}'", name.replace('_', "-")),
    });
    Ok(words.collect::<Vec<_>>().join(" "))
}

async fn add(session: &Session, args: AddArgs) -> Result<(), Failure> {
    let mut options = args.rules.options(session, None).await?;
    args.money.add_to(&mut options)?;
    add_params(&mut options, &args.param)?;
    let now = chrono::Utc::now().timestamp_micros();
    let name = &args.strategy;
    let version = strategies::add(session, name, &options, args.description.unwrap_or_default(), now).await?;
    out!("{name}@{version}  {}", typed(&strategies::get(session, &format!("{name}@{version}")).await?)?);
    Ok(())
}

async fn list(session: &Session) -> Result<(), Failure> {
    let found = strategies::newest(session).await?;
    if found.is_empty() {
        out!("no strategy; add one: tallow strategy add dips --entry 'rsi(14) < 30' --exit 'rsi(14) > 55'");
        return Ok(());
    }
    let width = found.iter().map(|strategy| strategy.name.len()).max().unwrap_or_default() + 4;
    for strategy in found {
        let name = format!("{}@{}", strategy.name, strategy.version);
        out!("{name:<width$}  {}", typed(&strategy)?);
        if !strategy.description.is_empty() {
            out!("{:width$}  {}", "", strategy.description);
        }
    }
    Ok(())
}

async fn show(session: &Session, name: &str) -> Result<(), Failure> {
    let chosen = strategies::get(session, name).await?;
    for version in strategies::all(session).await?.iter().filter(|version| version.name == chosen.name) {
        let time = chrono::DateTime::from_timestamp_micros(version.created_at);
        let time = time.map_or_else(String::new, |t| t.format("%Y-%m-%d %H:%M").to_string());
        let mark = if version.version == chosen.version { "*" } else { " " };
        out!("{mark} {}@{}  {time}  {}", version.name, version.version, typed(version)?);
    }
    if !chosen.description.is_empty() {
        out!("  {}", chosen.description);
    }
    Ok(())
}

async fn test(cx: &Context, session: &Session, args: TestArgs) -> Result<(), Failure> {
    destination::check(&args.output)?;
    let options = strategies::options(&strategies::get(session, &args.name).await?)?;
    let results = backtest::run(cx, session, &args.trial.backtest(session, &options).await?).await?;
    backtest::warn(cx, &results);
    let years = results.by_year(session).await?;
    write(&args.output, &years)
}
