//! Incremental runs: a stored result is brought up to date by computing what changes of its sources affect.

mod backfill;
mod bars;
mod buckets;
mod catalog;
mod definition;
mod extent;
mod labelled;
mod matched;
mod pipeline;
mod resampled;
mod status;
mod tables;
mod work;

pub(crate) use catalog::read;
pub use catalog::{add, all, find, in_order, remove};
pub use definition::Definition;
pub use matched::LatestMatches;
pub use pipeline::{Done, Pipeline, Run, RunOptions};
pub use status::{Status, estimate, status};
pub use work::{Extent, Source, Work};
