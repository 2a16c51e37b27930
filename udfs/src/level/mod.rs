//! Price levels: swing pivots, the levels that they make, and which of them are active when.

mod detect;
mod gather;
mod nearest;
mod pivot;

pub use gather::{Gather, GatherKind};
pub use nearest::{LevelsNear, NearestLevel};
pub use pivot::Pivot;
