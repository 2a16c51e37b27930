"""Incremental runs beside full ones, in one run.

A lake of SYMBOLS x BARS candles of a TIMEFRAME, the newest of which has just ended; the labels and the named query `features` as
pipelines. Then, again and again: a bar of all symbols is delivered and the pipelines are run; one bar far back is corrected and
they are run; nothing is delivered and they are run. Beside it, `--full` of the same pipelines. The whole process counts.

usage: incremental.py TALLOW [SYMBOLS [BARS [ROUNDS [TIMEFRAME]]]]
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
symbols, bars, rounds, timeframe = sys.argv[2:] + ["2500", "1250", "5", "1d"][len(sys.argv) - 2:]
symbols, bars, rounds = int(symbols), int(bars), int(rounds)
# Microseconds.
STEP = {"1m": 60_000_000, "1h": 3_600_000_000, "4h": 14_400_000_000, "1d": 86_400_000_000}[timeframe]
# So many bars of a symbol are made.
MADE = 1_250
# So many bars are made and ingested at once.
AT_ONCE = 8_000_000
# More bars are not labelled, whose labels would not fit on a disk: two indicators are kept in their place.
MOST_LABELLED = 100_000_000
# Results of more bars are not compared: they would not fit in memory.
MOST_COMPARED = 10_000_000
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
    return run("ingest", file, "-t", timeframe, "-q")[0]


# The newest bars are delivered one by one.
kept = bars - rounds - 1
newest = time.time_ns() // 1000 // STEP * STEP - STEP
source = os.path.join(folder, "some.parquet")
later, old, ingested = [], None, 0.0
per_file = max(1, AT_ONCE // bars)
for group in range(0, symbols, per_file):
    count = min(per_file, symbols - group)
    run("synth", source, "--symbols", str(count), "--bars", str(min(bars, MADE)), "--seed", str(group + 7))
    some = pq.read_table(source)
    # Each symbol's bars, one after the other, end with the newest. A random walk of very many bars ends at nothing or at any
    # height: of more than are made, the same ones go back and forth.
    place = np.tile(np.arange(bars, dtype=np.int64), count)
    if bars > MADE:
        turn = place % (2 * MADE)
        row = np.repeat(np.arange(count, dtype=np.int64), bars) * MADE + np.where(turn < MADE, turn, 2 * MADE - 1 - turn)
        some = some.take(pa.array(row))
    ts = pa.array(newest - (bars - 1 - place) * STEP).cast(pa.timestamp("us", tz="UTC"))
    some = some.set_column(some.column_names.index("ts"), "ts", ts)
    name = pc.binary_join_element_wise(f"G{group:05}", some["symbol"].cast(pa.string()), "")
    some = some.set_column(some.column_names.index("symbol"), "symbol", name)
    later += [some.filter(pa.array(place >= kept))]
    old = old or some.filter(pa.array(place == kept - 100))
    pq.write_table(some.filter(pa.array(place < kept)), source)
    del some
    ingested += run("ingest", source, "-t", timeframe, "-q")[0]
later = pa.concat_tables(later)
print(f"{symbols} symbols x {bars} bars of {timeframe}, {symbols * bars / 1e6:.1f} M")
print(f"ingest of all but the newest bars  {ingested:8.3f} s")
os.remove(source)
is_large = symbols * bars > MOST_COMPARED
if symbols * bars <= MOST_LABELLED:
    names = ["labels", "features"]
    run("pipeline", "add", "labels", "--label", "-t", timeframe)
    run("pipeline", "add", "features", "--query", "features", "-t", timeframe)
else:
    names = ["two"]
    query = "select symbol, ts, sma(50) as sma_50, rsi(14) as rsi_14 from candles"
    run("pipeline", "add", "two", "--query", query, "-t", timeframe)
measured = {}
for name in names:
    first = run("pipeline", "run", name)[0]
    print(f"{name:<10} first run  {first:8.3f} s")
    if is_large:
        # A full run of a large lake, whose results would take as much room again.
        measured["--full", name] = [first]


def measure(what):
    for name in names:
        measured.setdefault((what, name), []).append(run("pipeline", "run", name)[0])


for step in range(rounds):
    is_next = pc.equal(later["ts"], pa.scalar(newest - (rounds - step) * STEP).cast(later["ts"].type))
    measured.setdefault(("ingest of a bar", ""), []).append(deliver(later.filter(is_next)))
    if step == 0:
        for name in names:
            print(f"{name}: peak memory of a run after a bar of all symbols {peak('pipeline', 'run', name):.0f} MB")
    else:
        measure("a bar of all symbols")
    measure("nothing new")
    one = old.slice(step, 1)
    scale = 1 + 0.001 * (step + 1)
    for column in ["open", "high", "low", "close"]:
        at = one.column_names.index(column)
        one = one.set_column(at, column, pc.multiply(one[column], scale))
    deliver(one)
    measure("one bar 100 back")


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


tables = {"labels": f"labels_{timeframe}", "features": "results_features"} if not is_large else {}
step_by_step = {name: kept_rows(table) for name, table in tables.items()}
for name in names:
    for _ in range(0 if is_large else 3):
        measured.setdefault(("--full", name), []).append(run("pipeline", "run", name, "--full")[0])
for name, table in tables.items():
    print(f"{name}: step by step as in one full run: {same(step_by_step[name], kept_rows(table))}")

full = {name: statistics.median(measured["--full", name]) for name in names}
for (what, name), seconds in measured.items():
    median = statistics.median(seconds)
    beside = f"  {median / full[name]:6.1%} of --full" if name else ""
    print(f"{what:<24} {name:<10} median {median:7.3f} s  min {min(seconds):7.3f}{beside}")
rows = symbols * bars
print(f"{names[0]}, all: {rows / full[names[0]] * 60 / 1e6:.1f} M candles a minute")
for name in names:
    idle = peak("pipeline", "run", name)
    print(f"{name}: peak memory with nothing to do {idle:.0f} MB")
    if not is_large:
        print(f"{name}: peak memory of a full run {peak('pipeline', 'run', name, '--full'):.0f} MB")
shutil.rmtree(folder)
