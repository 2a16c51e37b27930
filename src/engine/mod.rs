//! The session, the dialect, and the operator that computes series functions.

pub mod dialect;
pub mod nested;
pub mod reach;
pub mod resources;
pub mod series_exec;
pub mod session;
