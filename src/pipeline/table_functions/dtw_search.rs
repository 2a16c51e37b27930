//! `dtw_search('candles_1d', 'a pattern')`.

use super::{Call, Named, TableFunction};
use crate::search::{self, SearchOptions};
use crate::views::Views;
use crate::{patterns, quoting};
use async_trait::async_trait;
use datafusion::catalog::SchemaProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::LogicalPlanBuilder;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_lake::Lake;
use tallow_udfs::candle::Timeframe;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::search::Windowing;

pub(super) struct DtwSearch;

#[async_trait]
impl TableFunction for DtwSearch {
    fn name(&self) -> &'static str {
        "dtw_search"
    }

    fn usage(&self) -> &'static str {
        "dtw_search('candles_1d', 'a pattern' or [its closes], k => 10, mode => 'history' | 'latest', channels => 'price' | \
         'price,averages', scales => '0.9,1,1.1', percentile => 0.99, null => 2000, self_matches => 'true')"
    }

    fn doc(&self) -> &'static str {
        "The windows that are most like a pattern: pattern, symbol, start_ts, end_ts, bars, scale, distance and its \
         parts, score, percentile; no two of them share a bar. `percentile` is the share of random windows that \
         are farther away"
    }

    fn named(&self) -> Named {
        Named::Only(&["k", "scales", "channels", "mode", "percentile", "null", "self_matches"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [table, reference] = call.positional() else { return Ok(None) };
        found(&on.lake, table, reference, call).await.map(Some)
    }
}

/// The search becomes a table of its own, which plans name and nobody sees listed.
async fn found(lake: &Lake, table: &str, reference: &str, call: &Call<'_>) -> Result<String> {
    let options = options(call)?;
    let pattern = options.prepare(&patterns::of_text(lake, reference).await?)?;
    let Some(provider) = lake.table(table).await? else {
        let hint = match table.strip_prefix("candles_").is_some_and(|t| t.parse::<Timeframe>().is_ok()) {
            true => {
                "the operation `resample` stores bars that are made of smaller ones, and the operation `match` with the \
                 option `timeframe` searches them"
            }
            false => "the operation `tables` lists them",
        };
        return Err(Error::not_found(format!("there is no table `{table}`")).with_hint(hint));
    };
    let input = LogicalPlanBuilder::scan(table.replace('.', "_"), provider_as_source(provider), None)?.build()?;
    let plan = search::plan(input, vec![pattern], &options)?;
    let name = format!("#dtw_search({table}, {reference}, {:?})", call.0.named);
    lake.keep_hidden(&name, Arc::new(ViewTable::new(plan, None)));
    let share = |text: &str| {
        let wrong = || Error::invalid(format!("percentile => '{text}': expected a share from 0 to 1, such as 0.99"));
        text.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(wrong)
    };
    let least = call.get("percentile").map(share).transpose()?;
    if least.is_some() && options.null.size == 0 {
        return Err(Error::invalid("percentile needs random windows: null => 0 leaves none".to_string()));
    }
    let among = least.map(|least| format!(" where percentile >= {least}")).unwrap_or_default();
    Ok(format!("select * from {} as dtw_search{among}", quoting::quoted(&name)))
}

fn options(call: &Call<'_>) -> Result<SearchOptions> {
    let default = SearchOptions::default();
    let windowing = match call.get("mode") {
        None | Some("history") => Windowing::History,
        Some("latest") => Windowing::Latest,
        Some(other) => return Err(Error::invalid(format!("mode => '{other}': expected 'history' or 'latest'"))),
    };
    let k = call.value("k", default.k, "a whole number from 1 up")?;
    if !(1..=1_000_000).contains(&k) {
        return Err(Error::invalid(format!("k => {k}: expected a whole number from 1 to 1000000")));
    }
    let size = call.value("null", default.null.size, "a number of random windows")?;
    if size > 1_000_000 {
        return Err(Error::invalid(format!("null => {size}: expected a number of random windows up to 1000000")));
    }
    Ok(SearchOptions {
        windowing,
        k,
        channels: call.get("channels").map(search::channels).transpose()?,
        adjust: search::Adjust::default(),
        scales: call.get("scales").map_or(Ok(default.scales), search::scales)?,
        null: Null { size, ..default.null },
        self_matches: call.flag("self_matches")?,
        thinned: false,
    })
}
