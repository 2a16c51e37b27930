//! How far a search is, for whoever waits for it.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Called with the number of symbols that are done and, where it is known, of all.
pub type OnSymbols = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// Counts the symbols of all parts and passes of a search.
#[derive(Clone, Default)]
pub(super) struct Watched(Option<Arc<Count>>);

struct Count {
    tell: OnSymbols,
    done: AtomicU64,
    total: Option<u64>,
}

impl Watched {
    pub fn new(tell: OnSymbols, total: Option<u64>) -> Watched {
        Watched(Some(Arc::new(Count { tell, done: AtomicU64::new(0), total })))
    }

    /// One more is done.
    pub fn symbol(&self) {
        if let Some(count) = &self.0 {
            (count.tell)(count.done.fetch_add(1, Ordering::Relaxed) + 1, count.total);
        }
    }
}

impl Debug for Watched {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched")
    }
}
