//! Price levels.

mod pivot;

pub use pivot::Pivot;
