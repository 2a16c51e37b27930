//! Candle arithmetic: timeframes, alignment, and aggregation of bars and ticks into larger bars.

mod accessors;
mod alignment;
mod candlestick;
mod grid;
mod quality;
mod session_vwap;
mod span;
mod timeframe;

pub use accessors::CandleField;
pub use alignment::{Alignment, AlignmentKind};
pub use candlestick::{Candlestick, CandlestickSource};
pub use grid::{Grid, Origin};
pub use quality::{Bar, Fault, Rule, ValidateCandle};
pub use session_vwap::SessionVwap;
pub use span::{Calendar, Span, SpanKind};
pub use timeframe::Timeframe;
