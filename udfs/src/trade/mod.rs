//! What to do with a signal: how much of the account to put at stake.

mod position_size;

pub use position_size::{PositionSize, PositionSizeKind};
