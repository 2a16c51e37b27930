//! Incremental runs: a stored result is brought up to date by computing what changes of its sources affect.

mod bars;
mod pipeline;
mod work;

pub use pipeline::{Pipeline, Run};
pub use work::{Extent, Source, Work};
