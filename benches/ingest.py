"""Seconds to take a CSV of candles into a sorted table: tallow (checked, merged, committed) against polars (read, sort,
write). Interleaved runs, medians, the ratio.

usage: ingest.py TALLOW CANDLES.parquet [RUNS]    (needs polars)

The CSV is written twice, by symbol and by day; polars' Parquet uses zstd level 1, as tallow's does.
"""
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

tallow, candles = sys.argv[1], sys.argv[2]
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 7

PEER = """
import polars as pl, sys, time
start = time.perf_counter()
pl.read_csv(sys.argv[1], try_parse_dates=True).sort("symbol", "ts").write_parquet(sys.argv[2], compression="zstd", compression_level=1)
print(time.perf_counter() - start)
"""

with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    frame = pl.read_parquet(candles).with_columns(pl.col("ts").dt.strftime("%Y-%m-%d"))
    frame.sort("symbol", "ts").write_csv(folder / "by_symbol.csv")
    frame.sort("ts", "symbol").write_csv(folder / "by_day.csv")
    rows = len(frame)
    del frame
    for name in ("by_symbol", "by_day"):
        ours, theirs = [], []
        for _ in range(runs):
            lake = folder / "lake"
            shutil.rmtree(lake, ignore_errors=True)
            start = time.perf_counter()
            subprocess.run([tallow, "--quiet", "--lake", lake, "ingest", folder / f"{name}.csv", "-t", "1d"],
                           check=True, stdout=subprocess.DEVNULL)
            ours.append(time.perf_counter() - start)
            out = subprocess.run([sys.executable, "-c", PEER, folder / f"{name}.csv", folder / "peer.parquet"],
                                 check=True, stdout=subprocess.PIPE)
            theirs.append(float(out.stdout))
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{name}: tallow {a:.2f} s ({rows / a:,.0f} rows/s), polars {b:.2f} s: {b / a:.2f} x as fast")
    print(f"largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000:.0f} MB (polars included)")
