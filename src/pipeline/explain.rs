//! `Explain`: what a text stands for, how it is computed, and how far it looks.

use super::check::first_word;
use super::control::Control;
use super::formulas;
use super::named::NamedQueries;
use super::query::{Query, QueryOptions};
use super::scan::Scan;
use crate::Session;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::sql::parser::Statement;
use futures::TryStreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::dialect::{Params, Parsed, Problems};
use tallow_engine::reach::{PlanReach, reach};
use tallow_udfs::calendar::Timeframe;

/// A text to explain: SQL, a formula, or the name of a query or of a formula that the lake keeps.
#[derive(Debug, Clone)]
pub struct Explain {
    /// The text.
    pub text: String,
    /// Values for `:name` in it.
    pub params: Params,
    /// Length of the bars that stand for `candles` in it; by default the lake's days.
    pub timeframe: Option<Timeframe>,
    /// Run it, to see what each operator did.
    pub analyze: bool,
}

/// What a text stands for.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The SQL of a formula, if the text is one.
    pub formula: Option<String>,
    /// The statements to explain.
    pub query: Query,
    analyze: bool,
}

impl Explain {
    /// Finds out what the text is.
    ///
    /// # Errors
    /// It is a formula that cannot be a scan, or parameters do not fit it.
    pub async fn resolve(&self, session: &Session, queries: &NamedQueries) -> Result<Explanation> {
        let options = QueryOptions { timeframe: self.timeframe, ..QueryOptions::default() };
        let analyze = self.analyze;
        if let Some(query) = queries.get(self.text.trim()) {
            let query = Query { options, ..Query::named(query, &self.params)? };
            return Ok(Explanation { formula: None, query, analyze });
        }
        let table = self.timeframe.map(|timeframe| format!("candles_{timeframe}"));
        Ok(match as_scan(session, &self.text, &self.params, table).await? {
            Some(sql) => Explanation { formula: Some(sql.clone()), query: Query::of(sql), analyze },
            None => {
                let query = Query { text: self.text.clone(), params: self.params.clone(), options };
                Explanation { formula: None, query, analyze }
            }
        })
    }
}

/// The scan that a text stands for, as SQL, if it is a formula and no statement.
async fn as_scan(session: &Session, text: &str, given: &Params, table: Option<String>) -> Result<Option<String>> {
    let statement = ["select", "with", "from", "explain", "show", "describe", "values", "copy", "create", "set"];
    if statement.contains(&first_word(text).as_str()) {
        return Ok(None);
    }
    let (formula, _) = formulas::resolve(session, text).await?;
    let scan = Scan { params: given.clone(), ..Scan::of(formula) };
    let scan = Scan { table: table.unwrap_or_else(|| scan.table.clone()), ..scan };
    Ok(Some(scan.sql(session).await?))
}

impl Explanation {
    /// Parses the text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn begin(&self, session: &Session) -> Result<ExplainedStatements> {
        let Parsed { statements, warnings } = self.query.parse(session).await?;
        Ok(ExplainedStatements { warnings, waiting: statements.into(), analyze: self.analyze })
    }
}

/// The statements of a text, those that have not been explained yet.
pub struct ExplainedStatements {
    /// What is allowed in the text and probably not meant.
    pub warnings: Problems,
    waiting: VecDeque<Statement>,
    analyze: bool,
}

/// A statement, as it is computed.
#[derive(Debug, Clone)]
pub struct ExplainedStatement {
    /// Its physical plan as text, with metrics where it was run.
    pub plan: String,
    /// How many bars its columns look back and ahead.
    pub reach: PlanReach,
}

impl ExplainedStatements {
    /// The SQL of the next statement.
    pub fn sql(&self) -> Option<String> {
        self.waiting.front().map(ToString::to_string)
    }

    /// Plans the next statement, and runs it where that is asked for.
    ///
    /// # Errors
    /// It cannot be planned or run, or was stopped.
    pub async fn next(&mut self, session: &Session, control: &Control) -> Result<Option<ExplainedStatement>> {
        let Some(statement) = self.waiting.pop_front() else { return Ok(None) };
        control.limit(&session.engine().clock()?, self.explain(session, statement)).await.map(Some)
    }

    async fn explain(&self, session: &Session, statement: Statement) -> Result<ExplainedStatement> {
        let logical = session.engine().logical(statement).await?;
        let physical = session.physical(&logical).await?;
        let plan = if self.analyze {
            let mut batches = session.execute(Arc::clone(&physical))?;
            while batches.try_next().await?.is_some() {}
            DisplayableExecutionPlan::with_metrics(physical.as_ref()).indent(false).to_string()
        } else {
            DisplayableExecutionPlan::new(physical.as_ref()).indent(false).to_string()
        };
        Ok(ExplainedStatement { plan, reach: reach(&session.optimized(&logical).await?) })
    }
}
