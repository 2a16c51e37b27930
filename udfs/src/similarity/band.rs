//! The Sakoe-Chiba band: which cells of the cost matrix a warping path may pass.

use std::ops::Range;

/// A band around the diagonal of an `n` x `m` matrix: cell `(i, j)` is admitted when `i - below <= j <= i + above`.
///
/// Sakoe and Chiba, *Dynamic programming algorithm optimization for spoken word recognition*, IEEE TASSP 26 (1978). For
/// series of unequal length the band is widened by their difference on the side of the longer one, as `dtaidistance`
/// does it: with a window of `w` points, `max(0, i - max(0, n - m) - w + 1) <= j < min(m, i + max(0, m - n) + w)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// Cells below the diagonal.
    pub below: usize,
    /// Cells above the diagonal.
    pub above: usize,
}

impl Band {
    /// A window of `points`; 1 is the diagonal alone.
    pub fn window(n: usize, m: usize, points: usize) -> Band {
        let reach = points.max(1) - 1;
        Band { below: n.saturating_sub(m) + reach, above: m.saturating_sub(n) + reach }
    }

    /// A window of a fraction of the longer series, rounded up.
    pub fn fraction(n: usize, m: usize, fraction: f64) -> Band {
        // 0.1 * 30 is a little more than 3 in binary.
        let points = (fraction * n.max(m) as f64 - 1e-9).ceil();
        Band::window(n, m, points.max(1.0) as usize)
    }

    /// No restriction.
    pub fn open(n: usize, m: usize) -> Band {
        Band::window(n, m, n.max(m))
    }

    /// The band of the transposed matrix.
    pub fn transposed(self) -> Band {
        Band { below: self.above, above: self.below }
    }

    /// The admitted columns of a row of a matrix with `m` columns.
    #[inline(always)]
    pub fn columns(self, i: usize, m: usize) -> Range<usize> {
        i.saturating_sub(self.below)..(i + self.above + 1).min(m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_is_that_of_dtaidistance() {
        for (n, m, w) in [(5usize, 5usize, 1usize), (7, 4, 2), (4, 9, 3), (9, 9, 9), (1, 6, 1)] {
            let band = Band::window(n, m, w);
            for i in 0..n {
                let low = (i as i64 - n.saturating_sub(m) as i64 - w as i64 + 1).max(0) as usize;
                let high = m.min(i + m.saturating_sub(n) + w);
                assert_eq!(band.columns(i, m), low..high, "{n} x {m}, window {w}, row {i}");
            }
        }
    }

    #[test]
    fn a_fraction_is_rounded_up() {
        assert_eq!(Band::fraction(120, 120, 0.12), Band::window(120, 120, 15));
        assert_eq!(Band::fraction(30, 30, 0.1), Band::window(30, 30, 3));
        assert_eq!(Band::fraction(10, 10, 0.0), Band::window(10, 10, 1));
    }
}
