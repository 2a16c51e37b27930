-- name: rsi_oversold
-- doc: Symbols whose RSI stands below a level on the newest bar, lowest first
-- param: level = 30, RSI below which a symbol counts as oversold
-- param: period = 14, RSI period
select symbol, ts, close, round(rsi(close, :period), 2) as rsi, round(close / sma(close, 200) * 100 - 100, 2) as percent_to_sma200
from candles
qualify rsi(close, :period) < :level and ts = max(ts) over (partition by symbol)
order by rsi, symbol
