"""Similarity beside dtaidistance, in one run.

Pairs of 120 points under a band of 0.12; a search for the ten nearest windows in FILE (2,500 symbols of 1,250 bars), whole
process, beside full DTW of every window by dtaidistance, extrapolated from a sample; all scales and both channels; and the
peak memory of a search as the table grows.

usage: similarity.py BENCH TALLOW FILE [LARGER_FILE]
BENCH is the program that `cargo bench --bench similarity --no-run` builds. Needs numpy, pyarrow and dtaidistance.
"""
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow.parquet as pq
from dtaidistance import dtw

bench, tallow, candles = sys.argv[1:4]
rng = np.random.default_rng(3)


def z(x):
    return (x - x.mean()) / x.std()


N, M, BAND = 2000, 120, 15
reference = z(np.cumsum(rng.standard_normal(M)))
pool = np.stack([z(np.cumsum(rng.standard_normal(M))) for _ in range(N)])


def peer():
    runs = []
    for _ in range(7):
        started = time.perf_counter()
        total = sum(dtw.distance_fast(reference, p, window=BAND) for p in pool)
        runs.append(time.perf_counter() - started)
    return min(runs) / N * 1e6, total


with tempfile.NamedTemporaryFile("w", suffix=".txt") as pairs:
    for row in [reference, *pool]:
        pairs.write(" ".join(repr(float(x)) for x in row) + "\n")
    pairs.flush()
    own = subprocess.run([bench], env={**os.environ, "TALLOW_BENCH_PAIRS": pairs.name}, capture_output=True, text=True)
theirs, check = peer()
print(f"dtaidistance distance_fast: {theirs:.2f} us/pair  (check {check:.6f})")
for line in own.stdout.splitlines():
    ratio = f"  {theirs / float(line.split(': ')[1].split()[0]):.1f} x" if "us/pair" in line else ""
    print(line + ratio)

pattern = " ".join(repr(float(x)) for x in z(np.cumsum(rng.standard_normal(M))))
closes = pq.read_table(candles, columns=["symbol", "close"]).to_pandas()
symbol, sample = next(iter(closes.groupby("symbol")))
sample = sample["close"].to_numpy(dtype=float)
windows = [z(sample[i : i + M]) for i in range(len(sample) - M + 1)]
started = time.perf_counter()
target = np.array([float(x) for x in pattern.split()])
distances = [dtw.distance_fast(target, w, window=BAND) for w in windows]
a_window = (time.perf_counter() - started) / len(windows)
every = sum(max(0, n - M + 1) for n in closes.groupby("symbol").size())
brute = a_window * every


# In a process of its own: a child is said to have used what its parent had when it began.
LEAN = """
import os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(time.perf_counter() - started, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def run(*args):
    """Seconds of the fastest of seven runs, and the median of their peak memory in MB."""
    runs = []
    for _ in range(7):
        said = subprocess.run([sys.executable, "-S", "-c", LEAN, tallow, "--quiet", *args], capture_output=True, text=True)
        assert said.returncode == 0, (args, said.stderr)
        seconds, memory = said.stdout.split()
        runs.append((float(seconds), float(memory)))
    return min(seconds for seconds, _ in runs), sorted(memory for _, memory in runs)[3]


def search(table, *args):
    return run("match", pattern, "-t", table, "--top", "10", *args)


seconds, memory = search(candles, "--scales", "1", "--channels", "price")
print(f"history, one scale, price, {every} windows: {seconds:.2f} s, {memory:.0f} MB; full DTW of each by dtaidistance "
      f"{brute:.0f} s (from {len(windows)} windows): {brute / seconds:.0f} x")
lake = tempfile.mkdtemp()
name = str(symbol)
dates = pq.read_table(candles, columns=["symbol", "ts"], filters=[("symbol", "=", name)])["ts"].to_pylist()
subprocess.run([tallow, "--quiet", "--lake", lake, "pattern", "add", "cut", "--symbol", name, "-t", candles, "--from",
                f"{dates[300]:%Y-%m-%d}", "--to", f"{dates[419]:%Y-%m-%d}"], check=True, stdout=subprocess.DEVNULL)
seconds, memory = run("--lake", lake, "match", "cut", "-t", candles, "--top", "10")
print(f"history, five scales, close and averages: {seconds:.2f} s, {memory:.0f} MB")
seconds, memory = run("--lake", lake, "match", "cut", "-t", candles, "--top", "10", "--latest")
print(f"newest bars, five scales, close and averages: {seconds:.2f} s, {memory:.0f} MB")
for larger in sys.argv[4:]:
    for mode in [(), ("--latest",)]:
        _, small = run("--lake", lake, "match", "cut", "-t", candles, "--scales", "1", *mode)
        _, large = run("--lake", lake, "match", "cut", "-t", larger, "--scales", "1", *mode)
        print(f"memory {' '.join(mode) or '--history'}: {small:.0f} MB -> {large:.0f} MB with {larger}: {large / small:.2f} x")
