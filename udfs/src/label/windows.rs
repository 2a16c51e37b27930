//! What the bars after each row hold where the horizon is a number of bars, for all rows of a series together. Each value is
//! the one that a walk over the row's own bars gives, to the bit: sums are added up in the same order.

#![allow(clippy::needless_range_loop, reason = "a lane is a place in several arrays")]

/// Rows that are computed side by side.
const LANES: usize = 4;

/// Windows of equal length, one for each row from `first` on that has as many bars after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub first: usize,
    pub horizon: usize,
    /// Bars of the series.
    pub len: usize,
}

/// By row.
#[derive(Debug, Clone, Default)]
pub(super) struct OfRows<T> {
    first: usize,
    values: Vec<T>,
}

impl<T: Copy> OfRows<T> {
    pub fn get(&self, row: usize) -> Option<T> {
        self.values.get(row.checked_sub(self.first)?).copied()
    }
}

impl Windows {
    fn rows(self) -> usize {
        self.len.saturating_sub(self.first + self.horizon)
    }

    fn of_rows<T>(self, values: Vec<T>) -> OfRows<T> {
        OfRows { first: self.first, values }
    }

    /// Computes rows side by side; `lanes` gets the row that the first of them is.
    fn by_lanes<T: Copy>(self, lanes: impl Fn(usize) -> [T; LANES], one: impl Fn(usize) -> T) -> OfRows<T> {
        let rows = self.first..self.first + self.rows();
        let mut values = Vec::with_capacity(rows.len());
        let mut row = rows.start;
        while row + LANES <= rows.end {
            values.extend(lanes(row));
            row += LANES;
        }
        values.extend((row..rows.end).map(one));
        self.of_rows(values)
    }

    /// The deepest fall below the highest close so far, which at first is the price.
    pub fn drawdowns(self, price: &[f64], close: &[f64]) -> OfRows<f64> {
        let lanes = |row: usize| {
            let mut top: [f64; LANES] = std::array::from_fn(|lane| price[row + lane]);
            let mut deepest = [0.0; LANES];
            for after in close[row + 1..].array_windows::<LANES>().take(self.horizon) {
                for lane in 0..LANES {
                    let c = after[lane];
                    top[lane] = if c > top[lane] { c } else { top[lane] };
                    let depth = c / top[lane] - 1.0;
                    deepest[lane] = if depth < deepest[lane] { depth } else { deepest[lane] };
                }
            }
            deepest
        };
        self.by_lanes(lanes, |row| drawdown(price[row], &close[row + 1..=row + self.horizon]))
    }

    /// As [`moments`] of the one-bar returns, of which the first is that from the price.
    pub fn moments(self, price: &[f64], close: &[f64], returns: &[f64]) -> OfRows<(f64, f64)> {
        let first = |row: usize| close[row + 1] / price[row] - 1.0;
        let lanes = |row: usize| {
            let firsts: [f64; LANES] = std::array::from_fn(|lane| first(row + lane));
            let rest = || returns[row + 2..].array_windows::<LANES>().take(self.horizon - 1);
            let mut sum = [-0.0; LANES];
            for after in rest() {
                for lane in 0..LANES {
                    sum[lane] += after[lane];
                }
            }
            let n = self.horizon as f64;
            let mean: [f64; LANES] = std::array::from_fn(|lane| (firsts[lane] + sum[lane]) / n);
            let (mut second, mut third) = ([0.0; LANES], [0.0; LANES]);
            let mut add = |values: &[f64; LANES]| {
                for lane in 0..LANES {
                    let d = values[lane] - mean[lane];
                    second[lane] += d * d;
                    third[lane] += d * d * d;
                }
            };
            add(&firsts);
            rest().for_each(add);
            std::array::from_fn(|lane| of_moments(n, mean[lane], second[lane], third[lane]))
        };
        self.by_lanes(lanes, |row| moments(first(row), &returns[row + 2..(row + self.horizon).max(row + 1) + 1]))
    }
}

/// The deepest fall from a running maximum that starts at `p`, as a fraction, at most 0.
pub(super) fn drawdown(p: f64, close: &[f64]) -> f64 {
    let (mut top, mut deepest) = (p, 0.0);
    for &c in close {
        top = if c > top { c } else { top };
        let depth = c / top - 1.0;
        deepest = if depth < deepest { depth } else { deepest };
    }
    deepest
}

/// Mean over sample standard deviation, and population skewness, of `first` and `rest`; NaN where all are equal.
pub(super) fn moments(first: f64, rest: &[f64]) -> (f64, f64) {
    let n = (rest.len() + 1) as f64;
    let mean = (first + rest.iter().sum::<f64>()) / n;
    let (mut second, mut third) = (0.0, 0.0);
    for r in std::iter::once(&first).chain(rest) {
        let d = r - mean;
        second += d * d;
        third += d * d * d;
    }
    of_moments(n, mean, second, third)
}

fn of_moments(n: f64, mean: f64, second: f64, third: f64) -> (f64, f64) {
    // What rounding leaves of equal returns is no deviation.
    if second <= 1e-24 * n {
        return (f64::NAN, f64::NAN);
    }
    let deviation = (second / n).sqrt();
    (mean / (second / (n - 1.0)).sqrt(), third / n / (deviation * deviation * deviation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn drawdown_is_from_the_highest_close_so_far() {
        assert!((drawdown(100.0, &[110.0, 99.0, 104.5]) + 0.1).abs() < 1e-15);
        assert_eq!(drawdown(100.0, &[101.0, 102.0]), 0.0);
        assert_eq!(drawdown(100.0, &[50.0]), -0.5);
    }

    #[test]
    fn moments_by_hand() {
        // Mean 2, deviations -1, -1, 2: sum of squares 6, of cubes 6.
        let (sharpe, skew) = moments(1.0, &[1.0, 4.0]);
        assert!((sharpe - 2.0 / 3f64.sqrt()).abs() < 1e-12 && (skew - 2.0 / 2f64.powf(1.5)).abs() < 1e-12);
        assert!(moments(0.1, &[0.1, 0.1]).0.is_nan() && moments(0.1, &[]).1.is_nan());
    }

    proptest! {
        #[test]
        fn all_together_are_as_one_by_one(
            prices in prop::collection::vec(prop_oneof![90.0..110.0, Just(100.0)], 1..60), horizon in 1usize..20,
            first in 0usize..9,
        ) {
            let len = prices.len();
            let windows = Windows { first, horizon, len };
            let close: Vec<f64> = prices.iter().map(|price| price + 0.5).collect();
            let returns: Vec<f64> =
                std::iter::once(f64::NAN).chain(close.windows(2).map(|c| c[1] / c[0] - 1.0)).collect();
            let drawdowns = windows.drawdowns(&prices, &close);
            let all_moments = windows.moments(&prices, &close, &returns);
            for row in 0..len {
                let known = row >= first && row + horizon < len;
                prop_assert_eq!(drawdowns.get(row).is_some(), known);
                if !known {
                    continue;
                }
                let after = &close[row + 1..=row + horizon];
                prop_assert_eq!(drawdowns.get(row), Some(drawdown(prices[row], after)));
                let (sharpe, skew) = moments(close[row + 1] / prices[row] - 1.0, &returns[row + 2..row + horizon + 1]);
                let (a, b) = all_moments.get(row).unwrap();
                prop_assert_eq!((a.to_bits(), b.to_bits()), (sharpe.to_bits(), skew.to_bits()));
            }
        }
    }
}
