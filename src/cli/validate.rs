//! `tallow validate`.

use super::args::OutputArgs;
use super::args::values::{origin, parsed};
use super::commands::{Context, Run};
use super::output::note;
use super::skipped::partial;
use super::{Failure, statement};
use crate::Error;
use crate::pipeline::validate::Validate;
use clap::Args as ClapArgs;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct ValidateArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// Which bars there should be: observed (those that most symbols have), 24/7, weekdays, or an exchange: nyse, lse, xetra, cme
    /// [default: the table's, else observed]
    #[arg(long, value_name = "CALENDAR")]
    pub calendar: Option<String>,
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

impl Run for ValidateArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let ValidateArgs { table, calendar, jump, timeframe, origin, summary, strict, output } = self;
        let session = cx.config.session().await?;
        let validated = Validate { table, timeframe, origin, calendar, jump }.prepare(&session).await?;
        statement::run(&session, &cx.config, &validated.query(summary), &output).await?;
        if summary && !strict {
            return partial(&validated.skipped);
        }
        let (errors, warnings) = validated.counts(&session).await?;
        if !cx.config.quiet {
            note(format_args!("{} rows: {errors} errors, {warnings} warnings", validated.rows));
        }
        if strict && errors > 0 {
            return Err(Error::invalid(format!("{errors} rows break a rule")).into());
        }
        partial(&validated.skipped)
    }
}
