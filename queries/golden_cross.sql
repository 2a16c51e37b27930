-- name: golden_cross
-- doc: Bars on which a fast average crossed above a slow one, newest first
-- param: fast = 50, period of the fast average
-- param: slow = 200, period of the slow average
-- param: top = 20, rows to show
select symbol, ts, close, round(sma(close, :fast), 2) as fast, round(sma(close, :slow), 2) as slow
from candles
qualify crosses_above(sma(close, :fast), sma(close, :slow))
order by ts desc, symbol
limit :top
