//! Patterns, matches and reports.

use super::values::{end, positive, time};
use super::{OutputArgs, ScanArgs, into_instead};
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PatternCommand {
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
    /// Train a model on what came after the matches of patterns, and tell how well it does out of sample
    Train(Box<TrainArgs>),
    /// Remove a pattern for good
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct PatternAddArgs {
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
pub(in crate::cli) struct OutputOnlyArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is searched for, where and how.
#[derive(Debug, Clone, ClapArgs)]
pub(in crate::cli) struct SearchArgs {
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
pub(in crate::cli) struct MatchArgs {
    #[command(flatten)]
    pub search: SearchArgs,
    /// With --latest: only matches that no alert was given for within the cool-down, which are remembered
    #[arg(long)]
    pub alert: bool,
    /// How long a pattern stays silent about a symbol after an alert
    #[arg(long, value_name = "DURATION", default_value = "24h", requires = "alert")]
    pub cooldown: String,
    /// Add what a model predicts for each match: a trained one, a path to an .onnx file, or heuristic
    #[arg(long, value_name = "MODEL")]
    pub score: Option<String>,
    /// The symbol of an index, for the features of --score [default: all symbols with equal weights]
    #[arg(long, value_name = "SYMBOL")]
    pub benchmark: Option<String>,
    /// Write a chart of each match into a folder too, as PNG
    #[arg(long, value_name = "DIR")]
    pub png: Option<PathBuf>,
    /// Write the matches to a table too: NAME for matches_NAME, ./folder or a URL
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    /// The former name of --into
    #[arg(long = "to", hide = true, value_name = "TABLE", value_parser = into_instead)]
    pub _to: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct TrainArgs {
    /// Patterns that the lake keeps [default: all active ones]
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// What the model is to be called
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Matches of each pattern to learn from, the nearest ones
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = positive)]
    pub matches: usize,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    /// The symbol of an index [default: all symbols with equal weights]
    #[arg(long, value_name = "SYMBOL")]
    pub benchmark: Option<String>,
    /// Lengths of windows as multiples of the pattern's
    #[arg(long, value_name = "FACTOR,...", default_value = "0.9,0.95,1,1.05,1.1")]
    pub scales: String,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ReportCommand {
    /// Matches of a pattern
    Match {
        #[command(flatten)]
        args: MatchArgs,
        #[command(flatten)]
        charts: ChartArgs,
    },
    /// Bars that fulfil a formula
    Scan {
        #[command(flatten)]
        args: ScanArgs,
        #[command(flatten)]
        charts: ChartArgs,
        #[command(flatten)]
        pictures: PngArgs,
    },
    /// A table of labels
    Labels {
        /// The table, such as labels_4h
        #[arg(default_value = "labels_1d")]
        table: String,
        /// Charts of these symbols [default: the first ones]
        #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',')]
        symbols: Vec<String>,
        /// The table or file of candles [default: that of the labels' timeframe]
        #[arg(long, short, value_name = "TF|TABLE")]
        timeframe: Option<String>,
        /// The page
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        charts: ChartArgs,
        #[command(flatten)]
        pictures: PngArgs,
    },
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct ChartArgs {
    /// At most so many charts
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub charts: usize,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct PngArgs {
    /// Write each chart into a folder too, as PNG
    #[arg(long, value_name = "DIR")]
    pub png: Option<PathBuf>,
}
