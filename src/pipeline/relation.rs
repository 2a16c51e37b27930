//! Where the bars of a scan or a search come from, and what of it cannot be read.

use super::outcome::Skipped;
use super::quoting::quoted;
use super::resample::{self, BarRequest, source_of};
use crate::Session;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use std::sync::Arc;
use tallow_common::{Error, Result, readable};
use tallow_engine::dialect::{Params, closest};
use tallow_engine::reach::{PlanReach, reach, reach_at_end};
use tallow_lake::{CandleTable, Lake, READABLE, Unreadable};
use tallow_udfs::calendar::Timeframe;

/// The table of a timeframe; a table's name, a path or URL is taken as it is.
///
/// # Errors
/// It is none of these.
pub fn table_of(text: &str) -> Result<String> {
    match text.parse::<Timeframe>() {
        Ok(timeframe) => Ok(format!("candles_{timeframe}")),
        Err(_) if text.starts_with("candles") || text.contains(['/', '.', '*']) => Ok(text.to_string()),
        Err(error) => Err(error.into()),
    }
}

/// Where bars come from.
#[derive(Clone)]
pub(super) struct Relation {
    /// What they were asked for by.
    pub name: String,
    /// What stands in FROM.
    pub sql: String,
    /// The same without the dialect, for plans that are not made of a text.
    pub plain: String,
    /// What stands in FROM for the bars that are read.
    read: String,
    pub schema: SchemaRef,
    /// The table that is read.
    pub table: Option<Arc<dyn TableProvider>>,
    /// Whether its bars are these, and not the smaller ones that they are made of.
    pub is_stored: bool,
    /// Whether other rows were joined to them, which need not leave them in their order.
    pub is_joined: bool,
}

impl Relation {
    /// The same bars beside other columns, by SQL that stands in FROM.
    pub fn beside(self, sql: String, schema: SchemaRef) -> Relation {
        Relation { sql, schema, is_joined: true, ..self }
    }

    /// How far a plan over these bars looks.
    pub fn reach(&self, plan: &LogicalPlan) -> PlanReach {
        if self.is_stored { reach(plan) } else { reach_at_end(plan) }
    }

    /// The table, where it is one of candles.
    pub fn candles(&self) -> Option<&CandleTable> {
        self.table.as_ref()?.downcast_ref()
    }

    /// Its files that were skipped.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.candles().map(unreadable).unwrap_or_default()
    }

    /// Plain SQL for symbol, time and close of the bars. In bars that are made of smaller ones, two smaller ones of one time would
    /// not be seen, where nothing rules such out: both are added then, without a close, so that whoever wants a series finds
    /// them.
    pub fn closes(&self) -> String {
        let closes = format!("select symbol, ts, close from {}", self.plain);
        let is_one_a_time = self.candles().is_none_or(|table| table.summary().version.is_some());
        if self.is_stored || is_one_a_time {
            return closes;
        }
        let beside = |function: &str| format!("{function}(ts) over (partition by symbol order by ts)");
        format!(
            "{closes} union all select symbol, ts, cast(null as double) as close from (select symbol, ts, {} as before, {} as after \
             from {}) where ts = before or ts = after",
            beside("lag"),
            beside("lead"),
            self.read,
        )
    }
}

impl From<&Unreadable> for Skipped {
    fn from(file: &Unreadable) -> Skipped {
        let reason = match file.reason.contains(&file.path) {
            true => file.reason.clone(),
            false => format!("cannot read {}: {}", file.path, file.reason),
        };
        Skipped { symbol: file.symbol.clone(), reason }
    }
}

/// The files of a table that were skipped.
pub(super) fn unreadable(table: &CandleTable) -> Vec<Skipped> {
    table.unreadable().iter().map(Skipped::from).collect()
}

/// Does something with the bars of a table. Where that fails, perhaps for a file that cannot be read, tries again without
/// such files; if there are none, the first error stands.
pub(super) async fn despite_files<T>(
    session: &Session,
    table: &str,
    work: impl AsyncFn(&Relation) -> Result<T>,
) -> Result<(Relation, T)> {
    let over = async |table: &str| {
        let from = relation(session, table).await?;
        let done = work(&from).await?;
        Ok((from, done))
    };
    match over(table).await {
        Err(error) => {
            let from = readable_after(session, table, error).await?;
            let done = work(&from).await?;
            Ok((from, done))
        }
        done => done,
    }
}

/// The bars of a table after an error, without the files that may have caused it.
///
/// # Errors
/// There are none: the error itself.
pub(super) async fn readable_after(session: &Session, table: &str, error: Error) -> Result<Relation> {
    match error {
        Error::DataFusion(error) if may_be_a_file(&error) && !table.ends_with(READABLE) => {
            readable_part(session.lake(), session.context(), table, error).await
        }
        other => Err(other),
    }
}

/// The bars of a table; without the files that cannot be read, where it cannot be opened with them.
pub(super) async fn opened_despite_files(lake: &Lake, context: &SessionContext, table: &str) -> Result<Relation> {
    match relation_in(lake, context, table).await {
        Err(Error::DataFusion(error)) if may_be_a_file(&error) && !table.ends_with(READABLE) => {
            readable_part(lake, context, table, error).await
        }
        opened => opened,
    }
}

/// The bars of a table without the files that cannot be read; if there are none, the error stands that made one look.
async fn readable_part(lake: &Lake, context: &SessionContext, table: &str, error: DataFusionError) -> Result<Relation> {
    match relation_in(lake, context, &format!("{table}{READABLE}")).await {
        Ok(from) if !from.skipped().is_empty() => Ok(from),
        _ => Err(Error::DataFusion(error)),
    }
}

/// Whether a file may be the cause of an error: not the text, and not the memory limit.
fn may_be_a_file(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::ResourcesExhausted(_) => false,
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => may_be_a_file(inner),
        _ => true,
    }
}

/// The bars of a table; of a timeframe that the lake does not store, those made of smaller ones.
pub(super) async fn relation(session: &Session, table: &str) -> Result<Relation> {
    relation_in(session.lake(), session.context(), table).await
}

/// As [`relation`], where tables are found without a session.
async fn relation_in(lake: &Lake, context: &SessionContext, table: &str) -> Result<Relation> {
    let name = table.to_string();
    let plain = table.strip_suffix(READABLE);
    let timeframe = plain.unwrap_or(table).strip_prefix("candles_").and_then(|t| t.parse::<Timeframe>().ok());
    let known = lake.timeframes();
    if let Some(timeframe) = timeframe.filter(|t| !known.contains(t) && !known.is_empty()) {
        let source = source_of(lake, timeframe)?;
        let (suffix, option) = if plain.is_some() { (READABLE, ", readable => 'true'") } else { ("", "") };
        let read = format!("candles_{source}{suffix}");
        let table = context.table_provider(TableReference::bare(read.as_str())).await?;
        let made = resample::sql(lake, BarRequest { readable: plain.is_some(), ..BarRequest::of(timeframe) }).await?.0;
        let bars = context.state().create_logical_plan(&made).await?;
        return Ok(Relation {
            name,
            sql: format!("candles('{timeframe}'{option})"),
            plain: format!("({made})"),
            read: quoted(&read),
            schema: Arc::clone(bars.schema().inner()),
            table: Some(table),
            is_stored: false,
            is_joined: false,
        });
    }
    match context.table_provider(TableReference::bare(table)).await {
        Ok(provider) => {
            let schema = provider.schema();
            match ["symbol", "ts"].into_iter().find(|c| schema.index_of(c).is_err()) {
                Some(missing) => Err(Error::invalid(format!("`{table}` is no table of candles: it has no {missing}"))),
                None => Ok(Relation {
                    name,
                    sql: quoted(table),
                    plain: quoted(table),
                    read: quoted(table),
                    schema,
                    table: Some(provider),
                    is_stored: true,
                    is_joined: false,
                }),
            }
        }
        Err(error) => {
            let said = readable(&error);
            if !said.contains("not found") && !said.contains("No table named") {
                return Err(error.into());
            }
            let known = lake.table_names();
            let hint = match closest(table, known.iter().map(String::as_str)) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None if known.is_empty() => {
                    format!("{} holds none yet: the operation `ingest FILE`", lake.options().url)
                }
                None => format!("tables: {}", known.join(", ")),
            };
            Err(Error::not_found(format!("unknown table `{table}`")).with_hint(hint))
        }
    }
}

/// A table by its name, its timeframe or its path.
pub(super) fn table_named(given: &str) -> String {
    match given.parse::<Timeframe>() {
        Ok(timeframe) => format!("candles_{timeframe}"),
        Err(_) => given.to_string(),
    }
}

/// What the bars of a table are called in a result.
pub(super) async fn timeframe_of(lake: &Lake, table: &str) -> Result<String> {
    if let Some(timeframe) = table.strip_prefix("candles_").and_then(|t| t.parse::<Timeframe>().ok()) {
        return Ok(timeframe.to_string());
    }
    let bars = match lake.bars(table).await {
        // A file that cannot be read does not hide what the others hold.
        Err(error) => lake.bars(&format!("{table}{READABLE}")).await.map_err(|_| error)?,
        known => known?,
    };
    Ok(bars.map_or_else(|| table.to_string(), |(timeframe, _)| timeframe.to_string()))
}

/// Plans one statement of ours.
pub(super) async fn one(session: &Session, sql: &str) -> Result<DataFrame> {
    let mut parsed = session.parse(sql, &Params::default()).await?;
    match parsed.statements.pop() {
        Some(statement) => session.frame(statement).await,
        None => Err(Error::invalid(format!("no statement in {sql}"))),
    }
}
