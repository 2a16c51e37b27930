//! `tallow levels`.

use super::args::OutputArgs;
use super::args::values::{into_instead, parsed};
use super::commands::{Context, Run};
use super::{Failure, output, statement};
use crate::pipeline::control::Control;
use crate::pipeline::levels::{Detection, Levels};
use clap::Args as ClapArgs;
use tallow_lake::Written;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct LevelsArgs {
    /// Length of the bars
    #[arg(value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// Bars on each side of a swing pivot
    #[arg(long, value_name = "BARS", default_value_t = 5)]
    pub k: u32,
    /// A pivot this many average true ranges from a level belongs to it
    #[arg(long, value_name = "ATR", default_value_t = 0.25)]
    pub cluster: f64,
    /// Bars without a touch after which a level is given up
    #[arg(long, value_name = "BARS", default_value_t = 250)]
    pub max_age: u32,
    /// Show what happened to the levels, not the levels
    #[arg(long)]
    pub events: bool,
    /// Write the tables levels_NAME and level_events_NAME, or into ./folder or a URL, instead of showing them
    #[arg(long, value_name = "NAME")]
    pub into: Option<String>,
    /// The former name of --into
    #[arg(long = "to", hide = true, value_name = "TABLE", value_parser = into_instead)]
    pub _to: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for LevelsArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let detection = Detection { k: self.k, cluster: self.cluster, max_age: self.max_age };
        let levels = Levels { timeframe: self.timeframe, detection };
        let session = cx.config.session().await?;
        let Some(into) = &self.into else {
            let query = levels.query(&session, self.events).await?;
            return statement::run(&session, &cx.config, &query, &self.output).await;
        };
        let mut shown = Ok(());
        let show = |table: &str, written: &Written| {
            let line = output::line(format_args!("{table:<20} {:>9} rows, version {}", written.rows, written.version));
            if shown.is_ok() {
                shown = line;
            }
        };
        levels.write(&session, into, &Control::default(), show).await?;
        shown
    }
}
