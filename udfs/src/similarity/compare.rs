//! The distance of windows from a reference, channel by channel, as many windows at once as there are lanes.

use super::descriptor::{resample, slope};
use super::many::{LANES, dtw_many, side_by_side};
use super::random::RandomWindow;
use super::reference::{AVERAGES, Excluded, Reference, SLOPE_POINTS, Scale, Track};
use super::znorm::{znorm, znorm_into};

/// How far a window is from a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// The weighted sum, which matches are ranked by.
    pub combined: f64,
    /// Of the close: DTW over the root of the longer length.
    pub price: f64,
    /// Of the relative distances to averages: the mean of three.
    pub averages: f64,
    /// Root mean square difference of slopes.
    pub slopes: f64,
}

/// A window of which some channels have been compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    /// Which one.
    pub at: usize,
    /// What they add up to so far.
    pub distance: Distance,
}

impl Partial {
    pub fn new(at: usize) -> Partial {
        Partial { at, distance: Distance { combined: 0.0, price: 0.0, averages: 0.0, slopes: 0.0 } }
    }

    pub fn add(&mut self, channel: usize, track: &Track, scale: &Scale, distance: f64) {
        self.distance.combined += track.weight * distance;
        let distance = distance / root(scale, track);
        match channel {
            0 => self.distance.price = distance,
            _ => self.distance.averages += distance / AVERAGES.len() as f64,
        }
    }

    pub fn add_slopes(&mut self, reference: &Reference, closes: &[f64]) {
        let weight = reference.channels.slopes;
        if weight > 0.0 {
            self.distance.slopes = slope_distance(reference, &znorm(closes));
            self.distance.combined += weight * self.distance.slopes;
        }
    }
}

/// Compares as many windows at once as there are lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    normal: Vec<Vec<f64>>,
    batch: Vec<[f64; LANES]>,
    line: Vec<[f64; LANES]>,
}

impl Lanes {
    /// Leaves those of the windows whose distance is at most `limit`; `window` gives a channel of one.
    pub fn whole<'a>(
        &mut self,
        reference: &Reference,
        scale: &Scale,
        limit: f64,
        windows: &mut Vec<Partial>,
        window: impl Fn(usize, usize) -> &'a [f64],
    ) {
        for (i, track) in scale.tracks.iter().enumerate() {
            for group in windows.chunks_mut(LANES) {
                self.normal.resize_with(LANES, Vec::new);
                for (partial, normal) in group.iter().zip(&mut self.normal) {
                    znorm_into(window(i, partial.at), normal);
                }
                side_by_side(self.normal[..group.len()].iter().map(Vec::as_slice), &mut self.batch);
                let distances = dtw_many(&track.series, &self.batch, track.band, &mut self.line);
                group.iter_mut().zip(distances).for_each(|(partial, d)| partial.add(i, track, scale, d));
            }
            windows.retain(|partial| partial.distance.combined <= limit);
        }
        if reference.channels.slopes > 0.0 {
            windows.iter_mut().for_each(|partial| partial.add_slopes(reference, window(0, partial.at)));
            windows.retain(|partial| partial.distance.combined <= limit);
        }
    }
}

fn root(scale: &Scale, track: &Track) -> f64 {
    (scale.bars.max(track.series.len()) as f64).sqrt()
}

/// The distances of random windows from a reference, smallest first: of each, that of the nearest scale.
pub fn null_distances(reference: &Reference, excluded: Option<&Excluded>, windows: &[RandomWindow]) -> Vec<f64> {
    let warm_up = reference.channels.warm_up();
    let tracks: Vec<_> = windows.iter().map(|w| reference.channels.tracks(&w.closes)).collect();
    let mut nearest = vec![f64::INFINITY; windows.len()];
    let mut lanes = Lanes::default();
    for scale in &reference.scales {
        let fits = |(_, w): &(usize, &RandomWindow)| {
            let is_excluded =
                |e: &Excluded| e.symbol == w.symbol && e.overlaps(w.ts[w.ts.len() - scale.bars], w.ts[w.ts.len() - 1]);
            // A window at the beginning of a history has room for the shorter scales only.
            w.closes.len() >= warm_up + scale.bars && !excluded.is_some_and(is_excluded)
        };
        let mut partial: Vec<Partial> = windows.iter().enumerate().filter(fits).map(|(i, _)| Partial::new(i)).collect();
        lanes.whole(reference, scale, f64::INFINITY, &mut partial, |channel, i| {
            let track = &tracks[i][channel];
            &track[track.len() - scale.bars..]
        });
        for partial in partial {
            nearest[partial.at] = nearest[partial.at].min(partial.distance.combined);
        }
    }
    nearest.retain(|d| d.is_finite());
    nearest.sort_by(f64::total_cmp);
    nearest
}

/// Root mean square difference of the slopes of a z-normalised window, stretched to the reference's length.
fn slope_distance(reference: &Reference, normal: &[f64]) -> f64 {
    let slopes = slope(&resample(normal, reference.length), SLOPE_POINTS);
    let squares: f64 = slopes.iter().zip(&reference.slopes).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / reference.length as f64).sqrt()
}
