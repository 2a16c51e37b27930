-- name: volatility_rank
-- doc: Symbols by their annualised volatility on the newest bar, with the range of a typical day
-- param: period = 20, bars of the volatility
-- param: top = 20, rows to show
select
  symbol, ts, close,
  round(stddev(log_return(close), :period) * sqrt(252) * 100, 1) as volatility_percent,
  round(natr(high, low, close, 14), 2) as atr_percent
from candles
qualify ts = max(ts) over (partition by symbol)
order by volatility_percent desc nulls last, symbol
limit :top
