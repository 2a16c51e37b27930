-- name: training_set
-- doc: Features as they were known at each daily bar, its label, when the label was known, weights, and a fold to train by
-- param: up = 2.0, distance of the upper barrier in ATR
-- param: down = 2.0, distance of the lower barrier in ATR
-- param: horizon = 20, bars that a label looks ahead
-- param: folds = 5, stretches of time that are held out in turn
-- param: embargo = 5, days after the start of a fold that are left out of all
-- The fold is null for rows that would tell one fold of another: those whose label looks beyond the end of their own
-- fold (purged), and those within the embargo after its start. Any fold may be held out, all others trained on. With
-- --from and --to, the days of that range are divided.
with features as (
  select
    symbol, ts, close, rsi(14) as rsi_14, natr(14) as natr_14, close / sma(20) - 1 as to_sma_20,
    close / sma(50) - 1 as to_sma_50, z_score(close, 20) as z_score_20, roc(10) as roc_10, adx(14) as adx_14
  from candles
),
barriers as (
  select symbol, ts, close, triple_barrier(up => :up, down => :down, horizon => :horizon) as t from candles
),
weighted as (
  select
    symbol, ts, t['label'] as label, t['available_at'] as available_at,
    sample_weights(close, bars => case when t['label'] is not null then coalesce(t['bars_to_hit'], :horizon) end) as w
  from barriers
),
labels as (
  select symbol, ts, label, available_at, w['uniqueness'] as uniqueness, w['return_attribution'] as return_attribution
  from weighted
),
days as (
  select ts, cast(ntile(:folds) over (order by ts) - 1 as int) as fold
  from (select distinct ts from candles where in_range(ts))
),
stretches as (
  select fold, min(ts) as first, max(ts) as last, lead(min(ts)) over (order by fold) as next from days group by fold
)
select
  f.symbol as symbol, f.ts as ts, f.rsi_14 as rsi_14, f.natr_14 as natr_14, f.to_sma_20 as to_sma_20,
  f.to_sma_50 as to_sma_50, f.z_score_20 as z_score_20, f.roc_10 as roc_10, f.adx_14 as adx_14,
  l.label as label, l.available_at as available_at, l.uniqueness as uniqueness,
  l.return_attribution as return_attribution,
  case when (s.next is null or l.available_at <= s.next)
        and (s.fold = 0 or f.ts >= s.first + cast(concat(:embargo, ' days') as interval))
       then s.fold end as fold
from features f
join labels l on f.symbol = l.symbol and f.ts = l.ts
join stretches s on f.ts between s.first and s.last
where l.label is not null and f.to_sma_50 is not null
