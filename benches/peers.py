"""tallow beside polars with its TA-Lib plugin: the same six indicators (ten columns), summed, over the same Parquet file.

The same from a lake of tallow's own, into which the file is ingested first.

usage: peers.py TALLOW CANDLES.parquet [RUNS]

TALLOW is the release binary: its whole process counts, from start to exit. Of polars only the call counts, read included,
in a process that has imported everything. Runs are interleaved; medians and their ratio are printed.
needs: polars, polars-talib
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

tallow, candles = sys.argv[1], sys.argv[2]
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 11

SQL = """
select sum(sma), sum(ema), sum(rsi), sum(atr), sum(m.macd), sum(m.macdsignal), sum(m.macdhist),
       sum(b.upperband), sum(b.middleband), sum(b.lowerband)
from (select sma(20) sma, ema(50) ema, rsi(14) rsi, atr(14) atr, macd(12, 26, 9) m, bbands(20, 2, 2) b from FROM)
"""
lake = tempfile.TemporaryDirectory()
subprocess.run([tallow, "--quiet", "--lake", lake.name, "ingest", candles, "-t", "1d"], check=True, stdout=subprocess.DEVNULL)


def run_tallow(*flags):
    start = time.perf_counter()
    sql = SQL.replace("FROM", "candles" if "--lake" in flags else f"'{candles}'")
    process = subprocess.Popen([tallow, "query", "--quiet", "--format", "csv", *flags, "-c", sql], stdout=subprocess.PIPE)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - start, usage.ru_maxrss / 1000, [float(x) for x in out.split(b"\n")[1].split(b",")]


def run_polars():
    close, high, low = pl.col("close"), pl.col("high"), pl.col("low")
    start = time.perf_counter()
    row = (pl.scan_parquet(candles).select(
        plta.sma(close, 20).over("symbol").alias("sma"),
        plta.ema(close, 50).over("symbol").alias("ema"),
        plta.rsi(close, 14).over("symbol").alias("rsi"),
        plta.atr(high, low, close, 14).over("symbol").alias("atr"),
        plta.macd(close, 12, 26, 9).over("symbol").alias("macd"),
        plta.bbands(close, 20, 2.0, 2.0, 0).over("symbol").alias("bb"),
    ).unnest("macd").unnest("bb").select(pl.all().fill_nan(None).sum())).collect().row(0)
    return time.perf_counter() - start, row


# Before polars is imported: a child's peak begins with what its parent had resident.
memory = [run_tallow()[1] for _ in range(runs)]

import polars as pl  # noqa: E402
import polars_talib as plta  # noqa: E402

run_polars()
times = {"tallow": [], "tallow --threads 1": [], "tallow, from a lake": [], "polars": []}
for _ in range(runs):
    seconds, _, ours = run_tallow()
    times["tallow"].append(seconds)
    times["tallow --threads 1"].append(run_tallow("--threads", "1")[0])
    times["tallow, from a lake"].append(run_tallow("--lake", lake.name)[0])
    seconds, theirs = run_polars()
    times["polars"].append(seconds)
    assert all(abs(a - b) <= 1e-9 * abs(b) for a, b in zip(ours, theirs)), (ours, theirs)
base = statistics.median(times["polars"])
for name, seconds in times.items():
    median = statistics.median(seconds)
    print(f"{name:<20} {median:.3f} s  {median / base:.2f} x polars")
print(f"tallow's peak memory: {max(memory):.0f} MB at most, {statistics.median(memory):.0f} MB in the median")
