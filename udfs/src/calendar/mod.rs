//! Where bars and longer periods begin, and on which days exchanges trade.

mod anchor;
mod grid;
mod origin;
mod rules;
mod sessions;
mod timeframe;

pub use anchor::Anchor;
pub use grid::Grid;
pub use origin::Origin;
pub use sessions::{Calendar, Opening, Session};
pub use timeframe::Timeframe;
