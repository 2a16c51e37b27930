//! What stands for the shape of a series around a point, or for a series as a whole.

use super::band::Band;

/// Slope of the least-squares line through the `points` points around each point, an odd number; at the ends through as
/// many as there are. A single point has slope 0. A descriptor of Zhao and Itti, Pattern Recognition 74 (2018).
pub fn slope(series: &[f64], points: usize) -> Vec<f64> {
    let half = points / 2;
    (0..series.len())
        .map(|i| {
            let (from, to) = (i.saturating_sub(half), (i + half + 1).min(series.len()));
            let around = &series[from..to];
            let n = around.len() as f64;
            let center = (n - 1.0) / 2.0;
            // Of 0, 1, ..., n - 1 around their mean.
            let spread = n * (n * n - 1.0) / 12.0;
            let product: f64 = around.iter().enumerate().map(|(k, y)| (k as f64 - center) * y).sum();
            if spread > 0.0 { product / spread } else { 0.0 }
        })
        .collect()
}

/// Piecewise aggregate approximation: the means of `pieces` parts of equal length. A point on a border counts in both by
/// its share.
///
/// Keogh, Chakrabarti, Pazzani and Mehrotra, *Dimensionality reduction for fast similarity search in large time series
/// databases*, KAIS 3 (2001).
pub fn paa(series: &[f64], pieces: usize) -> Vec<f64> {
    let n = series.len();
    if n == 0 || pieces == 0 {
        return vec![];
    }
    let length = n as f64 / pieces as f64;
    (0..pieces)
        .map(|piece| {
            // In points of 1/pieces, so that borders are whole numbers.
            let (from, to) = (piece * n, (piece + 1) * n);
            let weighted = |i: usize| {
                let share = to.min((i + 1) * pieces) - from.max(i * pieces);
                series[i] * share as f64 / pieces as f64
            };
            (from / pieces..to.div_ceil(pieces)).map(weighted).sum::<f64>() / length
        })
        .collect()
}

/// A series at `length` points, by linear interpolation between its own.
pub fn resample(series: &[f64], length: usize) -> Vec<f64> {
    match (series.len(), length) {
        (0, _) | (_, 0) => vec![],
        (1, _) | (_, 1) => vec![series[0]; length],
        (n, _) if n == length => series.to_vec(),
        (n, _) => (0..length)
            .map(|i| {
                let at = i as f64 * (n - 1) as f64 / (length - 1) as f64;
                let left = (at as usize).min(n - 2);
                series[left] + (series[left + 1] - series[left]) * (at - left as f64)
            })
            .collect(),
    }
}

/// What describes the neighbourhood of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// The values themselves.
    Raw,
    /// Slopes over five points.
    Slope,
    /// Four means.
    Paa,
}

impl Descriptor {
    /// By name.
    pub fn parse(name: &str) -> Option<Descriptor> {
        match name {
            "raw" => Some(Descriptor::Raw),
            "slope" => Some(Descriptor::Slope),
            "paa" => Some(Descriptor::Paa),
            _ => None,
        }
    }

    fn of(self, window: &[f64]) -> Vec<f64> {
        match self {
            Descriptor::Raw => window.to_vec(),
            Descriptor::Slope => slope(window, 5),
            Descriptor::Paa => paa(window, 4),
        }
    }
}

/// Shape-DTW: the warping path is the cheapest between descriptors of the `width` points around each point; the distance
/// is that of the values along this path. Beyond the ends of a series its first and last value go on.
///
/// Zhao and Itti, *shapeDTW: shape dynamic time warping*, Pattern Recognition 74 (2018).
pub fn shape_dtw(a: &[f64], b: &[f64], band: Band, descriptor: Descriptor, width: usize) -> f64 {
    let (n, m) = (a.len(), b.len());
    if n == 0 || m == 0 {
        return if n == m { 0.0 } else { f64::INFINITY };
    }
    let describe = |series: &[f64]| -> Vec<Vec<f64>> {
        let half = width / 2;
        let at = |i: usize| series[i.saturating_sub(half).min(series.len() - 1)];
        (0..series.len()).map(|i| descriptor.of(&(i..i + width.max(1)).map(at).collect::<Vec<_>>())).collect()
    };
    let (of_a, of_b) = (describe(a), describe(b));
    // Of each cell of the row before, and of this one: the cost of the cheapest path to it, and its distance so far.
    const NONE: (f64, f64) = (f64::INFINITY, f64::INFINITY);
    let (mut before, mut row) = (vec![NONE; m], vec![NONE; m]);
    for i in 0..n {
        row.fill(NONE);
        for j in band.columns(i, m) {
            let apart: f64 = of_a[i].iter().zip(&of_b[j]).map(|(x, y)| (x - y) * (x - y)).sum();
            let (above, left) = (before[j], if j > 0 { row[j - 1] } else { NONE });
            let diagonal = match (i, j) {
                (0, 0) => (0.0, 0.0),
                (_, 0) => NONE,
                _ => before[j - 1],
            };
            let from = if diagonal.0 <= above.0 && diagonal.0 <= left.0 {
                diagonal
            } else if above.0 <= left.0 {
                above
            } else {
                left
            };
            row[j] = (from.0 + apart, from.1 + (a[i] - b[j]).powi(2));
        }
        std::mem::swap(&mut before, &mut row);
    }
    before[m - 1].1.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::dtw::dtw;

    #[test]
    fn slopes_of_squares() {
        assert_eq!(slope(&[0.0, 1.0, 4.0, 9.0, 16.0], 5), [2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(slope(&[7.0], 5), [0.0]);
    }

    #[test]
    fn pieces_share_the_points_on_their_borders() {
        assert_eq!(paa(&[1.0, 2.0, 3.0, 4.0], 2), [1.5, 3.5]);
        // 1.5 points each: (1 + 2/2) / 1.5 and (2/2 + 3) / 1.5
        let found = paa(&[1.0, 2.0, 3.0], 2);
        assert!((found[0] - 2.0 / 1.5).abs() < 1e-12 && (found[1] - 4.0 / 1.5).abs() < 1e-12);
        assert_eq!(paa(&[1.0, 3.0], 4), [1.0, 1.0, 3.0, 3.0]);
    }

    #[test]
    fn resampling_keeps_the_ends() {
        assert_eq!(resample(&[0.0, 2.0, 4.0], 5), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(resample(&[0.0, 1.0, 2.0, 3.0, 4.0], 3), [0.0, 2.0, 4.0]);
    }

    #[test]
    fn with_raw_descriptors_of_one_point_it_is_dtw() {
        let s = [0.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 0.0, 0.0];
        let t = [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let band = Band::open(9, 9);
        assert!((shape_dtw(&s, &t, band, Descriptor::Raw, 1) - dtw(&s, &t, band)).abs() < 1e-12);
        assert!(shape_dtw(&s, &t, band, Descriptor::Slope, 5) >= dtw(&s, &t, band));
        assert_eq!(shape_dtw(&s, &s, band, Descriptor::Paa, 5), 0.0);
    }
}
