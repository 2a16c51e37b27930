//! The engine of tallow: the dialect, the operators and rules that run series functions, and how far a plan looks.
//!
//! An [`Engine`] is a DataFusion session with all of these and threads of its own. It knows no lake: tables, object
//! stores and table functions are handed in.

pub mod asof;
mod bounded;
pub mod cancellation;
mod context;
pub mod dialect;
mod engine;
pub mod fold;
mod holding;
mod large_top;
pub mod merge_join;
pub mod nested;
mod pool;
pub mod reach;
pub mod resources;
pub mod series_exec;
pub mod tap;
pub mod unnested;
mod whole;

pub use engine::{Engine, EngineOptions};
