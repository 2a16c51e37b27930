//! How far a search is, and which symbols it had to leave out, for whoever waits for it.

use crate::pipeline::control::{OnProgress, Progress};
use crate::pipeline::outcome::Skipped;
use datafusion::common::{Result, exec_err};
use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Follows the symbols of all parts and passes of a search. Where nobody watches, a symbol that cannot be used is an error.
#[derive(Clone, Default)]
pub(super) struct Watched(Option<Arc<Watch>>);

struct Watch {
    tell: OnProgress,
    done: AtomicU64,
    total: Option<u64>,
    skipped: Mutex<BTreeMap<String, String>>,
}

impl Watched {
    pub fn new(tell: OnProgress, total: Option<u64>) -> Watched {
        Watched(Some(Arc::new(Watch { tell, done: AtomicU64::new(0), total, skipped: Mutex::default() })))
    }

    /// One more is done.
    pub fn symbol(&self) {
        if let Some(watch) = &self.0 {
            let done = watch.done.fetch_add(1, Ordering::Relaxed) + 1;
            // A second look at some of them is not counted.
            let done = watch.total.map_or(done, |total| done.min(total));
            (watch.tell)(Progress::symbols(done, watch.total));
        }
    }

    /// One more cannot be used.
    pub fn leave_out(&self, symbol: &str, reason: &str) -> Result<()> {
        let Some(watch) = &self.0 else { return exec_err!("{symbol}: {reason}; `tallow validate` shows where") };
        let mut skipped = watch.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.insert(symbol.to_string(), reason.to_string());
        Ok(())
    }

    /// Those that could not be used.
    pub fn skipped(&self) -> Vec<Skipped> {
        let Some(watch) = &self.0 else { return vec![] };
        let skipped = watch.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.iter().map(|(symbol, reason)| Skipped { symbol: symbol.clone(), reason: reason.clone() }).collect()
    }
}

impl Debug for Watched {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched")
    }
}
