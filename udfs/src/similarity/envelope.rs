//! Lower bounds of the distance: LB_Kim and LB_Keogh.

use super::band::Band;
use super::simd::widest;

/// The smallest and largest value around each position of a series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Envelope {
    /// Smallest values.
    pub lower: Vec<f64>,
    /// Largest values.
    pub upper: Vec<f64>,
}

impl Envelope {
    /// Over `before` positions before and `after` positions after each of `length` positions, as far as the series has
    /// them; each of them must see a value.
    ///
    /// The extreme of 2k neighbours is that of two extremes of k, and that of any number the one of two powers of two that
    /// overlap. This takes more comparisons than a queue of candidates (Lemire, *Streaming maximum-minimum filter using no
    /// more than three comparisons per element*, NJC 13, 2006), but none waits for another, so that vectors do them.
    pub fn around(series: &[f64], before: usize, after: usize, length: usize) -> Envelope {
        let lower = extremes(series, before, after, length, f64::INFINITY, |a, b| if a < b { a } else { b });
        let upper = extremes(series, before, after, length, f64::NEG_INFINITY, |a, b| if a > b { a } else { b });
        Envelope { lower, upper }
    }

    /// For each position of a series of `n` points, over the points of `columns` that the band lets it meet.
    pub fn of_columns(columns: &[f64], band: Band, n: usize) -> Envelope {
        Envelope::around(columns, band.below, band.above, n)
    }
}

fn extremes(
    series: &[f64],
    before: usize,
    after: usize,
    length: usize,
    none: f64,
    extreme: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let width = before + 1 + after;
    let mut padded = vec![none; length.max(series.len()) + before + after];
    padded[before..before + series.len()].copy_from_slice(series);
    widest(
        #[inline(always)]
        || doubled(&mut padded, width, length, extreme),
    );
    padded.truncate(length);
    padded
}

/// Puts the extreme of `width` values from each position on into the first `length` positions.
#[inline(always)]
fn doubled(values: &mut [f64], width: usize, length: usize, extreme: impl Fn(f64, f64) -> f64) {
    let mut known = 1;
    while known < width {
        // At the end to as many as are missing.
        let step = known.min(width - known);
        for i in 0..length.max(values.len() - width + 1) + width - known - step {
            values[i] = extreme(values[i], values[i + step]);
        }
        known += step;
    }
}

/// LB_Kim, in the form that is constant in time for z-normalised series: first meets first, last meets last. Squared; the
/// series have two points or more, or the one cell would count twice.
///
/// Kim, Park and Chu, *An index-based approach for similarity search supporting time warping*, ICDE 2001; Rakthanmanon et
/// al., KDD 2012.
#[inline(always)]
pub fn lb_kim(a: &[f64], b: &[f64]) -> f64 {
    let apart = |x: f64, y: f64| (x - y) * (x - y);
    apart(a[0], b[0]) + apart(a[a.len() - 1], b[b.len() - 1])
}

/// What a value lies outside of its bounds, squared.
#[inline(always)]
pub(super) fn outside(x: f64, lower: f64, upper: f64) -> f64 {
    let above = x - upper;
    let below = lower - x;
    let far = if above > below { above } else { below };
    let far = if far > 0.0 { far } else { 0.0 };
    far * far
}

/// Points after which the sum is compared with the limit.
const BLOCK: usize = 16;

/// LB_Keogh of a window that is normalised on the way, `(x - mean) * inverse`, against an envelope: squared, and given up
/// once it is above `limit`.
///
/// Keogh and Ratanamahatana, *Exact indexing of dynamic time warping*, KAIS 7 (2005).
#[inline(always)]
pub fn lb_keogh_of_window(window: &[f64], mean: f64, inverse: f64, lower: &[f64], upper: &[f64], limit: f64) -> f64 {
    let mut total = 0.0;
    let (lower, upper) = (&lower[..window.len()], &upper[..window.len()]);
    let blocks = window.chunks_exact(BLOCK).zip(lower.chunks_exact(BLOCK)).zip(upper.chunks_exact(BLOCK));
    for ((x, l), u) in blocks {
        let mut sums = [0.0; BLOCK];
        for k in 0..BLOCK {
            sums[k] = outside((x[k] - mean) * inverse, l[k], u[k]);
        }
        total += sums.iter().sum::<f64>();
        if total > limit {
            return total;
        }
    }
    let rest = window.len() / BLOCK * BLOCK;
    for k in rest..window.len() {
        total += outside((window[k] - mean) * inverse, lower[k], upper[k]);
    }
    total
}

/// LB_Keogh of two series as they are: the root of what `a` lies outside of the envelope of `b`.
pub fn lb_keogh(a: &[f64], b: &[f64], band: Band) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 0.0 } else { f64::INFINITY };
    }
    let envelope = Envelope::of_columns(b, band, a.len());
    lb_keogh_of_window(a, 0.0, 1.0, &envelope.lower, &envelope.upper, f64::INFINITY).sqrt()
}

/// What each row costs at least, from it to the last one: the cumulative bound of an abandoning computation.
pub fn cumulative(rows: &[f64], envelope: &Envelope, into: &mut Vec<f64>) {
    into.clear();
    into.resize(rows.len() + 1, 0.0);
    for i in (0..rows.len()).rev() {
        into[i] = into[i + 1] + outside(rows[i], envelope.lower[i], envelope.upper[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::dtw::{Scratch, dtw, dtw_abandoning};
    use proptest::prelude::*;

    fn series() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-3.0..3.0, 1..60)
    }

    #[test]
    fn an_envelope_by_hand() {
        let envelope = Envelope::around(&[1.0, 3.0, 2.0, 5.0, 4.0], 1, 1, 5);
        assert_eq!(envelope.lower, [1.0, 1.0, 2.0, 2.0, 4.0]);
        assert_eq!(envelope.upper, [3.0, 3.0, 5.0, 5.0, 5.0]);
    }

    proptest! {
        #[test]
        fn envelopes_hold_every_point_that_the_band_lets_meet(a in series(), b in series(), w in 1usize..70) {
            let band = Band::window(a.len(), b.len(), w);
            let envelope = Envelope::of_columns(&b, band, a.len());
            for i in 0..a.len() {
                let met = &b[band.columns(i, b.len())];
                prop_assert_eq!(envelope.lower[i], met.iter().copied().fold(f64::INFINITY, f64::min));
                prop_assert_eq!(envelope.upper[i], met.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            }
        }

        #[test]
        fn bounds_are_bounds(a in series(), b in series(), w in 1usize..70) {
            let band = Band::window(a.len(), b.len(), w);
            let distance = dtw(&a, &b, band);
            let slack = 1.0 + 1e-12;
            prop_assert!(lb_keogh(&a, &b, band) <= distance * slack);
            prop_assert!(lb_keogh(&b, &a, band.transposed()) <= distance * slack);
            let kim = if a.len().max(b.len()) > 1 { lb_kim(&a, &b) } else { 0.0 };
            prop_assert!(kim.sqrt() <= distance * slack);
        }

        #[test]
        fn a_cumulative_bound_changes_no_distance(a in series(), b in series(), w in 1usize..70, share in 1.0001..3.0) {
            let band = Band::window(a.len(), b.len(), w);
            let (mut rest, distance) = (vec![], dtw(&a, &b, band));
            cumulative(&a, &Envelope::of_columns(&b, band, a.len()), &mut rest);
            let limit = distance * distance * share + 1e-9;
            let found = dtw_abandoning(&a, &b, band, Some(&rest), limit, &mut Scratch::default());
            prop_assert_eq!(found.map(|d| d.sqrt().to_bits()), Some(distance.to_bits()));
        }
    }
}
