"""Labels against a numba loop over the same file, interleaved, whole process against function call.

usage: labels.py TALLOW CANDLES.parquet [RUNS]
needs: numba, numpy, pyarrow
"""
import re
import statistics
import subprocess
import sys
import time

import numba as nb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PERIOD, HORIZON, WIDTHS = 14, 20, 2.0
BARRIERS = (
    "select count(l['label']) as labels, sum(l['label']) as total, sum(l['bars_to_hit']) as bars, sum(l['atr']) as atr "
    "from (select triple_barrier(high, low, close, up => 2.0, down => 2.0, horizon => 20) as l from candles)"
)
PATH = [
    "vol_scaled_return", "forward_return", "return_sign", "mfe", "mae", "mfe_pct", "mae_pct", "mfe_atr", "mae_atr", "mfe_bars",
    "mae_bars", "profit_factor", "range_expansion", "drawdown_depth", "end_extremum_gap", "time_underwater", "path_sharpe",
    "path_skew",
]
PATHS = "select " + ", ".join(f"sum(l['{name}'])" for name in PATH) + (
    " from (select path_labels(high, low, close, horizon => 20) as l from candles)"
)


@nb.njit
def walk(high, low, close, start, end, label, bars, atr):
    """One symbol: rows start..end."""
    for i in range(start + 1, end):
        true_range = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        if i < start + PERIOD:
            atr[i] = (0.0 if i == start + 1 else atr[i - 1]) + true_range
        elif i == start + PERIOD:
            atr[i] = (atr[i - 1] + true_range) / PERIOD
        else:
            atr[i] = (atr[i - 1] * (PERIOD - 1) + true_range) / PERIOD
    for i in range(start, min(start + PERIOD, end)):
        atr[i] = np.nan
    for i in range(start, end):
        label[i] = 9
        if not atr[i] > 0:
            continue
        upper, lower = close[i] + WIDTHS * atr[i], close[i] - WIDTHS * atr[i]
        for j in range(i + 1, min(i + HORIZON + 1, end)):
            if low[j] <= lower or high[j] >= upper:
                label[i] = -1 if low[j] <= lower else 1
                bars[i] = j - i
                break
        else:
            if i + HORIZON < end:
                label[i] = 0


def numba_run(path):
    table = pq.read_table(path, columns=["symbol", "high", "low", "close"])
    symbols = table["symbol"].combine_chunks()
    if not pa.types.is_dictionary(symbols.type):
        symbols = symbols.dictionary_encode()
    codes = symbols.indices.to_numpy()
    high, low, close = (table[name].to_numpy() for name in ("high", "low", "close"))
    borders = np.concatenate(([0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]))
    label, bars, atr = np.empty(len(codes), np.int8), np.zeros(len(codes), np.int32), np.full(len(codes), np.nan)
    for start, end in zip(borders[:-1], borders[1:]):
        walk(high, low, close, start, end, label, bars, atr)
    known = label != 9
    return int(known.sum()), int(label[known].sum()), int(bars[known].sum()), float(np.nansum(atr))


def tallow_run(tallow, path, sql):
    before = time.perf_counter()
    command = [tallow, "--candles", path, "-v", "query", "--format", "csv", "-c", sql]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took = time.perf_counter() - before
    memory = int(re.search(r"(\d+) MB peak memory", done.stderr).group(1))
    return done.stdout.splitlines()[-1].split(","), took, memory


def main():
    tallow, path = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    want = numba_run(path)
    times, peak = {"numba": [], "barriers": [], "paths": []}, 0
    for _ in range(runs):
        before = time.perf_counter()
        numba_run(path)
        times["numba"].append(time.perf_counter() - before)
        got, took, memory = tallow_run(tallow, path, BARRIERS)
        times["barriers"].append(took)
        peak = max(peak, memory)
        times["paths"].append(tallow_run(tallow, path, PATHS)[1])
    assert [int(x) for x in got[:3]] == list(want[:3]) and abs(float(got[3]) / want[3] - 1) < 1e-9, (got, want)
    numba = statistics.median(times["numba"])
    for name, all_times in times.items():
        median = statistics.median(all_times)
        print(f"{name:9} {median:.3f} s   {median / numba:.2f} x numba")
    print(f"{want[0]} labels, equal; peak memory of tallow {peak:.0f} MB")


if __name__ == "__main__":
    main()
