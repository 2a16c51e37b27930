//! The engine of tallow: the dialect, the operators and rules that run series functions, and how far a plan looks.
//!
//! An [`Engine`] is a DataFusion session with all of these and threads of its own. It knows no lake: tables, object
//! stores and table functions are handed in.

pub mod asof;
mod bounded;
pub mod cancellation;
pub mod codec;
mod context;
pub mod dialect;
mod engine;
mod holding;
mod large_top;
pub mod merge_join;
pub mod nested;
pub mod node;
mod node_exec;
pub mod observer;
mod pool;
pub mod reach;
pub mod resources;
pub mod series_aggregate;
pub mod series_exec;
mod series_order;
pub mod standing;
pub mod symbol_guard;
pub mod tally;
pub mod unnested;
mod within;

pub use engine::{Engine, EngineOptions, Extend};
pub use within::{ShiftingRanges, within, within_shifting};
