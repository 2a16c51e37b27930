//! Sessions of queries: each has one for itself, since what it sets is not for others.
//!
//! To make one takes as long as a small query does, so those of queries that set nothing are used again.

use std::sync::{Arc, Mutex, PoisonError};
use tallow_common::Result;
use tallow_pipeline::{Request, Session};

pub(super) struct Sessions {
    /// That of the server.
    all: Arc<Session>,
    /// Bytes of memory of each.
    memory: usize,
    idle: Mutex<Vec<Session>>,
    most: usize,
}

/// The session of a query, which goes back when it is dropped.
pub(super) struct Apart {
    of: Arc<Sessions>,
    session: Option<Session>,
    /// Whether it is what it was.
    pub is_kept: bool,
}

impl Apart {
    pub fn get(&self) -> &Session {
        // It is there until it is dropped.
        self.session.as_ref().unwrap_or(&self.of.all)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let Some(session) = self.session.take().filter(|_| self.is_kept) else { return };
        let mut idle = self.of.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.of.most {
            idle.push(session);
        }
    }
}

impl Sessions {
    pub fn new(all: Arc<Session>, memory: usize, most: usize) -> Sessions {
        Sessions { all, memory, idle: Mutex::default(), most }
    }

    /// One for a request.
    ///
    /// # Errors
    /// It asks for no memory.
    pub fn of(self: &Arc<Self>, request: &Request) -> Result<Apart> {
        let memory = request.memory.map_or(self.memory, |asked| asked.min(self.memory));
        let request = Request { memory: Some(memory), ..request.clone() };
        // What it sees of the lake, and how much it may take, is the same for most.
        let is_kept = request.as_of.is_none() && memory == self.memory;
        let idle = is_kept.then(|| self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()).flatten();
        let session = match idle {
            Some(session) => session,
            None => self.all.for_request(&request)?,
        };
        Ok(Apart { of: Arc::clone(self), session: Some(session), is_kept })
    }
}
