"""Incremental runs beside full ones, in one run.

A lake of SYMBOLS x BARS daily candles; the labels and the named query `features` as pipelines. Then, again and again: a day of
all symbols is delivered and the pipelines are run; one bar far back is corrected and they are run; nothing is delivered and they
are run. Beside it, `--full` of the same pipelines. The whole process counts.

usage: incremental.py TALLOW [SYMBOLS [BARS [ROUNDS]]]
Needs numpy and pyarrow.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

tallow = sys.argv[1]
symbols, bars, rounds = (int(arg) for arg in (sys.argv[2:] + ["2500", "1250", "5"][len(sys.argv) - 2:]))
folder = tempfile.mkdtemp(prefix="incremental-")
lake = os.path.join(folder, "lake")


def run(*args, check=True):
    started = time.perf_counter()
    done = subprocess.run([tallow, "--lake", lake, *args], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if check and done.returncode:
        sys.exit(f"{args}: {done.stderr}")
    return seconds, done.stdout


# Started by a small process, since what starts a program lends it its own peak.
LAUNCHER = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); " \
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def peak(*args):
    """The largest resident memory of a run, in MB."""
    launched = [sys.executable, "-c", LAUNCHER, tallow, "--lake", lake, *args]
    return int(subprocess.run(launched, capture_output=True, text=True).stdout) / 1024


def deliver(table):
    file = os.path.join(folder, "delivery.parquet")
    pq.write_table(table, file)
    return run("ingest", file, "-t", "1d", "-q")[0]


source = os.path.join(folder, "all.parquet")
run("synth", source, "--symbols", str(symbols), "--bars", str(bars))
all_bars = pq.read_table(source)
times = pc.unique(all_bars["ts"])
times = times.take(pc.sort_indices(times))
print(f"{symbols} symbols x {bars} bars, {len(all_bars) / 1e6:.1f} M")
# The newest days are delivered one by one.
kept = len(times) - rounds - 1
first = all_bars.filter(pc.less(all_bars["ts"], times[kept]))
pq.write_table(first, source)
print(f"ingest of all but the newest days  {run('ingest', source, '-t', '1d', '-q')[0]:8.3f} s")
os.remove(source)
run("pipeline", "add", "labels", "--label", "-t", "1d")
run("pipeline", "add", "features", "--query", "features")
names = ["labels", "features"]
for name in names:
    print(f"{name:<10} first run  {run('pipeline', 'run', name)[0]:8.3f} s")

measured = {}


def measure(what):
    for name in names:
        measured.setdefault((what, name), []).append(run("pipeline", "run", name)[0])


for day in range(rounds):
    is_of_day = pc.equal(all_bars["ts"], times[kept + day])
    measured.setdefault(("ingest of a day", ""), []).append(deliver(all_bars.filter(is_of_day)))
    measure("a day of all symbols")
    measure("nothing new")
    one = all_bars.filter(pc.equal(all_bars["ts"], times[kept - 100])).slice(day, 1)
    scale = 1 + 0.001 * (day + 1)
    for column in ["open", "high", "low", "close"]:
        at = one.column_names.index(column)
        one = one.set_column(at, column, pc.multiply(one[column], scale))
    deliver(one)
    measure("one bar 100 days back")


def kept_rows(table):
    file = os.path.join(folder, "kept.parquet")
    run("query", "-q", "-o", file, f"select * from {table} order by symbol, ts")
    return pq.read_table(file)


def same(a, b):
    if a.num_rows != b.num_rows or a.schema.names != b.schema.names:
        return False
    for x, y in zip(a.columns, b.columns):
        if pa.types.is_floating(x.type):
            x, y = (c.to_numpy() for c in (x, y))
            scale = max(1.0, np.nanmax(np.abs(y), initial=0.0))
            if not np.allclose(x, y, rtol=0, atol=1e-9 * scale, equal_nan=True):
                return False
        elif not x.equals(y):
            return False
    return True


tables = {"labels": "labels_1d", "features": "results_features"}
step_by_step = {name: kept_rows(table) for name, table in tables.items()}
for name in names:
    for _ in range(3):
        measured.setdefault(("--full", name), []).append(run("pipeline", "run", name, "--full")[0])
for name, table in tables.items():
    print(f"{name}: step by step as in one full run: {same(step_by_step[name], kept_rows(table))}")

full = {name: statistics.median(measured["--full", name]) for name in names}
for (what, name), seconds in measured.items():
    median = statistics.median(seconds)
    beside = f"  {median / full[name]:6.1%} of --full" if name else ""
    print(f"{what:<24} {name:<10} median {median:7.3f} s  min {min(seconds):7.3f}{beside}")
rows = len(all_bars)
print(f"labels, all: {rows / full['labels'] * 60 / 1e6:.1f} M candles a minute")
for name in names:
    idle, whole = peak("pipeline", "run", name), peak("pipeline", "run", name, "--full")
    print(f"{name}: peak memory with nothing to do {idle:.0f} MB, of a full run {whole:.0f} MB")
shutil.rmtree(folder)
