//! The session, the dialect, and the operator that computes series functions.

pub mod asof;
mod bounded;
pub mod cancellation;
pub mod dialect;
mod holding;
mod large_top;
pub mod merge_join;
pub mod nested;
pub mod node;
pub mod observer;
mod pool;
pub mod reach;
pub mod resources;
pub mod series_aggregate;
pub mod series_exec;
mod series_order;
pub mod session;
pub mod symbol_guard;
pub mod tally;
pub mod unnested;
