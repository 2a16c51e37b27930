"""Compares the calendars of tallow with those of exchange_calendars (PyPI), session by session, from 1990 to 2035.

usage: calendars.py TALLOW
"""

import io
import subprocess
import sys

import exchange_calendars
import pandas

NAMES = {"nyse": "XNYS", "lse": "XLON", "xetra": "XETR", "cme": "CMES"}


def ours(name):
    text = subprocess.run(
        [sys.argv[1], "calendar", name, "--format", "csv", "-q"], check=True, capture_output=True, text=True
    ).stdout
    rows = pandas.read_csv(io.StringIO(text), parse_dates=["date", "open", "close"])
    return rows[rows["held"]].set_index("date")[["open", "close"]]


def theirs(name):
    calendar = exchange_calendars.get_calendar(NAMES[name], start="1990-01-01", end="2035-12-31")
    return calendar.schedule[["open", "close"]]


for name in NAMES:
    got, want = ours(name), theirs(name)
    missing, more = want.index.difference(got.index), got.index.difference(want.index)
    assert missing.empty and more.empty, f"{name}: without {list(missing)[:5]}, with {list(more)[:5]}"
    for column in ["open", "close"]:
        a = pandas.to_datetime(got[column], utc=True)
        b = pandas.to_datetime(want[column], utc=True)
        differ = a.index[a.values != b.values]
        assert differ.empty, f"{name}: {column} on {list(differ)[:5]}: {a[differ[0]]} and {b[differ[0]]}"
    print(f"{name}: {len(want)} sessions are the same")
