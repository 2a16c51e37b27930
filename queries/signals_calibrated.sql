-- name: signals_calibrated
-- doc: Signals with their confidence as it was fitted to the outcomes known when their month began
-- Won means that the price stands on the signal's side after its horizon. Each month, confidences are fitted to the outcomes that
-- were known when it began: not at all below 10 of them, by half of the mean error below 30, else by isotonic regression.
with market as (
  select 'MARKET' as symbol, ts, exp(sum(ln(1 + coalesce(avg_change, 0))) over (order by ts)) as level, avg_change, breadth
  from (
    select ts, avg(change) as avg_change, 100.0 * count(*) filter (where above) / count(above) as breadth
    from (select symbol, ts, simple_return(close, 1) as change, close > sma(50) as above from candles)
    group by ts
  )
),
sloped as (
  select ts, avg_change, breadth, linearreg_slope(level, 20) / sma(level, 20) * 100 as slope from market
),
regimes as (
  select ts,
    case when avg_change < -0.03 then 'Panic'
         when breadth < 40 and slope < 0 then 'RiskOff'
         when breadth > 60 and slope > 0 then 'RiskOn' else 'Chop' end as regime
  from sloped
),
computed as (
  select
    symbol, ts, close, rsi(14) as rsi_14, (close - sma(20)) / std(close, 20) as z, sma(20) as sma_20, sma(50) as sma_50,
    atr(14) as atr_14, linearreg_slope(close, 20) / sma(20) * 100 as slope, close > lag(highest(high, 20), 1) as new_high
  from candles
),
joined as (
  select c.symbol as symbol, c.ts as ts, c.close as close, c.rsi_14 as rsi_14, c.z as z, c.sma_20 as sma_20,
         c.sma_50 as sma_50, c.atr_14 as atr_14, c.slope as slope, c.new_high as new_high, r.regime as regime,
         case r.regime when 'Chop' then 0.65 when 'RiskOn' then 0.60 when 'RiskOff' then 0.55 else 0.45 end as reversion_rate,
         case r.regime when 'RiskOn' then 0.70 when 'Chop' then 0.55 when 'RiskOff' then 0.45 else 0.30 end as momentum_rate
  from computed c join regimes r on c.ts = r.ts
),
tried as (
  select *,
    case when regime <> 'Panic' and rsi_14 < 30 and z < -1.5 then
      least(0.95, reversion_rate * (0.5 + 0.25 * (30 - rsi_14) / 30 + 0.25 * least(abs(z) / 2, 1))) end as reversion_long,
    case when regime in ('RiskOn', 'Chop') and rsi_14 > 70 and z > 1.5 then 0.8 * reversion_rate end as reversion_short,
    case when regime in ('RiskOn', 'Chop') and new_high and close > sma_20 and sma_20 > sma_50 and slope > 0.5 then
      momentum_rate * (0.7 + 0.3 * least(slope / 2, 1)) end as momentum_long,
    concat_ws(', ', case when rsi_14 is null then 'rsi_14' end, case when z is null then 'z_score_20' end,
      case when sma_50 is null then 'sma_50' end, case when slope is null then 'slope_20d' end,
      case when new_high is null then 'new_high_20d' end, case when atr_14 is null then 'atr_14' end) as missing
  from joined
),
best as (
  select *,
    case when missing <> '' then null
         when greatest(reversion_long, momentum_long, reversion_short) is null then null
         when coalesce(reversion_short, 0) > greatest(coalesce(reversion_long, 0), coalesce(momentum_long, 0)) then 'mean_reversion_short'
         when coalesce(momentum_long, 0) > coalesce(reversion_long, 0) then 'momentum_long'
         else 'mean_reversion_long' end as signal
  from tried
),
signals as (
  select symbol, ts, close, regime, signal,
    case signal when 'mean_reversion_short' then 'short' when 'momentum_long' then 'long' when 'mean_reversion_long' then 'long' end as side,
    case signal when 'mean_reversion_short' then reversion_short
      when 'momentum_long' then least(0.95, momentum_long + case when reversion_long is not null then 0.1 else 0 end)
      when 'mean_reversion_long' then least(0.95, reversion_long + case when momentum_long is not null then 0.1 else 0 end)
    end as confidence,
    case when signal = 'momentum_long' then 5 when signal is not null then 3 end as horizon,
    case side_of when 1 then close - 2 * atr_14 when -1 then close + 2 * atr_14 end as stop,
    case side_of when 1 then close + 3 * atr_14 when -1 then close - 3 * atr_14 end as target,
    case when missing <> '' then concat('missing: ', missing) when signal is null then 'no_trade_edge' end as reason
  from (select *, case when signal = 'mean_reversion_short' then -1 when signal is not null then 1 end as side_of from best)
),
outcomes as (
  select s.symbol as symbol, s.ts as ts, s.signal as signal, s.side as side, s.confidence as confidence,
    case when s.side is null or r is null then null when s.side = 'long' and r > 0 or s.side = 'short' and r < 0 then 1.0 else 0.0 end as won,
    available_at
  from (
    select s.symbol as symbol, s.ts as ts, s.signal as signal, s.side as side, s.confidence as confidence,
      case s.horizon when 5 then after_5['forward_return'] else after_3['forward_return'] end as r,
      case s.horizon when 5 then after_5['available_at'] else after_3['available_at'] end as available_at
    from signals s
    join (select symbol, ts, path_labels(horizon => 3) as after_3, path_labels(horizon => 5) as after_5 from candles) o
      on s.symbol = o.symbol and s.ts = o.ts
    where s.signal is not null
  ) s
),
months as (select distinct date_trunc('month', ts) as month from candles),
fits as (
  select m.month as month, o.signal as signal, count(*) as labels, avg(o.won) as rate, avg(o.confidence) as mean,
         isotonic_fit(o.confidence, o.won) as fit
  from months m join outcomes o on o.available_at <= m.month
  where o.won is not null
  group by m.month, o.signal
),
calibrated as (
  select o.symbol as symbol, o.ts as ts, o.signal as signal, o.side as side, o.confidence as confidence, o.won as won,
    coalesce(f.labels, 0) as labels,
    case when f.labels is null or f.labels < 10 then o.confidence
         when f.labels < 30 then least(greatest(o.confidence + (f.rate - f.mean) / 2, 0.0), 1.0)
         else isotonic(f.fit, o.confidence) end as calibrated
  from outcomes o left join fits f on date_trunc('month', o.ts) = f.month and o.signal = f.signal
)
select symbol, ts, signal, side, confidence, calibrated, labels
from calibrated
order by ts, symbol
