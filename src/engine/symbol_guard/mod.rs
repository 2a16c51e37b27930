//! A place above a table where symbols that cannot be used are left out, and what is wrong with them is found.
//!
//! A [`SymbolGuard`] is pure data: which symbols may pass, and which columns matter. The rows of a symbol are held until its last
//! one has been seen, so that all or none of them pass: no operator above meets half a symbol, neither of one that turns out
//! to be faulty nor of one at which the input was ended early by an [`Observer`](super::observer::Observer). One symbol is held for each
//! partition.
//!
//! What it finds leaves an execution as data. Numbers are metrics of the operator, which any executor reports: bars that
//! were read, and partitions that were cut short. Symbols and reasons are rows of [`Findings`], to which the context of the task leads:
//! one for each execution and machine. They cannot be rows of the plan, since the operators above (windows, joins,
//! filters, groupings) have no place for rows that are no bars, and DataFusion's plans have no second output; metrics that travel
//! are names and numbers, too narrow for reasons. An executor elsewhere gives each task findings of its own, returns
//! [`Findings::rows`] with the task's end, and who waits for the execution adds them to his. Where a task has none, a symbol that
//! cannot be used is an error: nothing is left out that nobody learns of.

mod exec;
mod findings;
mod node;
mod stream;
#[cfg(test)]
mod tests;

pub use exec::SymbolGuardExec;
pub use findings::{Fault, Findings};
pub use node::SymbolGuard;
