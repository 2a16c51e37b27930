//! `tallow vacuum`.

use super::commands::{Context, Run};
use super::output::{note, out};
use super::{Failure, given};
use crate::pipeline::maintenance;
use clap::Args as ClapArgs;

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

impl Run for VacuumArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let keep = given::age("--keep", &self.keep)?;
        let session = cx.config.session().await?;
        let files = maintenance::vacuum(&session, &self.table, keep, self.dry_run).await?;
        for file in &files {
            out!("{file}");
        }
        if !cx.config.quiet {
            let done = if self.dry_run { "would be deleted" } else { "deleted" };
            note(format_args!("{} files {done}", files.len()));
        }
        Ok(())
    }
}
