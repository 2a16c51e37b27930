//! `tallow optimize`.

use super::Failure;
use super::commands::{Context, Run};
use super::output::out;
use super::progress::Progress;
use crate::pipeline::maintenance;
use clap::Args as ClapArgs;
use std::sync::Arc;
use tallow_engine::resources::parse_bytes;

#[derive(Debug, ClapArgs)]
pub(super) struct OptimizeArgs {
    /// A table, a timeframe, or a path
    #[arg(default_value = "candles")]
    pub table: String,
    /// Size of files, such as 128m [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub file_size: Option<usize>,
}

impl Run for OptimizeArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        let progress = Arc::new(Progress::new(&cx.config, None, "rows"));
        let file_bytes = self.file_size.map(|size| size as u64);
        let summary = maintenance::optimize(&session, &self.table, file_bytes, &progress.control()).await?;
        progress.clear();
        match summary.version {
            None => out!("nothing to do: {} files, {:.1} MB", summary.files.0, summary.bytes.0 as f64 / 1e6),
            Some(version) => {
                let ((files, after), (bytes, less)) = (summary.files, summary.bytes);
                out!("files    {files} -> {after}, {} rewritten", summary.rewritten);
                out!("size     {:.1} MB -> {:.1} MB", bytes as f64 / 1e6, less as f64 / 1e6);
                out!("rows     {} rewritten", summary.rows);
                out!("version  {version}");
            }
        }
        progress.finish(None, summary.rows, session.bytes_read());
        Ok(())
    }
}
