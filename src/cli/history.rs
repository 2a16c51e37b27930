//! `tallow history`.

use super::args::OutputArgs;
use super::commands::{Context, Run};
use super::output::out;
use super::{Failure, statement};
use crate::pipeline::maintenance;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct HistoryArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// At most so many, the newest
    #[arg(long, value_name = "N", conflicts_with = "changes")]
    pub limit: Option<usize>,
    /// The rows that changed between two versions, in place of the versions: `12..15`, or `12..` up to the newest
    #[arg(long, value_name = "FROM..TO", value_parser = versions)]
    pub changes: Option<(u64, Option<u64>)>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Two versions, the second of which may be missing.
fn versions(text: &str) -> Result<(u64, Option<u64>), String> {
    let parsed = text.split_once("..").and_then(|(from, to)| {
        let to = if to.is_empty() { None } else { Some(to.parse().ok()?) };
        Some((from.parse().ok()?, to))
    });
    parsed.ok_or_else(|| "expected two versions, such as 12..15, or 12..".to_string())
}

impl Run for HistoryArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        if let Some((from, to)) = self.changes {
            let query = maintenance::changes(&self.table, from, to);
            return statement::run(&session, &cx.config, &query, &self.output).await;
        }
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
