//! TA-Lib, bridged by its metadata.

mod names;
mod talib;

pub use talib::{TaLib, all};
