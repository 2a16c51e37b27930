-- name: signal_watchlist
-- doc: The signals of the newest bar, the most confident first
-- param: top = 20, rows to show
-- param: least = 0.4, confidence from which on a signal is shown
select symbol, ts, close, regime, signal, side, round(confidence, 3) as confidence, stop, target, horizon
from query('signals')
where signal is not null and confidence >= :least and ts = (select max(ts) from candles)
order by confidence desc, symbol
limit :top
