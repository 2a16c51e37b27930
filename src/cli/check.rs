//! `tallow check`.

use super::args::values::parsed;
use super::commands::{Context, Run};
use super::output::{note, out};
use super::{Failure, given};
use crate::pipeline::check::{Check, CheckOptions, ColumnCheck};
use crate::pipeline::control::Control;
use crate::{Error, Session};
use clap::Args as ClapArgs;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct CheckArgs {
    /// A SQL text, the name of a named query, a formula or a strategy, or an expression over candles
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

impl Run for CheckArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let queries = crate::named_queries(Some(cx.config.queries()))?;
        let given = given::params(&self.param)?;
        let session = cx.config.session().await?;
        let options = CheckOptions { cuts: self.cuts.into(), symbols: self.sample as usize, timeframe: self.timeframe };
        let check = Check { options, ..Check::resolve(&session, &queries, &self.text, &given).await? };
        deliver(cx, &session, &check).await
    }
}

/// Carries a check out, and shows what it found.
pub(super) async fn deliver(cx: &Context, session: &Session, check: &Check) -> Result<(), Failure> {
    let report = check.run(session, &Control::default()).await?;
    out!("{:<32} {:>8} {:>8} {:>10} {:>10}  {:<9}", "column", "ahead", "warm-up", "compared", "changed", "verdict");
    for column in &report.columns {
        show(column)?;
    }
    if report.newest_only {
        out!("only the newest bar of each symbol is in the result: its rows could not be compared with the past");
    }
    for said in &report.notes {
        out!("note: {said}");
    }
    if !cx.config.quiet {
        let bars = match &report.bars {
            Some((timeframe, origin)) => format!("of {timeframe}, origin {origin}"),
            None => "of unknown length".to_string(),
        };
        note(format_args!("tried at {} instants of the past; rows are about bars {bars}", report.cuts.len()));
    }
    match report.leaking() {
        leaks if leaks.is_empty() => Ok(()),
        leaks => Err(Error::invalid(format!("looks into the future: {}", leaks.join(", "))).into()),
    }
}

fn show(column: &ColumnCheck) -> Result<(), Failure> {
    let ColumnCheck { name, declared, compared, changed, first, looked, warm_up } = column;
    let (declared, verdict) = (declared.to_string(), column.verdict());
    out!("{name:<32} {declared:>8} {warm_up:>8} {compared:>10} {changed:>10}  {verdict}");
    if let Some((symbol, ts)) = first {
        let at = chrono::DateTime::from_timestamp_micros(*ts).map(|t| t.format("%Y-%m-%d %H:%M").to_string());
        out!("    first at {symbol} {}; looks at least {looked} bars ahead", at.unwrap_or_default());
    }
    Ok(())
}
