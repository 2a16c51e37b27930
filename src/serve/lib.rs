//! The doors of tallow that listen.
//!
//! One HTTP router, whose routes are those of what is served: a live run today.

mod client;
mod guard;
mod live;
mod metrics;
mod watched;

pub use client::LiveClient;
pub use live::{Listening, listen};
