//! The threads that compute, for work that is begun on others.

use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::prelude::SessionConfig;
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The runtime that computes for a session, as its configuration holds it.
#[derive(Debug, Clone)]
pub struct ComputeThreads(Handle);

impl ComputeThreads {
    /// Puts a runtime into a configuration.
    pub fn into_config(handle: Handle, config: SessionConfig) -> SessionConfig {
        config.with_extension(Arc::new(ComputeThreads(handle)))
    }

    /// The runtime of a session; of one that was made elsewhere, that of whoever asks.
    pub fn of(config: &SessionConfig) -> Handle {
        config.get_extension::<ComputeThreads>().map_or_else(Handle::current, |threads| threads.0.clone())
    }

    /// Runs work on the threads of a session, whoever waits for it; dropped, it stops.
    pub async fn run<T: Send + 'static>(
        config: &SessionConfig,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let mut task = JoinSet::new();
        task.spawn_on(work, &ComputeThreads::of(config));
        match task.join_next().await {
            Some(done) => done.map_err(|e| DataFusionError::External(Box::new(e)))?,
            None => internal_err!("work that was begun is not there"),
        }
    }
}
