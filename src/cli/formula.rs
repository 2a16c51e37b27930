//! `tallow formula`.

use super::args::{OutputArgs, SymbolsArgs};
use super::commands::{Context, Run};
use super::output::{out, warn};
use super::{Failure, given, statement};
use crate::Session;
use crate::pipeline::When;
use crate::pipeline::formulas::{self, By, CATEGORIES, FormulaTest, Versions};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(super) enum FormulaCommand {
    /// Keep a formula under a name; one that is there gets a new version
    Add(FormulaAddArgs),
    /// List the newest version of each
    List(FormulaListArgs),
    /// Show all versions of one, and its parameters
    Show(FormulaShowArgs),
    /// Count hits by year and symbol, with the returns after them beside those after any bar
    Test(FormulaTestArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct FormulaAddArgs {
    /// Its name: letters, digits and _
    pub name: String,
    /// The formula
    pub formula: String,
    /// What it is for
    #[arg(long, default_value = "scan", value_parser = CATEGORIES)]
    pub category: String,
    /// Words to find it by
    #[arg(long, value_name = "TAG,...", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// A sentence about it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FormulaListArgs {
    /// Only those of a category
    #[arg(long, value_parser = CATEGORIES)]
    pub category: Option<String>,
    /// Only those with a tag
    #[arg(long)]
    pub tag: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FormulaShowArgs {
    /// NAME or NAME@VERSION
    pub name: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FormulaTestArgs {
    /// NAME, NAME@VERSION, or a formula
    #[arg(value_name = "NAME|FORMULA")]
    pub name: String,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    #[command(flatten)]
    pub symbols: SymbolsArgs,
    /// Bars after a hit
    #[arg(long, value_name = "BARS,...", default_value = "5,20", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub horizon: Vec<u32>,
    /// Only by year, or only by symbol
    #[arg(long, value_enum)]
    pub by: Option<TestBy>,
    /// Symbols to show, those with the most hits
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TestBy {
    Year,
    Symbol,
}

impl Run for FormulaCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        match self {
            FormulaCommand::Add(args) => add(cx, &session, args).await,
            FormulaCommand::List(args) => list(&session, args).await,
            FormulaCommand::Show(args) => show(&session, args).await,
            FormulaCommand::Test(args) => test(cx, &session, args).await,
        }
    }
}

async fn add(cx: &Context, session: &Session, args: FormulaAddArgs) -> Result<(), Failure> {
    let now = chrono::Utc::now().timestamp_micros();
    let description = args.description.unwrap_or_default();
    let new = formulas::new(&args.name, &args.formula, &args.category, args.tags, description, now)?;
    let (name, text) = (new.name.clone(), new.formula.clone());
    let (version, warnings) = formulas::add(session, new).await?;
    warn(&cx.config, &warnings);
    out!("{name}@{version}  {text}");
    Ok(())
}

async fn list(session: &Session, args: FormulaListArgs) -> Result<(), Failure> {
    let found = formulas::newest(session, args.category.as_deref(), args.tag.as_deref()).await?;
    if found.is_empty() {
        out!("no formula; add one: tallow formula add oversold 'rsi(14) < 30'");
        return Ok(());
    }
    let width = found.iter().map(|f| f.name.len()).max().unwrap_or_default() + 4;
    for formula in found {
        let name = format!("{}@{}", formula.name, formula.version);
        let tags = if formula.tags.is_empty() { String::new() } else { format!("  [{}]", formula.tags.join(" ")) };
        out!("{name:<width$}  {:<5}  {}{tags}", formula.category, formula.formula);
        if !formula.description.is_empty() {
            out!("{:width$}         {}", "", formula.description);
        }
    }
    Ok(())
}

async fn show(session: &Session, args: FormulaShowArgs) -> Result<(), Failure> {
    let Versions { chosen, all, formula } = formulas::versions(session, &args.name).await?;
    for version in all {
        let time = chrono::DateTime::from_timestamp_micros(version.created_at);
        let time = time.map_or_else(String::new, |t| t.format("%Y-%m-%d %H:%M").to_string());
        let mark = if version.version == chosen.version { "*" } else { " " };
        let name = &version.name;
        out!("{mark} {name}@{}  {time}  {:<5}  {}", version.version, version.category, version.formula);
    }
    if !chosen.description.is_empty() {
        out!("  {}", chosen.description);
    }
    if !chosen.tags.is_empty() {
        out!("  tags: {}", chosen.tags.join(" "));
    }
    for parameter in formula.parameters() {
        let default = parameter.default.map_or_else(|| " (must be given)".to_string(), |d| format!(" = {d}"));
        out!("  :{}{default}", parameter.name);
    }
    Ok(())
}

async fn test(cx: &Context, session: &Session, args: FormulaTestArgs) -> Result<(), Failure> {
    if args.by.is_none() && args.output.output.is_some() {
        return Err(Failure::Usage(
            "-o: the hits by year and those by symbol cannot share one file; give --by year or --by symbol".to_string(),
        ));
    }
    let test = FormulaTest {
        formula: args.name,
        params: given::params(&args.param)?,
        table: given::table_of(args.timeframe.as_deref())?,
        symbols: args.symbols.chosen(session, When::Newest(None)).await?,
        horizons: args.horizon,
        top: args.top,
    };
    let by = match args.by {
        None => &[By::Year, By::Symbol][..],
        Some(TestBy::Year) => &[By::Year],
        Some(TestBy::Symbol) => &[By::Symbol],
    };
    for by in by {
        statement::run(session, &cx.config, &test.query(session, *by).await?, &args.output).await?;
    }
    Ok(())
}
