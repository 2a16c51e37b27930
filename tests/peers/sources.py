"""Files as their sources document them, ingested by one command each, and read again by other programs.

usage: sources.py TALLOW FOLDER
Needs pandas and pyarrow.
"""
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd

tallow, folder = sys.argv[1:]
dice = np.random.default_rng(11)


def run(lake, *arguments, status=0):
    done = subprocess.run([tallow, "--lake", lake, *arguments], capture_output=True, text=True)
    if done.returncode != status:
        sys.exit(f"{arguments}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def bars(symbol, begin, step, count, decimals=2):
    """Random bars: symbol, ts, open, high, low, close, volume."""
    moves = dice.normal(0, 0.01, count)
    close = np.round(100 * np.exp(np.cumsum(moves)), decimals)
    open_ = np.round(close * (1 + dice.normal(0, 0.003, count)), decimals)
    high = np.round(np.maximum(open_, close) * 1.004, decimals)
    low = np.round(np.minimum(open_, close) * 0.996, decimals)
    ts = [begin + i * step for i in range(count)]
    volume = dice.integers(1, 10**6, count).astype(float)
    return pd.DataFrame({"symbol": symbol, "ts": ts, "open": open_, "high": high, "low": low, "close": close, "volume": volume})


def check(what, lake, timeframe, want, columns=("open", "high", "low", "close", "volume")):
    result = os.path.join(folder, "result.parquet")
    run(lake, "query", "-q", "-o", result, f"select * from candles_{timeframe} order by symbol, ts")
    got = pd.read_parquet(result)
    want = want.sort_values(["symbol", "ts"]).reset_index(drop=True)
    if list(got.symbol) != list(want.symbol) or list(got.ts) != list(want.ts):
        sys.exit(f"{what}: {len(got)} rows, expected {len(want)}\n{got.head()}\n{want.head()}")
    for column in columns:
        if not np.array_equal(got[column].to_numpy(), want[column].to_numpy()):
            sys.exit(f"{what}: {column} differs\n{got.head()}\n{want.head()}")
    print(f"{what}: {len(want)} rows")


def new(name):
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    return path, os.path.join(folder, f"{name}_lake")


utc = timezone.utc
day, hour, minute = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
ms = lambda ts: int(ts.timestamp() * 1000)

# ccxt: fetch_ohlcv as JSON.
path, lake = new("ccxt")
want = pd.concat([bars(symbol, datetime(2024, 1, 1, tzinfo=utc), 4 * hour, 300) for symbol in ["BTC_USDT", "ETH_USDT"]])
for symbol, rows in want.groupby("symbol"):
    with open(f"{path}/{symbol}-4h.json", "w") as file:
        json.dump([[ms(r.ts), r.open, r.high, r.low, r.close, r.volume] for r in rows.itertuples()], file)
run(lake, "ingest", path, "-t", "4h", "--preset", "ccxt", "-q")
check("ccxt", lake, "4h", want)

# freqtrade: the same as JSON, and feather.
path, lake = new("freqtrade")
for symbol, rows in want.groupby("symbol"):
    frame = rows.drop(columns="symbol").rename(columns={"ts": "date"}).reset_index(drop=True)
    frame["date"] = pd.to_datetime(frame.date, utc=True).astype("datetime64[ms, UTC]")
    frame.to_feather(f"{path}/{symbol}-4h.feather", compression="lz4", compression_level=9)
run(lake, "ingest", path, "-t", "4h", "--preset", "freqtrade", "-q")
check("freqtrade", lake, "4h", want)

# Binance: monthly zips without a header, microseconds and a header in the newer ones.
path, lake = new("binance")
want = pd.concat([bars(symbol, datetime(2024, 12, 1, tzinfo=utc), hour, 24 * 62, 4) for symbol in ["BTCUSDT", "ETHUSDT"]])
for (symbol, month), rows in want.groupby(["symbol", want.ts.map(lambda ts: f"{ts:%Y-%m}")]):
    scale = 1000 if month >= "2025" else 1
    lines = ["open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"] * (month >= "2025")
    for r in rows.itertuples():
        begin = ms(r.ts) * scale
        end = begin + 3_600_000 * scale - 1
        lines.append(f"{begin},{r.open:.8f},{r.high:.8f},{r.low:.8f},{r.close:.8f},{r.volume:.8f},{end},{r.volume * r.close:.8f},7,1.0,2.0,0")
    with zipfile.ZipFile(f"{path}/{symbol}-1h-{month}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{symbol}-1h-{month}.csv", "\n".join(lines) + "\n")
run(lake, "ingest", f"{path}/*.zip", "-t", "1h", "--preset", "binance", "-q")
check("Binance", lake, "1h", want)

# Lean: daily, hour and minute zips of prices times 10,000, hours and minutes in New York.
new_york = "America/New_York"
path, lake = new("lean_daily")
want = pd.concat([bars(symbol, datetime(2024, 1, 1, tzinfo=utc), day, 500) for symbol in ["aapl", "msft"]])
points = lambda r: ",".join(str(round(price * 10_000)) for price in [r.open, r.high, r.low, r.close])
for symbol, rows in want.groupby("symbol"):
    with zipfile.ZipFile(f"{path}/{symbol}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{symbol}.csv", "".join(f"{r.ts:%Y%m%d} 00:00,{points(r)},{r.volume:.0f}\n" for r in rows.itertuples()))
run(lake, "ingest", path, "-t", "1d", "--preset", "lean", "-q")
check("Lean, days", lake, "1d", want)

path, lake = new("lean_hour")
# Through the change of the clocks in March.
local = [t for t in pd.date_range("2024-03-04 09:00", "2024-03-15 16:00", freq="h", tz=new_york) if t.weekday() < 5 and 9 <= t.hour < 16]
want = bars("spy", datetime(2024, 1, 1, tzinfo=utc), hour, len(local))
want["ts"] = [t.tz_convert("UTC") for t in local]
with zipfile.ZipFile(f"{path}/spy.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("spy.csv", "".join(f"{t:%Y%m%d %H}:00,{points(r)},{r.volume:.0f}\n" for t, r in zip(local, want.itertuples())))
run(lake, "ingest", path, "-t", "1h", "--preset", "lean", "-q")
check("Lean, hours", lake, "1h", want)

path, lake = new("lean_minute")
os.makedirs(f"{path}/spy")
all_days = []
for date in ["2024-03-08", "2024-03-11"]:
    midnight = pd.Timestamp(date, tz=new_york)
    local = [midnight + pd.Timedelta(minutes=9 * 60 + 30 + i) for i in range(390)]
    rows = bars("spy", datetime(2024, 1, 1, tzinfo=utc), minute, len(local))
    rows["ts"] = [t.tz_convert("UTC") for t in local]
    all_days.append(rows)
    name = date.replace("-", "")
    with zipfile.ZipFile(f"{path}/spy/{name}_trade.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        since = lambda t: (t.hour * 60 + t.minute) * 60_000
        archive.writestr(f"{name}_spy_minute_trade.csv", "".join(f"{since(t)},{points(r)},{r.volume:.0f}\n" for t, r in zip(local, rows.itertuples())))
run(lake, "ingest", path, "-t", "1m", "--preset", "lean", "-q")
check("Lean, minutes", lake, "1m", pd.concat(all_days))

# pystock: an archive a day, in which the days before come again and restate prices.
path, lake = new("pystock")
days = pd.concat([bars(symbol, datetime(2015, 4, 6, tzinfo=utc), day, 5) for symbol in ["A", "BRK.B", "ZTS"]], ignore_index=True)
for at in range(5):
    known = days[days.ts <= datetime(2015, 4, 6, tzinfo=utc) + at * day].copy()
    # What is delivered first is not what it is in the end.
    known.loc[known.ts == known.ts.max(), "close"] = known.low if at < 4 else known.close
    text = "symbol,date,open,high,low,close,volume,adj_close\n"
    text += "".join(f"{r.symbol},{r.ts:%Y-%m-%d},{r.open},{r.high},{r.low},{r.close},{r.volume:.0f},{r.close}\n" for r in known.itertuples())
    with tarfile.open(f"{path}/201504{6 + at:02}.tar.gz", "w:gz") as archive:
        for name, text_of in {"prices.csv": text, "reports.csv": "symbol,end_date,revenues\nA,2015-03-31,1\n", "symbols.txt": "A\nZTS\n"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text_of)
            archive.addfile(member, io.BytesIO(text_of.encode()))
said = run(lake, "ingest", path, "-t", "1d", "--preset", "pystock")
if "conflict" not in said and "differ from the later row" not in said:
    sys.exit(f"pystock: nothing is said of prices that were restated: {said}")
check("pystock", lake, "1d", days)

# MetaTrader 5: tabs, names in angle brackets, the time of a broker.
path, lake = new("mt5")
local = [t for t in pd.date_range("2024-03-04", "2024-04-05", freq="h", tz="Europe/Athens", inclusive="left") if t.weekday() < 5]
want = bars("EURUSD", datetime(2024, 1, 1, tzinfo=utc), hour, len(local), 5)
want["ts"] = [t.tz_convert("UTC") for t in local]
with open(f"{path}/EURUSD_H1_202403040000_202404042300.csv", "w") as file:
    file.write("<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n")
    for t, r in zip(local, want.itertuples()):
        file.write(f"{t:%Y.%m.%d}\t{t:%H:%M:%S}\t{r.open:.5f}\t{r.high:.5f}\t{r.low:.5f}\t{r.close:.5f}\t{r.volume:.0f}\t0\t12\n")
run(lake, "ingest", path, "-t", "1h", "--preset", "mt5", "--tz", "Europe/Athens", "-q")
check("MetaTrader 5", lake, "1h", want)

# Stooq: text in the folders of a zip.
path, lake = new("stooq")
want = pd.concat([bars(symbol, datetime(2024, 1, 1, tzinfo=utc), day, 50) for symbol in ["AAPL.US", "MSFT.US"]])
with zipfile.ZipFile(f"{path}/d_us_txt.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for symbol, rows in want.groupby("symbol"):
        text = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        text += "".join(f"{symbol},D,{r.ts:%Y%m%d},000000,{r.open},{r.high},{r.low},{r.close},{r.volume:.0f},0\n" for r in rows.itertuples())
        archive.writestr(f"data/daily/us/nasdaq stocks/1/{symbol.lower()}.txt", text)
run(lake, "ingest", path, "-t", "1d", "--preset", "stooq", "-q")
check("Stooq", lake, "1d", want)

# What is no data is refused, and nothing that an error says is long.
path, lake = new("bombs")
with zipfile.ZipFile(f"{path}/zeros.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    with archive.open("zeros.csv", "w", force_zip64=True) as member:
        for _ in range(10_000 if os.environ.get("TALLOW_LONG") else 500):
            member.write(bytes(1 << 20))
with zipfile.ZipFile(f"{path}/outside.zip", "w") as archive:
    archive.writestr("../../outside.csv", "ts,open,high,low,close,volume\n")
with open(f"{path}/rows.json", "w") as file:
    json.dump([[ms(datetime(2024, 1, 1, tzinfo=utc))] + list(range(100_000))], file)
for name, words in {"zeros.zip": "that is no data", "outside.zip": "lies outside the archive", "rows.json": "name the columns"}.items():
    said = run(lake, "ingest", f"{path}/{name}", "-t", "1d", status=1)
    if words not in said or len(said) > 2000 or os.path.exists(os.path.join(folder, "..", "outside.csv")):
        sys.exit(f"{name}: {said[:2000]}")
print("bombs: refused")
