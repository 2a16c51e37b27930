//! The session, the dialect, and the operator that computes series functions.

pub mod asof;
pub mod cancellation;
pub mod dialect;
pub mod fold;
pub mod merge_join;
pub mod nested;
pub mod reach;
pub mod resources;
pub mod series_exec;
pub mod session;
pub mod tap;
pub mod unnested;
mod whole;
