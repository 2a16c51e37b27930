//! Price levels: swing pivots, the levels that they make, and which of them are active when.

mod detect;
mod gather;
mod nearest;
mod pivot;

pub use gather::{Gather, GatherKind};
pub use nearest::{LevelsNear, NearestLevel};
pub use pivot::Pivot;

/// Share of a level's price beyond which it is broken.
pub(crate) const BREAK: f64 = 0.002;
/// Share of a level's price within which a later bar tests it from the other side.
pub(crate) const RETEST: f64 = 0.001;

/// Half the height of the band in which a level is touched: 0.1 % of its price, or a tenth of the average true range.
pub(crate) fn half_height(price: f64, atr: f64) -> f64 {
    f64::max(0.001 * price, 0.1 * atr)
}
