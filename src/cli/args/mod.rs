//! What was typed: the options of every command, and those that several commands share.

pub(super) mod values;

use super::commands::Command;
use crate::pipeline::encoding::Encoding;
use clap::{ArgAction, Args as ClapArgs, Parser, ValueEnum};
use std::path::PathBuf;
use tallow_engine::resources::parse_bytes;
use tallow_lake::AsOf;
use values::{parsed, positive, time};

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
    #[arg(long, global = true, value_name = "VERSION|TIME", value_parser = parsed::<AsOf>)]
    pub as_of: Option<AsOf>,
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

/// The times and the symbols that a result is wanted for.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(super) struct RangeArgs {
    /// First day or instant of the result; enough bars before it are read for every indicator
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer wanted
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    #[command(flatten)]
    pub symbols: SymbolsArgs,
    /// Add a column with the time at which each row was known
    #[arg(long)]
    pub available_at: bool,
}

/// Of which symbols a result is wanted.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(super) struct SymbolsArgs {
    /// These symbols only, as if the tables held no others
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// Symbols of which this is true in the lake's table `symbols`, such as "sector = 'Tech' and market_cap > 1e9"
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
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

    /// How rows are written; `None`: as a table for people.
    pub fn encoding(self, to_file: bool) -> Option<Encoding> {
        Some(match self {
            Format::Table | Format::Markdown => return None,
            Format::Csv => Encoding::Csv,
            Format::Tsv => Encoding::Tsv,
            Format::Json => Encoding::Json,
            Format::Ndjson => Encoding::Ndjson,
            Format::Parquet => Encoding::Parquet,
            Format::Arrow if to_file => Encoding::ArrowFile,
            Format::Arrow => Encoding::Arrow,
        })
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
