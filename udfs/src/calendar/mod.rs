//! Where bars and longer periods begin.

mod anchor;
mod grid;
mod timeframe;

pub use anchor::Anchor;
pub use grid::{Grid, Origin};
pub use timeframe::Timeframe;
