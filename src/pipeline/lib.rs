//! What users ask for, as plans and facts: named queries, views, labels, checks, validation, the function list, synthetic
//! candles.

pub mod adjust;
pub mod alerts;
pub mod among;
pub mod bounds;
pub mod check;
mod codec;
pub mod describe;
pub mod explain;
pub mod formulas;
pub mod functions;
pub(crate) mod in_range;
pub mod ingest;
pub mod label;
pub mod label_path;
pub mod levels;
pub mod maintenance;
pub mod matching;
pub mod materialize;
pub mod named;
mod open;
pub mod outcome;
pub mod patterns;
pub mod query;
pub mod quoting;
mod relation;
pub mod report;
pub mod resample;
mod rows;
pub mod scan;
pub mod score;
pub mod search;
mod session;
pub mod synth;
pub mod validate;
pub(crate) mod views;

pub use codec::codec;
pub use open::open;
pub use session::{Session, Settings};
pub use tallow_common::control;
