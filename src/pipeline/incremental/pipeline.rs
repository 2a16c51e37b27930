//! A pipeline: a query whose result is kept as a table, and its runs.

use super::work::{Extent, Work};
use crate::Session;
use crate::control::{Control, Progress};
use crate::label::fnv1a;
use crate::materialize::result_table;
use crate::query::Query;
use datafusion::logical_expr::LogicalPlan;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tallow_common::{Error, Ranges, Result};
use tallow_engine::dialect;
use tallow_lake::properties::{FINGERPRINT, PIPELINE, TEXT};
use tallow_lake::{Replaced, Replacement, ResultKind};

/// A query whose result is kept as a table.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// What is computed: one statement whose result has the columns `symbol` and `ts`.
    pub query: Query,
    /// The table that the result is kept in.
    pub into: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was to be done.
    pub work: Work,
    /// What was written; `None` where there was nothing to do.
    pub written: Option<Replaced>,
}

impl Pipeline {
    /// The table that the result is kept in, by the name that queries use.
    ///
    /// # Errors
    /// It cannot be the name of such a table.
    pub fn table(&self) -> Result<String> {
        result_table(ResultKind::Results, &self.into)
    }

    /// Brings the table up to date; with `full`, everything is computed anew.
    ///
    /// # Errors
    /// The query is wrong, or another one than the table was made by; the table was made by something else; or computing or
    /// writing failed or was stopped, and the table is what it was.
    pub async fn run(&self, session: &Session, full: bool, control: &Control) -> Result<Run> {
        control.limit(&session.engine().clock()?, self.brought_up_to_date(session, full, control)).await
    }

    async fn brought_up_to_date(&self, session: &Session, full: bool, control: &Control) -> Result<Run> {
        let table = self.table()?;
        if !full {
            self.check_fingerprint(session, &table).await?;
        }
        let plan = self.plan(session).await?;
        let work = Work::of(session, &plan, async |names| {
            if full { Ok(BTreeMap::new()) } else { self.made_from(session, &table, names).await }
        });
        let work = work.await?;
        if work.extent == Extent::Nothing {
            return Ok(Run { work, written: None });
        }
        let ranges = match &work.extent {
            Extent::Ranges { affected, .. } => Arc::clone(affected),
            _ => Arc::new(Ranges::all()),
        };
        let rows = session.physical(&work.restrict(plan)?).await?;
        let progress = Arc::clone(&control.progress);
        let replacement = Replacement {
            rows,
            ranges,
            kind: ResultKind::Results,
            properties: self.properties()?,
            sources: work.sources.iter().map(|source| (self.application(&source.table), source.to)).collect(),
            once: !full,
            progress: Box::new(move |rows| progress(Progress::rows(rows, None))),
        };
        let written = session.on_lake(move |lake| async move { lake.replace(&table, replacement).await }).await?;
        Ok(Run { work, written: Some(written) })
    }

    /// The plan of its statement.
    async fn plan(&self, session: &Session) -> Result<LogicalPlan> {
        let mut statements = self.query.parse(session).await?.statements;
        match (statements.pop(), statements.len()) {
            (Some(statement), 0) => session.engine().logical(statement).await,
            (_, others) => Err(Error::invalid(format!(
                "pipeline `{}` has {} statements: expected one query",
                self.name,
                others + 1
            ))),
        }
    }

    /// How the table records the version of a source.
    fn application(&self, source: &str) -> String {
        format!("tallow/{}/{source}", self.name)
    }

    /// The versions of these sources that the table was made from.
    async fn made_from(&self, session: &Session, table: &str, names: Vec<String>) -> Result<BTreeMap<String, u64>> {
        let applications = names.iter().map(|name| self.application(name)).collect();
        let table = table.to_string();
        let reached = session
            .on_lake(move |lake| async move { lake.reached(&table, ResultKind::Results, applications).await })
            .await?;
        Ok(names.into_iter().zip(reached).filter_map(|(name, version)| Some((name, version?))).collect())
    }

    /// A table that another text made is not continued.
    async fn check_fingerprint(&self, session: &Session, table: &str) -> Result<()> {
        let name = table.to_string();
        let known =
            session.on_lake(move |lake| async move { lake.properties(&name, ResultKind::Results).await }).await?;
        let own = self.properties()?;
        match known.get(FINGERPRINT) {
            Some(fingerprint) if *fingerprint != own[FINGERPRINT] => {
                let was = known.get(TEXT).map(String::as_str).unwrap_or_default();
                Err(Error::conflict(format!(
                    "{table} was made by another query than pipeline `{}` has now: it was `{was}`, and is `{}`",
                    self.name, own[TEXT]
                ))
                .with_hint("a full run makes it anew"))
            }
            _ => Ok(()),
        }
    }

    fn properties(&self) -> Result<HashMap<String, String>> {
        let text = dialect::bind(&self.query.text, &self.query.params)?;
        let text = match self.query.options.timeframe {
            Some(timeframe) => format!("over bars of {timeframe}: {text}"),
            None => text,
        };
        let fingerprint = format!("{:016x}", fnv1a(text.as_bytes()));
        let properties = [(PIPELINE, self.name.clone()), (FINGERPRINT, fingerprint), (TEXT, text)];
        Ok(properties.map(|(key, value)| (key.to_string(), value)).into())
    }
}
