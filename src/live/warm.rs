//! What is known before the first candle: the newest bars of the lake.

use crate::candles::{columns, each};
use crate::core::Bar;
use futures::TryStreamExt;
use std::collections::VecDeque;
use tallow_common::Result;
use tallow_pipeline::Session;
use tallow_pipeline::quoting::quoted;

/// Bars of one symbol.
pub(crate) struct OfSymbol {
    pub symbol: String,
    pub bars: VecDeque<Bar>,
    /// Whether there were more before.
    pub is_cut: bool,
}

/// Which bars are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Before this time.
    pub until: Option<i64>,
    /// At most so many of the newest of each symbol.
    pub kept: usize,
    /// Of this symbol alone.
    pub symbol: Option<&'a str>,
}

/// Reads bars of a table, symbol by symbol.
pub(crate) async fn read(
    session: &Session,
    table: &str,
    wanted: Wanted<'_>,
    mut take: impl FnMut(OfSymbol) -> Result<()>,
) -> Result<()> {
    if wanted.until == Some(i64::MIN) {
        return Ok(());
    }
    let mut sql = format!("select {} from {}", columns(), quoted(table));
    let mut filters = vec![];
    if let Some(until) = wanted.until {
        filters.push(format!("ts < to_timestamp_micros({until})"));
    }
    if let Some(symbol) = wanted.symbol {
        filters.push(format!("symbol = '{}'", symbol.replace('\'', "''")));
    }
    if !filters.is_empty() {
        sql += &format!(" where {}", filters.join(" and "));
    }
    sql += " order by symbol, ts";
    let plan = session.plan(session.sql(&sql).await?).await?;
    let mut rows = std::pin::pin!(session.execute(plan)?);
    let mut last: Option<OfSymbol> = None;
    while let Some(batch) = rows.try_next().await? {
        let mut ended = vec![];
        each(&batch, |symbol, bar| {
            if last.as_ref().is_none_or(|last| last.symbol != symbol) {
                let next = OfSymbol { symbol: symbol.to_string(), bars: VecDeque::new(), is_cut: false };
                ended.extend(last.replace(next));
            }
            let Some(of) = &mut last else { return };
            if of.bars.len() >= wanted.kept {
                of.bars.pop_front();
                of.is_cut = true;
            }
            of.bars.push_back(bar);
        })?;
        ended.into_iter().try_for_each(&mut take)?;
    }
    last.map_or(Ok(()), take)
}
