//! The shorter bars within bars that do not tell what came first.

use super::Backtest;
use super::bars::Symbols;
use crate::Session;
use crate::label_path::nests;
use crate::over_rows::over_rows;
use crate::quoting::texts as quoted_texts;
use crate::relation::relation;
use crate::rows::{column, numbers, texts, times};
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_udfs::calendar::{Origin, Timeframe};
use tallow_udfs::trade::backtest::{Bar, portfolio};

/// Names of so many symbols stand in the query for shorter bars; of more, all symbols are read.
const MOST_NAMED: usize = 500;

/// Which shorter bars tell what came first within a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// The shortest that the lake has and that lie within.
    Shortest,
    /// Those of a table.
    Table(String),
}

/// The shorter bars that are known.
pub(super) struct Details<'a> {
    symbols: &'a Symbols,
    /// What stands in FROM for shorter bars.
    from: String,
    name: String,
    timeframe: Timeframe,
    origin: String,
    /// By symbol and time of the bar that they lie in.
    pub known: portfolio::Details,
}

/// Length and origin of the bars of a table.
async fn bars_of(session: &Session, table: &str) -> Result<(Timeframe, String)> {
    let lake = session.lake();
    if let Some(timeframe) = table.strip_prefix("candles_").and_then(|name| name.parse::<Timeframe>().ok()) {
        return Ok((timeframe, lake.origin(timeframe).await?.unwrap_or_else(|| "utc".to_string())));
    }
    let unknown = || Error::Argument("detail", format!(": how long the bars of {table} are, is not known"));
    lake.bars(table).await?.ok_or_else(unknown)
}

impl Backtest {
    /// Its shorter bars, none of which is known yet, where it has some.
    pub(super) async fn details<'a>(&self, session: &Session, symbols: &'a Symbols) -> Result<Option<Details<'a>>> {
        let Some(detail) = &self.detail else { return Ok(None) };
        let (timeframe, origin) = bars_of(session, &self.table).await?;
        let of: Origin = origin.parse()?;
        let fits = |shorter: Timeframe, own: Origin| {
            shorter != timeframe && shorter.divides(timeframe) && nests(shorter, own, timeframe, of)
        };
        let table = match detail {
            Detail::Table(table) => {
                let (shorter, own) = bars_of(session, table).await?;
                if !fits(shorter, own.parse()?) {
                    let said =
                        format!(" {shorter}: expected bars that are shorter than {timeframe} and lie within its bars");
                    return Err(Error::Argument("detail", said));
                }
                table.clone()
            }
            Detail::Shortest => {
                let mut known = session.lake().timeframes();
                known.sort();
                let mut shortest = None;
                for candidate in known {
                    let table = format!("candles_{candidate}");
                    let (_, own) = bars_of(session, &table).await?;
                    if fits(candidate, own.parse()?) {
                        shortest = Some(table);
                        break;
                    }
                }
                let none = || {
                    let said = format!(
                        " detail: the lake has no bars that are shorter than {timeframe} and lie within its bars"
                    );
                    Error::Argument("both", said)
                };
                shortest.ok_or_else(none)?
            }
        };
        let from = relation(session, &table).await?;
        let known = portfolio::Details::new();
        Ok(Some(Details { symbols, from: from.sql, name: from.name, timeframe, origin, known }))
    }
}

impl Details<'_> {
    /// Reads those within some bars.
    pub async fn look_up(&mut self, session: &Session, bars: &[(usize, i64)]) -> Result<()> {
        let mut bars = bars.to_vec();
        bars.sort_unstable();
        let names: BTreeSet<&str> = bars.iter().map(|(symbol, _)| self.symbols.names[*symbol].as_str()).collect();
        let among = match names.len() <= MOST_NAMED {
            true => format!(" and symbol in ({})", quoted_texts(Vec::from_iter(names))),
            false => String::new(),
        };
        let first = bars.iter().map(|(_, ts)| *ts).min().unwrap_or_default();
        let last = bars.iter().map(|(_, ts)| *ts).max().unwrap_or_default();
        let end = |ts: &str| format!("bar_end({ts}, '{}', '{}')", self.timeframe, self.origin);
        let within = format!(
            "ts >= to_timestamp_micros({first}) and ts < {}{among}",
            end(&format!("to_timestamp_micros({last})"))
        );
        let symbols = bars.iter().map(|(symbol, _)| Some(self.symbols.names[*symbol].as_str()));
        let ts = TimestampMicrosecondArray::from_iter_values(bars.iter().map(|(_, ts)| *ts)).with_timezone("UTC");
        let unclear = RecordBatch::try_from_iter([
            ("symbol", Arc::new(symbols.collect::<StringArray>()) as ArrayRef),
            ("ts", Arc::new(ts)),
        ])?;
        let parts = over_rows(session, [&unclear], |[unclear]| {
            format!(
                "select w.symbol as symbol, w.ts as bar, d.ts as ts, d.open as open, d.high as high, d.low as low, d.close as close
                 from (select symbol, ts, open, high, low, close from {} where {within}) d
                 asof join {unclear} w match_condition (d.ts >= w.ts) on d.symbol = w.symbol
                 where w.ts is not null and d.ts < {} order by w.symbol, d.ts",
                self.from,
                end("w.ts"),
            )
        })
        .await?;
        bars.into_iter().for_each(|bar| drop(self.known.insert(bar, vec![])));
        let (names, begins) = (texts(column(&parts, "symbol")?)?, times(column(&parts, "bar")?)?);
        let price = |name: &str| numbers(column(&parts, name)?);
        let (open, high, low, close) = (price("open")?, price("high")?, price("low")?, price("close")?);
        for (row, name) in names.iter().enumerate() {
            let part = Bar { open: open[row], high: high[row], low: low[row], close: close[row], volume: f64::NAN };
            let number = self.symbols.number(name).filter(|_| part.has_prices());
            if let Some(parts) = number.and_then(|number| self.known.get_mut(&(number, begins[row]))) {
                parts.push(part);
            }
        }
        Ok(())
    }

    /// What is said where some are missing.
    pub fn warning(&self) -> Option<String> {
        let missing = self.known.values().filter(|parts| parts.is_empty()).count();
        let all = self.known.len();
        (missing > 0).then(|| {
            format!("{}: it has no bars within {missing} of {all} bars that do not tell what came first", self.name)
        })
    }
}
