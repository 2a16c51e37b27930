//! How far a search is.

use crate::control::{OnProgress, Progress};
use tallow_engine::observer::Observer;

/// Follows all passes of a search over so many symbols.
pub(super) fn observer(progress: OnProgress, total: Option<u64>) -> Observer {
    // A second look at some of the symbols is not counted.
    Observer::new(move |done| progress(Progress::symbols(total.map_or(done, |total| done.min(total)), total)))
}
