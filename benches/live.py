"""RSI(14), EMA(20) and ATR(14) of each symbol as candles come: tallow's live runs beside bare indicators of nautilus_trader and a
dataflow of bytewax over the same indicators.

    python benches/live.py TALLOW [--symbols 500] [--bars 2000] [--rounds 3]

Needs bytewax, nautilus_trader and pyarrow. tallow's whole process counts: it starts, sorts the table by time, and ends. Of the others
the loop alone does, over bars that are Python objects already.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

TEXT = "select symbol, ts, rsi(14) r, ema(20) e, atr(14) a from candles"


def tallow(program, lake, *options):
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as journal:
        command = [program, "--lake", lake, "live", TEXT, "-t", "1m", "--feed", "replay://candles_1m", "--emit", "none"]
        subprocess.run([*command, "--durable", "none", "--journal", journal, *options], check=True, capture_output=True)
    return time.perf_counter() - begun


def indicators():
    from nautilus_trader.core.nautilus_pyo3 import AverageTrueRange, ExponentialMovingAverage, RelativeStrengthIndex

    return RelativeStrengthIndex(14), ExponentialMovingAverage(20), AverageTrueRange(14)


def answer(of, bar):
    rsi, ema, atr = of
    high, low, close = bar
    rsi.update_raw(close)
    ema.update_raw(close)
    atr.update_raw(high, low, close)
    return rsi.value, ema.value, atr.value


def nautilus(bars):
    known = {symbol: indicators() for symbol, _ in bars}
    begun = time.perf_counter()
    for symbol, bar in bars:
        answer(known[symbol], bar)
    return time.perf_counter() - begun


def bytewax(bars, batch):
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

    class State:
        def __init__(self):
            self.of = indicators()

        # Snapshots are of no use here, and these indicators cannot be copied.
        def __deepcopy__(self, memo):
            return self

    def step(state, bar):
        state = state or State()
        return state, answer(state.of, bar)

    out = []
    flow = Dataflow("indicators")
    stream = op.input("bars", flow, TestingSource(bars, batch_size=batch))
    op.output("out", op.stateful_map("step", stream, step), TestingSink(out))
    begun = time.perf_counter()
    run_main(flow)
    took = time.perf_counter() - begun
    assert len(out) == len(bars)
    return took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tallow")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--bars", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, lake = str(Path(folder) / "bars.parquet"), str(Path(folder) / "lake")
        size = ["--symbols", str(args.symbols), "--bars", str(args.bars), "--timeframe", "1m"]
        subprocess.run([args.tallow, "synth", file, *size], check=True, capture_output=True)
        subprocess.run([args.tallow, "--lake", lake, "ingest", file, "-t", "1m"], check=True, capture_output=True)
        table = pq.read_table(file, columns=["ts", "symbol", "high", "low", "close"]).sort_by([("ts", "ascending")])
        columns = [table.column(name).to_pylist() for name in ("symbol", "high", "low", "close")]
        bars = [(symbol, (high, low, close)) for symbol, high, low, close in zip(*columns)]
        runs = {
            "tallow": lambda: tallow(args.tallow, lake),
            "tallow, recomputed": lambda: tallow(args.tallow, lake, "--recompute"),
            "nautilus_trader, bare": lambda: nautilus(bars),
            "bytewax, batches of 1000": lambda: bytewax(bars, 1000),
            "bytewax, batches of 1": lambda: bytewax(bars[: len(bars) // 10], 1),
        }
        seconds = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                seconds[name].append(run())
        base = None
        for name, took in seconds.items():
            count = len(bars) // 10 if name.endswith(" 1") else len(bars)
            rate = count / statistics.median(took)
            base = base or rate
            print(f"{name:28} {statistics.median(took):7.2f} s {rate / 1e6:7.2f} M candles/s {base / rate:6.1f} x")


if __name__ == "__main__":
    main()
