//! `trade_labels('trades.csv', '1m')`.

use super::{Call, Named, TableFunction};
use crate::trade_labels;
use crate::views::Views;
use async_trait::async_trait;
use tallow_common::time::parse_duration;
use tallow_common::{Error, Result};

pub(super) struct TradeLabels;

#[async_trait]
impl TableFunction for TradeLabels {
    fn name(&self) -> &'static str {
        "trade_labels"
    }

    fn usage(&self) -> &'static str {
        "trade_labels('trades.csv', '1m', horizons => '5m,15m,60m', tolerance => '1m')"
    }

    fn doc(&self) -> &'static str {
        "What became of each trade of a file within some times"
    }

    fn named(&self) -> Named {
        Named::Only(&["horizons", "tolerance"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [trades, timeframe] = call.positional() else { return Ok(None) };
        let mut labels = trade_labels::TradeLabels::new(trades, timeframe.parse()?);
        if let Some(horizons) = call.get("horizons") {
            labels.horizons = horizons.split(',').map(str::to_string).collect();
        }
        if let Some(text) = call.get("tolerance") {
            let wrong =
                || Error::invalid(format!("tolerance => '{text}': expected a length of time such as 30s or 5m"));
            labels.tolerance = parse_duration(text).ok_or_else(wrong)?;
        }
        Ok(Some(labels.sql(&on.lake).await?))
    }
}
