#!/usr/bin/env python3
"""Golden values of C TA-Lib for tallow's technical functions.

    talib_sp500.py CANDLES OUT_DIR

CANDLES is a Parquet file with the columns symbol, ts, open, high, low, close, volume (the daily S&P 500
candles of 2013 to 2018). Needs numpy, pyarrow and the TA-Lib binding of C TA-Lib.

Every function that the binding knows runs with its default parameters over every symbol (with the exception
of PARAMETERS below; the column `parameters` says what was used):

* Bars are sorted by (symbol, ts). A bar with a null or non-finite value in an input that the function
  reads is left out, and the function runs over the compacted series of the remaining bars; rows and
  indexes below count those bars.
* Price inputs are what their names say, in the function's own order. A plain series is `close`; two plain
  series are `high`, `low`. OBV reads close, volume; the periods of MAVP are 5 + row % 20.
* A non-finite float output is null. An integer output is null on the rows before the function's lookback.
* Outputs that are positions in the series (maxindex, minindex, minmaxindex, the pivot of zigzag) are
  written as bars ago: row - position.

talib_sp500.parquet, sorted by function, output_index, symbol:
    function, output, output_index, symbol
    parameters the values of the optional parameters, in order, separated by ", "
    lookback   the lookback C TA-Lib reports for these parameters
    count      outputs that are not null
    first      row of the first such output, -1 if none
    sum        their sum, correctly rounded (math.fsum); null where it overflows a double
    abs_sum    the same for their absolute values
    last       the last of them, null if none

talib_series.parquet, the whole outputs of AAPL, sorted by function, output_index, row:
    function, output, output_index, row, value
"""

import math
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import talib
import talib.abstract

SERIES_SYMBOL = "AAPL"
# C TA-Lib 0.8.1 defaults PERCENTILE to 30 bars, the Rust port 0.8.3 to 100.
PARAMETERS = {"PERCENTILE": {"timeperiod": 100}}
COLUMNS = ["open", "high", "low", "close", "volume"]
POSITIONS = {
    ("maxindex", 0), ("minindex", 0), ("minmaxindex", 0), ("minmaxindex", 1), ("zigzag", 2),
}


def read_symbols(path):
    """symbol -> {column -> float64 array in time order}, symbols ascending."""
    table = pq.read_table(path, columns=["symbol", "ts", *COLUMNS])
    table = table.sort_by([("symbol", "ascending"), ("ts", "ascending")])
    names = np.array(table["symbol"].to_pylist(), dtype=object)
    columns = {
        c: table[c].cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64) for c in COLUMNS
    }
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    ends = np.r_[starts[1:], len(names)]
    return {names[s]: {c: v[s:e] for c, v in columns.items()} for s, e in zip(starts, ends)}


def series_inputs(function):
    """The series that the function reads, in its order, under the names the binding gives them."""
    inputs = []
    for value in function.info["input_names"].values():
        inputs.extend([value] if isinstance(value, str) else value)
    return inputs


def compact(bars, inputs):
    """The bars on which every input is finite, and the periods of MAVP over them."""
    stored = [name for name in inputs if name != "periods"]
    valid = np.logical_and.reduce([np.isfinite(bars[name]) for name in stored])
    series = {name: np.ascontiguousarray(values[valid]) for name, values in bars.items()}
    series["periods"] = 5.0 + np.arange(int(valid.sum())) % 20
    return series


def evaluate(function, series):
    """[(float64 values, validity)] for each output."""
    result = function(series)
    outputs = result if isinstance(result, list) else [result]
    rows = np.arange(len(series["close"]))
    out = []
    for index, values in enumerate(outputs):
        if values.dtype.kind == "f":
            valid = np.isfinite(values)
        else:
            valid = rows >= function.lookback
            if (function.info["name"].lower(), index) in POSITIONS:
                values = rows - values
        out.append((np.where(valid, values, 0).astype(np.float64), valid))
    return out


def fsum(values):
    try:
        return math.fsum(values)
    except OverflowError:
        return None


def main(candles, out_dir):
    symbols = read_symbols(candles)
    summary = {name: [] for name in
               ["function", "output", "output_index", "symbol", "parameters", "lookback", "count",
                "first", "sum", "abs_sum", "last"]}
    series_rows = {name: [] for name in ["function", "output", "output_index", "row", "value"]}
    by_inputs = {}
    for name in sorted(talib.get_functions()):
        function = talib.abstract.Function(name)
        function.parameters = PARAMETERS.get(name, {})
        parameters = ", ".join(str(value) for value in function.parameters.values())
        inputs = tuple(series_inputs(function))
        if inputs not in by_inputs:
            by_inputs[inputs] = {symbol: compact(bars, inputs) for symbol, bars in symbols.items()}
        results = {symbol: evaluate(function, series) for symbol, series in by_inputs[inputs].items()}
        for index, output in enumerate(function.output_names):
            for symbol, outputs in results.items():
                values, valid = outputs[index]
                where = np.flatnonzero(valid)
                kept = values[where].tolist()
                row = [name.lower(), output, index, symbol, parameters, function.lookback, len(kept),
                       int(where[0]) if kept else -1, fsum(kept), fsum(map(abs, kept)), kept[-1] if kept else None]
                for column, value in zip(summary, row):
                    summary[column].append(value)
            values, valid = results[SERIES_SYMBOL][index]
            for row, (value, is_valid) in enumerate(zip(values.tolist(), valid)):
                for column, item in zip(series_rows, [name.lower(), output, index, row, value if is_valid else None]):
                    series_rows[column].append(item)

    metadata = {"ta_lib": talib.__ta_version__.decode().split()[0], "functions": str(len(talib.get_functions()))}
    types = {"function": pa.string(), "output": pa.string(), "symbol": pa.string(), "parameters": pa.string(),
             "output_index": pa.int32(),
             "lookback": pa.int32(), "count": pa.int32(), "first": pa.int32(), "row": pa.int32()}

    def write(name, columns, **options):
        schema = pa.schema([(c, types.get(c, pa.float64())) for c in columns], metadata=metadata)
        table = pa.table([pa.array(v, type=schema.field(c).type) for c, v in columns.items()], schema=schema)
        path = Path(out_dir) / name
        integers = [c for c in columns if schema.field(c).type != pa.float64()]
        pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=integers, **options)
        print(f"{path.name}: {table.num_rows} rows, {path.stat().st_size} bytes")

    floats = ["sum", "abs_sum", "last"]
    write("talib_sp500.parquet", summary, use_byte_stream_split=floats)
    write("talib_series.parquet", series_rows, use_byte_stream_split=["value"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
