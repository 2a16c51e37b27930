//! Search for what is like a pattern: matches of patterns, `dtw_search(...)`.

mod aggregate;
mod every;
pub(crate) mod plan;
mod query_pattern;
mod report;
mod run;
mod samples;
mod screen;
mod state;
#[cfg(test)]
mod tests;

pub use query_pattern::QueryPattern;
pub use report::{Counts, matches_schema};
pub use run::{MatchRun, Matched, nearest, rows_schema};

use aggregate::SearchAggregate;
use datafusion::prelude::DataFrame;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::node::NodeKind;
use tallow_engine::series_aggregate::aggregated;
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::reference::{Channels, WARM_UP};
use tallow_udfs::similarity::search::{Excluded, Windowing};

/// The plan nodes of a search.
pub const NODES: [NodeKind; 1] = [SearchAggregate::KIND];

/// How a search is done; the same for all of its patterns.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// Which windows are looked at.
    pub windowing: Windowing,
    /// Of the newest bars, compare those of every symbol, not only of those that correlate best with the pattern.
    pub exact: bool,
    /// Matches of each pattern.
    pub k: usize,
    /// What counts; `None`: the close, and the averages of patterns that have bars before them.
    pub channels: Option<Channels>,
    /// Weights and bands in place of those of the channels.
    pub adjust: Adjust,
    /// Lengths of windows, as multiples of the pattern's.
    pub scales: Vec<f64>,
    /// The random windows that percentiles are counted in.
    pub null: Null,
    /// Only matches that are nearer than this share of random windows.
    pub percentile: Option<f64>,
    /// Whether a pattern may match the bars that it was cut from.
    pub self_matches: bool,
    /// Look at a window every quarter of the pattern's length, and let those compete whose ends are less than half of it
    /// apart: more matches, for training.
    pub thinned: bool,
}

impl Default for SearchOptions {
    fn default() -> Self {
        SearchOptions {
            windowing: Windowing::History,
            exact: false,
            k: 10,
            channels: None,
            adjust: Adjust::default(),
            scales: vec![0.90, 0.95, 1.00, 1.05, 1.10],
            null: Null { size: 2_000, seed: 42 },
            percentile: None,
            self_matches: false,
            thinned: false,
        }
    }
}

/// Weights and bands that are given; the others stay.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Adjust {
    /// Weight of the close.
    pub price: Option<f64>,
    /// Weight of the averages.
    pub averages: Option<f64>,
    /// Weight of the slopes.
    pub slopes: Option<f64>,
    /// Band of the close.
    pub price_band: Option<f64>,
    /// Band of the averages.
    pub averages_band: Option<f64>,
}

impl Adjust {
    fn apply(self, to: Channels) -> Channels {
        Channels {
            price: self.price.unwrap_or(to.price),
            price_band: self.price_band.unwrap_or(to.price_band),
            averages: self.averages.unwrap_or(to.averages),
            averages_band: self.averages_band.unwrap_or(to.averages_band),
            slopes: self.slopes.unwrap_or(to.slopes),
        }
    }
}

/// What is searched for.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// What it is called.
    pub id: String,
    /// Its closes, after those of bars before it.
    pub closes: Vec<f64>,
    /// How many bars before it there are.
    pub lead: usize,
    /// Where it was cut from.
    pub origin: Option<Excluded>,
    /// The length of the bars that it was cut from.
    pub timeframe: Option<String>,
}

impl SearchOptions {
    /// What of the options does not fit together.
    pub(super) fn check(&self) -> Result<()> {
        if self.percentile.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err(Error::Argument("percentile", ": expected a share from 0 to 1, such as 0.99".to_string()));
        }
        if self.percentile.is_some() && self.null.size == 0 {
            return Err(Error::invalid("percentile needs random windows: null => 0 leaves none".to_string()));
        }
        let Adjust { averages, averages_band, .. } = self.adjust;
        let has_averages = self.channels.as_ref().is_none_or(|channels| channels.averages > 0.0);
        match averages.or(averages_band).filter(|_| !has_averages) {
            Some(number) => Err(Error::Argument(
                "channels",
                format!(" leaves the averages out, which 'averages={number}' is about"),
            )),
            None => Ok(()),
        }
    }

    /// Prepares a pattern.
    ///
    /// # Errors
    /// What cannot be searched for, such as a pattern whose values are all the same.
    pub fn prepare(&self, pattern: &Pattern) -> Result<QueryPattern> {
        let whole = if pattern.lead >= WARM_UP { Channels::BOTH } else { Channels::PRICE };
        let channels = self.adjust.apply(self.channels.clone().unwrap_or(whole));
        let excluded = pattern.origin.clone().filter(|_| !self.self_matches);
        QueryPattern::new(pattern, channels, &self.scales, excluded)
            .map_err(|said| Error::invalid(format!("pattern '{}': {said}", pattern.id)))
    }
}

/// The matches of patterns in the bars of a frame, which has the columns `symbol`, `ts` and `close`: a frame with the
/// columns of [`matches_schema`].
///
/// ```no_run
/// use tallow_pipeline::search::{Pattern, SearchOptions, search};
/// # async fn example(session: &tallow_pipeline::Session) -> tallow_common::Result<()> {
/// let closes = vec![9.0, 7.0, 6.0, 5.0, 6.0, 7.0, 9.0];
/// let pattern = Pattern { id: "dip".to_string(), closes, lead: 0, origin: None, timeframe: None };
/// let bars = session.sql("select * from candles where volume > 1e6").await?;
/// let matches = search(bars, &[pattern], &SearchOptions::default())?;
/// let rows = session.collect(matches).await?;
/// # Ok(())
/// # }
/// ```
pub fn search(bars: DataFrame, patterns: &[Pattern], options: &SearchOptions) -> Result<DataFrame> {
    options.check()?;
    let patterns = patterns.iter().map(|p| options.prepare(p)).collect::<Result<Vec<_>>>()?;
    let (state, input) = bars.into_parts();
    Ok(DataFrame::new(state, aggregated(input, Arc::new(SearchAggregate::new(patterns, options)))?))
}

/// Microseconds of a bar, at most; 0 where that is not known.
pub(super) fn length(timeframe: &str) -> i64 {
    const MONTH: i64 = 31 * 24 * 3_600_000_000;
    timeframe.parse::<Timeframe>().map_or(0, |t| t.fixed_length().unwrap_or(MONTH))
}

/// The channels that a text names: `price`, or `price,averages`.
pub fn channels(text: &str) -> Result<Channels> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    match names.as_slice() {
        ["price"] => Ok(Channels::PRICE),
        ["price", "averages"] | ["averages", "price"] => Ok(Channels::BOTH),
        _ => Err(Error::invalid(format!("channels '{text}': expected price, or price,averages"))),
    }
}

/// Lengths of windows as multiples of the pattern's: `0.9,1,1.1`.
pub fn scales(text: &str) -> Result<Vec<f64>> {
    let number = |word: &str| {
        let wrong = || Error::invalid(format!("scale '{word}': expected numbers such as 0.9,1,1.1"));
        word.trim().parse::<f64>().map_err(|_| wrong())
    };
    text.split(',').map(number).collect()
}
