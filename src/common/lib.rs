//! What all floors of tallow share: errors, problems of a text, times in words, ranges of time by symbol, messages without
//! secrets, and how work is followed and stopped.

mod code;
pub mod codec;
pub mod control;
mod error;
mod problem;
mod ranges;
pub mod redact;
mod threads;
pub mod time;
mod wording;

pub use code::Code;
pub use error::{Error, Result, code_of, readable};
pub use problem::{Problem, Problems};
pub use ranges::{Ranges, Times};
pub use threads::ComputeThreads;
pub use wording::short;
