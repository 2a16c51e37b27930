-- name: match_targets
-- doc: What came after each match: the share of four forward windows whose highest close gained 5, 10, 15 and 20 percent
-- The matches are those of the table matches, as in match_features. The windows are half, one, one and a half and two lengths
-- of the match. Matches whose last window is not complete yet are left out; known_at is the bar that completes it.
with bars as (
  select symbol, ts, close, row_number() over (partition by symbol order by ts) as n from candles
  where close between -1e300 and 1e300
),
ends as (
  select
    m.pattern as pattern, m.symbol as symbol, m.start_ts as start_ts, m.end_ts as end_ts, m.bars as bars, e.n as end_n,
    e.close as end_close
  from (select distinct pattern, symbol, start_ts, end_ts, bars from matches) m join bars e on m.symbol = e.symbol and m.end_ts = e.ts
),
ahead as (
  select
    e.pattern as pattern, e.symbol as symbol, e.start_ts as start_ts, e.end_ts as end_ts, max(f.ts) as known_at,
    max(f.close) filter (where f.n <= e.end_n + floor(0.5 * e.bars)) / nullif(greatest(max(e.end_close), 0), 0) - 1 as gain_a,
    max(f.close) filter (where f.n <= e.end_n + e.bars) / nullif(greatest(max(e.end_close), 0), 0) - 1 as gain_b,
    max(f.close) filter (where f.n <= e.end_n + floor(1.5 * e.bars)) / nullif(greatest(max(e.end_close), 0), 0) - 1 as gain_c,
    max(f.close) / nullif(greatest(max(e.end_close), 0), 0) - 1 as gain_d
  from ends e join bars f on e.symbol = f.symbol and f.n > e.end_n and f.n <= e.end_n + 2 * e.bars
  group by e.pattern, e.symbol, e.start_ts, e.end_ts
  having count(*) = max(2 * e.bars)
)
select
  pattern, symbol, start_ts, end_ts, known_at,
  ((gain_a >= 0.05)::int + (gain_b >= 0.05)::int + (gain_c >= 0.05)::int + (gain_d >= 0.05)::int) / 4.0 as gain_5,
  ((gain_a >= 0.10)::int + (gain_b >= 0.10)::int + (gain_c >= 0.10)::int + (gain_d >= 0.10)::int) / 4.0 as gain_10,
  ((gain_a >= 0.15)::int + (gain_b >= 0.15)::int + (gain_c >= 0.15)::int + (gain_d >= 0.15)::int) / 4.0 as gain_15,
  ((gain_a >= 0.20)::int + (gain_b >= 0.20)::int + (gain_c >= 0.20)::int + (gain_d >= 0.20)::int) / 4.0 as gain_20
from ahead
