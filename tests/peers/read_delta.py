"""Reads a Delta table with three other readers and prints rows, sums and counts of each. `read_delta.py TABLE`"""

import sys

import duckdb
import polars as pl
from deltalake import DeltaTable

table = sys.argv[1]


def show(name, frame):
    row = frame.select(
        pl.len(), pl.sum("close"), pl.sum("volume").alias("v"), pl.count("open").alias("o"), pl.n_unique("symbol").alias("s")
    ).row(0)
    print(name, ",".join(repr(float(x)) for x in row))


show("polars", pl.read_delta(table))
show("deltalake", pl.from_arrow(DeltaTable(table).to_pyarrow_table()))
files = [uri.removeprefix("file://") for uri in DeltaTable(table).file_uris()]
row = duckdb.sql(
    f"select count(*), sum(close), sum(volume), count(open), count(distinct symbol) from read_parquet({files!r})"
).fetchall()[0]
print("duckdb", ",".join(repr(float(x)) for x in row))
