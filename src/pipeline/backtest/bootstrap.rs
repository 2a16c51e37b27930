//! How far the result of a back-test hangs on the order and the luck of its trades: they are drawn anew, many times.
//!
//! This tells the spread of what such trades may come to. It does not tell whether they have an edge: trades that are drawn again are
//! as good, on average, as they were.

use crate::random::Random;

/// What 5, 50 and 95 of a hundred runs are not above.
pub type Spread = [f64; 3];

/// What trades may come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Runs.
    pub runs: usize,
    /// The account at the end.
    pub end_equity: Spread,
    /// The largest drawdown, a fraction not above 0.
    pub max_drawdown: Spread,
    /// Share of the runs that lose money.
    pub losing: f64,
}

impl Bootstrap {
    /// Draws as many trades as there are, with replacement, so many times; `pnl` are their gains in money, `cash` is what an account
    /// begins with.
    pub fn of(pnl: &[f64], cash: f64, runs: usize, seed: u64) -> Option<Bootstrap> {
        if pnl.is_empty() || runs == 0 {
            return None;
        }
        let mut random = Random(seed);
        let (mut ends, mut drawdowns) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
        for _ in 0..runs {
            let (mut equity, mut highest, mut deepest) = (cash, cash, 0.0_f64);
            for _ in 0..pnl.len() {
                equity += pnl[random.below(pnl.len())];
                highest = highest.max(equity);
                deepest = deepest.min(equity / highest - 1.0);
            }
            ends.push(equity);
            drawdowns.push(deepest);
        }
        let losing = ends.iter().filter(|end| **end < cash).count() as f64 / runs as f64;
        Some(Bootstrap { runs, end_equity: spread(ends), max_drawdown: spread(drawdowns), losing })
    }
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    [0.05, 0.5, 0.95].map(|share| values[((values.len() - 1) as f64 * share).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trades_that_are_all_alike_have_no_spread() {
        let of = Bootstrap::of(&[-10.0; 5], 100.0, 50, 1).unwrap();
        assert_eq!((of.end_equity, of.losing), ([50.0; 3], 1.0));
        assert!(of.max_drawdown.iter().all(|down| (down + 0.5).abs() < 1e-12));
        assert_eq!(Bootstrap::of(&[], 100.0, 50, 1), None);
    }

    #[test]
    fn the_middle_is_near_what_was_gained_and_the_seed_decides() {
        let pnl: Vec<f64> = (0..200).map(|i| if i % 2 == 0 { 12.0 } else { -10.0 }).collect();
        let of = |seed| Bootstrap::of(&pnl, 10_000.0, 2_000, seed).unwrap();
        let Bootstrap { end_equity: [low, middle, high], .. } = of(3);
        // 200 in the mean, with a standard deviation of 11 sqrt(200) = 156.
        assert!(
            (middle - 10_200.0).abs() < 20.0 && (high - low - 2.0 * 1.645 * 155.6).abs() < 40.0,
            "{low} {middle} {high}"
        );
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }
}
