//! What may be asked.

use futures::StreamExt;
use std::future::Future;
use std::pin::Pin;
use tallow_common::{Error, Result};
use tallow_engine::dialect::Problems;
use tallow_pipeline::Session;
use tallow_pipeline::control::Control;
use tallow_pipeline::outcome::Outcome;
use tallow_pipeline::query::{Executed, Query};
use tallow_pipeline::scan::Scan;

/// What is asked.
#[derive(Debug, Clone)]
pub enum Work {
    /// A query that reads only, with one result.
    Query(Query),
    /// A scan.
    Scan(Box<Scan>),
}

/// What came of it, and whether the session is what it was.
pub(super) struct Begun {
    pub outcome: Outcome,
    pub leaves_session: bool,
}

impl Work {
    /// How it is called where it is listed.
    pub fn text(&self) -> String {
        match self {
            Work::Query(query) => query.text.clone(),
            Work::Scan(scan) => format!("scan {}", scan.formula),
        }
    }

    /// Plans it, and begins with it. Its type is too deep for the compiler to look through.
    pub(super) fn begin<'a>(
        self,
        session: &'a Session,
        control: &'a Control,
    ) -> Pin<Box<dyn Future<Output = Result<Begun>> + Send + 'a>> {
        match self {
            Work::Query(query) => Box::pin(of_query(query, session, control)),
            Work::Scan(scan) => Box::pin(async move {
                let outcome = scan.run(session, control).await?;
                Ok(Begun { outcome, leaves_session: true })
            }),
        }
    }
}

async fn of_query(mut query: Query, session: &Session, control: &Control) -> Result<Begun> {
    query.options.reads_only = true;
    let mut statements = query.begin(session).await?;
    let leaves_session = statements.leaves_session();
    if statements.results() > 1 {
        return Err(Error::invalid("the text has several results: one is given here, ask for each by itself"));
    }
    let warnings: Problems = std::mem::take(&mut statements.warnings);
    let mut found = None;
    while let Some(executed) = statements.next(session, control).await? {
        if let Executed::Rows(outcome) = executed {
            found = Some(outcome);
        }
    }
    let mut outcome = found.unwrap_or_else(Outcome::nothing);
    outcome.warnings = warnings;
    // A result without rows is asked for more of them.
    outcome.stream = outcome.stream.fuse().boxed();
    Ok(Begun { outcome, leaves_session })
}
