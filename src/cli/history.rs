//! `tallow history`.

use super::Failure;
use super::commands::{Context, Run};
use super::output::out;
use crate::pipeline::maintenance;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct HistoryArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

impl Run for HistoryArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        let commits = maintenance::history(&session, &self.table, self.limit).await?;
        out!("{:>7}  {:<19}  {:<10}  what", "version", "time (UTC)", "operation");
        for commit in commits {
            let time = commit.time.and_then(chrono::DateTime::from_timestamp_millis);
            let time = time.map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default();
            out!("{:>7}  {time:<19}  {:<10}  {}", commit.version, commit.operation, commit.metrics);
        }
        Ok(())
    }
}
