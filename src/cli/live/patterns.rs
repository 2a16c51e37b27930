//! `tallow live --pattern`: where the newest bars look like patterns of the lake.

use super::settings::duration;
use crate::live::{Answers, Asks, Once};
use crate::pipeline::incremental::Definition;
use crate::pipeline::patterns::of_text;
use crate::pipeline::quoting::text;
use crate::pipeline::search::SearchOptions;
use crate::{Error, Session};
use clap::Args as ClapArgs;
use std::sync::Arc;
use std::time::Duration;
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::similarity::reference::WARM_UP;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Patterns")]
pub(in crate::cli) struct PatternArgs {
    /// Tell, as bars close, where the newest look like this pattern of the lake; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "strategy"])]
    pub pattern: Vec<String>,
    /// With --pattern: at most so many matches of each pattern at a time
    #[arg(long, value_name = "N", default_value_t = 10, requires = "pattern")]
    pub top: usize,
    /// With --pattern: only matches that are nearer than this share of random windows
    #[arg(long, value_name = "SHARE", requires = "pattern")]
    pub percentile: Option<f64>,
    /// With --pattern: random windows of the past that percentiles are counted among; 0: none, and no more bars are kept than a window
    /// has
    #[arg(long, value_name = "N", default_value_t = 2_000, requires = "pattern")]
    pub null: usize,
    /// With --pattern: tell a match of a symbol once, and then not again within the cool-down
    #[arg(long, requires = "pattern")]
    pub alert: bool,
    /// How long a pattern stays silent about a symbol after an alert
    #[arg(long, value_name = "DURATION", default_value = "24h", requires = "pattern", value_parser = duration)]
    pub cooldown: Duration,
}

impl PatternArgs {
    pub fn is_given(&self) -> bool {
        !self.pattern.is_empty()
    }

    /// The search for the patterns, and how much it looks at.
    pub async fn search(&self, session: &Session, timeframe: Timeframe) -> Result<(Definition, Asks), Error> {
        let (mut searches, mut longest) = (vec![], 0);
        for pattern in &self.pattern {
            let found = of_text(session.lake(), pattern).await?;
            longest = longest.max(found.closes.len() - found.lead);
            let percentile = self.percentile.map(|share| format!(", percentile => {share}")).unwrap_or_default();
            searches.push(format!(
                "select symbol, end_ts as ts, pattern, start_ts, bars, scale, distance, score, percentile from \
                 dtw_search({}, {}, mode => 'latest', k => {}, null => {}{percentile})",
                text(&format!("candles_{timeframe}")),
                text(pattern),
                self.top,
                self.null,
            ));
        }
        // The longest window, and the bars before it that its averages need.
        let scale = SearchOptions::default().scales.into_iter().fold(1.0, f64::max);
        let back = (self.null == 0).then(|| (longest as f64 * scale).ceil() as usize + WARM_UP);
        Ok((Definition::query(searches.join(" union all ")), Asks::Newest(back)))
    }

    /// Where its matches go.
    pub fn answers(
        &self,
        session: &Arc<Session>,
        timeframe: Timeframe,
        answers: Box<dyn Answers>,
    ) -> Result<Box<dyn Answers>, Error> {
        if !self.alert {
            return Ok(answers);
        }
        let once = Once::new(session, &timeframe.to_string(), self.cooldown, answers);
        Ok(Box::new(once.map_err(|error| Error::File("alerts".to_string(), error))?))
    }
}
