"""First touches of the book's triple barrier by mlfinpy (0.1.2), on the dollar bars that come with it.

usage: mlfinpy_barriers.py OUT.csv
needs: mlfinpy, scikit-learn, statsmodels, pandas

Every bar is an event; the horizon is 20 bars. With a side given mlfinpy uses both multiples; without one it uses the first
for both. Its labels (`get_bins`) are not recorded: they compare a log return with log(1 + target) times the multiple,
while its touches compare a simple return with target times the multiple.
"""
import os
import sys

import mlfinpy
import numpy as np
import pandas as pd
from mlfinpy.labeling.labeling import get_events

HORIZON, UP, DOWN = 20, 1.5, 1.0


def main():
    path = os.path.join(os.path.dirname(mlfinpy.__file__), "dataset", "data", "dollar_bar_sample.csv")
    bars = pd.read_csv(path, index_col=0, parse_dates=True)
    bars = bars[~bars.index.duplicated()].sort_index()
    close = bars["close"]
    target = close.pct_change().ewm(span=100).std()
    ends = pd.Series(close.index[HORIZON:], index=close.index[:-HORIZON])
    events = close.index[:-HORIZON]
    out = pd.DataFrame({"ts": close.index, "close": close.to_numpy()})
    for name, multiples, side in (("long", [UP, DOWN], 1.0), ("short", [UP, DOWN], -1.0), ("none", [UP, DOWN], None)):
        sides = None if side is None else pd.Series(side, index=close.index)
        found = get_events(close, events, multiples, target, 0.0, 1, ends, sides, verbose=False)
        touched = found["t1"].reindex(close.index)
        # The end of the horizon is no touch.
        at_end = touched.reindex(ends.index) == ends
        gone = close.reindex(touched.to_numpy()).to_numpy() / close.to_numpy() - 1
        factor = 1.0 if side is None else side
        down = UP if side is None else DOWN
        beyond = (gone * factor > UP * target.to_numpy()) | (gone * factor < -down * target.to_numpy())
        touched[~beyond] = pd.NaT
        assert at_end[touched.reindex(ends.index).isna() & ends.index.isin(found.index)].all()
        out[f"{name}_touched"] = touched.to_numpy()
        out[f"{name}_known"] = np.isin(close.index, found.index)
    out["symbol"] = "DOLLAR"
    out["high"] = out["low"] = out["close"]
    out.to_csv(sys.argv[1], index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ")
    print(out.describe())


if __name__ == "__main__":
    main()
