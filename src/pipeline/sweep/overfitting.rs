//! Whether the best of many variants is more than luck: by the sums of their returns in blocks of time.

/// Sums of the returns of a block of time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Block {
    /// How many.
    pub n: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

impl Block {
    /// That of some returns.
    pub fn of(r: &[f64]) -> Block {
        Block { n: r.len() as f64, sum: r.iter().sum(), squares: r.iter().map(|v| v * v).sum() }
    }

    /// That of both.
    pub fn and(self, other: Block) -> Block {
        Block { n: self.n + other.n, sum: self.sum + other.sum, squares: self.squares + other.squares }
    }

    /// The Sharpe ratio of one bar; `None` where returns do not move.
    pub fn sharpe(self) -> Option<f64> {
        let mean = self.sum / self.n;
        let variance = (self.squares - self.n * mean * mean) / (self.n - 1.0);
        let moves = self.n >= 2.0 && variance > 1e-24 * self.squares.max(f64::MIN_POSITIVE);
        Some(mean / variance.sqrt()).filter(|ratio| moves && ratio.is_finite())
    }
}

/// What cutting the time in two halves in every way says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pbo {
    /// Share of the cuts in which the best of one half is not above the middle of the other.
    pub probability: f64,
    /// Ways to cut.
    pub splits: usize,
}

/// The probability of backtest overfitting by combinatorially symmetric cross-validation: D. Bailey and others, Journal of
/// Computational Finance 20 (2016). `variants` are the blocks of each, an even number of the same for all; of equals, the first is
/// the best.
pub fn pbo(variants: &[Vec<Block>]) -> Option<Pbo> {
    let blocks = variants.first().map_or(0, Vec::len);
    if blocks < 2 || blocks % 2 == 1 || variants.len() < 2 {
        return None;
    }
    let (mut splits, mut below) = (0, 0);
    let mut outside = vec![0.0; variants.len()];
    for inside in (0u32..1 << blocks).filter(|set| set.count_ones() as usize == blocks / 2) {
        let mut best: Option<(f64, usize)> = None;
        for (variant, of) in variants.iter().enumerate() {
            let half = |wanted: bool| {
                let chosen = of.iter().enumerate().filter(|(block, _)| (inside >> block & 1 == 1) == wanted);
                chosen.fold(Block::default(), |all, (_, block)| all.and(*block)).sharpe().unwrap_or(0.0)
            };
            let ratio = half(true);
            outside[variant] = half(false);
            if best.is_none_or(|(most, _)| ratio > most) {
                best = Some((ratio, variant));
            }
        }
        let (_, winner) = best?;
        let rank = outside.iter().filter(|ratio| **ratio <= outside[winner]).count() as f64;
        let share = rank / (variants.len() as f64 + 1.0);
        splits += 1;
        below += usize::from(share <= 0.5);
    }
    Some(Pbo { probability: below as f64 / splits as f64, splits })
}

/// What choosing by all but two blocks, and trying on these, in every way says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossValidation {
    /// Ways to choose two blocks.
    pub splits: usize,
    /// Histories from the first block to the last that the tried blocks make up.
    pub paths: usize,
    /// Mean Sharpe ratio of a bar of the chosen variants in the two blocks.
    pub mean: f64,
    /// Share of the ways in which it is below 0.
    pub losing: f64,
}

/// Combinatorial cross-validation with two blocks to try on: M. Lopez de Prado, Advances in Financial Machine Learning (2018), 12. A
/// position lies in the blocks in which it gains, so that nothing has to be purged. `variants` are the blocks of each.
pub fn cross_validation(variants: &[Vec<Block>]) -> Option<CrossValidation> {
    let blocks = variants.first().map_or(0, Vec::len);
    if blocks < 3 || variants.len() < 2 {
        return None;
    }
    let pairs = (0..blocks).flat_map(|a| (a + 1..blocks).map(move |b| (a, b)));
    let tried: Vec<f64> = pairs
        .filter_map(|(a, b)| {
            let inside = |of: &[Block]| {
                let others = of.iter().enumerate().filter(|(block, _)| *block != a && *block != b);
                others.fold(Block::default(), |all, (_, block)| all.and(*block)).sharpe()
            };
            let ratios = variants.iter().map(|of| inside(of).unwrap_or(f64::NEG_INFINITY)).enumerate();
            let (winner, ratio) = ratios.reduce(|best, other| if other.1 > best.1 { other } else { best })?;
            let of = &variants[winner];
            ratio.is_finite().then(|| of[a].and(of[b]).sharpe().unwrap_or(0.0))
        })
        .collect();
    let splits = tried.len();
    (splits > 0).then(|| CrossValidation {
        splits,
        paths: blocks - 1,
        mean: tried.iter().sum::<f64>() / splits as f64,
        losing: tried.iter().filter(|ratio| **ratio < 0.0).count() as f64 / splits as f64,
    })
}

/// A fold of a walk-forward test: what came before it, and itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fold {
    /// The bars that a variant is chosen by.
    pub before: Block,
    /// The bars that it is then tried on.
    pub after: Block,
}

/// The variant that was the best before a fold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Winner {
    /// The fold, counted from 0.
    pub fold: usize,
    /// The variant.
    pub variant: usize,
    /// Its Sharpe ratio of one bar before the fold.
    pub before: f64,
    /// The same in the fold.
    pub after: f64,
}

/// What a walk-forward test found.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkForward {
    /// The winner of each fold before which something moved.
    pub winners: Vec<Winner>,
    /// Whether each fold begins and ends without a position.
    pub is_flat: bool,
}

impl WalkForward {
    /// Chooses the best variant before each fold; `variants` are the folds of each.
    pub fn of(variants: &[Vec<Fold>]) -> WalkForward {
        let folds = variants.first().map_or(0, Vec::len);
        let winner = |fold: usize| {
            let ratios = variants.iter().map(|folds| folds[fold].before.sharpe().unwrap_or(f64::NEG_INFINITY));
            let (variant, before) =
                ratios.enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best })?;
            let after = variants[variant][fold].after.sharpe().unwrap_or(0.0);
            before.is_finite().then_some(Winner { fold, variant, before, after })
        };
        WalkForward { winners: (0..folds).filter_map(winner).collect(), is_flat: false }
    }

    /// Mean Sharpe ratios before the folds and in them.
    pub fn means(&self) -> Option<(f64, f64)> {
        let n = self.winners.len() as f64;
        let sums = self.winners.iter().fold((0.0, 0.0), |(a, b), of| (a + of.before, b + of.after));
        (n > 0.0).then(|| (sums.0 / n, sums.1 / n))
    }

    /// What remains in the folds of what was seen before them; `None` where nothing good was seen.
    pub fn robustness(&self) -> Option<f64> {
        self.means().filter(|(before, _)| *before > 0.0).map(|(before, after)| after / before)
    }

    /// The variant that was the best most often, and how often.
    pub fn most_frequent(&self) -> Option<(usize, usize)> {
        let count = |variant: usize| self.winners.iter().filter(|of| of.variant == variant).count();
        let counted = self.winners.iter().map(|of| (of.variant, count(of.variant)));
        counted.max_by_key(|(variant, n)| (*n, usize::MAX - variant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten series of 160 returns out of a seed, whose probabilities were computed elsewhere.
    fn variants(change: &str) -> Vec<Vec<Block>> {
        let mut x: u64 = 42;
        let mut rows = vec![];
        for row in 0..160 {
            let mut returns: Vec<f64> = (0..10)
                .map(|_| {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    ((x >> 11) as f64 / (1u64 << 53) as f64 - 0.5) * 0.02
                })
                .collect();
            match change {
                "drift" => returns[3] += 0.004,
                "flip" => returns[5] += if row < 80 { 0.004 } else { -0.004 },
                _ => {}
            }
            rows.push(returns);
        }
        let of = |variant: usize| rows.iter().map(|row| row[variant]).collect::<Vec<_>>();
        (0..10).map(|variant| of(variant).chunks(20).map(Block::of).collect()).collect()
    }

    #[test]
    fn the_probability_is_that_of_the_reference() {
        for (change, probability) in [("none", 0.1), ("drift", 0.0), ("flip", 0.285_714_285_714_285_7)] {
            let Pbo { probability: got, splits } = pbo(&variants(change)).unwrap();
            assert!(splits == 70 && (got - probability).abs() < 1e-12, "{change}: {got} of {splits}");
        }
        assert_eq!(pbo(&[]), None);
    }

    #[test]
    fn all_ways_to_leave_two_blocks_out_are_tried() {
        // The best of 28 ways in eight blocks; with a drift the third is chosen, and gains, every time.
        let of = cross_validation(&variants("drift")).unwrap();
        assert_eq!((of.splits, of.paths, of.losing), (28, 7, 0.0));
        let third = &variants("drift")[3];
        let pairs = (0..8).flat_map(|a| (a + 1..8).map(move |b| (a, b)));
        let mean = pairs.map(|(a, b)| third[a].and(third[b]).sharpe().unwrap()).sum::<f64>() / 28.0;
        assert!((of.mean - mean).abs() < 1e-12);
        assert_eq!(cross_validation(&[]), None);
    }

    #[test]
    fn the_best_before_a_fold_is_tried_in_it() {
        let block = |r: &[f64]| Block::of(r);
        let (good, bad) = (block(&[0.02, 0.01]), block(&[-0.02, -0.01]));
        let fold = |before, after| Fold { before, after };
        let walk = WalkForward::of(&[vec![fold(good, bad), fold(bad, good)], vec![fold(bad, good), fold(good, good)]]);
        let winners: Vec<usize> = walk.winners.iter().map(|of| of.variant).collect();
        assert_eq!(winners, [0, 1]);
        assert!(walk.robustness().unwrap().abs() < 1e-12);
        assert_eq!(walk.most_frequent(), Some((0, 1)));
    }
}
