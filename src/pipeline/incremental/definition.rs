//! What a pipeline computes, as it is kept in the lake.

use super::matched::LatestMatches;
use crate::Session;
use crate::label::LabelRun;
use crate::named::NamedQueries;
use crate::query::{Query, QueryOptions};
use crate::resample::Resample;
use crate::scan::Scan;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use tallow_common::Result;
use tallow_engine::dialect::{self, Formula, Params};
use tallow_lake::ResultKind;
use tallow_udfs::calendar::Timeframe;

/// What a pipeline computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Definition {
    /// A query.
    Query {
        /// One statement whose result has the columns `symbol` and `ts`; or the name of a named query.
        query: String,
        /// Values for `:name` in it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
        /// Length of the bars that stand for `candles`; by default the lake's days.
        #[serde(default, with = "crate::as_text::optional", skip_serializing_if = "Option::is_none")]
        timeframe: Option<Timeframe>,
    },
    /// The bars that fulfil a formula.
    Scan {
        /// The formula.
        formula: String,
        /// Values of its parameters.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
        /// The table of candles.
        table: String,
    },
    /// Labels of every bar.
    Label(LabelRun),
    /// Longer bars from shorter ones.
    Resample(Resample),
    /// Matches of a pattern at the newest bars.
    Match(LatestMatches),
}

impl Definition {
    /// A query without parameters.
    pub fn query(text: impl Into<String>) -> Definition {
        Definition::Query { query: text.into(), params: BTreeMap::new(), timeframe: None }
    }

    /// What kind of a definition it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Definition::Query { .. } => "query",
            Definition::Scan { .. } => "scan",
            Definition::Label(_) => "label",
            Definition::Resample(_) => "resample",
            Definition::Match(_) => "match",
        }
    }

    /// What its results are; `None`: candles.
    pub fn result_kind(&self) -> Option<ResultKind> {
        match self {
            Definition::Query { .. } | Definition::Scan { .. } => Some(ResultKind::Results),
            Definition::Label(_) => Some(ResultKind::Labels),
            Definition::Match(_) => Some(ResultKind::Matches),
            Definition::Resample(_) => None,
        }
    }

    /// The table that its results are kept in unless another is named, for a pipeline of this name.
    pub fn default_table(&self, name: &str) -> String {
        match self {
            Definition::Query { .. } | Definition::Scan { .. } | Definition::Match(_) => name.to_string(),
            Definition::Label(run) => run.timeframe.to_string(),
            Definition::Resample(resample) => resample.timeframe.to_string(),
        }
    }

    /// Whether its text puts the rows in the order of symbol and ts, in a way that a plan does not show: labels come in the order of
    /// the bars that they walk.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self, Definition::Label(_))
    }

    /// In one line.
    pub fn describe(&self) -> String {
        let with = |params: &BTreeMap<String, String>| -> String {
            params.iter().map(|(name, value)| format!(", {name}={value}")).collect()
        };
        match self {
            Definition::Query { query, params, timeframe } => {
                let text = query.split_whitespace().collect::<Vec<_>>().join(" ");
                let over = timeframe.map(|timeframe| format!(" over bars of {timeframe}")).unwrap_or_default();
                format!("{text}{}{over}", with(params))
            }
            Definition::Scan { formula, params, table } => format!("{formula}{} in {table}", with(params)),
            Definition::Label(run) => run.describe(),
            Definition::Resample(resample) => resample.describe(),
            Definition::Match(matches) => matches.describe(),
        }
    }

    /// The query behind it.
    ///
    /// # Errors
    /// A named query, a formula or a table that is not there; parameters that do not fit.
    pub(super) async fn as_query(&self, session: &Session) -> Result<Query> {
        match self {
            Definition::Query { query, params, timeframe } => {
                let queries = session.extension::<NamedQueries>()?;
                let params = given(params);
                let of_name = queries.get(query.trim()).map(|named| Query::named(named, &params)).transpose()?;
                let plain = of_name.unwrap_or_else(|| Query { params, ..Query::of(query) });
                Ok(Query { options: QueryOptions { timeframe: *timeframe, ..QueryOptions::default() }, ..plain })
            }
            Definition::Scan { formula, params, table } => {
                let formula = Formula::parse(formula)?;
                let scan = Scan { params: given(params), table: table.clone(), ..Scan::of(formula) };
                Ok(Query::of(scan.sql(session).await?))
            }
            Definition::Label(run) => Ok(Query::of(run.sql(session.lake()).await?)),
            Definition::Resample(resample) => Ok(Query::of(resample.sql(session).await?.sql)),
            Definition::Match(matches) => Ok(matches.searched()),
        }
    }

    /// What is to be remembered of its results beside the text that they were computed by.
    pub(super) async fn properties(&self, session: &Session) -> Result<HashMap<String, String>> {
        match self {
            Definition::Label(run) => run.properties(session.lake()).await,
            _ => Ok(HashMap::new()),
        }
    }

    /// All that decides what its results are, for people and to be compared.
    pub(super) async fn text(&self, session: &Session, query: &Query) -> Result<String> {
        match self {
            // The text of its query names tables that depend on what the lake holds, and its definition says all.
            Definition::Label(run) => Ok(run.definition()),
            Definition::Match(matches) => matches.text(session).await,
            _ => {
                let text = dialect::bind(&query.text, &query.params)?;
                Ok(match query.options.timeframe {
                    Some(timeframe) => format!("over bars of {timeframe}: {text}"),
                    None => text,
                })
            }
        }
    }
}

fn given(params: &BTreeMap<String, String>) -> Params {
    let mut given = Params::default();
    params.iter().for_each(|(name, value)| given.set(name, value));
    given
}
