//! Trades: how much of the account to put at stake, and on which side a trade is.

mod position_size;
mod trade_side;

use crate::family::Family;

pub(crate) fn functions() -> Family {
    let sizes = position_size::PositionSize::all().map(Into::into);
    Family { scalars: sizes.chain([trade_side::TradeSide::new().into()]).collect(), ..Family::default() }
}
