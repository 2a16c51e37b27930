//! Runs that search the newest bars for a pattern: each adds what it found to what earlier runs did.

use super::pipeline::{Done, FULL, Pipeline, Run, RunOptions};
use super::tables::Tables;
use super::work::{ByTable, Extent, Work};
use crate::Session;
use crate::control::Control;
use crate::fingerprint::fingerprint;
use crate::match_runs::MatchedAt;
use crate::matching::{Look, Match, MatchJob};
use crate::materialize::ResultTable;
use crate::patterns;
use crate::query::Query;
use crate::search::{SearchOptions, nearest};
use chrono::Utc;
use datafusion::logical_expr::LogicalPlan;
use serde::{Deserialize, Serialize};
use tallow_common::Result;
use tallow_lake::properties::TIMEFRAME;
use tallow_lake::{Earlier, Replaced, ResultKind, Written};
use tallow_udfs::calendar::Timeframe;

/// A search for a pattern in the windows that end with the newest bar of each symbol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatestMatches {
    /// A pattern that the lake keeps, by its name.
    pub pattern: String,
    /// Length of the bars; by default the lake's days.
    #[serde(default, with = "crate::as_text::optional", skip_serializing_if = "Option::is_none")]
    pub timeframe: Option<Timeframe>,
    /// At most so many matches of a run.
    #[serde(default = "default_top")]
    pub top: usize,
    /// Only matches that are nearer than this share of random windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// Compare the bars of every symbol, not only of those that correlate best with the pattern.
    #[serde(default)]
    pub exact: bool,
}

fn default_top() -> usize {
    SearchOptions::default().k
}

impl LatestMatches {
    /// The ten nearest matches of a pattern among days.
    pub fn of(pattern: impl Into<String>) -> LatestMatches {
        let top = default_top();
        LatestMatches { pattern: pattern.into(), timeframe: None, top, percentile: None, exact: false }
    }

    fn table(&self) -> String {
        self.timeframe.map_or_else(|| "candles".to_string(), |timeframe| format!("candles_{timeframe}"))
    }

    /// The bars that are searched.
    pub(super) fn searched(&self) -> Query {
        Query::of(format!("select * from {}", self.table()))
    }

    /// In one line.
    pub(super) fn describe(&self) -> String {
        let LatestMatches { pattern, top, percentile, exact, .. } = self;
        let nearer = percentile.map(|share| format!(", nearer than {share} of random windows")).unwrap_or_default();
        let of = if *exact { " of every symbol" } else { "" };
        format!("the {top} nearest matches of {pattern} at the newest bars{of} in {}{nearer}", self.table())
    }

    /// All that decides what is found: the pattern itself, too, since another may have its name later.
    pub(super) async fn text(&self, session: &Session) -> Result<String> {
        let pattern = patterns::get(session.lake(), &self.pattern).await?;
        let (bars, closes) = (pattern.bars, fingerprint(&pattern.closes));
        Ok(format!("{}; {} has {bars} bars, with the fingerprint {closes}", self.describe(), self.pattern))
    }

    fn request(&self) -> Match {
        let options = SearchOptions { k: self.top, percentile: self.percentile, ..SearchOptions::default() };
        let look = Look::Latest { exact: self.exact, cooldown: None };
        Match { tables: vec![self.table()], look, options, ..Match::of(Some(self.pattern.clone())) }
    }

    /// The search, and the table that keeps what it finds.
    async fn job(&self, pipeline: &Pipeline, session: &Session) -> Result<(MatchJob, ResultTable)> {
        let job = self.request().prepare(session).await?;
        let mut properties = pipeline.properties(session, &self.searched()).await?;
        properties.extend(job.timeframe().map(|timeframe| (TIMEFRAME.to_string(), timeframe.to_string())));
        Ok((job, ResultTable { name: pipeline.table()?, kind: ResultKind::Matches, properties }))
    }

    /// Whether it can be run.
    pub(super) async fn check(&self, pipeline: &Pipeline, session: &Session) -> Result<()> {
        self.job(pipeline, session).await?.1.check(session).await
    }

    /// What a run has to do.
    pub(super) async fn work(&self, pipeline: &Pipeline, session: &Session, options: RunOptions) -> Result<Work> {
        let plan = pipeline.plan(session, &self.searched()).await?;
        if options.full {
            return Work::everything(session, &plan, FULL.to_string()).await;
        }
        let table = pipeline.table()?;
        let own = pipeline.properties(session, &self.searched()).await?;
        pipeline.check_fingerprint(&table, &pipeline.known(session).await?, &own)?;
        let made_from = async |names| pipeline.made_from(session, &table, names).await;
        let of = async |_: &LogicalPlan, _: &Tables, changes: &ByTable| {
            Ok(match changes.values().all(|changed| changed.ranges.is_empty()) {
                true => Extent::Nothing,
                false => Extent::Everything("the newest bars of all symbols are compared".to_string()),
            })
        };
        Work::by(session, &plan, made_from, of).await
    }

    /// Searches where there are new bars, and keeps what is found; a full run forgets what earlier ones found.
    pub(super) async fn run(
        &self,
        pipeline: &Pipeline,
        session: &Session,
        options: RunOptions,
        control: &Control,
    ) -> Result<Run> {
        let work = self.work(pipeline, session, options).await?;
        if work.extent == Extent::Nothing {
            return Ok(Run { work, done: Done::Nothing, failed: vec![] });
        }
        let (job, table) = self.job(pipeline, session).await?;
        let found = job.search(session, control, &mut |_| {}).await?;
        let rows = session.context().read_batch(nearest(&found.rows, self.top)?)?;
        let (run, sources) = (MatchedAt::new(Utc::now()), pipeline.transactions(&work));
        let earlier = if options.full { Earlier::Replaced } else { Earlier::Kept };
        let done = match run.keep(session, rows, &table, sources, earlier, control).await? {
            Replaced::Written(Written { rows, version, .. }) => Done::Written { rows, version },
            Replaced::UpToDate { version } => Done::ByAnother { version },
        };
        Ok(Run { work, done, failed: found.skipped })
    }
}
