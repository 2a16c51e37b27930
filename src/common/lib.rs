//! What all floors of tallow share: errors, problems of a text, times in words, and messages without secrets.

mod code;
pub mod codec;
mod error;
mod problem;
pub mod redact;
mod threads;
pub mod time;
mod wording;

pub use code::Code;
pub use error::{Error, Result, code_of, readable};
pub use problem::{Problem, Problems};
pub use threads::ComputeThreads;
