-- name: movers
-- doc: The largest moves of the newest bar, up and down
-- param: bars = 1, bars over which the move is measured
-- param: top = 10, rows to show
select symbol, ts, close, round(simple_return(close, :bars) * 100, 2) as change_percent, round(rvol(volume, 20), 2) as relative_volume
from candles
qualify ts = max(ts) over (partition by symbol)
order by abs(change_percent) desc nulls last, symbol
limit :top
