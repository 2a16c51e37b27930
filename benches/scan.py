"""tallow scan beside polars with its TA-Lib plugin: the same condition of five indicators over the same Parquet file.

usage: scan.py TALLOW CANDLES.parquet [RUNS]

TALLOW is the release binary: its whole process counts, from start to exit. Of polars only the call counts, read included,
in a process that has imported everything. Runs are interleaved; medians and their ratio are printed. Then the same scan of
the first 500 symbols, and a sweep of 100 pairs of parameters beside a single scan.
needs: polars, polars-talib
"""
import os
import statistics
import subprocess
import sys
import time

tallow, candles = sys.argv[1], sys.argv[2]
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 11

FORMULA = ("rsi(14) < 45 and close > sma(50) and adx(14) > 20 and macd(12, 26, 9).macdhist < 0 "
           "and close > bbands(20, 2).lowerband")
PAIRS = "rsi(:n 14) < :level 30 and close > sma(50) and adx(14) > 20 and macd(12, 26, 9).macdhist < 0 and close > bbands(20, 2).lowerband"


def run_tallow(formula, *flags):
    start = time.perf_counter()
    command = [tallow, "scan", formula, "-t", candles, "--quiet", "--format", "csv", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - start, usage.ru_maxrss / 1000, out.count(b"\n") - 1


def run_polars():
    close, high, low = pl.col("close"), pl.col("high"), pl.col("low")
    start = time.perf_counter()
    rows = (pl.scan_parquet(candles).with_columns(
        plta.rsi(close, 14).over("symbol").alias("rsi"),
        plta.sma(close, 50).over("symbol").alias("sma"),
        plta.adx(high, low, close, 14).over("symbol").alias("adx"),
        plta.macd(close, 12, 26, 9).over("symbol").alias("macd"),
        plta.bbands(close, 20, 2.0, 2.0, 0).over("symbol").alias("bb"),
    ).unnest("macd").unnest("bb").with_columns(pl.col("rsi", "sma", "adx", "macdhist", "lowerband").fill_nan(None)).filter(
        (pl.col("rsi") < 45) & (close > pl.col("sma")) & (pl.col("adx") > 20) & (pl.col("macdhist") < 0)
        & (close > pl.col("lowerband"))
    ).select("symbol", "ts", "close", "volume", "rsi", "sma", "adx", "macdhist", "lowerband")
        .sort("ts", "symbol", descending=[True, False]).collect())
    return time.perf_counter() - start, rows.height


# Before polars is imported: a child's peak begins with what its parent had resident.
memory = [run_tallow(FORMULA)[1] for _ in range(runs)]

import polars as pl  # noqa: E402
import polars_talib as plta  # noqa: E402

run_polars()
times = {"tallow": [], "polars": []}
for _ in range(runs):
    seconds, _, ours = run_tallow(FORMULA)
    times["tallow"].append(seconds)
    seconds, theirs = run_polars()
    times["polars"].append(seconds)
    assert ours == theirs, (ours, theirs)
base = statistics.median(times["polars"])
for name, seconds in times.items():
    median = statistics.median(seconds)
    print(f"{name:<28} {median:.3f} s  {median / base:.2f} x polars")
print(f"{ours} matches, equal; tallow's peak memory: {max(memory):.0f} MB at most, {statistics.median(memory):.0f} MB in the median")

symbols = pl.scan_parquet(candles).select(pl.col("symbol").unique().sort().head(500)).collect().to_series().to_list()
few = [run_tallow(FORMULA, "--symbols", ",".join(symbols))[0] for _ in range(runs)]
print(f"{'500 symbols':<28} {statistics.median(few):.3f} s")
one = statistics.median(times["tallow"])
pairs = [run_tallow(PAIRS, "--sweep", "n=5..14", "--sweep", "level=20..38:2")[0] for _ in range(max(runs // 3, 1))]
print(f"{'sweep of 100 pairs':<28} {statistics.median(pairs):.3f} s  {statistics.median(pairs) / one:.1f} x one scan")
worst = "close crosses_above sma(:a 10) and close > ema(:b 50) and rsi(14) < 70 and adx(14) > 20 and macd(12, 26, 9).macdhist > 0"
pairs = [run_tallow(worst, "--sweep", "a=5..14", "--sweep", "b=50..59")[0] for _ in range(max(runs // 3, 1))]
print(f"{'sweep of 10 x 10 averages':<28} {statistics.median(pairs):.3f} s  {statistics.median(pairs) / one:.1f} x one scan")
