//! Window functions over one symbol at a time.
//!
//! DataFusion's `WindowAggExec` buffers and concatenates the whole input of a task before it computes anything, and
//! accounts for none of it. [`SeriesExec`] computes the same expressions over an input that is sorted by the partition
//! keys and the order keys, holding one series and the batch it ends in.

pub mod cut;
mod kept;
mod node;
mod prune;
mod reads;
mod rule;
mod stream;

pub use node::SeriesExec;
pub use reads::{Fields, KeptRows, Reads};
pub use rule::SeriesRule;
pub(super) use stream::width;
