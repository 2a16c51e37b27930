//! Crosses, shifts, returns and rolling statistics that TA-Lib does not have.

mod bars_since;
mod crosses;
mod ewm_std;
mod lag_bars;
mod returns;
mod z_score;

pub use bars_since::BarsSince;
pub use crosses::Crosses;
pub use ewm_std::EwmStd;
pub(crate) use ewm_std::{ewm_std, ewm_std_back};
pub use lag_bars::LagBars;
pub use returns::Returns;
pub use z_score::ZScore;

pub(crate) const STATISTICS: &str = "Rolling Statistics";
pub(crate) const EVENTS: &str = "Events";
