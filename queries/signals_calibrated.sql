-- name: signals_calibrated
-- doc: Signals with their confidence as it was fitted to the outcomes known when their month began
-- Won means that the price stands on the signal's side after its horizon. Each month, confidences are fitted to the outcomes that
-- were known when it began: not at all below 10 of them, by half of the mean error below 30, else by isotonic regression.
with signals as (
  select symbol, ts, signal, side, confidence, horizon from query('signals') where signal is not null
),
outcomes as (
  select s.signal as signal, s.side as side, s.confidence as confidence,
    case s.horizon when 5 then after_5['forward_return'] else after_3['forward_return'] end as r,
    case s.horizon when 5 then after_5['available_at'] else after_3['available_at'] end as available_at
  from signals s
  join (select symbol, ts, path_labels(horizon => 3) as after_3, path_labels(horizon => 5) as after_5 from candles) o
    on s.symbol = o.symbol and s.ts = o.ts
),
won as (
  select signal, confidence, available_at, case when side = 'long' and r > 0 or side = 'short' and r < 0 then 1.0 else 0.0 end as won
  from outcomes
  where r is not null
),
months as (select distinct date_trunc('month', ts) as month from candles),
fits as (
  select m.month as month, w.signal as signal, count(*) as labels, avg(w.won) as rate, avg(w.confidence) as mean,
         isotonic_fit(w.confidence, w.won) as fit
  from months m join won w on w.available_at <= m.month
  group by m.month, w.signal
)
select
  s.symbol as symbol, s.ts as ts, s.signal as signal, s.side as side, s.horizon as horizon, s.confidence as confidence,
  case when f.labels is null or f.labels < 10 then s.confidence
       when f.labels < 30 then least(greatest(s.confidence + (f.rate - f.mean) / 2, 0.0), 1.0)
       else isotonic(f.fit, s.confidence) end as calibrated,
  coalesce(f.labels, 0) as labels
from signals s left join fits f on date_trunc('month', s.ts) = f.month and s.signal = f.signal
order by ts, symbol
