//! Sweeps: many variants of a strategy, and whether the best of them is more than luck.

mod aggregate;
mod luck;
mod overfitting;
mod run;
mod spec;

pub use aggregate::Cuts;
pub use luck::Luck;
pub use overfitting::{Block, CrossValidation, Fold, Pbo, WalkForward, Winner, cross_validation, pbo};
pub use run::{Swept, Values};

use crate::backtest::Backtest;
use crate::scan;
use aggregate::SweepAggregate;
use tallow_engine::node::NodeKind;

/// The plan nodes of a sweep.
pub const NODES: [NodeKind; 1] = [SweepAggregate::KIND];

/// A strategy with parameters, and the values that these take.
///
/// Each symbol has money of its own, and the return of a variant is the mean of those of all symbols; or each variant is a back-test
/// with money that all symbols share.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The strategy. Where symbols do not share money, costs and lots count of its terms; a size, a rank and slots do not.
    pub strategy: Backtest,
    /// Whether symbols share money. Each variant is then read and run alone, which takes longer.
    pub is_shared: bool,
    /// Values that parameters take in turn; all are crossed.
    pub grid: scan::Sweep,
    /// Only combinations for which this is true, such as `fast < slow`.
    pub only: Option<String>,
    /// So many of them, chosen by chance.
    pub sample: Option<usize>,
    /// What chance begins with.
    pub seed: u64,
    /// How time is cut for tests of luck.
    pub cuts: Cuts,
    /// Whether in a walk-forward test each fold begins and ends without a position, for which the best before it is run once more; else
    /// positions go on over the borders.
    pub is_flat: bool,
}

impl Sweep {
    /// Every combination, sixteen blocks of time, and no walk-forward test.
    pub fn of(strategy: Backtest, grid: scan::Sweep) -> Sweep {
        let cuts = Cuts { blocks: 16, folds: 0, train: 3, embargo: 0 };
        Sweep { strategy, is_shared: false, grid, only: None, sample: None, seed: 42, cuts, is_flat: false }
    }
}
