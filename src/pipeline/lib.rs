//! What users ask for, as plans and facts: named queries, views, labels, back-tests, checks, validation, the function list,
//! synthetic candles.
#![cfg_attr(
    not(all(feature = "score", feature = "report")),
    allow(dead_code, unused_imports, reason = "what models and reports alone use")
)]

pub mod adjust;
pub mod alerts;
pub mod among;
mod as_text;
pub mod backtest;
pub mod bounds;
pub mod calendars;
pub mod check;
mod codec;
pub mod describe;
pub mod encoding;
pub mod explain;
pub mod fetch;
mod fingerprint;
pub mod formulas;
pub mod functions;
pub(crate) mod in_range;
pub mod incremental;
pub mod ingest;
pub mod label;
pub mod label_path;
pub mod levels;
pub mod maintenance;
mod match_runs;
pub mod matching;
pub mod materialize;
pub mod named;
mod open;
pub mod outcome;
mod over_rows;
pub mod patterns;
mod policy;
pub mod query;
pub mod quoting;
pub mod random;
mod range;
mod relation;
#[cfg(feature = "report")]
pub mod report;
mod request;
pub mod resample;
mod rows;
pub mod scan;
#[cfg(feature = "score")]
pub mod score;
mod scoring;
pub mod search;
mod session;
mod session_query;
pub mod strategies;
pub mod sweep;
mod symbols;
pub mod synth;
mod system;
mod table_functions;
pub mod trade_labels;
pub mod validate;
mod versioned;
pub(crate) mod views;

pub use codec::codec;
pub use open::open;
pub use relation::table_of;
pub use request::Request;
pub use session::{Session, Settings};
pub use session_query::SessionQuery;
pub use symbols::{When, is_dated, symbols_where};
pub use tallow_common::control;
