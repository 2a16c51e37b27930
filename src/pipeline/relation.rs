//! Where the bars of a scan come from.

use super::quoted;
use crate::Session;
use crate::engine::dialect::{Params, closest};
use crate::engine::reach::{PlanReach, reach, reach_at_end};
use crate::error::{Error, Result, readable};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::DataFrame;
use std::sync::Arc;
use tallow_udfs::candle::Timeframe;

/// Where bars come from.
pub(in crate::pipeline) struct Relation {
    /// What stands in FROM.
    pub sql: String,
    pub schema: SchemaRef,
    pub table: Option<Arc<dyn TableProvider>>,
    /// A table, not bars that are made of smaller ones.
    pub is_stored: bool,
}

impl Relation {
    /// How far a plan over these bars looks.
    pub fn reach(&self, plan: &LogicalPlan) -> PlanReach {
        if self.is_stored { reach(plan) } else { reach_at_end(plan) }
    }
}

/// The bars of a table; of a timeframe that the lake does not store, those made of smaller ones.
pub(super) async fn relation(session: &Session, table: &str) -> Result<Relation> {
    let timeframe = table.strip_prefix("candles_").and_then(|t| t.parse::<Timeframe>().ok());
    let known = session.tables().timeframes();
    if let Some(timeframe) = timeframe.filter(|t| !known.contains(t) && !known.is_empty()) {
        let sql = format!("candles('{timeframe}')");
        let schema = Arc::clone(one(session, &format!("select * from {sql}")).await?.schema().inner());
        return Ok(Relation { sql, schema, table: None, is_stored: false });
    }
    match session.context().table_provider(TableReference::bare(table)).await {
        Ok(provider) => {
            let schema = provider.schema();
            match ["symbol", "ts"].into_iter().find(|c| schema.index_of(c).is_err()) {
                Some(missing) => Err(Error::Setting(format!("`{table}` is no table of candles: it has no {missing}"))),
                None => Ok(Relation { sql: quoted(table), schema, table: Some(provider), is_stored: true }),
            }
        }
        Err(error) => {
            let said = readable(&error);
            if !said.contains("not found") && !said.contains("No table named") {
                return Err(error.into());
            }
            let known = session.tables().table_names();
            let hint = match closest(table, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("tables: {}", known.join(", ")),
            };
            Err(Error::Setting(format!("unknown table `{table}`; {hint}")))
        }
    }
}

/// Plans one statement of ours.
pub(super) async fn one(session: &Session, sql: &str) -> Result<DataFrame> {
    let mut parsed = session.parse(sql, &Params::default()).await?;
    match parsed.statements.pop() {
        Some(statement) => session.frame(statement).await,
        None => Err(Error::Setting(format!("no statement in {sql}"))),
    }
}
