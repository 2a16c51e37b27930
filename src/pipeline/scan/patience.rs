//! How long a scan that was ended may take to bring together what is complete.
//!
//! Its input ends at once; what was read by then is still computed, ordered and delivered, which is the work of moments. An
//! operator that is deep in something else, or waits for a store that does not answer, must not keep the caller.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// What a scan may take after its end, whatever it found.
const LEAST: Duration = Duration::from_secs(3);
/// For each match, which may have to be ordered.
const PER_MATCH: Duration = Duration::from_micros(2);

/// Waits for a scan: as long as it takes, and once it was ended for moments.
pub(super) struct Patience {
    ended: CancellationToken,
    clock: Handle,
    exhausted: AtomicBool,
}

impl Patience {
    pub fn new(ended: CancellationToken, clock: Handle) -> Patience {
        Patience { ended, clock, exhausted: AtomicBool::new(false) }
    }

    /// Whether something was given up.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// The result of some work; `None`: the scan was ended, and this took too long.
    pub async fn wait<T>(&self, matches: u64, work: impl Future<Output = T>) -> Option<T> {
        self.wait_while(|| matches, work).await
    }

    /// As [`Patience::wait`], for work that brings matches, counted when it was ended.
    pub async fn wait_while<T>(&self, matches: impl Fn() -> u64, work: impl Future<Output = T>) -> Option<T> {
        let too_long = async {
            self.ended.cancelled().await;
            let time = LEAST + PER_MATCH.saturating_mul(u32::try_from(matches()).unwrap_or(u32::MAX));
            let _ = self.clock.spawn(async move { tokio::time::sleep(time).await }).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = too_long => {
                self.exhausted.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}
