//! The commands. A new one is a file with its arguments, which [`Run`], and a line here (beside that of its module).

use super::config::Config;
use super::{
    Failure, backtest, calendar, check, completions, config, describe, discover, explain, fetch, formula, functions,
    history, ingest, key, label, levels, live, matching, optimize, pattern, pipeline, query, replay, resample, run,
    scan, serve, strategy, sweep, synth, tables, vacuum, validate,
};
#[cfg(feature = "report")]
use super::{chart, report};
use clap::Subcommand;
use tokio_util::sync::CancellationToken;

/// What every command has.
pub(super) struct Context {
    pub config: Config,
    /// An interrupt asks for what is complete.
    pub cancel: CancellationToken,
}

/// The arguments of a command carry it out.
pub(super) trait Run {
    async fn run(self, cx: &Context) -> Result<(), Failure>;
}

impl<T: Run> Run for Box<T> {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        (*self).run(cx).await
    }
}

/// The list of commands as what clap parses, and what runs the one that was typed. Some are there with a cargo feature only.
macro_rules! commands {
    ($($(#[$about:meta])* $name:ident($args:ty) $(if $feature:literal)?,)*) => {
        #[derive(Debug, Subcommand)]
        pub(super) enum Command {
            $($(#[cfg(feature = $feature)])? $(#[$about])* $name($args),)*
        }

        impl Run for Command {
            async fn run(self, cx: &Context) -> Result<(), Failure> {
                match self {
                    $($(#[cfg(feature = $feature)])? Command::$name(args) => args.run(cx).await,)*
                }
            }
        }
    };
}

commands! {
    /// Run SQL: given as text, from a file, or from standard input
    Query(query::QueryArgs),
    /// Run a named query
    Run(run::RunArgs),
    /// Show the SQL that a text stands for, its plan, and how many bars it looks back and ahead
    Explain(explain::ExplainArgs),
    /// List functions: signature, defaults, reach
    Functions(functions::FunctionsArgs),
    /// List the tables of the lake
    Tables(tables::TablesArgs),
    /// Show the symbols, rows, range and layout of a table
    Describe(describe::DescribeArgs),
    /// Find the bars of all symbols that fulfil a formula, such as "rsi(14) < 30 and close crosses_above sma(20)"
    Scan(Box<scan::ScanArgs>),
    /// Try a strategy on the past: entries and exits as formulas, over all symbols with shared money
    Backtest(Box<backtest::BacktestArgs>),
    /// Try many variants of a strategy, and tell how likely the best of them is luck
    Sweep(Box<sweep::SweepArgs>),
    /// Find values of indicators that were followed by gains more often than others, and tell whether that is luck
    Discover(Box<discover::DiscoverArgs>),
    /// Keep strategies in the lake: add, list, show, test
    #[command(subcommand)]
    Strategy(Box<strategy::StrategyCommand>),
    /// Keep formulas in the lake: add, list, show, test
    #[command(subcommand)]
    Formula(formula::FormulaCommand),
    /// Keep patterns in the lake, and train models on what came after them
    #[command(subcommand)]
    Pattern(pattern::PatternCommand),
    /// Find stretches of charts that look like a pattern, now or in the past
    Match(Box<matching::MatchArgs>),
    /// Write a page with charts and a table: of matches, a scan or labels
    #[command(subcommand)]
    Report(Box<report::ReportCommand>) if "report",
    /// Draw the candles of a symbol, with indicators, as a page or a picture
    Chart(Box<chart::ChartArgs>) if "report",
    /// Label every bar of a timeframe with what came after it, and write a table
    Label(Box<label::LabelArgs>),
    /// Keep results up to date: define once what is computed, and run it after every delivery
    #[command(subcommand)]
    Pipeline(Box<pipeline::PipelineCommand>),
    /// Compute the bars of feeds as they come: results at once, and in the lake later
    Live(Box<live::LiveArgs>),
    /// Answer queries of others over a lake, by HTTP
    Serve(Box<serve::ServeArgs>),
    /// Keys of those who may ask a server: add, list, revoke
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Send the bars of a table to a live run, in order or not, as a load
    Replay(replay::ReplayArgs),
    /// Find support and resistance levels, and what happened to them
    Levels(levels::LevelsArgs),
    /// Check that a query, a named query or an expression does not look into the future
    Check(check::CheckArgs),
    /// Load files into the lake: columns recognised, rows checked and merged, in one atomic commit
    Ingest(Box<ingest::IngestArgs>),
    /// Fetch the history of an exchange's candles into the lake, or what is new since
    Fetch(Box<fetch::FetchArgs>),
    /// Show what is wrong with stored candles: broken rules, gaps, jumps
    Validate(validate::ValidateArgs),
    /// Rewrite small and overlapping files into sorted ones
    Optimize(optimize::OptimizeArgs),
    /// Make longer bars from shorter ones and store them
    Resample(resample::ResampleArgs),
    /// Delete files that no recent version of a table needs
    Vacuum(vacuum::VacuumArgs),
    /// List the commits of a table
    History(history::HistoryArgs),
    /// Sessions and holidays of exchanges
    Calendar(calendar::CalendarArgs),
    /// Write synthetic candles
    Synth(synth::SynthArgs),
    /// Show the settings in force and where each comes from
    Config(config::ConfigArgs),
    /// Print a script that completes commands and options in a shell
    Completions(completions::CompletionsArgs),
}
