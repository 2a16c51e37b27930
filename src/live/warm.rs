//! What is known before the first candle: the newest bars of the lake.

use crate::candles::{columns, each};
use crate::core::Bar;
use arrow::array::RecordBatch;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
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

/// Bars of a table, symbol by symbol.
pub(crate) struct Reading {
    /// None once all are read.
    rows: Option<BoxStream<'static, Result<RecordBatch>>>,
    kept: usize,
    ended: VecDeque<OfSymbol>,
    last: Option<OfSymbol>,
}

/// Begins to read bars of a table.
pub(crate) async fn read(session: &Session, table: &str, wanted: Wanted<'_>) -> Result<Reading> {
    let mut reading = Reading { rows: None, kept: wanted.kept, ended: VecDeque::new(), last: None };
    if wanted.until == Some(i64::MIN) {
        return Ok(reading);
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
    reading.rows = Some(session.execute(plan)?.boxed());
    Ok(reading)
}

impl Reading {
    /// The bars of the next symbol.
    pub async fn next(&mut self) -> Result<Option<OfSymbol>> {
        while self.ended.is_empty()
            && let Some(rows) = &mut self.rows
        {
            match rows.try_next().await? {
                Some(batch) => self.add(&batch)?,
                None => {
                    self.rows = None;
                    self.ended.extend(self.last.take());
                }
            }
        }
        Ok(self.ended.pop_front())
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        each(batch, |symbol, bar| {
            if self.last.as_ref().is_none_or(|last| last.symbol != symbol) {
                let next = OfSymbol { symbol: symbol.to_string(), bars: VecDeque::new(), is_cut: false };
                self.ended.extend(self.last.replace(next));
            }
            let Some(of) = &mut self.last else { return };
            if of.bars.len() >= self.kept {
                of.bars.pop_front();
                of.is_cut = true;
            }
            of.bars.push_back(bar);
        })
    }
}
