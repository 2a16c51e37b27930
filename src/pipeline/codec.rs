//! Plans of sessions as bytes.

use crate::score::Predict;
use crate::search;
use tallow_engine::codec::Codec;

/// Reads and writes physical plans with the operators and functions of all floors.
pub fn codec() -> Codec {
    Codec::default().with(&search::NODES, &tallow_lake::codec::OPERATORS, &[Predict::KIND])
}
