"""Back-tests beside vectorbt and backtesting.py, and figures beside empyrical and quantstats, on real candles with random signals.

usage: backtests.py TALLOW CANDLES FOLDER
Prints, for each comparison, how many trades or figures were compared; the first that differs ends it.
Needs vectorbt, backtesting, empyrical-reloaded, quantstats and pyarrow.
"""
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow.dataset as dataset

warnings.filterwarnings("ignore")
import backtesting
import empyrical
import quantstats.stats
import vectorbt

tallow, candles, folder = sys.argv[1:]
backtesting.backtesting._tqdm = lambda rows, **_: rows
SYMBOLS, CASH, FEE = 60, 1000.0, 0.001

bars = dataset.dataset(candles).to_table(columns=["symbol", "ts", "open", "high", "low", "close"]).to_pandas()
bars = bars[bars.symbol.isin(sorted(bars.symbol.unique())[:SYMBOLS])].dropna()
bars = bars[(bars[["open", "high", "low", "close"]] > 0).all(axis=1)].sort_values(["symbol", "ts"])
bars["ts"] = pd.to_datetime(bars.ts, utc=True)
dice = np.random.default_rng(5)
for signal, share in {"buy": 0.05, "sell": 0.03, "short": 0.04, "cover": 0.03}.items():
    # backtesting.py does not look at the first bar.
    bars[signal] = (dice.random(len(bars)) < share) & bars.duplicated("symbol")
source = os.path.join(folder, "bars.parquet")
bars.to_parquet(source, index=False)
of_symbols = {symbol: rows.set_index("ts") for symbol, rows in bars.groupby("symbol")}


def query(sql):
    result = os.path.join(folder, "result.parquet")
    run = subprocess.run([tallow, "--candles", source, "query", "-q", "-o", result, "-c", sql], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return pd.read_parquet(result)


def own(arguments):
    names = ["side", "entry_ts", "entry_price", "exit_ts", "exit_price", "pnl", "reason"]
    columns = ", ".join(f"t['{name}'] as {name}" for name in names)
    return query(
        f"select symbol, {columns} from (select symbol, unnest(b['trades']) as t from (select symbol, "
        f"backtest(open, high, low, close, {arguments}) as b from candles))"
    )


def compare(what, got, want):
    """`want`: symbol, times and prices of entry and exit, and what was gained, where that is comparable."""
    left = {(r.symbol, r.entry_ts, r.exit_ts, r.side): r for r in got.itertuples()}
    for symbol, side, entered, paid, exited, got_for, pnl in want:
        trade = left.pop((symbol, entered, exited, side), None)
        near = lambda a, b: abs(a - b) <= 1e-9 * max(1.0, abs(b))
        same = trade is not None and near(trade.entry_price, paid) and near(trade.exit_price, got_for)
        if not same or (pnl is not None and abs(trade.pnl - pnl) > 1e-7 * max(1.0, abs(pnl))):
            sys.exit(f"{what}: {symbol} {side} {entered} {paid} to {exited} {got_for} {pnl}: {trade}")
    if left:
        sys.exit(f"{what}: {len(left)} more, such as {next(iter(left.values()))}")
    print(f"{what}: {len(want)} trades")
    return len(want)


def of_vectorbt(stop, target, trail, both_sides):
    want = []
    levels = {"sl_stop": trail or stop, "tp_stop": target, "sl_trail": True if trail else None}
    levels = {name: level for name, level in levels.items() if level is not None}
    for symbol, rows in of_symbols.items():
        late = {signal: rows[signal].shift(1, fill_value=False) for signal in ["buy", "sell", "short", "cover"]}
        if both_sides:
            # Signals that contradict each other are nothing.
            buy, sell, short, cover = late.values()
            levels |= {"short_entries": short & ~buy & ~cover, "short_exits": cover & ~short}
            late |= {"buy": buy & ~short & ~sell, "sell": sell & ~buy}
        portfolio = vectorbt.Portfolio.from_signals(
            rows.close, late["buy"], late["sell"], open=rows.open, high=rows.high, low=rows.low, price=rows.open,
            stop_entry_price="fillprice", fees=FEE, init_cash=CASH, freq="1D", **levels,
        )
        for trade in portfolio.trades.records_readable.to_dict("records"):
            if trade["Status"] == "Closed":
                want.append((
                    symbol, trade["Direction"].lower(), trade["Entry Timestamp"], trade["Avg Entry Price"],
                    trade["Exit Timestamp"], trade["Avg Exit Price"],
                    # How much is sold short in a reversal, vectorbt decides in another way.
                    None if both_sides else trade["PnL"],
                ))
    return want


compared = 0
for stop, target, trail in [(None,) * 3, (0.05, None, None), (None, 0.06, None), (0.04, 0.05, None), (None, None, 0.05), (None, 0.08, 0.04)]:
    arguments = f"entry => buy, exit => sell, profile => 'vectorbt', commission => {FEE}, cash => {CASH}"
    for name, level in {"stop": stop, "target": target, "trail": trail}.items():
        arguments += f", {name}_fraction => {level}" if level else ""
    what = f"vectorbt, stop {stop}, target {target}, trailing {trail}"
    compared += compare(what, own(arguments), of_vectorbt(stop, target, trail, False))
    arguments += ", short_entry => short, short_exit => cover"
    compared += compare(f"{what}, both sides", own(arguments), of_vectorbt(stop, target, trail, True))


class Levels(backtesting.Strategy):
    stop = target = None

    def init(self):
        pass

    def next(self):
        data = self.data
        if data.sell[-1] and self.position and not data.buy[-1]:
            self.position.close()
        if data.buy[-1] and not data.sell[-1] and not self.position:
            close = data.Close[-1]
            levels = {"sl": close * (1 - self.stop) if self.stop else None, "tp": close * (1 + self.target) if self.target else None}
            self.buy(size=1, **levels)


def of_backtesting(stop, target):
    want = []
    for symbol, rows in of_symbols.items():
        data = rows.rename(columns=str.capitalize).rename(columns={"Buy": "buy", "Sell": "sell"})
        data.index = data.index.tz_localize(None)
        test = backtesting.Backtest(data, Levels, cash=1_000_000, finalize_trades=True)
        for trade in test.run(stop=stop, target=target)._trades.to_dict("records"):
            want.append((
                symbol, "long", trade["EntryTime"].tz_localize("UTC"), trade["EntryPrice"],
                trade["ExitTime"].tz_localize("UTC"), trade["ExitPrice"], None,
            ))
    return want


for stop, target in [(None, None), (0.05, None), (None, 0.06), (0.04, 0.05)]:
    arguments = "entry => buy and not sell, exit => sell and not buy, profile => 'backtesting.py', end => 'last_open'"
    arguments += f", stop_price => close * {1 - stop}" if stop else ""
    arguments += f", target_price => close * {1 + target}" if target else ""
    compared += compare(f"backtesting.py, stop {stop}, target {target}", own(arguments), of_backtesting(stop, target))

class Waiting(backtesting.Strategy):
    """Entries that wait for a price, for three bars."""

    limit = stop = None
    way, since = 1, 0

    def init(self):
        pass

    def next(self):
        data, bar = self.data, len(self.data)
        enter, leave = data.buy[-1] and not data.sell[-1], data.sell[-1] and not data.buy[-1]
        if leave and self.position:
            self.position.close()
        if leave or bar - self.since >= 3:
            for order in [order for order in self.orders if not order.parent_trade and order.limit or order.stop]:
                order.cancel()
        if enter and not self.position:
            for order in list(self.orders):
                order.cancel()
            close = data.Close[-1]
            price = {"limit": close * (1 - self.way * self.limit)} if self.limit else {"stop": close * (1 + self.way * self.stop)}
            (self.buy if self.way > 0 else self.sell)(size=1, **price)
            self.since = bar


for limit, stop, way in [(0.01, None, 1), (None, 0.01, 1), (0.02, None, -1), (None, 0.005, -1)]:
    side = "short_" if way < 0 else ""
    arguments = f"{side}entry => buy and not sell, {side}exit => sell and not buy, profile => 'backtesting.py', end => 'last_open', "
    # Where all is sold short, a loss may be more than the account.
    arguments += "size => 0.01, "
    arguments += f"entry_limit_fraction => {limit}" if limit else f"entry_stop_fraction => {stop}"
    want = []
    for symbol, rows in of_symbols.items():
        data = rows.rename(columns=str.capitalize).rename(columns={"Buy": "buy", "Sell": "sell"})
        data.index = data.index.tz_localize(None)
        test = backtesting.Backtest(data, Waiting, cash=1_000_000, finalize_trades=True)
        for trade in test.run(limit=limit, stop=stop, way=way)._trades.to_dict("records"):
            want.append((
                symbol, "long" if way > 0 else "short", trade["EntryTime"].tz_localize("UTC"), trade["EntryPrice"],
                trade["ExitTime"].tz_localize("UTC"), trade["ExitPrice"], None,
            ))
    got = own(arguments + ", valid_bars => 3")
    compared += compare(f"backtesting.py, {side or 'long_'}entry limit {limit}, stop {stop}", got, want)

# Figures of the returns of all symbols, and of the market.
closes = bars.pivot(index="ts", columns="symbol", values="close").dropna(axis=1)
returns = closes.pct_change().fillna(0.0)
market = returns.mean(axis=1)
figures = {
    "total_return(r)": lambda r: empyrical.cum_returns_final(r),
    "cagr(r)": lambda r: empyrical.annual_return(r),
    "volatility(r)": lambda r: empyrical.annual_volatility(r),
    "sharpe(r)": lambda r: empyrical.sharpe_ratio(r),
    "sharpe(r, 252, 0.0001)": lambda r: empyrical.sharpe_ratio(r, risk_free=0.0001),
    "sortino(r)": lambda r: empyrical.sortino_ratio(r),
    "calmar(r, ts)": lambda r: empyrical.calmar_ratio(r),
    "max_drawdown(r, ts)": lambda r: empyrical.max_drawdown(r),
    "tail_ratio(r)": lambda r: empyrical.tail_ratio(r),
    "value_at_risk(r)": lambda r: empyrical.value_at_risk(r),
    "cvar(r)": lambda r: empyrical.conditional_value_at_risk(r),
    "omega(r)": lambda r: empyrical.omega_ratio(r),
    "stability(r, ts)": lambda r: empyrical.stability_of_timeseries(r),
    "ulcer_index(r, ts)": lambda r: quantstats.stats.ulcer_index(r),
    "beta_to(r, m)": lambda r: empyrical.beta(r, market),
    "alpha_to(r, m)": lambda r: empyrical.alpha(r, market),
    "up_capture(r, m)": lambda r: empyrical.up_capture(r, market),
    "down_capture(r, m)": lambda r: empyrical.down_capture(r, market),
}
long = returns.melt(ignore_index=False, value_name="r").reset_index()
long["m"] = long.ts.map(market)
long["close"] = 1.0
source = os.path.join(folder, "returns.parquet")
long.to_parquet(source, index=False)
names = {sql: f"f{i}" for i, sql in enumerate(figures)}
got = query("select symbol, " + ", ".join(f"{sql} as {name}" for sql, name in names.items()) + " from candles group by symbol")
got = got.set_index("symbol")
for sql, of in figures.items():
    for symbol in returns:
        want, own_figure = float(of(returns[symbol])), got.loc[symbol, names[sql]]
        if not abs(own_figure - want) <= 1e-12 * max(1.0, abs(want)) * (1e3 if "capture" in sql or "alpha" in sql else 1):
            sys.exit(f"{sql} of {symbol}: {own_figure!r}, expected {want!r}")
print(f"figures: {len(figures)} of {len(returns.columns)} symbols")
print(f"{compared} trades are the same")
