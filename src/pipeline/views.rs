//! What the dialect asks of a lake: table functions, bars of other timeframes, symbols that a table does not hold.

use super::named::NamedQueries;
#[cfg(feature = "score")]
use super::score::Models;
use super::{quoting, resample, table_functions};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
#[cfg(feature = "score")]
use datafusion::sql::parser::Statement;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{self, Base, OtherBars, TableArguments, TableFunctions};
use tallow_lake::{CandleTable, Lake, READABLE};
use tallow_udfs::calendar::Timeframe;

/// The lake of a session, as the dialect sees it.
pub(crate) struct Views {
    /// The session whose tables those of the lake are.
    pub context: SessionContext,
    pub lake: Arc<Lake>,
    pub queries: Arc<NamedQueries>,
    #[cfg(feature = "score")]
    pub models: Arc<Models>,
}

impl Views {
    /// The symbols of one table that another has not.
    async fn missing(&self, of: &str, from: &str) -> Result<Vec<String>> {
        let (Some(own), Some(there)) = (self.lake.symbols(of).await?, self.lake.symbols(from).await?) else {
            return Ok(vec![]);
        };
        Ok(own.difference(&there).cloned().collect())
    }
}

/// The symbol that is meant by one that a table does not hold: of other case, with or without a sign in between, or one
/// letter off.
fn nearest_symbol(table: &CandleTable, symbol: &str) -> Option<String> {
    let plain = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_uppercase();
    let given = plain(symbol);
    let same = table.listed_symbols().find(|known| plain(known) == given).map(str::to_string);
    // Symbols are mostly of capital letters, also those that the lists do not name.
    let capitals = || {
        let upper = symbol.to_uppercase();
        let may_hold = table.surely_without([upper.as_str()]).is_some_and(|missing| missing.is_empty());
        may_hold.then_some(upper)
    };
    same.or_else(capitals).or_else(|| dialect::within(1, symbol, table.listed_symbols()).map(str::to_string))
}

#[async_trait]
impl TableFunctions for Views {
    fn names(&self) -> Vec<&str> {
        table_functions::ALL.iter().map(|function| function.name()).collect()
    }

    #[cfg(feature = "score")]
    async fn prepare(&self, statements: &[Statement]) -> Result<()> {
        self.models.load_called(&self.lake, statements).await
    }

    async fn bars(&self, table: &str) -> Option<(String, String)> {
        let (timeframe, origin) = self.lake.bars(table).await.ok().flatten()?;
        Some((timeframe.to_string(), origin))
    }

    fn unknown_symbols(
        &self,
        table: &dyn TableProvider,
        symbols: &BTreeSet<String>,
    ) -> Option<BTreeMap<String, Option<String>>> {
        let table = table.downcast_ref::<CandleTable>()?;
        let missing = table.surely_without(symbols.iter().map(String::as_str))?;
        Some(missing.into_iter().map(|symbol| (symbol.to_string(), nearest_symbol(table, symbol))).collect())
    }

    async fn other_bars(&self, base: &Base, timeframe: Timeframe) -> Result<OtherBars> {
        let (name, own, origin) = match base {
            Base::Lake(own) => {
                let own: Timeframe = own.parse()?;
                let (source, origin) = resample::stored_source(&self.lake, own).await?;
                (format!("candles_{source}"), own, origin)
            }
            Base::Table(name) => match self.lake.bars(name).await? {
                Some((own, origin)) => (name.clone(), own, origin),
                None => return Err(Error::invalid(format!("the length of the bars of `{name}` is not known"))),
            },
        };
        let (plain, suffix) = match name.strip_suffix(READABLE) {
            Some(plain) => (plain, READABLE),
            None => (name.as_str(), ""),
        };
        let is_file = !plain.starts_with("candles") || plain == "candles" && self.lake.options().candles.is_some();
        let columns = self.lake.columns(&name).await?;
        let own_bars = |among: &str| {
            let table = quoting::quoted(&name);
            let table = if among.is_empty() { table } else { format!("(select * from {table} where {among})") };
            let volume = columns.iter().any(|c| c == "volume");
            if own == timeframe {
                let volume = if volume { "volume" } else { "cast(null as double) as volume" };
                return Ok(format!("select symbol, ts, open, high, low, close, {volume} from {table}"));
            }
            if !own.divides(timeframe) {
                let said = format!("{own} bars of `{plain}` do not make up {timeframe} bars");
                return Err(Error::invalid(said));
            }
            resample::made_from(&table, volume, (own, &origin), (timeframe, &origin))
        };
        let beside = |sql: String, other: &str| OtherBars {
            own: (own.to_string(), origin.clone()),
            sql,
            origin: other.to_string(),
        };
        if is_file {
            return Ok(beside(own_bars("")?, &origin));
        }
        let (source, source_origin) = resample::stored_source(&self.lake, timeframe).await?;
        let table = format!("candles_{source}{suffix}");
        let quoted = quoting::quoted(&table);
        let stored = match source == timeframe {
            true => format!("select symbol, ts, open, high, low, close, volume from {quoted}"),
            false => resample::made_from(&quoted, true, (source, &source_origin), (timeframe, &source_origin))?,
        };
        if own == source || !own.divides(timeframe) || origin != source_origin {
            return Ok(beside(stored, &source_origin));
        }
        // Symbols that are not stored in that timeframe, as far as their own bars make it up. They are named: a join would go
        // through all pairs of bars of a symbol.
        let missing = self.missing(&name, &table).await?;
        if missing.is_empty() {
            return Ok(beside(stored, &source_origin));
        }
        let rest = own_bars(&format!("symbol in ({})", quoting::texts(&missing)))?;
        Ok(beside(format!("{stored} union all {rest}"), &source_origin))
    }

    async fn warnings(&self, name: &str, arguments: &TableArguments) -> Vec<String> {
        table_functions::warnings(self, name, arguments).await
    }

    async fn sql(&self, name: &str, arguments: &TableArguments) -> Result<String> {
        table_functions::sql(self, name, arguments).await
    }
}
