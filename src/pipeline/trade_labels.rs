//! Labels of own trades: what became of each within some times, as SQL.

use super::quoting::{quoted, text};
use super::resample::{self, BarRequest};
use std::time::Duration;
use tallow_common::time::{TIMESTAMP, parse_duration};
use tallow_common::{Error, Result};
use tallow_lake::Lake;
use tallow_udfs::calendar::Timeframe;

/// Returns from here on are no longer flat.
const FLAT: f64 = 0.001;

/// Which trades are labelled, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct TradeLabels {
    /// A table or a file: `symbol, side, entry_time`, optionally `price` and `quantity`. See `trade_side` for the sides.
    pub trades: String,
    /// Length of the bars that a trade is followed in.
    pub timeframe: Timeframe,
    /// How long after its entry a trade is looked at, as typed.
    pub horizons: Vec<String>,
    /// How much later than a horizon the bar may close whose price it is left at.
    pub tolerance: Duration,
}

impl TradeLabels {
    /// Within 5 minutes, 15 minutes and an hour, each up to one bar later.
    pub fn new(trades: impl Into<String>, timeframe: Timeframe) -> TradeLabels {
        let horizons = ["5m", "15m", "60m"].map(str::to_string).to_vec();
        let tolerance = timeframe.fixed_length().and_then(|length| u64::try_from(length).ok());
        let tolerance = tolerance.map_or(Duration::from_secs(86_400), Duration::from_micros);
        TradeLabels { trades: trades.into(), timeframe, horizons, tolerance }
    }

    /// SQL for one row per trade and horizon: `symbol, side, entry_time, quantity, horizon, entry_price, exit_time, exit_price,
    /// forward_return, mfe, mae, class, available_at`.
    ///
    /// A trade is entered at its own price, or at the close of the last bar that had closed by then, and left at the close of
    /// the first bar that closes when the horizon is over, or within the tolerance after it; without one, all of the outcome
    /// is null. Returns are fractions and positive where the trade gains; `mfe` and `mae` are those of the highs and lows of
    /// the bars that lie between entry and exit, null without such a bar; `class` is 0 within 0.1 %, else the sign of the return.
    ///
    /// # Errors
    /// The trades lack a column, the lake has no such bars, or a horizon is no length of time.
    pub async fn sql(&self, lake: &Lake) -> Result<String> {
        let columns = lake.columns(&self.trades).await?;
        let has = |name: &str| columns.iter().any(|column| column == name);
        if let Some(missing) = ["symbol", "side", "entry_time"].into_iter().find(|name| !has(name)) {
            return Err(Error::invalid(format!(
                "the trades in '{}' have no column `{missing}`: expected symbol, side, entry_time, and optionally price and \
                 quantity; found {}",
                self.trades,
                columns.join(", ")
            )));
        }
        let horizons = self.lengths()?;
        let longest = horizons.iter().map(|(_, length)| *length).max().unwrap_or_default();
        let tolerance = micros(self.tolerance);
        let (bars, origin) = resample::sql(lake, BarRequest::of(self.timeframe)).await?;
        let number = |name: &str| match has(name) {
            true => format!("cast({name} as double)"),
            false => "cast(null as double)".to_string(),
        };
        let horizons = horizons.iter().map(|(name, length)| format!("({}, {length})", text(name)));
        let after = |time: &str, micros: &str| format!("arrow_cast(cast({time} as bigint) + {micros}, '{TIMESTAMP}')");
        // Bars between entry and exit lie in the stretch of time that the entry lies in, or in the next one.
        let stretch = longest + tolerance;
        Ok(format!(
            "with bars as (
               select symbol, ts, bar_end(ts, '{timeframe}', '{origin}') as close_time, high, low, close,
                      cast(ts as bigint) / {stretch} as stretch
               from ({bars})),
             trades as (
               select row_number() over (order by symbol, entry_time) as trade, symbol, trade_side(side) as side,
                      arrow_cast(entry_time, '{TIMESTAMP}') as entry_time, {price} as price, {quantity} as quantity
               from {trades}),
             entered as (
               select t.trade as trade, t.symbol as symbol, t.side as side, t.entry_time as entry_time,
                      t.quantity as quantity, coalesce(t.price, b.close) as entry_price
               from trades t asof join bars b match_condition (t.entry_time >= b.close_time) on t.symbol = b.symbol),
             due as (
               select e.*, h.horizon as horizon, {due} as due
               from entered e cross join (values {horizons}) as h(horizon, length)),
             left_at as (
               select d.trade as trade, d.symbol as symbol, d.side as side, d.entry_time as entry_time,
                      d.quantity as quantity, d.entry_price as entry_price, d.horizon as horizon, d.due as due,
                      case when b.close_time <= {latest} then b.close_time end as exit_time,
                      case when b.close_time <= {latest} then b.close end as exit_price
               from due d asof join bars b match_condition (d.due <= b.close_time) on d.symbol = b.symbol),
             extremes as (
               select l.trade as trade, l.horizon as horizon, max(b.high) as high, min(b.low) as low
               from (select trade, symbol, horizon, entry_time, exit_time, cast(entry_time as bigint) / {stretch} + next as stretch
                     from left_at cross join (values (0), (1)) as s(next)) l
               join bars b on l.symbol = b.symbol and l.stretch = b.stretch
                 and b.ts >= l.entry_time and b.close_time <= l.exit_time
               group by l.trade, l.horizon)
             select l.symbol as symbol, case l.side when 1 then 'long' else 'short' end as side, l.entry_time as entry_time,
                    l.quantity as quantity, l.horizon as horizon, l.entry_price as entry_price,
                    l.exit_time as exit_time, l.exit_price as exit_price,
                    l.side * (l.exit_price / l.entry_price - 1) as forward_return,
                    case when x.trade is not null then greatest(0.0,
                      case l.side when 1 then x.high / l.entry_price - 1 else 1 - x.low / l.entry_price end) end as mfe,
                    case when x.trade is not null then least(0.0,
                      case l.side when 1 then x.low / l.entry_price - 1 else 1 - x.high / l.entry_price end) end as mae,
                    cast(case when abs(l.exit_price / l.entry_price - 1) <= {FLAT} then 0
                              when l.exit_price is not null then l.side * signum(l.exit_price - l.entry_price) end as int) as class,
                    l.exit_time as available_at
             from left_at l left join extremes x on l.trade = x.trade and l.horizon = x.horizon
             order by l.symbol, l.entry_time, l.trade, l.due",
            timeframe = self.timeframe,
            price = number("price"),
            quantity = number("quantity"),
            trades = quoted(&self.trades),
            due = after("e.entry_time", "h.length"),
            horizons = horizons.collect::<Vec<_>>().join(", "),
            latest = after("d.due", &tolerance.to_string()),
        ))
    }

    /// The horizons, in microseconds.
    fn lengths(&self) -> Result<Vec<(&str, i64)>> {
        if self.horizons.is_empty() {
            return Err(Error::invalid("no horizon: expected lengths of time such as 5m,15m,60m"));
        }
        let length = |text: &String| parse_duration(text.trim()).map(micros);
        let lengths = self.horizons.iter().map(|text| match length(text) {
            Some(length) => Ok((text.trim(), length)),
            None => Err(Error::invalid(format!("horizon '{text}': expected a length of time such as 5m, 1h or 2d"))),
        });
        lengths.collect()
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
