//! The features of matches, and matches with what a model makes of theirs.

use super::Models;
use crate::Session;
use crate::named::NamedQueries;
use crate::quoting::{self, quoted};
use crate::relation::{one, relation};
use crate::rows::{column, texts};
use crate::search::Matched;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::datasource::{MemTable, ViewTable};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Params, bind, with_tables};

/// The features that models are trained on and scored by, in order: columns of the named query `match_features`.
pub const FEATURES: [&str; 19] = [
    "score",
    "price_distance",
    "averages_distance",
    "scale",
    "length",
    "window_return",
    "window_volatility",
    "max_drawdown",
    "sma_30_slope",
    "sma_alignment",
    "close_vs_sma_30",
    "close_vs_sma_60",
    "volume_trend",
    "volume_spikes",
    "volume_spike_ratio",
    "volume_last_5",
    "benchmark_return_20",
    "benchmark_volatility_20",
    "excess_return",
];

/// The targets: columns of the named query `match_targets`.
pub const TARGETS: [&str; 4] = ["gain_5", "gain_10", "gain_15", "gain_20"];

/// Matches as a table of a session that nobody else sees, beside their candles, for as long as this lives.
pub(super) struct MatchTable<'a> {
    session: &'a Session,
    name: String,
    candles: String,
}

impl<'a> MatchTable<'a> {
    pub async fn new(session: &'a Session, found: &Matched) -> Result<MatchTable<'a>> {
        let Matched { rows: matches, table: candles, skipped, .. } = found;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("#matches {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let table = MemTable::try_new(matches.schema(), vec![vec![matches.clone()]])?;
        session.lake().keep_hidden(&name, Arc::new(table));
        let mut table = MatchTable { session, name, candles: candles.to_string() };
        let from = relation(session, candles).await?;
        let has_volume = from.schema.index_of("volume").is_ok();
        // Symbols that could not be searched have no features either.
        let matched: BTreeSet<String> = texts(column(matches, "symbol")?)?.into_iter().collect();
        let unfit: BTreeSet<&String> = skipped.iter().map(|f| &f.symbol).filter(|s| !matched.contains(*s)).collect();
        // Bars that are made of smaller ones have no name of their own; without a volume, what is made of it is unknown.
        if !from.is_stored || !has_volume || !unfit.is_empty() {
            let volume = if has_volume { "volume" } else { "cast(null as double) as volume" };
            let mut sql = format!("select symbol, ts, close, {volume} from {}", from.sql);
            if !unfit.is_empty() {
                sql += &format!(" where symbol not in ({})", quoting::texts(unfit));
            }
            let view = ViewTable::new(one(session, &sql).await?.into_unoptimized_plan(), None);
            table.candles = format!("{} candles", table.name);
            session.lake().keep_hidden(&table.candles, Arc::new(view));
        }
        Ok(table)
    }

    /// A named query about these matches.
    pub fn query(&self, query: &str, benchmark: Option<&str>) -> Result<String> {
        let queries = self.session.extension::<NamedQueries>()?;
        let query = queries.find(query)?;
        let mut params = Params::default();
        if let Some(symbol) = benchmark {
            params.set("benchmark", symbol);
        }
        let bound = bind(&query.sql, &query.complete(&params)?)?;
        with_tables(&bound, &[("candles", &self.candles), ("matches", &self.name)])
    }
}

impl Drop for MatchTable<'_> {
    fn drop(&mut self) {
        self.session.lake().drop_hidden(&self.name);
        if self.candles.starts_with(&self.name) {
            self.session.lake().drop_hidden(&self.candles);
        }
    }
}

/// Whether there are bars of an index.
///
/// # Errors
/// There are none.
pub async fn check_benchmark(session: &Session, candles: &str, symbol: &str) -> Result<()> {
    let from = relation(session, candles).await?.sql;
    let sql = format!("select 1 from {from} where symbol = {} limit 1", quoting::text(symbol));
    let found = session.collect(one(session, &sql).await?).await?;
    match found.iter().any(|b| b.num_rows() > 0) {
        true => Ok(()),
        false => Err(Error::invalid(format!("benchmark '{symbol}': there are no bars of it in {candles}"))),
    }
}

/// Matches with the targets that a model tells for each, and its name.
pub async fn scored(session: &Session, found: &Matched, model: &str, benchmark: Option<&str>) -> Result<RecordBatch> {
    let known = Models::of(session)?.load(session.lake(), model).await?;
    let (table, matches) = (MatchTable::new(session, found).await?, &found.rows);
    let features = table.query("match_features", benchmark)?;
    let columns: Vec<String> = matches.schema().fields().iter().map(|f| format!("m.{0} as {0}", f.name())).collect();
    let predicted: Vec<String> = known.targets().iter().map(|t| format!("f.p['{t}'] as {t}")).collect();
    let literal = quoting::text(model);
    let sql = format!(
        "select {}, {}, {literal} as model
         from {} m left join (
           select pattern, symbol, start_ts, end_ts, predict({literal}, {}) as p from ({features})
         ) f on m.pattern = f.pattern and m.symbol = f.symbol and m.start_ts = f.start_ts and m.end_ts = f.end_ts
         order by m.pattern, m.distance",
        columns.join(", "),
        predicted.join(", "),
        quoted(&table.name),
        FEATURES.join(", "),
    );
    let frame = one(session, &sql).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = session.collect(frame).await?;
    Ok(concat_batches(&batches.first().map_or(schema, RecordBatch::schema), &batches)?)
}
