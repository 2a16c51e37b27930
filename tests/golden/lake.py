"""Cuts the published files that the lake's tests compare with. usage: lake.py SOURCE_FOLDER

* `fx_d1.parquet`: daily bars of EURUSD, USDJPY and XAUUSD from 2020-01-03, from fx_d1_2012_2022.parquet
  (ejtraderLabs/historical-data @ fbd29b3, Apache-2.0)
* `aapl_raw_adjusted.parquet`: Apple's raw and adjusted closes, 2000 to 2013, from wiki_daily_raw_adj_2000_2013.parquet
  (Quandl WIKI through bokeh_sampledata 2026.1, public domain)
"""
import sys
from pathlib import Path

import polars as pl

source, here = Path(sys.argv[1]), Path(__file__).parent
fx = pl.read_parquet(source / "fx_d1_2012_2022.parquet")
fx = fx.filter(pl.col("symbol").is_in(["EURUSD", "USDJPY", "XAUUSD"]) & (pl.col("ts") > pl.datetime(2020, 1, 2)))
fx.sort("symbol", "ts").write_parquet(here / "fx_d1.parquet", compression="zstd")
wiki = pl.read_parquet(source / "wiki_daily_raw_adj_2000_2013.parquet").filter(pl.col("symbol") == "AAPL")
wiki.sort("ts").write_parquet(here / "aapl_raw_adjusted.parquet", compression="zstd")
