//! `tallow resample`.

use super::Failure;
use super::args::values::{origin, parsed};
use super::commands::{Context, Run};
use super::output::out;
use super::progress::Progress;
use crate::pipeline::resample::{Fill, Resample};
use clap::Args as ClapArgs;
use std::sync::Arc;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct ResampleArgs {
    /// Length of the bars to make
    #[arg(value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// Length of the bars to make them from [default: the longest stored that divides it]
    #[arg(long, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub from: Option<Timeframe>,
    /// Where bars begin [default: that of the source]
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub origin: Option<String>,
    /// What stands where there was no trade: none or prev_close
    #[arg(long, default_value = "none", value_parser = parsed::<Fill>)]
    pub fill: Fill,
}

impl Run for ResampleArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let ResampleArgs { timeframe, from, origin, fill } = self;
        let session = cx.config.session().await?;
        let progress = Arc::new(Progress::new(&cx.config, None, "rows"));
        let summary = Resample { timeframe, from, origin, fill }.run(&session, &progress.control()).await?;
        progress.clear();
        out!("bars       {}", summary.rows);
        out!("new        {}", summary.new);
        out!("unchanged  {}", summary.unchanged);
        out!("restated   {}", summary.restated);
        out!("version    {}", summary.version.map_or_else(|| "unchanged".to_string(), |v| v.to_string()));
        progress.finish(None, summary.rows, session.bytes_read());
        Ok(())
    }
}
