-- name: new_highs
-- doc: Symbols that closed the newest bar above the highest high of the bars before
-- param: period = 252, bars of the high
select symbol, ts, close, lag(highest(high, :period), 1) as previous_high
from candles
qualify close > lag(highest(high, :period), 1) and ts = max(ts) over (partition by symbol)
order by close / previous_high desc, symbol
