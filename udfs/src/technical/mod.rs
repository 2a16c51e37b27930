//! TA-Lib, bridged by its metadata.

mod atr;
mod names;
mod talib;

pub(crate) use atr::{atr, atr_back};

use crate::family::Family;

/// All functions of TA-Lib.
pub(crate) fn functions() -> Family {
    Family { series: talib::all(), ..Family::default() }
}
