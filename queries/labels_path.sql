-- name: labels_path
-- doc: What the bars after each daily bar did: returns, best and worst excursion, drawdown, ranges, moments
-- param: horizon = 20, bars to look ahead
-- param: side = long, whose excursions are meant: long or short
with labelled as (
  select symbol, ts, close, path_labels(horizon => :horizon, side => :side) as p from candles
)
select
  symbol, ts, close, p['forward_return'] as forward_return, p['vol_scaled_return'] as vol_scaled_return,
  p['mfe_atr'] as mfe_atr, p['mae_atr'] as mae_atr, p['mfe_bars'] as mfe_bars, p['mae_bars'] as mae_bars,
  p['profit_factor'] as profit_factor, p['range_expansion'] as range_expansion, p['drawdown_depth'] as drawdown_depth,
  p['end_extremum_gap'] as end_extremum_gap, p['time_underwater'] as time_underwater, p['path_sharpe'] as path_sharpe,
  p['path_skew'] as path_skew, p['horizon_complete'] as horizon_complete, p['available_at'] as available_at
from labelled
