//! Pearson correlation: of two series, and of one with the rows of a matrix.
//!
//! It orders series as the Euclidean distance of their z-normalised values does: Mueen, Nath and Liu, *Fast approximate
//! correlation for massive time-series data*, SIGMOD 2010.

use super::simd::widest;
use super::znorm::znorm;

/// Correlation of two series of equal length; `None` where one is flat, shorter than two points, or their lengths differ.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let (a, b) = (znorm(a), znorm(b));
    let flat = |x: &[f64]| x.iter().all(|v| *v == 0.0);
    (!flat(&a) && !flat(&b)).then(|| (dot(&a, &b) / a.len() as f64).clamp(-1.0, 1.0))
}

/// A series that many others are compared with.
#[derive(Debug, Clone)]
pub struct Correlator {
    /// Z-normalised.
    series: Vec<f64>,
}

impl Correlator {
    /// Of a series.
    pub fn new(series: &[f64]) -> Correlator {
        Correlator { series: znorm(series) }
    }

    /// Points of the series.
    pub fn length(&self) -> usize {
        self.series.len()
    }

    /// Correlations with the rows of a matrix, which lie one after the other: one product of matrix and vector. A flat row
    /// correlates with nothing: 0.
    pub fn rows(&self, matrix: &[f64], into: &mut Vec<f64>) {
        into.clear();
        if !self.series.is_empty() {
            widest(
                #[inline(always)]
                || {
                    for row in matrix.chunks_exact(self.series.len()) {
                        into.push(self.one(row));
                    }
                },
            );
        }
    }

    /// As the sum of a z-normalised series is zero, neither the row's mean nor its deviation has to be known before the
    /// product: they come out of the same pass.
    #[inline(always)]
    fn one(&self, row: &[f64]) -> f64 {
        const K: usize = 16;
        let n = row.len() as f64;
        let center = row[0];
        let (mut product, mut total, mut squares) = ([0.0; K], [0.0; K], [0.0; K]);
        let whole = row.len() / K * K;
        for (x, z) in row.as_chunks::<K>().0.iter().zip(self.series.as_chunks::<K>().0) {
            for k in 0..K {
                let x = x[k] - center;
                product[k] += x * z[k];
                total[k] += x;
                squares[k] += x * x;
            }
        }
        let (mut product, mut total, mut squares) =
            (product.iter().sum::<f64>(), total.iter().sum::<f64>(), squares.iter().sum::<f64>());
        for (x, z) in row[whole..].iter().zip(&self.series[whole..]) {
            let x = x - center;
            product += x * z;
            total += x;
            squares += x * x;
        }
        let mean = total / n;
        let variance = squares / n - mean * mean;
        if variance < super::znorm::FLAT * super::znorm::FLAT || variance < 1e-12 * mean * mean {
            return 0.0;
        }
        (product / (n * variance.sqrt())).clamp(-1.0, 1.0)
    }
}

#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]).map(|r| (r * 1e9).round()), Some(1e9));
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).map(|r| (r * 1e9).round()), Some(-1e9));
        // Means 2 and 7/3: covariance 1, variances 2 and 14/3.
        let r = pearson(&[1.0, 2.0, 3.0], &[1.0, 4.0, 2.0]).unwrap();
        assert!((r - 1.0 / (2.0f64 * 14.0 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(pearson(&[1.0, 2.0], &[1.0, 2.0, 3.0]), None);
    }

    proptest! {
        #[test]
        fn a_product_of_matrix_and_vector_is_the_correlation_of_every_row(
            (reference, rows) in (2usize..70).prop_flat_map(|n| (
                prop::collection::vec(-3.0..3.0, n),
                prop::collection::vec(prop::collection::vec(50.0..53.0, n), 1..6),
            )),
        ) {
            let mut found = vec![];
            Correlator::new(&reference).rows(&rows.concat(), &mut found);
            for (row, found) in rows.iter().zip(found) {
                prop_assert!((pearson(&reference, row).unwrap() - found).abs() < 1e-9);
            }
        }

        #[test]
        fn the_order_by_correlation_is_the_order_by_distance(
            (reference, a, b) in (2usize..40).prop_flat_map(|n| {
                let one = || prop::collection::vec(-3.0..3.0, n);
                (one(), one(), one())
            }),
        ) {
            let euclid = |x: &[f64]| znorm(x).iter().zip(znorm(&reference)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            let (ra, rb) = (pearson(&reference, &a).unwrap(), pearson(&reference, &b).unwrap());
            prop_assume!((ra - rb).abs() > 1e-9);
            prop_assert_eq!(ra > rb, euclid(&a) < euclid(&b));
        }
    }
}
