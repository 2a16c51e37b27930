//! Trades: back-tests and their figures, how much of the account to put at stake, and on which side a trade is.

pub mod backtest;
pub mod metrics;
mod position_size;
mod trade_side;

use crate::family::Family;
use std::sync::Arc;

pub(crate) fn functions() -> Family {
    let sizes = position_size::PositionSize::all().map(Into::into);
    Family {
        series: vec![Arc::new(backtest::Backtest::new())],
        aggregates: metrics::aggregates().collect(),
        scalars: sizes.chain([trade_side::TradeSide::new().into()]).chain(metrics::scalars()).collect(),
        ..Family::default()
    }
}
