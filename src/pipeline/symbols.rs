//! The table `symbols`: what is known of each symbol, and which fulfil a condition.

use crate::Session;
use crate::quoting::quoted;
use crate::relation::{Relation, one};
use crate::rows::{column, texts};
use arrow::datatypes::Schema;
use datafusion::catalog::SchemaProvider;
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::Formula;

/// The name of the table.
pub(crate) const TABLE: &str = "symbols";
/// Columns that tell from when on a row counts.
const SINCE: [&str; 2] = ["valid_from", "ts"];

/// When a condition over the lake's table `symbols` has to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// By the newest row of a symbol, of those before an instant, where rows have dates.
    Newest(Option<i64>),
    /// At any time before an instant.
    Ever(Option<i64>),
}

/// The symbols of which a condition over the lake's table `symbols` is true, in order. Where that has a column `valid_from` or `ts`, rows
/// have dates.
///
/// # Errors
/// There is no such table, it has no symbols, or the condition is none over its columns; no symbol fulfils it.
pub async fn symbols_where(session: &Session, condition: &str, when: When) -> Result<Vec<String>> {
    let columns = columns(session).await?;
    let since = SINCE.into_iter().find(|name| columns.iter().any(|column| column == name));
    let until = |at: Option<i64>, since: &str| {
        at.map(|at| format!(" where {since} < to_timestamp_micros({at})")).unwrap_or_default()
    };
    let rows = match (since, when) {
        (None, _) => TABLE.to_string(),
        (Some(since), When::Ever(at)) => format!("(select * from {TABLE}{})", until(at, since)),
        (Some(since), When::Newest(at)) => {
            let newest = quoted("(newest)");
            let until = until(at, since);
            format!(
                "(select * from (select *, row_number() over (partition by symbol order by {since} desc) as {newest} from {TABLE}{until}) \
                 where {newest} = 1)"
            )
        }
    };
    let sql = format!("select distinct symbol from {rows} where ({condition}) order by symbol");
    let wrong = |error: Error| {
        let hint = format!("`symbols` has the columns {}", columns.join(", "));
        Error::invalid(format!("the condition `{condition}`: {error}")).with_hint(hint)
    };
    let frame = one(session, &sql).await.map_err(wrong)?;
    let mut symbols = vec![];
    for batch in session.collect(frame).await.map_err(wrong)? {
        symbols.extend(texts(column(&batch, "symbol")?)?);
    }
    match symbols.is_empty() {
        true => Err(Error::not_found(format!("no symbol of the table `symbols` fulfils `{condition}`"))),
        false => Ok(symbols),
    }
}

/// Bars, and beside them what is known of their symbols, as far as formulas read it and the bars have no column of that name. Where
/// `symbols` has a column `valid_from` or `ts`, a bar has the newest row that is not later than its beginning.
pub(crate) async fn beside_symbols<'a>(
    session: &Session,
    from: Relation,
    formulas: impl IntoIterator<Item = &'a Formula>,
) -> Result<Relation> {
    let names: BTreeSet<String> = formulas.into_iter().flat_map(Formula::names).collect();
    let is_further = |name: &String| name != "symbol" && from.schema.index_of(name).is_err();
    if !names.iter().any(is_further) || !is_there(session) {
        return Ok(from);
    }
    let frame = one(session, &format!("select * from {TABLE}")).await?;
    let fields = frame.schema().fields();
    let read: Vec<_> = fields.iter().filter(|f| names.contains(f.name()) && is_further(f.name())).collect();
    if read.is_empty() {
        return Ok(from);
    }
    let own: String = read.iter().map(|field| format!(", s.{}", quoted(field.name()))).collect();
    let (join, rows) = match SINCE.into_iter().find(|name| fields.iter().any(|field| field.name() == *name)) {
        Some(since) => (
            "asof join",
            format!(
                "(select *, cast({since} as timestamp) as \"(since)\" from {TABLE}) s match_condition (c.ts >= s.\"(since)\")"
            ),
        ),
        None => {
            refuse_twice(session).await?;
            ("left join", format!("{TABLE} s"))
        }
    };
    let sql = format!("(select c.*{own} from {} c {join} {rows} on c.symbol = s.symbol)", from.sql);
    let all = from.schema.fields().iter().chain(read).map(|field| field.as_ref().clone());
    let schema = Schema::new(all.collect::<Vec<_>>());
    Ok(from.beside(sql, Arc::new(schema)))
}

/// A symbol has one row, where rows have no dates.
async fn refuse_twice(session: &Session) -> Result<()> {
    let frame =
        one(session, &format!("select symbol from {TABLE} group by symbol having count(*) > 1 limit 1")).await?;
    for batch in session.collect(frame).await? {
        if let Some(symbol) = texts(column(&batch, "symbol")?)?.first() {
            let said = format!("the table `{TABLE}` has several rows of {symbol}");
            return Err(Error::invalid(said)
                .with_hint("expected one, or a column valid_from that tells since when each counts"));
        }
    }
    Ok(())
}

/// Whether the table says from when on its rows count, so that a condition over it is one of each bar.
pub async fn is_dated(session: &Session) -> Result<bool> {
    Ok(is_there(session) && columns(session).await?.iter().any(|column| SINCE.contains(&column.as_str())))
}

fn is_there(session: &Session) -> bool {
    session.lake().table_names().iter().any(|name| name == TABLE)
}

/// The columns of the table.
async fn columns(session: &Session) -> Result<Vec<String>> {
    let lake = session.lake();
    if !is_there(session) {
        let said = "the lake has no table `symbols`".to_string();
        let hint = format!(
            "keep what is known of each symbol in {}/symbols.csv (or .parquet): symbol, name, sector, ...",
            lake.options().url.trim_end_matches('/')
        );
        return Err(Error::not_found(said).with_hint(hint));
    }
    let columns = lake.columns(TABLE).await?;
    match columns.iter().any(|column| column == "symbol") {
        true => Ok(columns),
        false => Err(Error::invalid(format!("the table `symbols` has no column symbol, but {}", columns.join(", ")))),
    }
}
