//! What is searched for: a stretch of a chart, prepared for comparison at several scales.

use super::band::Band;
use super::descriptor::slope;
use super::envelope::Envelope;
use super::znorm::znorm;

/// Periods of the averages whose relative distance to the close is the second channel.
pub const AVERAGES: [usize; 3] = [30, 45, 60];

/// Bars before the first one of a window that its averages need.
pub const WARM_UP: usize = 59;

/// Points of the lines whose slopes are compared.
pub const SLOPE_POINTS: usize = 5;

/// How alike two stretches are: which channels count, how much, and how far a path may warp.
#[derive(Debug, Clone, PartialEq)]
pub struct Channels {
    /// Weight of the close.
    pub price: f64,
    /// Band of the close, as a fraction of the longer stretch.
    pub price_band: f64,
    /// Weight of the relative distances to three averages; 0: they are not looked at.
    pub averages: f64,
    /// Band of these.
    pub averages_band: f64,
    /// Weight of the difference of slopes, beside the others.
    pub slopes: f64,
}

impl Channels {
    /// The close and the distances to its averages.
    pub const BOTH: Channels =
        Channels { price: 0.6, price_band: 0.12, averages: 0.4, averages_band: 0.10, slopes: 0.1 };

    /// The close alone.
    pub const PRICE: Channels =
        Channels { price: 1.0, price_band: 0.12, averages: 0.0, averages_band: 0.10, slopes: 0.0 };

    /// Bars before a window that have to be known.
    pub fn warm_up(&self) -> usize {
        if self.averages > 0.0 { WARM_UP } else { 0 }
    }

    /// The series that are compared, of closes in time order. Those of averages are NaN in the first [`WARM_UP`] bars.
    pub fn tracks(&self, closes: &[f64]) -> Vec<Vec<f64>> {
        let mut tracks = vec![closes.to_vec()];
        if self.averages > 0.0 {
            tracks.extend(AVERAGES.map(|period| distance_to_average(closes, period)));
        }
        tracks
    }
}

/// `close / average - 1`; 0 where the average is zero.
fn distance_to_average(closes: &[f64], period: usize) -> Vec<f64> {
    let mut result = vec![f64::NAN; closes.len()];
    for end in WARM_UP.min(closes.len())..closes.len() {
        // Anew each time: a running sum would depend on where the series begins.
        let average = closes[end + 1 - period..=end].iter().sum::<f64>() / period as f64;
        let apart = closes[end] / average - 1.0;
        result[end] = if apart.is_finite() { apart } else { 0.0 };
    }
    result
}

/// A stretch prepared for comparison.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Bars of the stretch.
    pub length: usize,
    /// What counts.
    pub channels: Channels,
    /// One for each length of windows.
    pub scales: Vec<Scale>,
    /// Slopes of the z-normalised close.
    pub(super) slopes: Vec<f64>,
    /// Z-normalised closes.
    pub closes: Vec<f64>,
}

/// The comparison with windows of one length.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Length of the windows as a multiple of the stretch's.
    pub factor: f64,
    /// Bars of the windows.
    pub bars: usize,
    pub(super) tracks: Vec<Track>,
}

/// A channel's series of the stretch.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// Z-normalised.
    pub series: Vec<f64>,
    /// Rows are bars of the window, columns those of the stretch.
    pub band: Band,
    /// Of the stretch, for each bar of the window.
    pub envelope: Envelope,
    /// Bars of the window, those that are farthest out in the stretch first: they show soonest that a window is not alike.
    pub order: Vec<u32>,
    /// What a distance counts: its weight over the root of the longer length.
    pub weight: f64,
}

/// A stretch of a symbol's bars that windows must not share a bar with, such as the one that the reference was cut from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The symbol.
    pub symbol: String,
    /// Its first instant.
    pub from: i64,
    /// Its last instant.
    pub to: i64,
}

impl Excluded {
    /// Whether a window of its symbol, from the first to the last of its bars, shares a bar with it.
    pub fn overlaps(&self, first: i64, last: i64) -> bool {
        first <= self.to && last >= self.from
    }
}

impl Reference {
    /// Of closes, of which the first `lead` only serve the averages.
    ///
    /// # Errors
    /// A stretch of fewer than 5 bars, a value that is not finite, a scale out of 0.5 to 2, weights that do not count, or
    /// fewer than [`WARM_UP`] bars before it where averages are looked at.
    pub fn new(closes: &[f64], lead: usize, channels: Channels, factors: &[f64]) -> Result<Reference, String> {
        let length = closes.len().saturating_sub(lead);
        if length < SLOPE_POINTS {
            return Err(format!("a pattern of {length} bars: expected at least {SLOPE_POINTS}"));
        }
        if let Some(bad) = closes.iter().find(|x| !x.is_finite()) {
            return Err(format!("a pattern with the value {bad}: expected finite numbers"));
        }
        if let Some(bad) = factors.iter().find(|f| !(0.5..=2.0).contains(*f)) {
            return Err(format!("scale {bad}: expected 0.5 to 2"));
        }
        let Channels { price, price_band, averages, averages_band, slopes } = channels;
        for (name, band) in [("price", price_band), ("averages", averages_band)] {
            if !(0.0..=1.0).contains(&band) {
                return Err(format!("band {band} of {name}: expected a fraction from 0 to 1"));
            }
        }
        if [price, averages, slopes].iter().any(|w| !w.is_finite() || *w < 0.0) || price <= 0.0 {
            return Err(format!(
                "weights {price}, {averages}, {slopes}: expected numbers from 0 up, that of the price above 0"
            ));
        }
        if lead < channels.warm_up() {
            return Err(format!(
                "{lead} bars before the pattern: its averages need {WARM_UP}; leave them out with channels 'price'"
            ));
        }
        let whole: Vec<Vec<f64>> = channels.tracks(closes).iter().map(|track| znorm(&track[lead..])).collect();
        if whole.iter().flatten().any(|z| !z.is_finite()) {
            return Err("a pattern whose values are too far apart to be compared".to_string());
        }
        if whole[0].iter().all(|z| *z == 0.0) {
            return Err("a pattern whose values are all the same: everything flat would be like it".to_string());
        }
        let total = price + averages;
        let mut scales: Vec<Scale> = vec![];
        for &factor in factors {
            let bars = ((length as f64 * factor).round() as usize).max(2);
            if let Some(known) = scales.iter_mut().find(|s| s.bars == bars) {
                // Of factors that come to the same length, the one that it is.
                let exact = bars as f64 / length as f64;
                if (factor - exact).abs() < (known.factor - exact).abs() {
                    known.factor = factor;
                }
                continue;
            }
            let longer = (bars.max(length) as f64).sqrt();
            let track = |i: usize, series: &Vec<f64>| {
                let (fraction, share) = match i {
                    0 => (price_band, price / total),
                    _ => (averages_band, averages / total / AVERAGES.len() as f64),
                };
                let band = Band::fraction(bars, length, fraction);
                let envelope = Envelope::of_columns(series, band, bars);
                let mut order: Vec<u32> = (0..bars as u32).collect();
                let out = |i: &u32| envelope.lower[*i as usize].max(-envelope.upper[*i as usize]);
                order.sort_by(|a, b| out(b).total_cmp(&out(a)));
                Track { series: series.clone(), band, envelope, order, weight: share / longer }
            };
            scales.push(Scale { factor, bars, tracks: whole.iter().enumerate().map(|(i, s)| track(i, s)).collect() });
        }
        if scales.is_empty() {
            return Err("no scale is given: expected at least one, such as 1".to_string());
        }
        let closes = whole.into_iter().next().unwrap_or_default();
        Ok(Reference { length, channels, scales, slopes: slope(&closes, SLOPE_POINTS), closes })
    }

    /// Bars that the shortest and the longest windows need, with those before them that their averages need.
    pub fn needs(&self) -> (usize, usize) {
        let bars = || self.scales.iter().map(|s| s.bars + self.channels.warm_up());
        (bars().min().unwrap_or_default(), bars().max().unwrap_or_default())
    }
}
