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

pub use latest::numbers_of;

use crate::family::Family;
use std::sync::Arc;

const SIMILARITY: &str = "Similarity";

pub(crate) fn functions() -> Family {
    Family {
        series: vec![Arc::new(latest::DtwLatest::new())],
        aggregates: vec![tail::Tail::new().into(), best::DtwBest::new().into()],
        scalars: lists::ListFunction::all().map(Into::into).collect(),
        ..Family::default()
    }
}
