//! Which part of the past is tried: instants, symbols, and the bars of the result.

use super::rows::Rows;
use crate::Session;
use crate::quoting::quoted;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};
use tallow_common::Result;
use tallow_udfs::calendar::{Grid, Origin, Timeframe};
use tallow_udfs::series::InputKind;

/// The longest of the bars that all times of a result begin.
pub(super) fn fitting<'a>(rows: &Rows, bars: impl Iterator<Item = &'a (String, String)>) -> Option<(String, String)> {
    let times: Vec<i64> = rows.keys.iter().map(|(_, ts)| *ts).collect();
    let mut all: Vec<(Timeframe, &(String, String))> =
        bars.filter_map(|b| b.0.parse::<Timeframe>().ok().map(|t| (t, b))).collect();
    all.sort_by_key(|(timeframe, _)| *timeframe);
    let fits = |(timeframe, bars): &&(Timeframe, &(String, String))| {
        bars.1.parse::<Origin>().is_ok_and(|origin| Grid::new(*timeframe, origin).is_aligned(&times).iter().all(|a| *a))
    };
    let shortest = all.first().map(|(_, b)| (*b).clone());
    all.iter().rev().find(fits).map(|(_, b)| (*b).clone()).or(shortest)
}

/// Instants at which bars end, spread evenly over the time that the tables cover.
pub(super) async fn cuts(
    session: &Session,
    tables: &BTreeMap<String, Option<(String, String)>>,
    whole: &Rows,
    grid: Option<Grid>,
    count: usize,
) -> Result<Vec<i64>> {
    let mut span: Option<(i64, i64)> = None;
    for (name, _) in tables.iter().filter(|(_, bars)| bars.is_some()) {
        let frame = session.sql(&format!("select min(ts), max(ts) from {}", quoted(name))).await?;
        for batch in session.collect(frame).await? {
            let at = |i: usize| -> Result<Option<i64>> {
                let column = cast(batch.column(i), &InputKind::Time.data_type())?;
                Ok(column.as_primitive::<TimestampMicrosecondType>().iter().flatten().next())
            };
            if let (Some(first), Some(last)) = (at(0)?, at(1)?) {
                span = Some(span.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
            }
        }
    }
    // Where the result begins late, the time before it says nothing.
    let first = whole.keys.iter().map(|(_, ts)| *ts).min();
    let newest_only = whole.keys.iter().map(|(_, ts)| *ts).collect::<BTreeSet<_>>().len() < 2;
    let Some((start, end)) = span else { return Ok(vec![]) };
    let start = first.filter(|_| !newest_only).map_or(start, |first| first.max(start));
    let step = (end - start) as f64 / count.max(1) as f64;
    let instants = (0..count).map(|i| start + (step * (i as f64 + 0.5)) as i64);
    let mut cuts: Vec<i64> = match grid {
        Some(grid) => grid.end(&instants.collect::<Vec<_>>()),
        None => instants.collect(),
    };
    cuts.dedup();
    Ok(cuts)
}

/// Symbols of the tables, evenly spread, where there are more than `count`.
pub(super) async fn sample(
    session: &Session,
    tables: &BTreeMap<String, Option<(String, String)>>,
    count: usize,
) -> Result<Option<BTreeSet<String>>> {
    let mut all = BTreeSet::new();
    for (name, _) in tables.iter().filter(|(_, bars)| bars.is_some()) {
        let frame = session.sql(&format!("select distinct symbol from {}", quoted(name))).await?;
        for batch in session.collect(frame).await? {
            let symbols = cast(batch.column(0), &DataType::Utf8)?;
            all.extend(symbols.as_string::<i32>().iter().flatten().map(str::to_string));
        }
    }
    if all.len() <= count {
        return Ok(None);
    }
    let step = all.len() as f64 / count.max(1) as f64;
    let chosen: BTreeSet<usize> = (0..count).map(|i| (i as f64 * step) as usize).collect();
    Ok(Some(all.into_iter().enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, symbol)| symbol).collect()))
}
