//! A pattern that is searched for, as it is prepared and as it is written down.

use super::Pattern;
use datafusion::common::{Result, plan_datafusion_err};
use serde::{Deserialize, Serialize};
use tallow_engine::node::Exact;
use tallow_udfs::similarity::reference::{Channels, Reference};
use tallow_udfs::similarity::search::Excluded;

/// A pattern that is searched for, prepared.
#[derive(Debug, Clone)]
pub struct QueryPattern {
    /// What it is called.
    pub id: String,
    /// What windows are compared with.
    pub reference: Reference,
    /// What the reference is made of: closes, after those of bars before them, and lengths of windows.
    closes: Vec<f64>,
    lead: usize,
    scales: Vec<f64>,
    /// Windows that do not count.
    pub excluded: Option<Excluded>,
}

/// All that it is made of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PatternSpec {
    id: String,
    closes: Vec<Exact>,
    lead: usize,
    /// In the order of the fields of [`Channels`].
    channels: [Exact; 5],
    scales: Vec<Exact>,
    /// Symbol, first and last instant.
    excluded: Option<(String, i64, i64)>,
}

impl QueryPattern {
    /// Prepares a pattern.
    ///
    /// # Errors
    /// What cannot be searched for: see [`Reference::new`].
    pub(super) fn new(
        pattern: &Pattern,
        channels: Channels,
        scales: &[f64],
        excluded: Option<Excluded>,
    ) -> Result<QueryPattern, String> {
        let reference = Reference::new(&pattern.closes, pattern.lead, channels, scales)?;
        Ok(QueryPattern {
            id: pattern.id.clone(),
            reference,
            closes: pattern.closes.clone(),
            lead: pattern.lead,
            scales: scales.to_vec(),
            excluded,
        })
    }

    pub(super) fn spec(&self) -> PatternSpec {
        let QueryPattern { id, reference, closes, lead, scales, excluded } = self;
        let Channels { price, price_band, averages, averages_band, slopes } = reference.channels;
        PatternSpec {
            id: id.clone(),
            closes: exact(closes),
            lead: *lead,
            channels: [price, price_band, averages, averages_band, slopes].map(Exact::from),
            scales: exact(scales),
            excluded: excluded.as_ref().map(|e| (e.symbol.clone(), e.from, e.to)),
        }
    }

    pub(super) fn of_spec(spec: PatternSpec) -> Result<QueryPattern> {
        let PatternSpec { id, closes, lead, channels, scales, excluded } = spec;
        let [price, price_band, averages, averages_band, slopes] = channels.map(f64::from);
        let channels = Channels { price, price_band, averages, averages_band, slopes };
        let pattern = Pattern { id, closes: numbers(closes), lead, origin: None, timeframe: None };
        let excluded = excluded.map(|(symbol, from, to)| Excluded { symbol, from, to });
        QueryPattern::new(&pattern, channels, &numbers(scales), excluded)
            .map_err(|wrong| plan_datafusion_err!("pattern '{}': {wrong}", pattern.id))
    }
}

fn exact(numbers: &[f64]) -> Vec<Exact> {
    numbers.iter().copied().map(Exact::from).collect()
}

fn numbers(exact: Vec<Exact>) -> Vec<f64> {
    exact.into_iter().map(f64::from).collect()
}
