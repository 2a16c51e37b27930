//! Plans of sessions as bytes.

use crate::search;
use tallow_engine::codec::Codec;

/// Reads and writes physical plans with the operators and functions of all floors.
pub fn codec() -> Codec {
    let functions = [
        #[cfg(feature = "score")]
        crate::score::Predict::KIND,
    ];
    Codec::default().with(&search::NODES, &tallow_lake::codec::OPERATORS, &functions)
}
