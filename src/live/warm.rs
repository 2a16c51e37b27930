//! What is known before the first candle: the newest bars of the lake.

use crate::core::Bar;
use crate::worker::VALUES;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use std::collections::VecDeque;
use tallow_common::Result;
use tallow_common::time::timestamp_type;
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
    let mut sql = format!("select symbol, ts, {} from {}", VALUES.join(", "), quoted(table));
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
    let symbols = cast(batch.column(0), &DataType::Utf8View)?;
    let times = cast(batch.column(1), &timestamp_type())?;
    let values = (2..7).map(|i| cast(batch.column(i), &DataType::Float64)).collect::<Result<Vec<_>, _>>()?;
    let (symbols, times) = (symbols.as_string_view(), times.as_primitive::<TimestampMicrosecondType>());
    let values: Vec<_> = values.iter().map(|column| column.as_primitive::<Float64Type>()).collect();
    for row in 0..batch.num_rows() {
        let symbol = symbols.value(row);
        if all.last().is_none_or(|last| last.symbol != symbol) {
            all.push(OfSymbol { symbol: symbol.to_string(), bars: VecDeque::new(), is_cut: false });
        }
        let Some(of) = all.last_mut() else { continue };
        if of.bars.len() >= kept {
            of.bars.pop_front();
            of.is_cut = true;
        }
        let value = |i: usize| if values[i].is_null(row) { f64::NAN } else { values[i].value(row) };
        of.bars.push_back(Bar { ts: times.value(row), values: std::array::from_fn(value) });
    }
    Ok(())
}
