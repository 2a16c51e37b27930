//! Who watches an execution on the machine that runs it: learns of symbols that are done, and may end it at a symbol's border.
//!
//! Operators find the observer in the context of their task. No plan holds one: a task that runs elsewhere has none, and
//! finds the same.

use datafusion::execution::TaskContext;
use datafusion::prelude::SessionConfig;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Follows one execution, or several one after the other.
#[derive(Clone, Default)]
pub struct Observer {
    on_symbol: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    done: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Observer {
    /// Calls a function with the number of symbols that are done.
    pub fn new(on_symbol: impl Fn(u64) + Send + Sync + 'static) -> Observer {
        Observer { on_symbol: Some(Arc::new(on_symbol)), ..Observer::default() }
    }

    /// Ends the input at a symbol's border once this is cancelled; what is complete is still computed.
    pub fn stopped_by(self, stop: CancellationToken) -> Observer {
        Observer { stop, ..self }
    }

    /// That of an execution; one that sees nothing, where nobody gave it any.
    pub fn of(context: &TaskContext) -> Observer {
        context.session_config().get_extension::<Observer>().map(|o| o.as_ref().clone()).unwrap_or_default()
    }

    /// Where operators find it.
    pub fn extend(&self, config: SessionConfig) -> SessionConfig {
        config.with_extension(Arc::new(self.clone()))
    }

    /// One more symbol is done.
    pub fn symbol(&self) {
        if let Some(on_symbol) = &self.on_symbol {
            on_symbol(self.done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }

    /// What ends the input.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

impl Debug for Observer {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Observer")
    }
}
