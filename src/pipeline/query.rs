//! `Query`: a text of any number of statements, run one after the other.

use super::among::{absent, among};
use super::bounds::{self, Range};
use super::control::{Control, Progress};
use super::named::{self, NamedQuery};
use super::outcome::{Late, Outcome, Skipped, Statistics};
use crate::{Request, Session, policy};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::prelude::{DataFrame, Expr};
use datafusion::sql::parser::Statement;
use futures::{StreamExt, TryStreamExt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Params, Parsed, Problems};
use tallow_engine::symbol_guard::{Fault, Findings};
use tallow_udfs::calendar::Timeframe;

/// What depends on the request, not on the session.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// The times that results are wanted for; enough bars before them are read for every indicator.
    pub range: Range,
    /// These symbols only, as if the tables held no others; `None`: all.
    pub symbols: Option<Vec<String>>,
    /// These columns of the result only, which are then the only ones that are computed; `None`: all.
    pub fields: Option<Vec<String>>,
    /// Add a column with the time at which each row was known.
    pub available_at: bool,
    /// Length of the bars that stand for `candles` in the text; by default the lake's days.
    pub timeframe: Option<Timeframe>,
    /// Which versions of tables it sees, and how much memory it may take.
    pub request: Request,
    /// How long all of its statements may take, from parsing to the last row.
    pub timeout: Option<Duration>,
    /// Whether statements that change something are refused.
    pub reads_only: bool,
}

/// A text to run.
///
/// ```no_run
/// use tallow_pipeline::control::Control;
/// use tallow_pipeline::query::{Executed, Query};
///
/// # async fn example(session: &tallow_pipeline::Session) -> tallow_common::Result<()> {
/// let mut statements = Query::of("select symbol, ts, rsi(14) from candles qualify rsi(14) < 30").begin(session).await?;
/// while let Some(executed) = statements.next(session, &Control::default()).await? {
///     if let Executed::Rows(outcome) = executed {
///         println!("{} rows", outcome.rows().await?.num_rows());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Statements.
    pub text: String,
    /// Values for `:name` in it.
    pub params: Params,
    /// How it is run.
    pub options: QueryOptions,
}

impl Query {
    /// A text without parameters, over everything.
    pub fn of(text: impl Into<String>) -> Query {
        Query { text: text.into(), ..Query::default() }
    }

    /// A named query.
    ///
    /// # Errors
    /// A parameter that it does not have, or one that it needs is not given.
    pub fn named(query: &NamedQuery, given: &Params) -> Result<Query> {
        Ok(Query { text: query.sql.clone(), params: query.complete(given)?, options: QueryOptions::default() })
    }

    /// Parses it.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub async fn begin(&self, session: &Session) -> Result<Statements> {
        let options = self.options.clone();
        let is_apart = options.request != Request::default();
        let request = is_apart.then(|| session.for_request(&options.request)).transpose()?;
        let session = request.as_ref().unwrap_or(session);
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let parsed = Control::default().by(deadline).limit(&session.engine().clock()?, self.parse(session)).await?;
        let Parsed { statements, warnings } = parsed;
        if statements.is_empty() {
            return Err(Error::invalid("the text holds no statement".to_string()));
        }
        Ok(Statements { warnings, skipped: vec![], options, request, deadline, waiting: statements.into() })
    }

    /// Its statements over the bars that are asked for.
    pub(super) async fn parse(&self, session: &Session) -> Result<Parsed> {
        match self.options.timeframe {
            Some(timeframe) => {
                let text = named::over(session, &self.text, &self.params, timeframe).await?;
                session.parse(&text, &Params::default()).await
            }
            None => session.parse(&self.text, &self.params).await,
        }
    }
}

impl Query {
    /// The columns of its result, without running it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn schema(&self, session: &Session) -> Result<SchemaRef> {
        let mut schema = Arc::new(Schema::empty());
        for statement in self.parse(session).await?.statements {
            let silent = is_silent(&statement);
            let plan = session.engine().logical(statement).await?;
            if !silent {
                schema = Arc::clone(plan.schema().inner());
            }
        }
        Ok(schema)
    }
}

/// The statements of a query, those that have not been run yet.
pub struct Statements {
    /// What is allowed in the text and probably not meant.
    pub warnings: Problems,
    options: QueryOptions,
    /// The session as this query sees it, where that is another.
    request: Option<Session>,
    deadline: Option<Instant>,
    /// What was not used, of each statement so far.
    skipped: Vec<Late<Vec<Skipped>>>,
    waiting: VecDeque<Statement>,
}

/// A statement that was run.
pub enum Executed {
    /// It has a result.
    Rows(Outcome),
    /// It changed something, and has nothing to show.
    Done(Statistics),
}

impl Statements {
    /// How many statements are to be run.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all of its statements have results: then the session is afterwards what it was.
    pub fn leaves_session(&self) -> bool {
        !self.waiting.iter().any(is_silent)
    }

    /// How many results there are to come.
    pub fn results(&self) -> usize {
        self.waiting.iter().filter(|statement| !is_silent(statement)).count()
    }

    /// Symbols that were not used, of the statements whose results have been taken: no table had a bar of them, or a search found
    /// that their bars are no series.
    pub fn skipped(&self) -> Vec<Skipped> {
        let mut all: Vec<Skipped> = vec![];
        for symbol in self.skipped.iter().flat_map(Late::get) {
            if !all.contains(&symbol) {
                all.push(symbol);
            }
        }
        all
    }

    /// Runs the next statement; its result begins. The statement after it may need what it changes, so that its result must
    /// have been taken by then.
    ///
    /// # Errors
    /// It cannot be planned or run, or was stopped.
    pub async fn next(&mut self, session: &Session, control: &Control) -> Result<Option<Executed>> {
        let Some(statement) = self.waiting.pop_front() else { return Ok(None) };
        let (session, control) = (self.request.as_ref().unwrap_or(session), control.clone().by(self.deadline));
        let (clock, read_before) = (session.engine().clock()?, session.bytes_read());
        let silent = is_silent(&statement);
        let mut absent = vec![];
        let planned = async {
            let mut frame = match self.options.reads_only {
                true => session.engine().frame_if(statement, policy::reads_only).await?,
                false => session.frame(statement).await?,
            };
            if !silent {
                (frame, absent) = self.restricted(session, frame).await?;
            }
            session.plan(frame).await
        };
        let plan = control.limit(&clock, planned).await?;
        let executed = Arc::clone(&plan);
        let skipped = Late::new(move || {
            let faults =
                Findings::of(&executed).faults.into_iter().map(|Fault { symbol, reason }| Skipped { symbol, reason });
            absent.iter().cloned().chain(faults).collect::<Vec<_>>()
        });
        self.skipped.push(skipped.clone());
        let (schema, statistics) = (plan.schema(), Statistics::new(Arc::clone(&plan), read_before));
        let (progress, mut rows) = (Arc::clone(&control.progress), 0);
        let mut stream = control
            .limited(&clock, session.execute_with(plan, &Findings::read)?)
            .inspect_ok(move |batch| {
                rows += batch.num_rows() as u64;
                progress(Progress::rows(rows, None));
            })
            .boxed();
        if silent {
            while stream.try_next().await?.is_some() {
                // Batches may always be there, and then nothing else lets go of this thread.
                tokio::task::yield_now().await;
            }
            return Ok(Some(Executed::Done(statistics)));
        }
        Ok(Some(Executed::Rows(Outcome { schema, stream, warnings: Problems::default(), skipped, statistics })))
    }

    /// A frame for the symbols and times that are asked for, and those symbols that nothing is there of.
    async fn restricted(&self, session: &Session, mut frame: DataFrame) -> Result<(DataFrame, Vec<Skipped>)> {
        let mut skipped = vec![];
        if let Some(symbols) = &self.options.symbols {
            skipped = absent(session, frame.logical_plan(), symbols).await?;
            frame = among(frame, symbols)?;
        }
        if self.options.available_at {
            frame = bounds::with_available_at(session, frame).await?;
        }
        let mut frame = bounds::bounded(session, frame, self.options.range).await?;
        if let Some(fields) = &self.options.fields {
            frame = with_fields(frame, fields)?;
        }
        Ok((frame, skipped))
    }
}

/// Some columns of a frame, in the order in which they are named.
fn with_fields(frame: DataFrame, fields: &[String]) -> Result<DataFrame> {
    let schema = frame.schema();
    let found = fields.iter().map(|name| {
        let known = || schema.iter().map(|(_, field)| field.name().as_str());
        let column = schema.columns().into_iter().find(|column| column.name == *name);
        column.map(Expr::Column).ok_or_else(|| {
            let said = format!("the option `fields` names `{name}`, which the result does not have");
            Error::not_found(said).with_hint(format!("it has {}", known().collect::<Vec<_>>().join(", ")))
        })
    });
    let found = found.collect::<Result<Vec<_>>>()?;
    Ok(frame.select(found)?)
}

/// Statements that change something and have nothing to show.
fn is_silent(statement: &Statement) -> bool {
    use datafusion::sql::sqlparser::ast::Statement as Sql;
    match statement {
        Statement::Statement(inner) => !matches!(
            inner.as_ref(),
            Sql::Query(_)
                | Sql::ShowVariable { .. }
                | Sql::ShowTables { .. }
                | Sql::ShowColumns { .. }
                | Sql::ShowFunctions { .. }
                | Sql::ExplainTable { .. }
                | Sql::Explain { .. }
        ),
        Statement::Explain(_) => false,
        _ => true,
    }
}
