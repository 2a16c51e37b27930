//! The threads that compute, for work that is begun on others.

use datafusion::prelude::SessionConfig;
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
}
