//! TA-Lib, bridged by its metadata.

mod anchored;
mod atr;
mod names;
mod streams;
mod talib;

pub(crate) use atr::{atr, atr_back};

use crate::family::Family;
use crate::series::SeriesFunction;
use std::sync::Arc;

/// All functions of TA-Lib.
pub(crate) fn functions() -> Family {
    let anchored = anchored::Anchored::all().map(|function| Arc::new(function) as Arc<dyn SeriesFunction>);
    let plain = talib::all().filter(|function| !anchored::Anchored::has(function.name()));
    let plain = plain.map(|function| Arc::new(function) as Arc<dyn SeriesFunction>);
    Family { series: plain.chain(anchored).collect(), ..Family::default() }
}
