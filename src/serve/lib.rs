//! The doors of tallow that listen.
//!
//! Whatever the door, a query is one of [`Queries`]: it waits for its turn, runs within limits, can be seen and stopped, and leaves a
//! record. Doors read what came in and write what goes out.

mod access;
mod client;
#[cfg(feature = "flight")]
mod flight;
mod http;
mod lag;
mod metrics;
mod queries;
mod watched;

pub use access::{Access, Caller, Key, KeyLimits, Keys, NewKey, Role};
pub use client::LiveClient;
pub use http::{Connections, Doors, Listening, Server, ServerOptions, Tls, listen};
pub use queries::{Asked, Limits, Operation, Queries, QueryId, Record, Running, Summary, Work};
