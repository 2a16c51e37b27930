-- name: signal_calibration
-- doc: How well the confidence of each signal fits what came, before and after it was fitted to earlier outcomes
-- Won means that the price stands on the signal's side after its horizon.
with outcomes as (
  select c.signal as signal, c.side as side, c.confidence as confidence, c.calibrated as calibrated,
    case c.horizon when 5 then o.after_5 else o.after_3 end as r
  from query('signals_calibrated') c
  join (select symbol, ts, forward_return(horizon => 3) as after_3, forward_return(horizon => 5) as after_5 from candles) o
    on c.symbol = o.symbol and c.ts = o.ts
),
judged as (
  select signal, confidence, calibrated, case when side = 'long' and r > 0 or side = 'short' and r < 0 then 1.0 else 0.0 end as won
  from outcomes
  where r is not null
)
select
  signal, count(*) as signals, round(avg(won), 3) as won, round(avg(confidence), 3) as confidence, round(avg(calibrated), 3) as calibrated,
  round(brier(confidence, won), 4) as brier, round(brier(calibrated, won), 4) as brier_calibrated,
  round(ece(confidence, won), 4) as ece, round(ece(calibrated, won), 4) as ece_calibrated
from judged
group by signal
order by signal
