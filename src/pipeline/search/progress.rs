//! How far a search is.

use std::sync::Arc;
use tallow_engine::observer::Observer;

/// Called with the number of symbols that are done and, where it is known, of all.
pub type OnSymbols = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// Follows all passes of a search over so many symbols.
pub(super) fn observer(progress: &OnSymbols, total: Option<u64>) -> Observer {
    let progress = Arc::clone(progress);
    // A second look at some of the symbols is not counted.
    Observer::new(move |done| progress(total.map_or(done, |total| done.min(total)), total))
}
