//! Price levels: swing pivots, the levels that they make, and which of them are active when.

mod bar_list;
mod detect;
mod level_events;
mod level_states;
mod list_aggregate;
mod nearest;
mod pivot;

use crate::family::Family;
use list_aggregate::ListAggregate;
use std::sync::Arc;

const LEVELS: &str = "Levels";

pub(crate) fn functions() -> Family {
    Family {
        series: vec![Arc::new(pivot::Pivot::high()), Arc::new(pivot::Pivot::low())],
        aggregates: vec![
            ListAggregate::<level_events::LevelEvents>::new().into(),
            ListAggregate::<level_states::LevelStates>::new().into(),
            ListAggregate::<bar_list::BarList>::new().into(),
        ],
        scalars: vec![
            nearest::LevelsNear::new().into(),
            nearest::NearestLevel::resistance().into(),
            nearest::NearestLevel::support().into(),
        ],
        ..Family::default()
    }
}

/// Share of a level's price beyond which it is broken.
pub(crate) const BREAK: f64 = 0.002;
/// Share of a level's price within which a later bar tests it from the other side.
pub(crate) const RETEST: f64 = 0.001;

/// Half the height of the band in which a level is touched: 0.1 % of its price, or a tenth of the average true range.
pub(crate) fn half_height(price: f64, atr: f64) -> f64 {
    f64::max(0.001 * price, 0.1 * atr)
}
