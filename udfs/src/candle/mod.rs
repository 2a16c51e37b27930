//! Candle arithmetic: timeframes, alignment, and aggregation of bars and ticks into larger bars.

mod accessors;
mod alignment;
mod candle_arrays;
mod candlestick;
mod partial_candle;
mod quality;
mod session_vwap;
mod span;
mod validate_candle;

pub use quality::{Bar, Fault, Rule};

use crate::family::Family;
use std::sync::Arc;

const CANDLES: &str = "Candle Arithmetic";

pub(crate) fn functions() -> Family {
    Family {
        series: vec![Arc::new(session_vwap::SessionVwap::new())],
        aggregates: vec![
            candlestick::Candlestick::of_bars().into(),
            candlestick::Candlestick::of_ticks().into(),
            candlestick::Candlestick::of_candles().into(),
        ],
        scalars: [
            alignment::Alignment::all().map(Into::into).collect(),
            accessors::CandleField::all().map(Into::into).collect(),
            vec![
                span::Span::range().into(),
                span::Span::missing().into(),
                validate_candle::ValidateCandle::new().into(),
            ],
        ]
        .concat(),
        ..Family::default()
    }
}
