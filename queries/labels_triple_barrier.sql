-- name: labels_triple_barrier
-- doc: Which of three barriers each daily bar's future touches first: up, down, or the end of the horizon
-- param: up = 2.0, distance of the upper barrier in ATR
-- param: down = 2.0, distance of the lower barrier in ATR
-- param: horizon = 20, bars to look ahead
-- param: tie = down, which barrier counts when one bar touches both: down, up or null
with labelled as (
  select symbol, ts, close, triple_barrier(up => :up, down => :down, horizon => :horizon, tie => :tie) as t from candles
)
select
  symbol, ts, close, t['label'] as label, t['barrier'] as barrier, t['bars_to_hit'] as bars_to_hit, t['hit_ts'] as hit_ts,
  t['hit_price'] as hit_price, t['upper'] as upper, t['lower'] as lower, t['atr'] as atr,
  t['horizon_complete'] as horizon_complete, t['available_at'] as available_at
from labelled
