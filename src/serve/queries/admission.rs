//! Whose turn it is: so many queries run, those after them wait in the order in which they came, and what is too much for that is
//! refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tallow_common::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) struct Admission {
    turns: Arc<Semaphore>,
    running: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
    is_closed: AtomicBool,
}

/// A turn, which is over when it is dropped.
pub(super) struct Permit(#[allow(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// One that waits.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    pub fn new(running: usize, most_waiting: usize) -> Admission {
        let turns = Arc::new(Semaphore::new(running));
        let (waiting, is_closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Admission { turns, running, waiting, most_waiting, is_closed }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait, or the server is about to end.
    pub async fn permit(&self) -> Result<Permit> {
        let refused = |said: String| Err(Error::known(Code::Unavailable, said));
        if self.is_closed.load(Ordering::Acquire) {
            return refused("the server is about to end".to_string());
        }
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(Permit(turn));
        }
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.most_waiting {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return refused(format!("{} queries run and {} wait already", self.running, self.most_waiting));
        }
        let _waits = Waits(&self.waiting);
        match Arc::clone(&self.turns).acquire_owned().await {
            Ok(turn) if !self.is_closed.load(Ordering::Acquire) => Ok(Permit(turn)),
            _ => refused("the server is about to end".to_string()),
        }
    }

    /// How many run, and how many wait.
    pub fn load(&self) -> (usize, usize) {
        (self.running - self.turns.available_permits().min(self.running), self.waiting.load(Ordering::Acquire))
    }

    /// Gives no further turns.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn turns_are_given_in_order_and_too_many_are_refused() {
        let admission = Admission::new(1, 1);
        let first = admission.permit().await.unwrap();
        let mut second = Box::pin(admission.permit());
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(admission.load(), (1, 1));
        let error = admission.permit().await.err().unwrap();
        assert_eq!((error.code(), error.to_string().as_str()), (Code::Unavailable, "1 queries run and 1 wait already"));
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(admission.load(), (1, 0));
        // Who does not wait any more waits no more.
        drop(Box::pin(admission.permit()).now_or_never());
        assert_eq!(admission.load(), (1, 0));
        drop(second);
        assert_eq!(admission.load(), (0, 0));
        admission.close();
        assert!(admission.permit().await.is_err());
    }
}
