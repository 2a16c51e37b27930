//! `tallow chart`.

use super::args::values::{positive, time};
use super::commands::{Context, Run};
use super::destination::{self, PageTarget};
use super::output::note;
use super::{Failure, given, report};
use crate::pipeline::report::{Page, SymbolChart, png};
use clap::Args as ClapArgs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tallow_common::Error;
use tallow_engine::dialect::Formula;

#[derive(Debug, ClapArgs)]
pub(super) struct ChartArgs {
    /// The symbol
    pub symbol: String,
    /// What is drawn beside the candles, such as 'sma(50)', 'bbands(20, 2)' or 'rsi(14)'; may be repeated
    #[arg(short, long, value_name = "FUNCTION")]
    pub function: Vec<String>,
    /// Length of the bars, or a table or file of candles [default: the lake's days]
    #[arg(long, short, value_name = "TF|TABLE")]
    pub timeframe: Option<String>,
    /// First day or instant
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer drawn
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// At most so many bars, the newest
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = positive)]
    pub bars: usize,
    /// A page (.html) or a picture (.png, .svg) [default: SYMBOL.html]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Run for ChartArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let file = || PathBuf::from(format!("{}.html", self.symbol.replace(['/', '\\', ':'], "_")));
        let output = self.output.clone().unwrap_or_else(file);
        let ending = output.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        if !["html", "htm", "png", "svg"].contains(&ending.as_str()) {
            let said = format!("-o {}: expected a page (.html) or a picture (.png, .svg)", output.display());
            return Err(Failure::Usage(said));
        }
        let session = cx.config.session().await?;
        let chart = SymbolChart {
            symbol: self.symbol,
            table: given::table_of(self.timeframe.as_deref())?,
            functions: self.function.iter().map(|text| Formula::parse(text)).collect::<Result<_, _>>()?,
            range: given::times(self.from, self.to)?,
            bars: self.bars,
        };
        let page = chart.page(&session).await?;
        if ending.starts_with("htm") {
            return report::write(cx, &page, PageTarget { output: &output, png: None, charts: 1 });
        }
        write(&page, &output, &ending)?;
        if !cx.config.quiet {
            note(format_args!("{}", output.display()));
        }
        Ok(())
    }
}

/// Writes the drawing of a page as a picture.
fn write(page: &Page, output: &Path, ending: &str) -> Result<(), Failure> {
    let Some(figure) = page.figures().next() else { return Ok(()) };
    let picture = if ending == "png" { png(figure)? } else { figure.file().into_bytes() };
    let (place, mut file) = destination::Target::create(output)?;
    file.write_all(&picture).map_err(|e| Error::File(output.display().to_string(), e))?;
    place.complete()
}
