//! A pipeline: something that is computed and kept as a table, and its runs.

use super::bars::spacing;
use super::definition::Definition;
use super::tables::Tables;
use super::work::{Extent, Work};
use super::{labelled, resampled};
use crate::Session;
use crate::control::{Control, Progress};
use crate::fingerprint::fingerprint;
use crate::materialize::result_table;
use crate::query::Query;
use datafusion::logical_expr::LogicalPlan;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tallow_common::{Error, Ranges, Result};
use tallow_engine::reach::reach;
use tallow_lake::properties::{FINGERPRINT, PIPELINE, TEXT};
use tallow_lake::{CandleTable, Replaced, Replacement, ResultKind};
use tallow_udfs::series::Bars;

/// Why a full run computes everything.
pub(super) const FULL: &str = "a full run was asked for";

/// Something that is computed of candles, and whose result is kept as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// What is computed.
    pub definition: Definition,
    /// The table that the result is kept in.
    pub into: String,
}

/// How a run is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// Compute everything anew, also by another query than before.
    pub full: bool,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was to be done.
    pub work: Work,
    /// What came of it.
    pub done: Done,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// There was nothing to do.
    Nothing,
    /// Rows were written.
    Written {
        /// How many.
        rows: u64,
        /// The version of the table that holds them.
        version: u64,
    },
    /// Another run, which ended before this one, had done the same.
    ByAnother {
        /// The version of the table that was there by then.
        version: u64,
    },
}

/// What a pipeline comes to in a session.
struct Prepared {
    plan: LogicalPlan,
    /// What the table is to remember of it.
    properties: HashMap<String, String>,
}

impl Pipeline {
    /// The table that the result is kept in, by the name that queries use.
    ///
    /// # Errors
    /// It cannot be the name of such a table.
    pub fn table(&self) -> Result<String> {
        match (&self.definition, self.kind()) {
            (_, Some(kind)) => result_table(kind, &self.into),
            (Definition::Resample(resample), None) => resample.table(&self.into),
            (_, None) => Err(Error::invalid(format!("`{}` is no table of results", self.into))),
        }
    }

    /// What its results are; `None`: candles.
    fn kind(&self) -> Option<ResultKind> {
        self.definition.result_kind()
    }

    /// What a run would do.
    ///
    /// # Errors
    /// As [`Pipeline::run`], before anything is computed.
    pub async fn work(&self, session: &Session, options: RunOptions) -> Result<Work> {
        match &self.definition {
            Definition::Resample(resample) => Ok(resampled::planned(self, session, resample, options).await?.work),
            _ => Ok(self.planned(session, options).await?.1),
        }
    }

    /// Brings the table up to date.
    ///
    /// # Errors
    /// The query is wrong, or another one than the table was made by; the table was made by something else; or computing or
    /// writing failed or was stopped, and the table is what it was.
    pub async fn run(&self, session: &Session, options: RunOptions, control: &Control) -> Result<Run> {
        let clock = session.engine().clock()?;
        match &self.definition {
            Definition::Resample(resample) => {
                control.limit(&clock, resampled::run(self, session, resample, options)).await
            }
            _ => control.limit(&clock, self.brought_up_to_date(session, options, control)).await,
        }
    }

    async fn brought_up_to_date(&self, session: &Session, options: RunOptions, control: &Control) -> Result<Run> {
        let (prepared, work) = self.planned(session, options).await?;
        if work.extent == Extent::Nothing {
            return Ok(Run { work, done: Done::Nothing });
        }
        let ranges = match &work.extent {
            Extent::Ranges { affected, .. } => Arc::clone(affected),
            _ => Arc::new(Ranges::all()),
        };
        let open_from = self.open_from(session, &prepared.plan).await?;
        let rows = session.physical(&work.restrict(prepared.plan)?).await?;
        let progress = Arc::clone(&control.progress);
        let replacement = Replacement {
            rows,
            ranges,
            kind: self.kind().unwrap_or(ResultKind::Results),
            properties: prepared.properties,
            sources: self.transactions(&work),
            open_from,
            once: !options.full && work.is_followed,
            progress: Box::new(move |rows| progress(Progress::rows(rows, None))),
        };
        let table = self.table()?;
        let replaced = session.on_lake(move |lake| async move { lake.replace(&table, replacement).await }).await?;
        let done = match replaced {
            Replaced::Written(written) => Done::Written { rows: written.rows, version: written.version },
            Replaced::UpToDate { version } => Done::ByAnother { version },
        };
        Ok(Run { work, done })
    }

    /// Whether it can be run: what it computes, and the table that it is to be kept in.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) async fn check(&self, session: &Session) -> Result<()> {
        let table = self.table()?;
        let Some(kind) = self.kind() else {
            return match &self.definition {
                Definition::Resample(resample) => resample.sql(session).await.map(|_| ()),
                _ => Ok(()),
            };
        };
        let Prepared { plan, properties } = self.prepared(session).await?;
        // Whether its result can be stored shows when it is asked for.
        Work::whole(session, &plan, FULL.to_string()).await?.restrict(plan)?;
        session.on_lake(move |lake| async move { lake.check_overwrite(&table, kind, &properties).await }).await
    }

    async fn planned(&self, session: &Session, options: RunOptions) -> Result<(Prepared, Work)> {
        let table = self.table()?;
        let prepared = self.prepared(session).await?;
        if !options.full {
            self.check_fingerprint(session, &table, &prepared.properties).await?;
        }
        let work = match options.full {
            true => Work::whole(session, &prepared.plan, FULL.to_string()).await?,
            false => {
                let made_from = async |names| self.made_from(session, &table, names).await;
                match &self.definition {
                    Definition::Label(run) => labelled::work(session, run, &prepared.plan, made_from).await?,
                    _ => Work::of(session, &prepared.plan, made_from).await?,
                }
            }
        };
        Ok((prepared, work))
    }

    /// The tables that it reads, by their names in its text.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) async fn reads(&self, session: &Session) -> Result<BTreeSet<String>> {
        let query = self.definition.as_query(session).await?;
        let mut tables = BTreeSet::new();
        for statement in query.parse(session).await?.statements {
            let state = session.context().state();
            tables.extend(state.resolve_table_references(&statement)?.iter().map(|table| table.table().to_string()));
        }
        Ok(tables)
    }

    /// From when on rows change with the next bars, since they look ahead.
    async fn open_from(&self, session: &Session, plan: &LogicalPlan) -> Result<i64> {
        let optimized = session.optimized(plan).await?;
        let (ahead, grid) = match &self.definition {
            Definition::Label(run) => {
                let labelled = run.labelled_bars(session).await?;
                (labelled.reach.ahead, Some(labelled.grid))
            }
            _ => (reach(&optimized).total().furthest().ahead, None),
        };
        let Bars::Count(ahead @ 1..) = ahead else { return Ok(i64::MAX) };
        // Bars do not come evenly.
        let bars = i64::try_from(2 * ahead + 2).unwrap_or(i64::MAX);
        let of_table = |(table, _): &(Arc<CandleTable>, u64)| {
            let (_, last) = table.summary().times?;
            Some(last.saturating_sub(spacing(table, grid.as_ref()).saturating_mul(bars)))
        };
        Ok(Tables::of(&optimized)?.followed.values().filter_map(of_table).min().unwrap_or(i64::MAX))
    }

    async fn prepared(&self, session: &Session) -> Result<Prepared> {
        let query = self.definition.as_query(session).await?;
        Ok(Prepared { plan: self.plan(session, &query).await?, properties: self.properties(session, &query).await? })
    }

    /// The plan of its statement.
    pub(super) async fn plan(&self, session: &Session, query: &Query) -> Result<LogicalPlan> {
        let mut statements = query.parse(session).await?.statements;
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

    /// What the table records of the sources of some work.
    pub(super) fn transactions(&self, work: &Work) -> Vec<(String, u64)> {
        work.sources.iter().map(|source| (self.application(&source.table), source.to)).collect()
    }

    /// The versions of these sources that the table was made from.
    pub(super) async fn made_from(
        &self,
        session: &Session,
        table: &str,
        names: Vec<String>,
    ) -> Result<BTreeMap<String, u64>> {
        let applications = names.iter().map(|name| self.application(name)).collect();
        let (table, kind) = (table.to_string(), self.kind());
        let reached =
            session.on_lake(move |lake| async move { lake.reached(&table, kind, applications).await }).await?;
        Ok(names.into_iter().zip(reached).filter_map(|(name, version)| Some((name, version?))).collect())
    }

    /// A table that another text made is not continued.
    async fn check_fingerprint(&self, session: &Session, table: &str, own: &HashMap<String, String>) -> Result<()> {
        let (name, kind) = (table.to_string(), self.kind().unwrap_or(ResultKind::Results));
        let known = session.on_lake(move |lake| async move { lake.properties(&name, kind).await }).await?;
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

    async fn properties(&self, session: &Session, query: &Query) -> Result<HashMap<String, String>> {
        let text = self.definition.text(query)?;
        let fingerprint = fingerprint(&text);
        let own = [(PIPELINE, self.name.clone()), (FINGERPRINT, fingerprint), (TEXT, text)];
        let own = own.map(|(key, value)| (key.to_string(), value));
        Ok(self.definition.properties(session).await?.into_iter().chain(own).collect())
    }
}
