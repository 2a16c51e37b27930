-- name: features
-- doc: Per bar of each symbol, the features that the signals are made of; on-balance volume since the year began, VWAP since the session began
-- param: bars_per_year = 252, bars of a year, for the volatility
-- param: vol_high = 0.30, volatility above which the regime is high
-- param: vol_low = 0.15, volatility below which the regime is low
with computed as (
  select
    symbol, ts, open, high, low, close, volume,
    sma(5) as sma_5, sma(20) as sma_20, sma(50) as sma_50, ema(12) as ema_12, ema(26) as ema_26,
    macd(12, 26, 9) as m, rsi(14) as rsi_14, bbands(20, 2) as b, atr(14) as atr_14, stoch(14, 3, 'sma', 3) as s,
    obv(anchor => 'year') as obv, session_vwap() as session_vwap,
    (close - sma(20)) / std(close, 20) as z_score_20,
    linearreg_slope(close, 20) / sma(20) * 100 as slope_20d,
    close > lag(highest(high, 20), 1) as new_high_20d,
    std(log_return(close), 20) * sqrt(20.0 / 19) * sqrt(:bars_per_year) as volatility_20d
  from candles
)
select
  symbol, ts, close, volume, sma_5, sma_20, sma_50, ema_12, ema_26,
  m['macd'] as macd, m['macdsignal'] as macd_signal, m['macdhist'] as macd_hist, rsi_14,
  b['upperband'] as bb_upper, b['middleband'] as bb_middle, b['lowerband'] as bb_lower, atr_14,
  s['slowk'] as stoch_k, s['slowd'] as stoch_d, obv, session_vwap, z_score_20, slope_20d, new_high_20d, volatility_20d,
  case when volatility_20d > :vol_high then 'high' when volatility_20d < :vol_low then 'low'
       when volatility_20d is not null then 'normal' end as vol_regime,
  case when sma_50 is null then null
       when sma_5 > sma_20 and sma_20 > sma_50 and close > sma_5 then 'up'
       when sma_5 < sma_20 and sma_20 < sma_50 and close < sma_5 then 'down'
       else 'sideways' end as trend_regime
from computed
