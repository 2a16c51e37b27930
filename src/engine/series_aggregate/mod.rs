//! A few rows out of the whole series of all symbols, such as the nearest windows of a search.
//!
//! Like any aggregate it has two phases. The partial one runs once for each partition of the input, holds one symbol at a time, and
//! puts out state rows when its partition has ended. The final one reads the state rows of all partitions, in any order, and puts out
//! the result. So it runs in as many tasks as there are partitions, wherever they are, and everything that it found out,
//! counts and symbols that it had to skip included, is in the rows.

mod exec;
mod function;
mod gather;
mod node;

pub use function::{Accumulator, Execution, Partitions, SeriesAggregate};
pub use node::{aggregated, node};
