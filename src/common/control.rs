//! How work is followed and stopped: the same for every use-case, and for whatever it is made of.

use crate::error::{Error, Result};
use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// How far some work is. Work that is repeated starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is counted.
    pub unit: Unit,
    /// So many are done.
    pub done: u64,
    /// Of so many, where that is known.
    pub total: Option<u64>,
    /// Rows that went through so far; 0 where nobody counts them.
    pub rows: u64,
}

/// What progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Symbols.
    Symbols,
    /// Rows.
    Rows,
    /// Bytes of the files that are read.
    Bytes,
}

impl Progress {
    /// So many symbols.
    pub fn symbols(done: u64, total: Option<u64>) -> Progress {
        Progress { unit: Unit::Symbols, done, total, rows: 0 }
    }

    /// So many rows.
    pub fn rows(done: u64, total: Option<u64>) -> Progress {
        Progress { unit: Unit::Rows, done, total, rows: done }
    }
}

/// Called as work proceeds, from any thread; it must not take long.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// How work is followed and stopped.
#[derive(Clone)]
pub struct Control {
    /// Called as the work proceeds.
    pub progress: OnProgress,
    /// Stops the work.
    pub cancel: CancellationToken,
    /// Stops the work at this time.
    pub deadline: Option<Instant>,
}

impl Default for Control {
    /// Nobody follows the work, and nothing stops it.
    fn default() -> Self {
        Control { progress: Arc::new(|_| ()), cancel: CancellationToken::new(), deadline: None }
    }
}

impl Control {
    /// Work that somebody follows.
    pub fn followed(progress: OnProgress) -> Control {
        Control { progress, ..Control::default() }
    }

    /// Stops the work after some time from now.
    pub fn within(self, time: Duration) -> Control {
        Control { deadline: Instant::now().checked_add(time), ..self }
    }

    /// Stops the work at a time too, if it is not stopped before.
    pub fn by(self, deadline: Option<Instant>) -> Control {
        Control { deadline: self.deadline.into_iter().chain(deadline).min(), ..self }
    }

    /// The result of some work, which is dropped when it is stopped. `clock` keeps the time.
    ///
    /// # Errors
    /// It was stopped, or it failed.
    pub async fn limit<T>(&self, clock: &Handle, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            stopped = self.stopped(clock) => Err(stopped),
            done = work => done,
        }
    }

    /// A stream that ends with an error when it is stopped. `clock` keeps the time.
    pub fn limited<T: Send + 'static>(
        &self,
        clock: &Handle,
        stream: impl futures::Stream<Item = Result<T>> + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let (control, clock) = (self.clone(), clock.clone());
        let stopped = async move { control.stopped(&clock).await };
        let state = Some((stream.boxed(), stopped.boxed()));
        futures::stream::unfold(state, |state| async move {
            let (mut stream, mut stopped) = state?;
            tokio::select! {
                biased;
                stopped = &mut stopped => Some((Err(stopped), None)),
                item = stream.next() => item.map(|item| (item, Some((stream, stopped)))),
            }
        })
        .boxed()
    }

    /// Completes when the work is to stop, with the reason.
    async fn stopped(&self, clock: &Handle) -> Error {
        let late = async {
            match self.deadline {
                Some(deadline) if deadline <= Instant::now() => {}
                Some(deadline) => {
                    let sleeper = clock.spawn(async move { tokio::time::sleep_until(deadline.into()).await });
                    let _ = AbortOnDrop(sleeper).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Error::Cancelled,
            () = late => Error::TimedOut,
        }
    }
}

/// A task that ends when nobody waits for it any more.
pub struct AbortOnDrop<T>(pub JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
