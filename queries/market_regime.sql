-- name: market_regime
-- doc: Panic, RiskOff, RiskOn or Chop, per bar of the market, from its index, its breadth and a volatility index
-- param: index = '', symbol of the index; without one, all symbols with equal weights
-- param: vix = '', symbol of a volatility index in the same table; without one, its rules do not fire
-- The first rule that holds counts. Breadth is the share of symbols above their 50-bar average, in percent.
with bars as (
  select symbol, ts, close, simple_return(close, 1) as change, close > sma(50) as above from candles
),
market as (
  select ts, avg(change) as change, 100.0 * count(*) filter (where above) / count(above) as breadth
  from bars where symbol <> :vix group by ts
),
series as (
  select 'MARKET' as symbol, ts, 100 * exp(sum(ln(1 + coalesce(change, 0))) over (order by ts)) as close
  from market where :index = ''
  union all
  select symbol, ts, close from candles where symbol = :index
),
shaped as (
  select
    '' as key, symbol, ts, close, close / lag(close) - 1 as change_1d,
    linearreg_slope(close, 20) / sma(close, 20) * 100 as slope_20d
  from series
),
volatility as (select '' as key, ts, close as vix from candles where symbol = :vix),
joined as (
  select s.symbol as symbol, s.ts as ts, s.close as close, s.change_1d as change_1d, s.slope_20d as slope_20d,
         m.breadth as breadth, v.vix as vix
  from shaped s
  left join market m on s.ts = m.ts
  asof join volatility v match_condition (s.ts >= v.ts) on s.key = v.key
),
rules as (
  select *,
    coalesce(vix > 30 or change_1d < -0.03, change_1d < -0.03, false) as panic,
    coalesce(breadth < 40 and slope_20d < 0, false) as risk_off,
    coalesce(breadth > 60 and slope_20d > 0, false) as risk_on,
    breadth is null and slope_20d is null as no_data
  from joined
)
select
  symbol, ts, close, change_1d, slope_20d, breadth, vix,
  case when panic then 'Panic' when risk_off then 'RiskOff' when risk_on then 'RiskOn' else 'Chop' end as regime,
  case when panic then 0.90 when risk_off or risk_on then 0.75 when no_data then 0.30 else 0.60 end as confidence,
  concat_ws(' ', case when panic then 'panic' end, case when risk_off then 'risk_off' end,
            case when risk_on then 'risk_on' end, case when no_data then 'no_data' end) as rules
from rules
order by ts
