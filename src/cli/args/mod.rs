//! What was typed.

mod similarity;
mod values;

pub(super) use similarity::{
    ChartArgs, MatchArgs, PatternAddArgs, PatternCommand, ReportCommand, SearchArgs, TrainArgs,
};

use crate::engine::resources::parse_bytes;
use crate::pipeline::formulas::CATEGORIES;
use crate::pipeline::resample::Fill;
use crate::pipeline::scan::MaxAge;
use crate::pipeline::validate::Calendar;
use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use tallow_udfs::candle::Timeframe;
use values::{as_of, origin, parsed, positive, time};

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
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_bytes)]
    pub memory: Option<usize>,
    /// Threads that compute [default: all cores; env: TALLOW_THREADS]
    #[arg(long, global = true, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Where sorts spill [default: the system's temporary folder; env: TALLOW_SPILL_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub spill_dir: Option<PathBuf>,
    /// Read tables as they were at a version (12) or a time (2024-01-31T09:30Z)
    #[arg(long, global = true, value_name = "VERSION|TIME", value_parser = as_of)]
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
    /// Run SQL: given as text, from a file, or from standard input
    Query(QueryArgs),
    /// Run a named query
    Run(RunArgs),
    /// Show the SQL that a text stands for, its plan, and how many bars it looks back and ahead
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
    /// Keep patterns in the lake, and train models on what came after them
    #[command(subcommand)]
    Pattern(PatternCommand),
    /// Find stretches of charts that look like a pattern, now or in the past
    Match(Box<MatchArgs>),
    /// Write a page with charts and a table: of matches, a scan or labels
    #[command(subcommand)]
    Report(Box<ReportCommand>),
    /// Label every bar of a timeframe with what came after it, and write a table
    Label(Box<LabelArgs>),
    /// Find support and resistance levels, and what happened to them
    Levels(LevelsArgs),
    /// Check that a query, a named query or an expression does not look into the future
    Check(CheckArgs),
    /// Load files into the lake: columns recognised, rows checked and merged, in one atomic commit
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

/// The times and the symbols that a result is wanted for.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(super) struct RangeArgs {
    /// First day or instant of the result; enough bars before it are read for every indicator
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer wanted
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// These symbols only, as if the tables held no others
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',')]
    pub symbols: Vec<String>,
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
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer wanted
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// These symbols only
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',')]
    pub symbols: Vec<String>,
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

/// What to write in place of `--to`, which is the end of a time range wherever there is one.
fn into_instead(table: &str) -> Result<String, String> {
    Err(format!("--to is the end of a time range; the table to write is named by --into {table}"))
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
    /// These symbols only
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',')]
    pub symbols: Vec<String>,
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

#[derive(Debug, ClapArgs)]
pub(super) struct LabelArgs {
    /// Length of the bars to label
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// How far labels look, in bars
    #[arg(long, value_name = "BARS", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
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
    /// The table to write: NAME for labels_NAME, ./folder or a URL [default: labels_<timeframe>]
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    /// The former name of --into
    #[arg(long = "to", hide = true, value_name = "TABLE", value_parser = into_instead)]
    pub _to: Option<String>,
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
    #[arg(value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// Bars on each side of a swing pivot
    #[arg(long, value_name = "BARS", default_value_t = 5)]
    pub k: u32,
    /// A pivot this many average true ranges from a level belongs to it
    #[arg(long, value_name = "ATR", default_value_t = 0.25)]
    pub cluster: f64,
    /// Bars without a touch after which a level is given up
    #[arg(long, value_name = "BARS", default_value_t = 250)]
    pub max_age: u32,
    /// Show what happened to the levels, not the levels
    #[arg(long)]
    pub events: bool,
    /// Write the tables levels_NAME and level_events_NAME, or into ./folder or a URL, instead of showing them
    #[arg(long, value_name = "NAME")]
    pub into: Option<String>,
    /// The former name of --into
    #[arg(long = "to", hide = true, value_name = "TABLE", value_parser = into_instead)]
    pub _to: Option<String>,
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
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub cuts: u16,
    /// Symbols whose rows are compared
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: u32,
    /// Length of the bars that the rows are about [default: the longest of the tables read that fits]
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Option<Timeframe>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueryArgs {
    /// The SQL text; several statements run in order
    #[arg(conflicts_with_all = ["command", "file"])]
    pub sql: Option<String>,
    /// The SQL text too
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
    /// Values for its parameters, such as level=20
    #[arg(value_name = "NAME=VALUE")]
    pub values: Vec<String>,
    /// List all named queries and their parameters
    #[arg(long, conflicts_with_all = ["name", "values"])]
    pub list: bool,
    /// A value for a parameter too; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Length of the bars that stand for `candles` in the query [default: the lake's days]
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
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
    /// Length of the bars that stand for `candles` in the text [default: the lake's days]
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Option<Timeframe>,
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
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
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
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
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
    #[arg(long, default_value = "observed", value_parser = parsed::<Calendar>)]
    pub calendar: Calendar,
    /// A one-bar move larger than this ratio is a jump
    #[arg(long, value_name = "RATIO", default_value_t = 1.5)]
    pub jump: f64,
    /// Length of the bars [default: the table's, else 1d]
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Option<Timeframe>,
    /// Where bars begin [default: the table's, else utc]
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub origin: Option<String>,
    /// One row per symbol instead of one per issue
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
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub file_size: Option<usize>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ResampleArgs {
    /// Length of the bars to make
    #[arg(value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// Length of the bars to make them from [default: the longest stored that divides it]
    #[arg(long, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub from: Option<Timeframe>,
    /// Where bars begin [default: that of the source]
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub origin: Option<String>,
    /// What stands where there was no trade: none or prev_close
    #[arg(long, default_value = "none", value_parser = parsed::<Fill>)]
    pub fill: Fill,
}

#[derive(Debug, ClapArgs)]
pub(super) struct VacuumArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// Keep the files of versions younger than this, such as 7d, 12h or 0h
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
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct SynthArgs {
    /// A .parquet file, or a folder, which gets one file per symbol
    pub out: PathBuf,
    /// Number of symbols
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub symbols: u32,
    /// Daily bars of each symbol
    #[arg(long, value_name = "N", default_value_t = 1250, value_parser = clap::value_parser!(u32).range(1..))]
    pub bars: u32,
    /// The same seed makes the same candles
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
}

#[derive(Debug, Clone, ClapArgs)]
pub(super) struct OutputArgs {
    /// Format of the result; a table shows no more than the beginning of a long value [default: table, or by the ending of the
    /// output file]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write all of the result to a file: .csv .tsv .json .ndjson .md, each also with .gz or .zst after it, .parquet, .arrow
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Rows that a table on standard output shows; 0 for all
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
    Tsv,
    Json,
    Ndjson,
    Markdown,
    Parquet,
    Arrow,
}

impl Format {
    /// Whether it is no text.
    pub fn is_binary(self) -> bool {
        matches!(self, Format::Parquet | Format::Arrow)
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_defined() {
        Args::command().debug_assert();
    }
}
