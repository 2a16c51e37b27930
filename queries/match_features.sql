-- name: match_features
-- doc: The 19 features of each match of a pattern, as models are trained on and scored by
-- param: benchmark = '', symbol of an index in the same table; without one, all symbols with equal weights
-- The matches are those of the table matches: `tallow match PATTERN --into matches_1d` writes it, or a WITH clause of that
-- name gives others. What several runs found is one match. Everything is known when the last bar of the match has closed. The
-- n of a bar counts the bars of its symbol that have a close, as the search does; a change from or to a close that is not above
-- zero is unknown.
with bars as (
  select
    symbol, ts, close, volume, row_number() over (partition by symbol order by ts) as n,
    case when close > 0 and lag(close) > 0 then ln(close / lag(close)) end as change, volume > 2.5 * lag(volume) as spike,
    sma(30) as sma_30, sma(45) as sma_45, sma(60) as sma_60, linearreg_slope(sma(30), 5) / close as sma_30_slope
  from candles where close between -1e300 and 1e300
),
index_bars as (
  select ts, sum(change) over (order by ts) as level, change
  from (
    select ts, coalesce(avg(change), 0) as change from bars where :benchmark = '' or symbol = :benchmark group by ts
  )
),
market as (
  select
    ts, level, exp(level - lag(level, 20) over (order by ts)) - 1 as return_20,
    stddev(change) over (order by ts rows between 19 preceding and current row) as volatility_20
  from index_bars
),
found as (
  select
    pattern, symbol, start_ts, end_ts, max(bars) as bars, max(scale) as scale, max(score) as score,
    max(price_distance) as price_distance, max(averages_distance) as averages_distance
  from matches group by pattern, symbol, start_ts, end_ts
),
ends as (
  select m.*, e.n as end_n, e.close as end_close, e.sma_30 as sma_30, e.sma_45 as sma_45, e.sma_60 as sma_60,
         e.sma_30_slope as sma_30_slope
  from found m join bars e on m.symbol = e.symbol and m.end_ts = e.ts
),
walked as (
  select
    m.pattern as pattern, m.symbol as symbol, m.start_ts as start_ts, m.end_ts as end_ts, m.end_n as end_n, m.end_n - m.bars + 1 as first_n, w.n as n,
    w.close as close, w.volume as volume, w.spike as spike,
    case when w.n > m.end_n - m.bars + 1 then w.change end as change,
    w.close / nullif(greatest(max(w.close) over (
      partition by m.pattern, m.symbol, m.start_ts, m.end_ts order by w.ts rows unbounded preceding
    ), 0), 0) - 1 as drawdown
  from ends m join bars w on m.symbol = w.symbol and w.n > m.end_n - m.bars and w.n <= m.end_n
),
windows as (
  select
    pattern, symbol, start_ts, end_ts, count(*) as length,
    max(close) filter (where n = end_n) / nullif(max(close) filter (where n = first_n), 0) - 1 as window_return, stddev(change) as window_volatility, min(drawdown) as max_drawdown,
    regr_slope(volume, n) / nullif(avg(volume), 0) as volume_trend, count(*) filter (where spike) as spikes,
    avg(volume) filter (where n > end_n - 5) / nullif(avg(volume), 0) as volume_last_5
  from walked group by pattern, symbol, start_ts, end_ts
)
select
  e.pattern as pattern, e.symbol as symbol, e.start_ts as start_ts, e.end_ts as end_ts,
  e.score as score, e.price_distance as price_distance, e.averages_distance as averages_distance, e.scale as scale,
  cast(w.length as double) as length, w.window_return as window_return, w.window_volatility as window_volatility,
  w.max_drawdown as max_drawdown, e.sma_30_slope as sma_30_slope,
  case when e.sma_30 > e.sma_45 and e.sma_45 > e.sma_60 then 1.0
       when e.sma_30 < e.sma_45 and e.sma_45 < e.sma_60 then -1.0
       when e.sma_60 is not null then 0.0 end as sma_alignment,
  e.end_close / e.sma_30 - 1 as close_vs_sma_30, e.end_close / e.sma_60 - 1 as close_vs_sma_60,
  w.volume_trend as volume_trend, cast(w.spikes as double) as volume_spikes,
  cast(w.spikes as double) / w.length as volume_spike_ratio, w.volume_last_5 as volume_last_5,
  b.return_20 as benchmark_return_20, b.volatility_20 as benchmark_volatility_20,
  w.window_return - (exp(b.level - a.level) - 1) as excess_return
from ends e
join windows w on e.pattern = w.pattern and e.symbol = w.symbol and e.start_ts = w.start_ts and e.end_ts = w.end_ts
left join market a on e.start_ts = a.ts
left join market b on e.end_ts = b.ts
