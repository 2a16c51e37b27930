#!/usr/bin/env python3
"""Checks indicator_reference.toml, TA-Lib against indicator values published by another project.

    indicator_reference.py REFERENCE              evaluate every case, print pass or fail
    indicator_reference.py REFERENCE --pack OUT   write what the cases need into the folder OUT

REFERENCE is either the upstream material (folders quotes/ and results/, LICENSE, NOTICE) or a folder
written by --pack (the quotes CSVs, results.parquet, LICENSE, NOTICE). Needs numpy, pyarrow and the TA-Lib
binding of C TA-Lib.

A case passes if, from row `from` to the last, expression and column are both null or differ by at most
1e-9 * max(1, scale), where scale is the largest absolute value of the column, and at least 100 rows are
compared. `from` must be the smallest such row.

Expressions are SQL of tallow's dialect, in the part that Python's grammar shares. A null or non-finite
value in a series argument makes a bar invisible to the function. The functions of TA-Lib 0.8.3 that the
binding of C TA-Lib 0.8.1 lacks are written out below from their definitions.
"""

import argparse
import ast
import csv
import json
import math
import shutil
import sys
import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import talib
import talib.abstract

CASES = Path(__file__).with_suffix(".toml")
QUOTE_COLUMNS = ["open", "high", "low", "close", "volume"]
TOLERANCE = 1e-9
MIN_ROWS = 100


# ---- functions of TA-Lib 0.8.3 that the binding lacks: name -> (series arguments, function) ----


def percentb(x, period, up, down, ma_type):
    upper, _, lower = talib.BBANDS(x, period, up, down, ma_type)
    return (x - lower) / (upper - lower)


def bbw(x, period, up, down, ma_type):
    upper, middle, lower = talib.BBANDS(x, period, up, down, ma_type)
    return (upper - lower) / middle * 100


def choptr(high, low, close, period):
    true_high = np.fmax(high[1:], close[:-1])
    true_low = np.fmin(low[1:], close[:-1])
    box = talib.MAX(true_high, period) - talib.MIN(true_low, period)
    return np.r_[np.nan, 100 * np.log10(talib.SUM(true_high - true_low, period) / box) / np.log10(period)]


def crsi(x, period, streak_period, rank_period):
    streak = np.zeros(len(x))
    for i in range(1, len(x)):
        if x[i] > x[i - 1]:
            streak[i] = max(streak[i - 1], 0) + 1
        elif x[i] < x[i - 1]:
            streak[i] = min(streak[i - 1], 0) - 1
    streak_rsi = np.r_[np.nan, talib.RSI(streak[1:], streak_period)]
    rank = np.r_[np.nan, talib.PERCENTRANK(talib.ROCP(x, 1)[1:], rank_period)]
    return (talib.RSI(x, period) + streak_rsi + rank) / 3


def fisher(high, low, period):
    price = (high + low) / 2
    highest, lowest = talib.MAX(price, period), talib.MIN(price, period)
    line, trigger = np.full(len(price), np.nan), np.full(len(price), np.nan)
    smoothed = previous = 0.0
    for i in range(period - 1, len(price)):
        width = highest[i] - lowest[i]
        ratio = (price[i] - lowest[i]) / width if width > 0 else 0.5
        smoothed = 0.67 * smoothed + 0.66 * (ratio - 0.5)
        if abs(smoothed) > 0.99:
            smoothed = math.copysign(0.999, smoothed)
        line[i] = 0.5 * math.log((1 + smoothed) / (1 - smoothed)) + 0.5 * previous
        trigger[i] = previous
        previous = line[i]
    return {"fisher": line, "trigger": trigger}


def ichimoku(high, low, tenkan_period, kijun_period, senkou_period):
    tenkan, kijun, span_b = (talib.MIDPRICE(high, low, p) for p in (tenkan_period, kijun_period, senkou_period))
    start = np.isnan(span_b)
    tenkan, kijun = np.where(start, np.nan, tenkan), np.where(start, np.nan, kijun)
    return {"tenkansen": tenkan, "kijunsen": kijun, "senkouspana": (tenkan + kijun) / 2, "senkouspanb": span_b}


WRITTEN_OUT = {
    "percentb": (1, percentb), "bbw": (1, bbw), "choptr": (3, choptr), "crsi": (1, crsi),
    "fisher": (2, fisher), "ichimoku": (2, ichimoku),
}

# ---- the evaluator ----


def lag(x, n):
    return np.r_[np.full(n, np.nan), x[:len(x) - n]]


def lead(x, n):
    return np.r_[x[n:], np.full(n, np.nan)]


SCALARS = {"abs": np.abs, "sqrt": np.sqrt, "floor": np.floor, "nullif": lambda a, b: np.where(a == b, np.nan, a)}
OPERATORS = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide}


def call_talib(name, args, rows):
    """A TA-Lib function over the bars on which every series argument is finite; a dict if it has several outputs."""
    if name in WRITTEN_OUT:
        inputs, function = WRITTEN_OUT[name]
        params, lookback = args[inputs:], 0
    else:
        abstract = talib.abstract.Function(name.upper())
        inputs = sum(1 if isinstance(v, str) else len(v) for v in abstract.info["input_names"].values())
        defaults = abstract.info["parameters"]
        if len(args) != inputs + len(defaults):
            raise ValueError(f"{name} takes {inputs} series and {len(defaults)} parameters")
        params = [type(default)(value) for default, value in zip(defaults.values(), args[inputs:])]
        abstract.parameters = dict(zip(defaults, params))
        lookback, function = abstract.lookback, getattr(talib, name.upper())
    series = args[:inputs]
    valid = np.logical_and.reduce([np.isfinite(s) for s in series])
    result = function(*(np.ascontiguousarray(s[valid], dtype=np.float64) for s in series), *params)

    def spread(values):
        out = np.full(rows, np.nan)
        integer = values.dtype.kind != "f"
        values = values.astype(np.float64)
        if integer:
            values[:lookback] = np.nan
        out[valid] = values
        return np.where(np.isfinite(out), out, np.nan)

    if isinstance(result, tuple):
        result = dict(zip(abstract.output_names, result))
    if isinstance(result, dict):
        return {field: spread(values) for field, values in result.items()}
    return spread(result)


def evaluate(expr, columns):
    """The values of a SQL expression over the columns, nulls as NaN."""
    rows = len(columns["close"])

    def walk(node):
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return columns[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -walk(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](walk(left), walk(right))
            case ast.Subscript(value=value, slice=ast.Constant(value=field)):
                return walk(value)[field]
            case ast.Call(func=ast.Name(id=name), args=args):
                args = [walk(arg) for arg in args]
                if name in ("lag", "lead"):
                    return (lag if name == "lag" else lead)(*args)
                return SCALARS[name](*args) if name in SCALARS else call_talib(name, args, rows)
        raise ValueError(f"not in the dialect: {ast.unparse(node)}")

    with np.errstate(all="ignore"):
        values = walk(ast.parse(expr, mode="eval").body)
    return np.where(np.isfinite(values), values, np.nan)


# ---- the reference ----


def quotes_path(reference, name):
    nested = reference / "quotes" / name
    return nested if nested.exists() else reference / name


def read_quotes(reference, name):
    """The columns of a quotes CSV in date order."""
    with open(quotes_path(reference, name), encoding="utf-8-sig", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: date.fromisoformat(row["date"]))
    dates = [row["date"] for row in rows]
    return dates, {c: np.array([float(row[c]) for row in rows]) for c in QUOTE_COLUMNS}


def read_columns(reference, case):
    dates, columns = read_quotes(reference, case["quotes"])
    if "second" in case:
        second_dates, second = read_quotes(reference, case["second"])
        if second_dates != dates:
            raise ValueError(f"{case['second']} has other dates than {case['quotes']}")
        columns |= {f"second_{name}": values for name, values in second.items()}
    return dates, columns


def read_results(reference, cases):
    """(file, column) -> values, nulls as NaN, row for row beside the quotes."""
    packed = reference / "results.parquet"
    wanted = {(case["file"], case["column"]): case for case in cases}
    if packed.exists():
        table = pq.read_table(packed).to_pydict()
        values = {}
        for file, column, row, value in zip(table["file"], table["column"], table["row"], table["value"]):
            series = values.setdefault((file, column), [])
            assert row == len(series)
            series.append(math.nan if value is None else value)
        return {key: np.array(values[key]) for key in wanted}
    results, files = {}, {}
    for (file, column), case in wanted.items():
        if file not in files:
            files[file] = json.loads((reference / "results" / file).read_text(encoding="utf-8-sig"))
        records = files[file]
        dates, _ = read_quotes(reference, case["quotes"])
        if [record["timestamp"][:10] for record in records] != dates:
            raise ValueError(f"{file} does not align with {case['quotes']}")
        values = [record[column] for record in records]
        results[file, column] = np.array([math.nan if v is None else float(v) for v in values])
    return results


def first_agreeing_row(got, expected):
    """The smallest row from which on all rows agree."""
    limit = TOLERANCE * max(1.0, np.nanmax(np.abs(expected)))
    with np.errstate(invalid="ignore"):
        agree = (np.isnan(got) & np.isnan(expected)) | (np.abs(got - expected) <= limit)
    disagreeing = np.flatnonzero(~agree)
    return int(disagreeing[-1]) + 1 if len(disagreeing) else 0


def verify(reference, cases, exceptions):
    results = read_results(reference, cases)
    failures = 0
    for case in cases:
        expected = results[case["file"], case["column"]]
        _, columns = read_columns(reference, case)
        got = evaluate(case["expr"], columns)
        first = first_agreeing_row(got, expected)
        values = int(np.count_nonzero(~np.isnan(expected[case["from"]:])))
        ok = first == case["from"] and len(expected) - first >= MIN_ROWS
        failures += not ok
        note = "" if ok else f", agrees from row {first}"
        print(f"{'pass' if ok else 'FAIL'} {case['file']} {case['column']}: {case['expr']} "
              f"[rows {case['from']}..{len(expected) - 1}, {values} values{note}]")
    matched = {case["file"] for case in cases}
    excepted = {exception["file"] for exception in exceptions}
    if (reference / "results").is_dir():
        files = {path.name for path in (reference / "results").iterdir()}
        for file in sorted(files ^ (matched | excepted)):
            failures += 1
            print(f"FAIL {file}: neither case nor exception, or no such file")
    for file in sorted(matched & excepted):
        failures += 1
        print(f"FAIL {file}: both case and exception")
    print(f"{len(cases)} cases in {len(matched)} files, {len(excepted)} exceptions, {failures} failures")
    return failures


def pack(reference, cases, out):
    out.mkdir(parents=True, exist_ok=True)
    for name in sorted({case[key] for case in cases for key in ("quotes", "second") if key in case}):
        shutil.copyfile(quotes_path(reference, name), out / name)
    for name in ("LICENSE", "NOTICE"):
        shutil.copyfile(reference / name, out / name)
    columns = {"file": [], "column": [], "row": [], "value": []}
    for (file, column), values in sorted(read_results(reference, cases).items()):
        for row, value in enumerate(values.tolist()):
            for name, item in zip(columns, (file, column, row, None if math.isnan(value) else value)):
                columns[name].append(item)
    schema = pa.schema([("file", pa.string()), ("column", pa.string()), ("row", pa.int32()), ("value", pa.float64())])
    pq.write_table(pa.table(columns, schema=schema), out / "results.parquet", compression="zstd",
                   compression_level=19, use_dictionary=["file", "column", "row"], use_byte_stream_split=["value"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--pack", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    toml = tomllib.loads(CASES.read_text())
    if arguments.pack:
        pack(arguments.reference, toml["case"], arguments.pack)
        return 0
    return 1 if verify(arguments.reference, toml["case"], toml["exception"]) else 0


if __name__ == "__main__":
    sys.exit(main())
