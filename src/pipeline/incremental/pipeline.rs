//! A pipeline: something that is computed and kept as a table, and its runs.

use super::backfill::Backfill;
use super::bars::spacing;
use super::definition::Definition;
use super::tables::Tables;
use super::work::{Extent, Work};
use super::{labelled, resampled};
use crate::Session;
use crate::control::{Control, Progress};
use crate::fingerprint::fingerprint;
use crate::materialize::{ResultTable, result_table};
use crate::outcome::Skipped;
use crate::query::Query;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tallow_common::{Error, Ranges, Result};
use tallow_engine::reach::{MadeBars, reach, scope};
use tallow_lake::properties::{FINGERPRINT, PIPELINE, TEXT, UNFINISHED};
use tallow_lake::{CandleTable, Effort, Replaced, Replacement, ResultKind};
use tallow_udfs::calendar::Timeframe;
use tallow_udfs::series::Bars;

/// Stands for the table of days.
const CANDLES: &str = "candles";
/// Why a full run computes everything.
pub(super) const FULL: &str = "a full run was asked for";

/// Functions whose values come from elsewhere than from rows.
const CHANGES_BY_ITSELF: &[&str] = &["now", "current_date", "current_time", "random", "uuid"];

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
    /// Where everything is computed: so many symbols at a time, each step a commit, from which a run that was stopped goes on. By
    /// default, as many as have some millions of bars.
    pub symbols_a_step: Option<usize>,
}

/// So many bars are computed in one step, unless the number of its symbols is given.
const BARS_A_STEP: usize = 20_000_000;

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was to be done.
    pub work: Work,
    /// What came of it.
    pub done: Done,
    /// Symbols that could not be computed; the others were.
    pub failed: Vec<Skipped>,
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
pub(super) struct Prepared {
    pub plan: LogicalPlan,
    /// What the table is to remember of it.
    pub properties: HashMap<String, String>,
}

impl Prepared {
    /// Whether a table that says this of itself was begun by the same definition and is not complete.
    pub fn is_unfinished(&self, known: &HashMap<String, String>) -> bool {
        let is_begun = known.get(UNFINISHED).is_some_and(|unfinished| !unfinished.is_empty());
        is_begun && known.get(FINGERPRINT) == self.properties.get(FINGERPRINT)
    }
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
    pub(super) fn kind(&self) -> Option<ResultKind> {
        self.definition.result_kind()
    }

    /// The plan of its results, for a run that gets bars from elsewhere than a table.
    ///
    /// # Errors
    /// What it computes is wrong, or depends on more than rows.
    pub async fn logical(&self, session: &Session) -> Result<LogicalPlan> {
        Ok(self.prepared(session).await?.plan)
    }

    /// The table that such a run keeps results in.
    ///
    /// # Errors
    /// It was made by another definition, or is no table of results.
    pub async fn result_table(&self, session: &Session) -> Result<ResultTable> {
        let (name, kind) = (self.table()?, self.kind().unwrap_or(ResultKind::Results));
        let query = self.definition.as_query(session).await?;
        let properties = self.properties(session, &query).await?;
        self.check_fingerprint(&name, &self.known(session).await?, &properties)?;
        let table = ResultTable { name, kind, properties };
        table.check(session).await?;
        Ok(table)
    }

    /// What a run would do.
    ///
    /// # Errors
    /// As [`Pipeline::run`], before anything is computed.
    pub async fn work(&self, session: &Session, options: RunOptions) -> Result<Work> {
        match &self.definition {
            Definition::Resample(resample) => Ok(resampled::planned(self, session, resample, options).await?.work),
            Definition::Match(matches) => matches.work(self, session, options).await,
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
                return control.limit(&clock, resampled::run(self, session, resample, options)).await;
            }
            Definition::Match(matches) => return matches.run(self, session, options, control).await,
            _ => {}
        }
        let planned = async {
            let (prepared, work) = self.planned(session, options).await?;
            let open_from = self.open_from(session, &prepared.plan).await?;
            let step = self.symbols_a_step(session, options, &prepared, &work).await?;
            Ok((prepared, work, open_from, step))
        };
        let (prepared, work, open_from, step) = control.limit(&clock, planned).await?;
        if work.extent == Extent::Nothing {
            return Ok(Run { work, done: Done::Nothing, failed: vec![] });
        }
        if let Some(symbols) = step {
            let backfill =
                Backfill { pipeline: self, session, prepared: &prepared, work, open_from, bars_of_symbol: 0 };
            return backfill.run(symbols, control).await;
        }
        let once = !options.full && work.is_followed;
        control.limit(&clock, self.replace(session, prepared, work, open_from, once, control)).await
    }

    /// Computes what is to be done and replaces it.
    async fn replace(
        &self,
        session: &Session,
        prepared: Prepared,
        work: Work,
        open_from: i64,
        once: bool,
        control: &Control,
    ) -> Result<Run> {
        let ranges = match &work.extent {
            Extent::Ranges { affected, .. } => Arc::clone(affected),
            _ => Arc::new(Ranges::all()),
        };
        let effort = Effort::begin(work.bars());
        let rows = session.physical(&work.restrict(prepared.plan, self.definition.is_ordered())?).await?;
        let progress = Arc::clone(&control.progress);
        let replacement = Replacement {
            rows,
            ranges,
            kind: self.kind().unwrap_or(ResultKind::Results),
            properties: prepared.properties,
            sources: self.transactions(&work),
            whole_symbols: false,
            open_from,
            once,
            effort,
            progress: Box::new(move |rows| progress(Progress::rows(rows, None))),
        };
        let table = self.table()?;
        let replaced = session.on_lake(move |lake| async move { lake.replace(&table, replacement).await }).await?;
        let done = match replaced {
            Replaced::Written(written) => Done::Written { rows: written.rows, version: written.version },
            Replaced::UpToDate { version } => Done::ByAnother { version },
        };
        Ok(Run { work, done, failed: vec![] })
    }

    /// Whether it can be run: what it computes, and the table that it is to be kept in.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) async fn check(&self, session: &Session) -> Result<()> {
        let (table, kind) = (self.table()?, self.kind().unwrap_or(ResultKind::Results));
        match &self.definition {
            Definition::Resample(resample) => return resample.sql(session).await.map(|_| ()),
            Definition::Match(matches) => return matches.check(self, session).await,
            _ => {}
        }
        let Prepared { plan, properties } = self.prepared(session).await?;
        // Whether its result can be stored shows when it is asked for.
        Work::everything(session, &plan, FULL.to_string()).await?.restrict(plan, self.definition.is_ordered())?;
        session.on_lake(move |lake| async move { lake.check_overwrite(&table, kind, &properties).await }).await
    }

    async fn planned(&self, session: &Session, options: RunOptions) -> Result<(Prepared, Work)> {
        let table = self.table()?;
        let prepared = self.prepared(session).await?;
        if options.full {
            let work = Work::everything(session, &prepared.plan, FULL.to_string()).await?;
            return Ok((prepared, work));
        }
        let known = self.known(session).await?;
        self.check_fingerprint(&table, &known, &prepared.properties)?;
        if prepared.is_unfinished(&known) {
            let reason = "a run that computes everything was stopped".to_string();
            let work = Work::everything(session, &prepared.plan, reason).await?;
            return Ok((prepared, work));
        }
        let made_from = async |names| self.made_from(session, &table, names).await;
        let work = match &self.definition {
            Definition::Label(run) => labelled::work(session, run, &prepared.plan, made_from).await?,
            _ => Work::of(session, &prepared.plan, made_from).await?,
        };
        Ok((prepared, work))
    }

    /// The words of its text, which the names of the tables that it reads are among: of tables that are not there yet, nothing
    /// more is known.
    ///
    /// # Errors
    /// There is no named query of that name.
    pub(super) async fn words(&self, session: &Session) -> Result<BTreeSet<String>> {
        let text = match &self.definition {
            Definition::Scan { table, .. } => table.clone(),
            Definition::Label(run) => run.sql(session.lake()).await?,
            other => other.as_query(session).await?.text,
        };
        let mut words: BTreeSet<String> =
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_string).collect();
        if words.contains(CANDLES) {
            words.insert(format!("{CANDLES}_{}", Timeframe::Day));
        }
        Ok(words)
    }

    /// From when on rows change with the next bars, since they look ahead.
    async fn open_from(&self, session: &Session, plan: &LogicalPlan) -> Result<i64> {
        let optimized = session.optimized(plan).await?;
        let (ahead, longer) = match &self.definition {
            Definition::Label(run) => {
                let labelled = run.labelled_bars(session).await?;
                (labelled.reach.ahead, Some(labelled.bars))
            }
            _ => match MadeBars::of(&optimized)? {
                Some(made) => (reach(&made.plan).total().furthest().ahead, Some(made.bars)),
                None => (reach(&optimized).total().furthest().ahead, None),
            },
        };
        let Bars::Count(ahead @ 1..) = ahead else { return Ok(i64::MAX) };
        // Bars do not come evenly.
        let bars = i64::try_from(2 * ahead + 2).unwrap_or(i64::MAX);
        let of_table = |(table, _): &(Arc<CandleTable>, u64)| {
            let (_, last) = table.summary().times?;
            Some(last.saturating_sub(spacing(table, longer.as_ref()).saturating_mul(bars)))
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
            (Some(statement), 0) => {
                let plan = session.engine().logical(statement).await?;
                // Longer bars are stored once they have ended, and a run looks for those that have ended since.
                if !matches!(self.definition, Definition::Resample(_)) {
                    self.check_depends_on_rows_alone(&plan)?;
                }
                Ok(plan)
            }
            (_, others) => Err(Error::invalid(format!(
                "pipeline `{}` has {} statements: expected one query",
                self.name,
                others + 1
            ))),
        }
    }

    /// A run computes what a delivery affects: a row that changes without one would keep what it was.
    fn check_depends_on_rows_alone(&self, plan: &LogicalPlan) -> Result<()> {
        let mut found = None;
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| match expr {
                    Expr::ScalarFunction(call) if CHANGES_BY_ITSELF.contains(&call.name()) => {
                        found = Some(call.name().to_string());
                        Ok(TreeNodeRecursion::Stop)
                    }
                    _ => Ok(TreeNodeRecursion::Continue),
                })
            })
        })?;
        match found {
            Some(function) => Err(Error::invalid(format!(
                "pipeline `{}` calls {function}(), whose value changes without a delivery: keep a time in a column, such as \
                 bar_end(ts, '1d'), and compare it where the table is read",
                self.name
            ))),
            None => Ok(()),
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

    /// What its table says of itself.
    pub(super) async fn known(&self, session: &Session) -> Result<HashMap<String, String>> {
        let (table, kind) = (self.table()?, self.kind().unwrap_or(ResultKind::Results));
        session.on_lake(move |lake| async move { lake.properties(&table, kind).await }).await
    }

    /// Whether its table was made by another definition than it has now.
    pub(crate) async fn is_changed(&self, session: &Session) -> Result<bool> {
        let known = self.known(session).await?;
        let query = self.definition.as_query(session).await?;
        let own = fingerprint(&self.definition.text(session, &query).await?);
        Ok(known.get(FINGERPRINT).is_some_and(|known| *known != own))
    }

    /// How many symbols are computed at a time; `None`: all, in one commit.
    async fn symbols_a_step(
        &self,
        session: &Session,
        options: RunOptions,
        prepared: &Prepared,
        work: &Work,
    ) -> Result<Option<usize>> {
        if !matches!(work.extent, Extent::Everything(_)) || !work.is_followed {
            return Ok(None);
        }
        let optimized = session.optimized(&prepared.plan).await?;
        let is_by_symbol = matches!(self.definition, Definition::Label(_)) || scope(&optimized).is_by_symbol();
        if !is_by_symbol {
            return Ok(None);
        }
        if let Some(symbols) = options.symbols_a_step {
            return Ok(Some(symbols));
        }
        let tables = Tables::of(&optimized)?;
        let largest = tables.followed.values().max_by_key(|(table, _)| table.summary().rows);
        let of_largest = largest.and_then(|(table, _)| {
            let (rows, symbols) = (table.summary().rows, table.symbols()?);
            (rows > BARS_A_STEP).then(|| (symbols * BARS_A_STEP / rows).max(1))
        });
        // What was begun in steps is ended in at least one.
        let goes_on = prepared.is_unfinished(&self.known(session).await?);
        Ok(of_largest.or(goes_on.then_some(usize::MAX)))
    }

    /// A table that another text made is not continued.
    pub(super) fn check_fingerprint(
        &self,
        table: &str,
        known: &HashMap<String, String>,
        own: &HashMap<String, String>,
    ) -> Result<()> {
        if let Some(other) = known.get(PIPELINE).filter(|name| **name != self.name) {
            return Err(Error::conflict(format!("{table} is the table of another pipeline, `{other}`")));
        }
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

    /// What its table is to remember of it.
    pub(super) async fn properties(&self, session: &Session, query: &Query) -> Result<HashMap<String, String>> {
        let text = self.definition.text(session, query).await?;
        let fingerprint = fingerprint(&text);
        let complete = String::new();
        let own = [(PIPELINE, self.name.clone()), (FINGERPRINT, fingerprint), (TEXT, text), (UNFINISHED, complete)];
        let own = own.map(|(key, value)| (key.to_string(), value));
        Ok(self.definition.properties(session).await?.into_iter().chain(own).collect())
    }
}
