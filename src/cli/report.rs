//! `tallow report`.

use super::args::OutputArgs;
use super::backtest::BacktestArgs;
use super::commands::{Context, Run};
use super::destination::{self, PageTarget, writable};
use super::matching::{MatchArgs, deliver};
use super::output::note;
use super::scan::ScanArgs;
use super::skipped::{self, partial};
use super::sweep::SweepArgs;
use super::{Failure, given, pictures};
use crate::Error;
use crate::pipeline::control::Control;
use crate::pipeline::matching::{Found, MatchJob};
use crate::pipeline::report::{LabelReport, Page, match_page, scan_page};
use clap::{Args as ClapArgs, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
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
    /// A back-test: account, months, trades, drawdowns
    Backtest {
        #[command(flatten)]
        args: Box<BacktestArgs>,
        /// Charts of at most so many trades, half of them the best, half the worst
        #[arg(long, value_name = "N", default_value_t = TRADES)]
        charts: usize,
        #[command(flatten)]
        pictures: PngArgs,
    },
    /// A sweep: heat maps of its parameters, what is luck, the walk-forward test
    Sweep {
        #[command(flatten)]
        args: Box<SweepArgs>,
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
pub(super) struct ChartArgs {
    /// At most so many charts
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub charts: usize,
}

#[derive(Debug, ClapArgs)]
pub(super) struct PngArgs {
    /// Write each chart into a folder too, as PNG
    #[arg(long, value_name = "DIR")]
    pub png: Option<PathBuf>,
}

impl Run for ReportCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            ReportCommand::Match { args, charts } => of_matches(cx, args, charts.charts).await,
            ReportCommand::Scan { args, charts, pictures } => {
                of_scan(cx, args, charts.charts, pictures.png.as_deref()).await
            }
            ReportCommand::Backtest { args, charts, pictures } => {
                let output = page_of(&args.output)?;
                pictures::make_folder(pictures.png.as_deref())?;
                args.execute(cx, Some(PageTarget { output: &output, png: pictures.png.as_deref(), charts })).await
            }
            ReportCommand::Sweep { args, pictures } => {
                let output = page_of(&args.output)?;
                pictures::make_folder(pictures.png.as_deref())?;
                args.execute(cx, Some(PageTarget { output: &output, png: pictures.png.as_deref(), charts: 0 })).await
            }
            ReportCommand::Labels { table, symbols, timeframe, output, charts, pictures } => {
                let candles = timeframe.as_deref().map(|text| given::table_of(Some(text))).transpose()?;
                let report = LabelReport { table, candles, symbols, charts: charts.charts };
                of_labels(
                    cx,
                    &report,
                    PageTarget { output: &output, png: pictures.png.as_deref(), charts: charts.charts },
                )
                .await
            }
        }
    }
}

fn page_of(args: &OutputArgs) -> Result<PathBuf, Failure> {
    if args.format.is_some() {
        return Err(Failure::Usage("--format: a report is always a page of HTML".to_string()));
    }
    let page = args.output.clone();
    let page = page.ok_or_else(|| Failure::Usage("a report needs a file: -o page.html".to_string()))?;
    writable(&page)?;
    Ok(page)
}

/// Charts of trades unless it is said how many.
const TRADES: usize = 6;

/// The page that the result of a command goes to, if its output is one.
pub(super) fn page_target(args: &OutputArgs) -> Result<Option<PageTarget<'_>>, Failure> {
    let output = args.output.as_deref().filter(|path| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        args.format.is_none() && ending.is_some_and(|ending| ["html", "htm"].contains(&ending))
    });
    let Some(output) = output else { return Ok(None) };
    writable(output)?;
    Ok(Some(PageTarget { output, png: None, charts: TRADES }))
}

async fn of_matches(cx: &Context, args: MatchArgs, charts: usize) -> Result<(), Failure> {
    let session = cx.config.session().await?;
    let output = page_of(&args.output)?;
    deliver(&session, cx, &args, async |job: &MatchJob, found: &Found| {
        let page = match_page(&session, job, found, charts).await?;
        write(cx, &page, PageTarget { output: &output, png: args.png.as_deref(), charts })
    })
    .await
}

async fn of_scan(cx: &Context, args: ScanArgs, charts: usize, png: Option<&Path>) -> Result<(), Failure> {
    let session = cx.config.session().await?;
    let output = page_of(&args.output)?;
    if args.sql {
        return Err(Failure::Usage("--sql: `tallow scan --sql` shows it, a report does not".to_string()));
    }
    if let Some(path) = &args.failures {
        destination::check(&skipped::output(path))?;
    }
    pictures::make_folder(png)?;
    let (scan, stored) = args.scan(&session).await?;
    let control = args.control(Control { cancel: cx.cancel.clone(), ..Control::default() })?;
    let (page, left_out) = scan_page(&session, &scan, stored, charts, &control).await?;
    if let Some(path) = &args.failures {
        skipped::write(path, &left_out)?;
    }
    write(cx, &page, PageTarget { output: &output, png, charts })?;
    partial(&left_out)
}

async fn of_labels(cx: &Context, report: &LabelReport, target: PageTarget<'_>) -> Result<(), Failure> {
    let session = cx.config.session().await?;
    report.candles()?;
    writable(target.output)?;
    pictures::make_folder(target.png)?;
    write(cx, &report.page(&session, &Control::default()).await?, target)
}

/// Writes the page, and each drawing as a picture.
pub(super) fn write(cx: &Context, page: &Page, PageTarget { output, png, .. }: PageTarget<'_>) -> Result<(), Failure> {
    if let Some(folder) = png {
        pictures::write(page.figures(), folder)?;
    }
    let (place, mut file) = destination::Target::create(output)?;
    let written = file.write_all(page.html()?.as_bytes());
    written.map_err(|e| Error::File(output.display().to_string(), e))?;
    place.complete()?;
    if !cx.config.quiet {
        let (figures, rows) = (page.figures().count(), page.rows());
        note(format_args!("{}: {figures} charts, {rows} rows", output.display()));
    }
    Ok(())
}
