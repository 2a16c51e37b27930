//! `dtw_search('candles_1d', 'a pattern')`.

use super::{Call, Named, TableFunction};
use crate::relation::{opened_despite_files, table_named, timeframe_of};
use crate::search::plan::{self, Output};
use crate::search::{self, Pattern, SearchOptions};
use crate::views::Views;
use crate::{patterns, quoting};
use async_trait::async_trait;
use datafusion::datasource::ViewTable;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_lake::READABLE;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::search::Windowing;

pub(super) struct DtwSearch;

#[async_trait]
impl TableFunction for DtwSearch {
    fn name(&self) -> &'static str {
        "dtw_search"
    }

    fn usage(&self) -> &'static str {
        "dtw_search('candles_1d', 'a pattern' or [its closes], k => 10, mode => 'history' | 'latest', exact => 'true', \
         channels => 'price' | 'price,averages', scales => '0.9,1,1.1', percentile => 0.99, null => 2000, \
         self_matches => 'true', readable => 'true')"
    }

    fn doc(&self) -> &'static str {
        "The windows that are most like a pattern: pattern, symbol, start_ts, end_ts, bars, scale, distance and its \
         parts, score, percentile; no two of them share a bar. `percentile` is the share of random windows that \
         are farther away. The newest bars (`latest`) are compared of the fifth of all symbols that correlates best with \
         the pattern, or of all (`exact`); `readable` leaves out files that cannot be read"
    }

    fn named(&self) -> Named {
        Named::Only(&["k", "scales", "channels", "mode", "exact", "percentile", "null", "self_matches", "readable"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [table, reference] = call.positional() else { return Ok(None) };
        found(on, table, reference, call).await.map(Some)
    }

    async fn warnings(&self, on: &Views, call: &Call<'_>) -> Result<Vec<String>> {
        let [table, reference] = call.positional() else { return Ok(vec![]) };
        let pattern = patterns::of_text(&on.lake, reference).await?;
        let timeframe = timeframe_for(on, &pattern, &table_named(table)).await?;
        let other = plan::of_other_bars(&[pattern], &timeframe).into_iter();
        Ok(other.map(|of_one| plan::warning(&timeframe, &[of_one])).collect())
    }
}

/// The search becomes a table of its own, which plans name and nobody sees listed.
async fn found(on: &Views, table: &str, reference: &str, call: &Call<'_>) -> Result<String> {
    let (options, pattern) = (options(call)?, patterns::of_text(&on.lake, reference).await?);
    let table = table_named(table);
    let read = if call.flag("readable")? { format!("{table}{READABLE}") } else { table.clone() };
    let from = &opened_despite_files(&on.lake, &on.context, &read).await?;
    let timeframe = &timeframe_for(on, &pattern, &table).await?;
    let plan = plan::Bars { from, timeframe, symbols: None }
        .search(&on.context.state(), &[pattern], &options, Output::Matches)
        .await?;
    let name = format!("#dtw_search({table}, {reference}, {:?})", call.0.named);
    on.lake.keep_hidden(&name, Arc::new(ViewTable::new(plan, None)));
    Ok(format!("select * from {} as dtw_search", quoting::quoted(&name)))
}

/// What the bars of a table are called, where it matters in a search for a pattern.
async fn timeframe_for(on: &Views, pattern: &Pattern, table: &str) -> Result<String> {
    match &pattern.timeframe {
        Some(_) => timeframe_of(&on.lake, table).await,
        None => Ok(String::new()),
    }
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
    let share = |text: &str| {
        let wrong = || Error::invalid(format!("percentile => '{text}': expected a share from 0 to 1, such as 0.99"));
        text.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(wrong)
    };
    Ok(SearchOptions {
        windowing,
        exact: call.flag("exact")?,
        percentile: call.get("percentile").map(share).transpose()?,
        k,
        channels: call.get("channels").map(search::channels).transpose()?,
        adjust: search::Adjust::default(),
        scales: call.get("scales").map_or(Ok(default.scales), search::scales)?,
        null: Null { size, ..default.null },
        self_matches: call.flag("self_matches")?,
        thinned: false,
    })
}
