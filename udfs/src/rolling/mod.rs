//! Crosses, shifts, returns and rolling statistics that TA-Lib does not have.

mod bars_since;
mod crosses;
mod ewm_std;
mod lag_bars;
mod returns;
mod z_score;

pub(crate) use ewm_std::{ewm_std, ewm_std_back};
pub use lag_bars::{LagBars, Lagged};

use crate::family::Family;
use std::sync::Arc;

const STATISTICS: &str = "Rolling Statistics";
const EVENTS: &str = "Events";

pub(crate) fn functions() -> Family {
    Family {
        series: vec![
            Arc::new(crosses::Crosses::above()),
            Arc::new(crosses::Crosses::below()),
            Arc::new(bars_since::BarsSince::new()),
            Arc::new(returns::Returns::log()),
            Arc::new(returns::Returns::simple()),
            Arc::new(z_score::ZScore::new()),
            Arc::new(ewm_std::EwmStd::new()),
        ],
        windows: vec![LagBars::lag().into(), LagBars::lead().into()],
        ..Family::default()
    }
}
