//! What to do with a signal: how much of the account to put at stake.

mod position_size;

use crate::family::Family;

pub(crate) fn functions() -> Family {
    Family { scalars: position_size::PositionSize::all().map(Into::into).collect(), ..Family::default() }
}
