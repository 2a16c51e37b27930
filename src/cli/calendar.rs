//! `tallow calendar`.

use super::args::OutputArgs;
use super::args::values::time;
use super::commands::{Context, Run};
use super::output::out;
use super::{Failure, statement};
use crate::pipeline::calendars;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct CalendarArgs {
    /// An exchange: nyse, lse, xetra, cme, or one of the lake's table `calendars`; without one, all are listed
    #[arg(value_name = "CALENDAR")]
    pub name: Option<String>,
    /// First day
    #[arg(long, value_name = "TIME", value_parser = time, requires = "name")]
    pub from: Option<i64>,
    /// The first day that is no longer wanted
    #[arg(long, value_name = "TIME", value_parser = time, requires = "name")]
    pub to: Option<i64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for CalendarArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        if let Some(name) = &self.name {
            let query = calendars::sessions(name, self.from, self.to)?;
            return statement::run(&session, &cx.config, &query, &self.output).await;
        }
        for calendar in calendars::all()? {
            let dates = match (calendar.sessions().first(), calendar.sessions().last()) {
                (Some(first), Some(last)) => format!("{} to {}", first.date, last.date),
                _ => String::new(),
            };
            out!("{:<12}{dates}  {}", calendar.name(), calendar.about().unwrap_or_default());
        }
        Ok(())
    }
}
