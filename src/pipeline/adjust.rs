//! Prices adjusted for splits and dividends, as SQL.

use super::quoting::quoted;
use tallow_common::time::TIMESTAMP;
use tallow_common::{Error, Result};
use tallow_lake::Lake;

/// SQL that yields the candles of a table with prices adjusted backwards for the actions of another: `symbol`, `ts` (the
/// first day without the right), `split_ratio` (2 for two new shares per old one; 0 or none for no split) and `dividend` (per share).
///
/// Prices before an action are divided by the split ratio and multiplied by 1 - dividend / close of the bar before;
/// volumes are multiplied by the ratio. An action on a day without a bar counts from the next bar. Adjusted prices look
/// ahead by their nature: an action changes every bar before it.
pub async fn sql(lake: &Lake, table: &str, actions: &str) -> Result<String> {
    let table = if table.parse::<tallow_udfs::calendar::Timeframe>().is_ok() {
        format!("candles_{table}")
    } else {
        table.to_string()
    };
    let columns = lake.columns(actions).await?;
    for needed in ["symbol", "ts"] {
        if !columns.iter().any(|c| c == needed) {
            return Err(Error::invalid(format!(
                "the actions in '{actions}' have no column `{needed}`: expected symbol, ts, split_ratio, dividend; found {}",
                columns.join(", ")
            )));
        }
    }
    let has = |name: &str| columns.iter().any(|c| c == name);
    if !has("split_ratio") && !has("dividend") {
        return Err(Error::invalid(format!(
            "the actions in '{actions}' have neither split_ratio nor dividend; found {}",
            columns.join(", ")
        )));
    }
    let ratio = if has("split_ratio") { "coalesce(nullif(cast(split_ratio as double), 0.0), 1.0)" } else { "1.0" };
    let dividend = if has("dividend") { "coalesce(cast(dividend as double), 0.0)" } else { "0.0" };
    let (table, actions) = (quoted(&table), quoted(actions));
    let later = "partition by symbol order by ts rows between 1 following and unbounded following";
    Ok(format!(
        "with given as (
           select symbol, arrow_cast(ts, '{TIMESTAMP}') as ts, {ratio} as split_ratio, {dividend} as dividend from {actions}),
         actions as (
           select symbol, ts, sum(ln(split_ratio)) as log_ratio, sum(dividend) as dividend from given group by symbol, ts),
         placed as (
           select a.symbol as symbol, a.ts as announced_at, a.log_ratio as log_ratio, a.dividend as dividend, min(b.ts) as ts
           from actions a join {table} b on a.symbol = b.symbol and b.ts >= a.ts
           group by a.symbol, a.ts, a.log_ratio, a.dividend),
         days as (
           select symbol, ts, sum(log_ratio) as log_ratio, sum(dividend) as dividend from placed group by symbol, ts),
         bars as (
           select symbol, ts, open, high, low, close, volume, lag(close, 1) over (partition by symbol order by ts) as before
           from {table}),
         steps as (
           select b.symbol as symbol, b.ts as ts, open, high, low, close, volume, coalesce(log_ratio, 0.0) as log_ratio,
                  coalesce(ln(1.0 - dividend / before), 0.0) as log_paid
           from bars b left join days d on b.symbol = d.symbol and b.ts = d.ts),
         factors as (
           select symbol, ts, open, high, low, close, volume,
                  exp(coalesce(sum(log_paid - log_ratio) over ({later}), 0.0)) as price_factor,
                  exp(coalesce(sum(log_ratio) over ({later}), 0.0)) as volume_factor
           from steps)
         select symbol, ts, open * price_factor as open, high * price_factor as high, low * price_factor as low,
                close * price_factor as close, volume * volume_factor as volume, price_factor
         from factors"
    ))
}
