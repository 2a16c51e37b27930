//! What was typed.

mod similarity;

pub(super) use similarity::{
    ChartArgs, MatchArgs, PatternAddArgs, PatternCommand, ReportCommand, SearchArgs, TrainArgs,
};

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use tallow_udfs::candle::Timeframe;

/// SQL for candles: indicators, screens and labels over OHLCV data.
#[derive(Debug, Parser)]
#[command(name = "tallow", version, arg_required_else_help = false)]
pub(super) struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Settings that reach every command.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The lake: a path or URL with `candles/<timeframe>/` folders [default: ./data; env: TALLOW_LAKE]
    #[arg(long, global = true, value_name = "URL")]
    pub lake: Option<String>,
    /// A path, glob or URL that becomes the table `candles`
    #[arg(long, global = true, value_name = "PATH")]
    pub candles: Option<String>,
    /// Memory limit, such as 512m or 2g [default: 60 % of the machine; env: TALLOW_MEMORY]
    #[arg(long, global = true, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Threads that compute [default: all cores; env: TALLOW_THREADS]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Where sorts spill [default: the system's temporary folder; env: TALLOW_SPILL_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub spill_dir: Option<PathBuf>,
    /// Read tables as they were at a version (12) or a time (2024-01-31T09:30Z)
    #[arg(long, global = true, value_name = "VERSION|TIME")]
    pub as_of: Option<String>,
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more; twice for debugging
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Format of messages on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run SQL: from -c, from a file, or from standard input
    Query(QueryArgs),
    /// Run a named query
    Run(RunArgs),
    /// Show the SQL behind a text, its plan, and how far it looks
    Explain(ExplainArgs),
    /// List functions: signature, defaults, reach
    Functions(FunctionsArgs),
    /// List the tables of the lake
    Tables,
    /// Show the symbols, rows, range and layout of a table
    Describe(DescribeArgs),
    /// Find the bars of all symbols that fulfil a formula, such as "rsi(14) < 30 and close crosses_above sma(20)"
    Scan(Box<ScanArgs>),
    /// Keep formulas in the lake: add, list, show, test
    #[command(subcommand)]
    Formula(FormulaCommand),
    /// Keep patterns in the lake: add, list, show, remove
    #[command(subcommand)]
    Pattern(PatternCommand),
    /// Find what is like a pattern, now or ever
    Match(Box<MatchArgs>),
    /// Write a page with charts and a table: of matches, of a scan, of labels
    #[command(subcommand)]
    Report(Box<ReportCommand>),
    /// Label every bar of a timeframe with what came after it, and write a table
    Label(Box<LabelArgs>),
    /// Find support and resistance levels, and what happened to them
    Levels(LevelsArgs),
    /// Tell whether a query, a named query or an expression looks into the future
    Check(CheckArgs),
    /// Take files into the lake: recognised, checked, merged, in one atomic commit
    Ingest(Box<IngestArgs>),
    /// Show what is wrong with stored candles: broken rules, gaps, jumps
    Validate(ValidateArgs),
    /// Rewrite small and overlapping files into sorted ones
    Optimize(OptimizeArgs),
    /// Make longer bars from shorter ones and store them
    Resample(ResampleArgs),
    /// Delete files that no recent version of a table needs
    Vacuum(VacuumArgs),
    /// List the commits of a table
    History(HistoryArgs),
    /// Write synthetic candles
    Synth(SynthArgs),
    /// Show the settings in force and where each comes from
    Config,
}

/// The times that a result is wanted for.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(super) struct RangeArgs {
    /// First day or instant of the result; enough bars before it are read for every indicator
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The first day or instant that is no longer wanted
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Add a column with the time at which each row was known
    #[arg(long)]
    pub available_at: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ScanArgs {
    /// A condition over the bars of a symbol, or the name of a formula that the lake keeps
    #[arg(value_name = "FORMULA|NAME")]
    pub formula: String,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    /// First day or instant of the matches; enough bars before it are read for every indicator
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The first day or instant that is no longer wanted
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// These symbols only
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// The symbols of a file: one a line or with commas, # for remarks; - for standard input
    #[arg(long, value_name = "FILE")]
    pub watchlist: Option<PathBuf>,
    /// The newest bar of each symbol only
    #[arg(long)]
    pub last: bool,
    /// Order matches by a value, the largest first, or `VALUE asc`
    #[arg(long, value_name = "VALUE")]
    pub rank: Option<String>,
    /// So many matches; with --group and --rank, so many of each group
    #[arg(long, value_name = "N", value_parser = top)]
    pub top: Option<usize>,
    /// One row a date or a symbol, or with --rank the best of each
    #[arg(long, value_enum)]
    pub group: Option<GroupBy>,
    /// Values that a parameter takes in turn: period=5..20:5 or period=5,10; may be repeated, all are crossed
    #[arg(long, value_name = "NAME=VALUES")]
    pub sweep: Vec<String>,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Stop after this time with what is complete, such as 30s
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Scan a formula that looks into the future
    #[arg(long)]
    pub allow_lookahead: bool,
    /// Write symbols and files that something is wrong with to a file
    #[arg(long, value_name = "FILE")]
    pub failures: Option<PathBuf>,
    /// Only show the SQL for the matches
    #[arg(long, conflicts_with_all = ["from", "to", "group", "sweep"])]
    pub sql: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

fn top(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected 1 or more".to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GroupBy {
    Date,
    Symbol,
}

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
    /// What it is for: scan, entry, exit or stop
    #[arg(long, default_value = "scan")]
    pub category: String,
    /// Words to find it by
    #[arg(long, value_name = "TAG,...", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// One sentence
    #[arg(long)]
    pub description: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FormulaListArgs {
    /// Only those of a category
    #[arg(long)]
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
    /// Bars after a hit
    #[arg(long, default_value = "5,20", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub horizon: Vec<u32>,
    /// Only by year, or only by symbol
    #[arg(long, value_enum)]
    pub by: Option<TestBy>,
    /// Symbols to show, those with the most hits
    #[arg(long, default_value_t = 10)]
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

#[derive(Debug, ClapArgs)]
pub(super) struct LabelArgs {
    /// Length of the bars to label
    #[arg(long, short, value_name = "TF")]
    pub timeframe: String,
    /// How far labels look, in bars
    #[arg(long, default_value_t = 6)]
    pub horizon: u32,
    /// Which labels: all, groups (triple_barrier, path_labels, level_labels) or single ones
    #[arg(long, default_value = "all", value_name = "NAME,...", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Levels: auto (found in the bars), none, or a table of levels
    #[arg(long, default_value = "none", value_name = "auto|none|TABLE")]
    pub levels: String,
    /// Events of the table of levels
    #[arg(long, value_name = "TABLE")]
    pub level_events: Option<String>,
    /// The table to write: labels_NAME, or the path of a folder [default: labels_<timeframe>]
    #[arg(long, value_name = "TABLE")]
    pub to: Option<String>,
    /// A parameter of triple_barrier, such as up=1.5, tie=refine, width=sigma; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// An older rule: seed puts barriers at 0.999 of the resistance above and 1.001 of the support below
    #[arg(long, value_parser = ["seed"])]
    pub preset: Option<String>,
    /// Walk the labelled bars themselves, not smaller ones
    #[arg(long)]
    pub own_bars: bool,
    /// Show the quality of the labels: balance, moments, share of incomplete horizons
    #[arg(long)]
    pub check: bool,
    /// Only show the SQL
    #[arg(long)]
    pub sql: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct LevelsArgs {
    /// Length of the bars
    #[arg(value_name = "TF")]
    pub timeframe: String,
    /// Bars on each side of a swing pivot
    #[arg(long, default_value_t = 5)]
    pub k: u32,
    /// A pivot this many average true ranges from a level belongs to it
    #[arg(long, default_value_t = 0.25)]
    pub cluster: f64,
    /// Bars without a touch after which a level is given up
    #[arg(long, default_value_t = 250)]
    pub max_age: u32,
    /// Show what happened to the levels, not the levels
    #[arg(long)]
    pub events: bool,
    /// Write the tables levels_NAME and level_events_NAME instead of showing them
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckArgs {
    /// A SQL text, the name of a named query, or an expression over candles
    #[arg(value_name = "SQL|NAME|EXPRESSION")]
    pub text: String,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Instants of the past at which the query is run again
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub cuts: u16,
    /// Symbols whose rows are compared
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub symbols: u32,
    /// Length of the bars that the rows are about [default: the longest of the tables read that fits]
    #[arg(long, value_name = "TF")]
    pub timeframe: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueryArgs {
    /// The SQL text; several statements run in order
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    pub command: Option<String>,
    /// A file with SQL
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    #[command(flatten)]
    pub range: RangeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// The query's name
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,
    /// List all named queries
    #[arg(long)]
    pub list: bool,
    /// A value for a parameter; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Length of the bars that stand for `candles` in the query [default: the lake's days]
    #[arg(long, short, value_name = "TF")]
    pub timeframe: Option<Timeframe>,
    #[command(flatten)]
    pub range: RangeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ExplainArgs {
    /// A SQL text, a formula, or the name of a named query
    #[arg(value_name = "SQL|FORMULA|NAME")]
    pub text: String,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Run it and show what each operator did
    #[arg(long)]
    pub analyze: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FunctionsArgs {
    /// Part of a name, family or description
    pub pattern: Option<String>,
    /// As JSON, with every parameter
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DescribeArgs {
    /// A table of the lake, or a path
    pub table: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct IngestArgs {
    /// Files, folders, globs and URLs: csv, tsv, ndjson, parquet, arrow, also .gz and .zst
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<String>,
    /// Length of the bars: 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 1w 1mo, or another such as 45m, 3h, 2d
    #[arg(long, short, value_name = "TF")]
    pub timeframe: String,
    /// A column of the table and the file's name for it, such as ts='Gmt time'; ts=Date+Time joins two; x=- drops one
    #[arg(long, value_name = "NAME=COLUMN")]
    pub map: Vec<String>,
    /// The columns of files without a header, in order
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub columns: Option<Vec<String>>,
    /// The symbol of all rows
    #[arg(long, value_name = "SYMBOL", conflicts_with = "symbol_from")]
    pub symbol: Option<String>,
    /// A pattern on each file's path; its first group is the symbol
    #[arg(long, value_name = "REGEX")]
    pub symbol_from: Option<String>,
    /// Zone of times that name none [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// How times are written, such as '%d/%m/%Y %H:%M' [default: recognised]
    #[arg(long, value_name = "FORMAT")]
    pub time_format: Option<String>,
    /// Multiply prices, such as 1e-5 for points
    #[arg(long, value_name = "FACTOR")]
    pub scale: Option<f64>,
    /// Times are those of the close, not of the open
    #[arg(long)]
    pub close_as_ts: bool,
    /// Where bars begin: utc, forex_utc1, ny_17, session:HH:MM@Zone [default: the table's, else utc]
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// Read and check, but write nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ValidateArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// Which bars there should be: observed (those that most symbols have), 24/7, weekdays
    #[arg(long, default_value = "observed")]
    pub calendar: String,
    /// A one-bar move larger than this ratio is a jump
    #[arg(long, default_value_t = 1.5)]
    pub jump: f64,
    /// Length of the bars [default: the table's, else 1d]
    #[arg(long, value_name = "TF")]
    pub timeframe: Option<String>,
    /// Where bars begin [default: the table's, else utc]
    #[arg(long)]
    pub origin: Option<String>,
    /// One row a symbol instead of one row an issue
    #[arg(long)]
    pub summary: bool,
    /// Exit with status 1 if there are errors
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct OptimizeArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// Size of files, such as 128m [default: 64m]
    #[arg(long, value_name = "SIZE")]
    pub file_size: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ResampleArgs {
    /// Length of the bars to make
    #[arg(value_name = "TF")]
    pub timeframe: String,
    /// Length of the bars to make them from [default: the longest stored that divides it]
    #[arg(long, value_name = "TF")]
    pub from: Option<String>,
    /// Where bars begin [default: that of the source]
    #[arg(long)]
    pub origin: Option<String>,
    /// What stands where there was no trade: none or prev_close
    #[arg(long, default_value = "none")]
    pub fill: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct VacuumArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// Keep what versions younger than this need, such as 7d, 12h or 0h
    #[arg(long, default_value = "7d", value_name = "AGE")]
    pub keep: String,
    /// Only list the files
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct HistoryArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// Only the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct SynthArgs {
    /// A .parquet file, or a folder for one file a symbol
    pub out: PathBuf,
    /// Number of symbols
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub symbols: u32,
    /// Daily bars of each symbol
    #[arg(long, default_value_t = 1250, value_parser = clap::value_parser!(u32).range(1..))]
    pub bars: u32,
    /// The same seed makes the same candles
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

#[derive(Debug, Clone, ClapArgs)]
pub(super) struct OutputArgs {
    /// Format of the result [default: table, or by the name of the output file]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write the result to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Rows that a table shows; 0 for all
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub max_rows: usize,
}

impl OutputArgs {
    /// Whether rows appear on the terminal while they are computed; a table appears when it is complete.
    pub fn streams_to_terminal(&self) -> bool {
        let table = matches!(self.format, None | Some(Format::Table | Format::Markdown));
        self.output.is_none() && !table && std::io::IsTerminal::is_terminal(&std::io::stdout())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Csv,
    Json,
    Ndjson,
    Markdown,
    Parquet,
    Arrow,
}
