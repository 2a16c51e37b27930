//! `session.query("select ...")`: one statement, from its text to its rows.

use crate::Session;
use crate::control::Control;
use crate::named::{NamedQueries, NamedQuery};
use crate::outcome::Outcome;
use crate::query::{Executed, Query, QueryOptions};
use arrow::array::RecordBatch;
use futures::TryStreamExt;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{ParamValue, Params};

/// A query of a session that is yet to run.
///
/// ```no_run
/// # async fn example(session: &tallow_pipeline::Session) -> tallow_common::Result<()> {
/// let oversold = session.query("select symbol, ts from candles qualify rsi(:n) < :level");
/// let rows = oversold.with("n", 14).with("level", 30).collect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a query runs when its rows are asked for"]
pub struct SessionQuery<'a> {
    session: &'a Session,
    query: Query,
    /// The named query that it is, whose parameters have defaults.
    named: Option<NamedQuery>,
    control: Control,
}

impl Session {
    /// A statement of tallow's dialect.
    pub fn query(&self, text: impl Into<String>) -> SessionQuery<'_> {
        SessionQuery { session: self, query: Query::of(text), named: None, control: Control::default() }
    }

    /// A query that comes with the program, or with its user, by its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named_query(&self, name: &str) -> Result<SessionQuery<'_>> {
        let named = self.extension::<NamedQueries>()?.find(name)?.clone();
        Ok(SessionQuery { named: Some(named.clone()), ..self.query(named.sql) })
    }
}

impl SessionQuery<'_> {
    /// With a value for a parameter.
    pub fn with(mut self, name: &str, value: impl Into<ParamValue>) -> Self {
        self.query.params.insert(name, value);
        self
    }

    /// With values for parameters.
    pub fn with_params(mut self, params: Params) -> Self {
        self.query.params = params;
        self
    }

    /// For some times, symbols and more.
    pub fn with_options(mut self, options: QueryOptions) -> Self {
        self.query.options = options;
        self
    }

    /// Followed and stopped by somebody.
    pub fn with_control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// Its rows, as they are computed, and what else there is to say of them.
    ///
    /// # Errors
    /// What is wrong with the text, or it cannot be planned.
    pub async fn run(mut self) -> Result<Outcome> {
        if let Some(named) = &self.named {
            self.query.params = named.complete(&self.query.params)?;
        }
        let mut statements = self.query.begin(self.session).await?;
        if statements.len() > 1 {
            return Err(Error::invalid("the text holds several statements; run them one by one".to_string()));
        }
        for warning in &statements.warnings.list {
            tracing::warn!("{}", warning.message);
        }
        match statements.next(self.session, &self.control).await? {
            Some(Executed::Rows(outcome)) => Ok(outcome),
            Some(Executed::Done(statistics)) => Ok(Outcome::empty(statistics)),
            None => Err(Error::invalid("the text holds no statement".to_string())),
        }
    }

    /// All of its rows.
    ///
    /// # Errors
    /// As [`SessionQuery::run`], or it failed.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.run().await?.stream.try_collect().await
    }
}
