//! `tallow describe`.

use super::Failure;
use super::commands::{Context, Run};
use super::output::{date, out};
use crate::pipeline::describe::{Description, Gaps};
use clap::Args as ClapArgs;
use tallow_lake::TableSummary;

#[derive(Debug, ClapArgs)]
pub(super) struct DescribeArgs {
    /// A table of the lake, or a path
    pub table: String,
}

impl Run for DescribeArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        let description = Description::of(&session, &self.table).await?;
        show(&description)?;
        description.gaps(&session).await?.map_or(Ok(()), |gaps| show_gaps(&gaps))
    }
}

fn show(Description { summary, columns, .. }: &Description) -> Result<(), Failure> {
    let TableSummary { location, files, bytes, rows, symbols, times, layout, version, timeframe, origin } = summary;
    out!("location  {location}");
    out!("files     {files}, {:.1} MB", *bytes as f64 / 1e6);
    out!("rows      {rows}");
    if let Some(symbols) = symbols {
        out!("symbols   {symbols}");
    }
    if let Some((first, last)) = times {
        out!("range     {} to {}", date(*first), date(*last));
    }
    out!("layout    {layout}");
    if let Some(version) = version {
        out!("version   {version}");
    }
    if let (Some(timeframe), Some(origin)) = (timeframe, origin) {
        out!("bars      {timeframe}, origin {origin}");
    }
    out!("columns");
    for (name, data_type) in columns {
        out!("  {name:<10} {data_type}");
    }
    Ok(())
}

/// Bars that are missing where most symbols have one, or where there was a session.
fn show_gaps(Gaps { calendar, symbols, most }: &Gaps) -> Result<(), Failure> {
    let (against, wanted) = match calendar {
        Some(calendar) => (format!("sessions of {calendar}"), format!("sessions of {calendar}")),
        None => ("bars that most symbols have".to_string(), "bars that most have".to_string()),
    };
    if *symbols == 0 {
        out!("gaps      none against the {against}");
        return Ok(());
    }
    let (noun, verb) = if *symbols == 1 { ("symbol", "misses") } else { ("symbols", "miss") };
    out!("gaps      {symbols} {noun} {verb} {wanted}");
    for (symbol, missing) in most {
        out!("  {symbol:<10} {missing}");
    }
    Ok(())
}
