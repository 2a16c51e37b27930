//! Likeness of stretches of a chart: dynamic time warping, its bounds, and the search for the nearest windows.
//!
//! The kernels work on plain slices; the functions for SQL and the search stand on them.

pub mod band;
mod best;
mod cascade;
pub mod compare;
pub mod descriptor;
pub mod dtw;
pub mod envelope;
mod latest;
mod lists;
pub mod many;
pub mod pearson;
pub mod random;
pub mod reference;
pub mod search;
mod simd;
mod tail;
pub mod znorm;

pub use best::DtwBest;
pub use latest::{DtwLatest, numbers_of};
pub use lists::{ListFunction, ListKind};
pub use tail::Tail;
