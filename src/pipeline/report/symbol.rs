//! A page with the chart of one symbol.

use super::{Bar, Body, Chart, Figure, Page, Section, source};
use crate::Session;
use crate::among::absent;
use crate::bounds::{Range, bounded};
use crate::quoting::{quoted, text};
use crate::relation::{one, relation};
use crate::rows::{column, numbers, times};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use std::sync::Arc;
use tallow_common::time::shown;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Formula, Params};

/// The chart of a symbol.
#[derive(Debug, Clone)]
pub struct SymbolChart {
    /// The symbol.
    pub symbol: String,
    /// The table of candles.
    pub table: String,
    /// What is drawn beside the candles: in their scale what lies among prices, and in a pane of its own everything else.
    pub functions: Vec<Formula>,
    /// Bars of these times.
    pub range: Range,
    /// So many of them at most, the newest.
    pub bars: usize,
}

impl SymbolChart {
    /// The page.
    ///
    /// # Errors
    /// The table has no bars of the symbol in the range; a function that does not fit it.
    pub async fn page(&self, session: &Session) -> Result<Page> {
        let chart = self.chart(session).await?;
        let mut parameters = vec![("table".to_string(), self.table.clone())];
        let drawn: Vec<String> = self.functions.iter().map(ToString::to_string).collect();
        if !drawn.is_empty() {
            parameters.push(("functions".to_string(), drawn.join(", ")));
        }
        let heading = format!("{} bars", chart.bars.len());
        Ok(Page {
            title: self.symbol.clone(),
            parameters,
            sources: vec![source(session, &self.table).await?],
            notes: vec![],
            sections: vec![Section { heading, body: Body::Figures(vec![Figure::Chart(chart)]) }],
        })
    }

    async fn chart(&self, session: &Session) -> Result<Chart> {
        let from = relation(session, &self.table).await?;
        let mut items: Vec<String> = ["ts", "open", "high", "low", "close", "volume"].map(str::to_string).to_vec();
        let state = session.context().state();
        for (at, function) in self.functions.iter().enumerate() {
            function.check_in(&state, &from.schema, &Params::default())?;
            items.push(format!("({function}) as {}", quoted(&format!("({at})"))));
        }
        let sql = format!(
            "select {} from {} as candles where symbol = {} order by ts",
            items.join(", "),
            from.sql,
            text(&self.symbol)
        );
        let frame = bounded(session, one(session, &sql).await?, self.range).await?;
        let schema = Arc::clone(frame.schema().inner());
        let rows = concat_batches(&schema, &session.collect(frame).await?)?;
        if rows.num_rows() == 0 {
            let frame = one(session, &format!("select symbol, ts from {} as candles", from.sql)).await?;
            let absent = absent(session, frame.logical_plan(), std::slice::from_ref(&self.symbol)).await?;
            let why = absent.first().map_or("it has no bars in this range", |skipped| skipped.reason.as_str());
            return Err(Error::not_found(format!("{}: {why}", self.symbol)));
        }
        let rows = rows.slice(rows.num_rows().saturating_sub(self.bars), rows.num_rows().min(self.bars));
        let bars = bars(&rows)?;
        let drawn = self.functions.iter().enumerate();
        let drawn = drawn.map(|(at, function)| lines(&function.to_string(), column(&rows, &format!("({at})"))?));
        let drawn = drawn.collect::<Result<Vec<_>>>()?;
        let ends = [bars.first(), bars.last()].map(|bar| bar.map(|bar| shown(bar.ts)).unwrap_or_default());
        let subtitle = format!("{} to {}, {} bars", ends[0], ends[1], bars.len());
        let chart = Chart { title: self.symbol.clone(), subtitle, bars, ..Chart::default() };
        Ok(chart.with_lines(drawn))
    }
}

fn bars(rows: &RecordBatch) -> Result<Vec<Bar>> {
    let price = |name: &str| numbers(column(rows, name)?);
    let (open, high, low, close, volume) =
        (price("open")?, price("high")?, price("low")?, price("close")?, price("volume")?);
    let bar = |(i, ts): (usize, i64)| Bar {
        ts,
        open: open[i],
        high: high[i],
        low: low[i],
        close: close[i],
        volume: volume[i],
    };
    Ok(times(column(rows, "ts")?)?.into_iter().enumerate().map(bar).collect())
}

/// The lines of a function: one, or one for each of its numbers.
pub(super) fn lines(name: &str, values: &ArrayRef) -> Result<Vec<(String, Vec<f64>)>> {
    let DataType::Struct(fields) = values.data_type() else {
        return Ok(vec![(name.to_string(), numbers(values)?)]);
    };
    let all = fields.iter().zip(values.as_struct().columns());
    let of_numbers = all.filter(|(field, _)| field.data_type().is_numeric());
    of_numbers.map(|(field, values)| Ok((format!("{name}.{}", field.name()), numbers(values)?))).collect()
}
