"""Cuts the sample lake of this folder from larger files of real candles.

usage: cut.py SOURCE_FOLDER [LAKE_FOLDER]

SOURCE_FOLDER holds sp500_daily_2013_2018.parquet, fx_h4_2012_2022.parquet and crypto_4h_coinbase_2016_2025.parquet with
the columns symbol, ts, open, high, low, close, volume. Values are kept as they are, defects included.
"""
import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SCHEMA = pa.schema([("symbol", pa.string()), ("ts", pa.timestamp("us", "UTC"))]
                   + [(c, pa.float64()) for c in ("open", "high", "low", "close", "volume")])


def write(table, path):
    table = table.select(SCHEMA.names).cast(SCHEMA).sort_by([("symbol", "ascending"), ("ts", "ascending")])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=9, row_group_size=1 << 16,
                   sorting_columns=[pq.SortingColumn(0), pq.SortingColumn(1)])
    print(path, table.num_rows, "rows", pq.ParquetFile(path).num_row_groups, "row groups", path.stat().st_size, "bytes")


def utc(table):
    ts = table["ts"]
    return table.set_column(table.schema.get_field_index("ts"), "ts",
                            ts if ts.type.tz else pc.assume_timezone(ts, "UTC"))


def since(table, when):
    return table.filter(pc.greater_equal(table["ts"], pa.scalar(when, pa.timestamp("us", "UTC"))))


def main(source, lake=Path(__file__).parent):
    source, lake = Path(source), Path(lake)
    write(utc(pq.read_table(source / "sp500_daily_2013_2018.parquet")), lake / "candles/1d/sp500.parquet")
    fx = utc(pq.read_table(source / "fx_h4_2012_2022.parquet"))
    fx = since(fx.filter(pc.is_in(fx["symbol"], pa.array(["EURUSD", "USDJPY", "XAUUSD"]))), datetime(2020, 1, 1))
    write(fx, lake / "candles/4h/fx.parquet")
    crypto = utc(pq.read_table(source / "crypto_4h_coinbase_2016_2025.parquet"))
    write(since(crypto, datetime(2022, 1, 1)), lake / "candles/4h/crypto.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
