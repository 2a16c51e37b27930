//! Labels: what came after a bar.
//!
//! A label looks forward; `available_at` says when it was known. An unknown or incomplete future is null, never "no".
//! The path of a bar is the bars that follow it, or the smaller bars that follow it where the rows are those: then
//! `label_ts` says which labelled bar each lies in, the last of each is labelled, and `price`, `unit` and `range` carry
//! the labelled bar's own values.
//!
//! As everywhere, a bar without a high, a low or a close is no bar: a path passes over it, and a horizon does not count it.

mod barrier;
mod cusum_events;
mod forward_return;
mod level_labels;
mod meta_label;
mod path;
mod path_labels;
mod return_quantile;
mod sample_weights;
mod triple_barrier;
mod walk;
mod width;
mod windows;

use crate::family::Family;
use std::sync::Arc;

/// Version of the definitions in this module; it changes whenever a label may come out differently.
pub const VERSION: u32 = 1;

const LABELS: &str = "Labels";

pub(crate) fn functions() -> Family {
    Family {
        series: vec![
            Arc::new(triple_barrier::TripleBarrier::new()),
            Arc::new(meta_label::MetaLabel::new()),
            Arc::new(path_labels::PathLabels::new()),
            Arc::new(level_labels::LevelLabels::new()),
            Arc::new(forward_return::ForwardReturn::new()),
            Arc::new(return_quantile::ReturnQuantile::new()),
            Arc::new(cusum_events::CusumEvents::new()),
            Arc::new(sample_weights::SampleWeights::new()),
        ],
        ..Family::default()
    }
}
