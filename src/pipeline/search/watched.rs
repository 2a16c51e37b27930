//! How far a search is, and which symbols it had to leave out, for whoever waits for it.

use crate::relation::Failure;
use datafusion::common::{Result, exec_err};
use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Called with the number of symbols that are done and, where it is known, of all.
pub type OnSymbols = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// Follows the symbols of all parts and passes of a search. Where nobody watches, a symbol that cannot be used is an error.
#[derive(Clone, Default)]
pub(super) struct Watched(Option<Arc<Watch>>);

struct Watch {
    tell: OnSymbols,
    done: AtomicU64,
    total: Option<u64>,
    left_out: Mutex<BTreeMap<String, String>>,
}

impl Watched {
    pub fn new(tell: OnSymbols, total: Option<u64>) -> Watched {
        Watched(Some(Arc::new(Watch { tell, done: AtomicU64::new(0), total, left_out: Mutex::default() })))
    }

    /// One more is done.
    pub fn symbol(&self) {
        if let Some(watch) = &self.0 {
            let done = watch.done.fetch_add(1, Ordering::Relaxed) + 1;
            // A second look at some of them is not counted.
            (watch.tell)(watch.total.map_or(done, |total| done.min(total)), watch.total);
        }
    }

    /// One more cannot be used.
    pub fn leave_out(&self, symbol: &str, reason: &str) -> Result<()> {
        let Some(watch) = &self.0 else { return exec_err!("{symbol}: {reason}; `tallow validate` shows where") };
        let mut left_out = watch.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.insert(symbol.to_string(), reason.to_string());
        Ok(())
    }

    /// Those that could not be used.
    pub fn left_out(&self) -> Vec<Failure> {
        let Some(watch) = &self.0 else { return vec![] };
        let left_out = watch.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.iter().map(|(symbol, reason)| Failure { symbol: symbol.clone(), reason: reason.clone() }).collect()
    }
}

impl Debug for Watched {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched")
    }
}
