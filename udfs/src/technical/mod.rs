//! TA-Lib, bridged by its metadata.

mod atr;
mod names;
mod talib;

pub(crate) use atr::{atr, atr_back};
pub use talib::{TaLib, all};
