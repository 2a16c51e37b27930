-- name: breadth
-- doc: Per bar, how much of the market stands above its moving average, and how many symbols advance or decline
-- param: period = 50, period of the average
-- param: top = 20, newest bars to show
with bars as (
  select symbol, ts, close, sma(close, :period) as average, lag(close) as previous from candles
)
select
  ts,
  count(*) as symbols,
  round(100.0 * count(*) filter (where close > average) / count(average), 1) as above_percent,
  count(*) filter (where close > previous) as advancing,
  count(*) filter (where close < previous) as declining
from bars
group by ts
order by ts desc
limit :top
