//! Price levels: swing pivots, the levels that they make, and which of them are active when.

mod aggregate;
mod detect;
mod nearest;
mod pivot;

pub use aggregate::{LevelAggregate, LevelKind};
pub use nearest::{LevelsNear, NearestLevel};
pub use pivot::Pivot;
