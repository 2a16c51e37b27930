//! A place above a table where symbols that cannot be used are left out, and what is wrong with them is found.
//!
//! A [`SymbolGuard`] is pure data: which symbols may pass, and which columns matter. The rows of a symbol are held until its last
//! one has been seen, so that all or none of them pass: no operator above meets half a symbol, neither of one that turns out
//! to be faulty nor of one at which the input was ended early by an [`Observer`](super::observer::Observer). One symbol is held for each
//! partition.
//!
//! What it finds leaves an execution as metrics of the operator, which any executor reports with the end of a task: bars that
//! were read, partitions that were cut short, and a counter of its own for each symbol and each fault, whose name tells which
//! (see [`Findings`]). They cannot be rows of the plan: the operators above (windows, joins, filters, groupings) have no place
//! for rows that are no bars, and DataFusion's plans have no second output.

mod exec;
mod findings;
mod node;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use findings::Finding;
pub use findings::{Fault, Findings};
pub use node::SymbolGuard;
