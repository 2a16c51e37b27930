//! The table `symbols`: what is known of each symbol, and which fulfil a condition.

use crate::Session;
use crate::quoting::quoted;
use crate::relation::one;
use crate::rows::{column, texts};
use datafusion::catalog::SchemaProvider;
use tallow_common::{Error, Result};

/// The name of the table.
pub(crate) const TABLE: &str = "symbols";
/// Columns that tell from when on a row counts.
const SINCE: [&str; 2] = ["valid_from", "ts"];

/// The symbols of which a condition over the lake's table `symbols` is true, in order. Where that has a column `valid_from` or `ts`, the
/// newest row of each symbol counts, of those up to an instant.
///
/// # Errors
/// There is no such table, it has no symbols, or the condition is none over its columns; no symbol fulfils it.
pub async fn symbols_where(session: &Session, condition: &str, at: Option<i64>) -> Result<Vec<String>> {
    let columns = columns(session).await?;
    let since = SINCE.into_iter().find(|name| columns.iter().any(|column| column == name));
    let rows = match since {
        None => TABLE.to_string(),
        Some(since) => {
            let until = at.map(|at| format!(" where {since} < to_timestamp_micros({at})")).unwrap_or_default();
            format!(
                "(select * from (select *, row_number() over (partition by symbol order by {since} desc) as {newest} from {TABLE}{until}) \
                 where {newest} = 1)",
                newest = quoted("(newest)")
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

/// The columns of the table.
async fn columns(session: &Session) -> Result<Vec<String>> {
    let lake = session.lake();
    if !lake.table_names().iter().any(|name| name == TABLE) {
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
