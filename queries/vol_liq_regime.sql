-- name: vol_liq_regime
-- doc: Stress, high volatility and low liquidity, the opposite, or base, per bar of the market, with weights for signals
-- param: vix = '', symbol of a volatility index in the same table; without one, only rules without it can hold
-- param: bars_per_year = 252, bars of a year
-- Volatility is that of all symbols with equal weights over 20 bars. Liquidity is where the value traded lies between the
-- least and the most of the last 60 bars, from 0 to 1.
with bars as (
  select symbol, ts, close * volume as traded, log_return(close) as change from candles where symbol <> :vix
),
market as (
  select 'MARKET' as symbol, ts, avg(change) as change, sum(traded) as traded from bars group by ts
),
measured as (
  select
    '' as key, symbol, ts, std(change, 20) * sqrt(20.0 / 19) * sqrt(:bars_per_year) as volatility,
    (traded - lowest(traded, 60)) / (highest(traded, 60) - lowest(traded, 60)) as liquidity
  from market
),
vix as (select '' as key, ts, close as vix from candles where symbol = :vix),
joined as (
  select m.symbol as symbol, m.ts as ts, m.volatility as volatility, m.liquidity as liquidity, v.vix as vix
  from measured m asof join vix v match_condition (m.ts >= v.ts) on m.key = v.key
),
named as (
  select *,
    case when vix > 30 and volatility > 0.35 and liquidity < 0.3 then 'stress'
         when volatility > 0.30 and liquidity < 0.3 then 'vol_hi_liq_lo'
         when volatility < 0.15 and liquidity > 0.7 and coalesce(vix < 15, true) then 'vol_lo_liq_hi'
         when volatility is not null and liquidity is not null then 'base' end as regime
  from joined
)
select
  symbol, ts, volatility, liquidity, vix, regime,
  case regime when 'vol_hi_liq_lo' then 0.7 when 'vol_lo_liq_hi' then 1.2 when 'stress' then 0.5 when 'base' then 1.0 end as momentum,
  case regime when 'vol_hi_liq_lo' then 1.3 when 'vol_lo_liq_hi' then 0.8 when 'stress' then 1.5 when 'base' then 1.0 end as mean_reversion,
  case regime when 'vol_hi_liq_lo' then 1.5 when 'vol_lo_liq_hi' then 0.7 when 'stress' then 2.0 when 'base' then 1.0 end as volatility_weight,
  case regime when 'vol_hi_liq_lo' then 0.8 when 'vol_lo_liq_hi' then 1.1 when 'stress' then 0.6 when 'base' then 1.0 end as sentiment
from named
order by ts
