//! Plans of sessions as bytes.

use crate::{search, sweep};
use tallow_engine::codec::Codec;

/// Reads and writes physical plans with the operators and functions of all floors.
pub fn codec() -> Codec {
    let functions = [
        #[cfg(feature = "score")]
        crate::score::Predict::KIND,
    ];
    let nodes: Vec<_> = search::NODES.into_iter().chain(sweep::NODES).collect();
    Codec::default().with(&nodes, &tallow_lake::codec::OPERATORS, &functions)
}
