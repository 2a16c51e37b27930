//! What is known before the first candle: the newest bars of the lake.

use crate::core::Bar;
use crate::decoded::{columns, each};
use arrow::array::RecordBatch;
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

/// Reads the newest bars of each symbol before a time, at most so many of each.
pub(crate) async fn newest(
    session: &Session,
    table: &str,
    until: Option<i64>,
    kept: usize,
    symbol: Option<&str>,
) -> Result<Vec<OfSymbol>> {
    if until == Some(i64::MIN) {
        return Ok(vec![]);
    }
    let mut sql = format!("select {} from {}", columns(), quoted(table));
    let mut filters = vec![];
    if let Some(until) = until {
        filters.push(format!("ts < to_timestamp_micros({until})"));
    }
    if let Some(symbol) = symbol {
        filters.push(format!("symbol = '{}'", symbol.replace('\'', "''")));
    }
    if !filters.is_empty() {
        sql += &format!(" where {}", filters.join(" and "));
    }
    sql += " order by symbol, ts";
    let plan = session.plan(session.sql(&sql).await?).await?;
    let mut rows = std::pin::pin!(session.execute(plan)?);
    let mut all: Vec<OfSymbol> = vec![];
    while let Some(batch) = rows.try_next().await? {
        add(&mut all, &batch, kept)?;
    }
    Ok(all)
}

fn add(all: &mut Vec<OfSymbol>, batch: &RecordBatch, kept: usize) -> Result<()> {
    each(batch, |symbol, bar| {
        if all.last().is_none_or(|last| last.symbol != symbol) {
            all.push(OfSymbol { symbol: symbol.to_string(), bars: VecDeque::new(), is_cut: false });
        }
        let Some(of) = all.last_mut() else { return };
        if of.bars.len() >= kept {
            of.bars.pop_front();
            of.is_cut = true;
        }
        of.bars.push_back(bar);
    })
}
