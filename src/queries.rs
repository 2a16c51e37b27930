//! The named queries that come with tallow.

use std::path::Path;
use tallow_common::Result;
use tallow_pipeline::named::NamedQueries;

const BUILT_IN: [&str; 18] = [
    include_str!("../queries/breadth.sql"),
    include_str!("../queries/features.sql"),
    include_str!("../queries/golden_cross.sql"),
    include_str!("../queries/labels_path.sql"),
    include_str!("../queries/labels_triple_barrier.sql"),
    include_str!("../queries/market_regime.sql"),
    include_str!("../queries/match_features.sql"),
    include_str!("../queries/match_targets.sql"),
    include_str!("../queries/movers.sql"),
    include_str!("../queries/new_highs.sql"),
    include_str!("../queries/rsi_oversold.sql"),
    include_str!("../queries/signal_calibration.sql"),
    include_str!("../queries/signal_watchlist.sql"),
    include_str!("../queries/signals.sql"),
    include_str!("../queries/signals_calibrated.sql"),
    include_str!("../queries/training_set.sql"),
    include_str!("../queries/vol_liq_regime.sql"),
    include_str!("../queries/volatility_rank.sql"),
];

/// All named queries: those that come with tallow, and those of a folder, if it is there, which win.
pub fn named_queries(folder: Option<&Path>) -> Result<NamedQueries> {
    let mut queries = NamedQueries::new(BUILT_IN)?;
    if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
        queries.add_folder(folder)?;
    }
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_built_in_queries_parse() {
        assert_eq!(named_queries(None).unwrap().iter().count(), BUILT_IN.len());
    }
}
