//! The figures, one a row.

use super::returns::{
    alpha, avg_drawdown, beta, cagr, calmar, capture, cvar, kelly, kurtosis, longest_drawdown, max_drawdown, mean,
    omega, payoff, sharpe, skewness, sortino, sqn, stability, tail_ratio, total_return, ulcer_index, value_at_risk,
    volatility, win_rate,
};

/// A figure of values, others beside them, and parameters.
type Figure = fn(&[f64], &[f64], &[f64]) -> Option<f64>;

/// A figure.
#[derive(Debug)]
pub(super) struct Metric {
    pub name: &'static str,
    pub takes: Takes,
    pub params: &'static [Param],
    pub of: Figure,
    /// What it is.
    pub doc: &'static str,
    /// Where it comes from.
    pub source: &'static str,
}

/// What a figure is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Returns of bars.
    Returns,
    /// The same, in the order of their times.
    Ordered,
    /// Returns of bars, and those of a benchmark at the same bars.
    Paired,
    /// Gains of trades.
    Trades,
}

impl Takes {
    /// The columns of a call, and what they are.
    pub fn columns(self) -> &'static [(&'static str, &'static str)] {
        const RETURN: (&str, &str) = ("returns", "returns of bars, as fractions; that of the first bar is 0");
        match self {
            Takes::Returns => &[RETURN],
            Takes::Ordered => &[RETURN, ("ts", "their times; the rows may come in any order")],
            Takes::Paired => &[RETURN, ("benchmark", "returns of what they are compared with")],
            Takes::Trades => &[("gain", "gains of trades, as fractions or in money")],
        }
    }
}

/// A parameter: a literal.
#[derive(Debug)]
pub(super) struct Param {
    pub name: &'static str,
    pub default: f64,
    pub range: (f64, f64),
    pub doc: &'static str,
}

const PERIODS: Param =
    Param { name: "periods", default: 252.0, range: (1e-9, 1e9), doc: "bars a year: 252 of daily bars of stocks" };
const RISK_FREE: Param =
    Param { name: "risk_free", default: 0.0, range: (-1.0, 1.0), doc: "return of a bar that is free of risk" };
const REQUIRED: Param =
    Param { name: "required", default: 0.0, range: (-1.0, 1.0), doc: "return of a bar below which it is a loss" };
const SHARE: Param = Param { name: "share", default: 0.05, range: (0.0, 1.0), doc: "share of the worst bars" };

const EMPYRICAL: &str = "as empyrical computes it";

const fn of(
    name: &'static str,
    takes: Takes,
    params: &'static [Param],
    of: Figure,
    doc: &'static str,
    source: &'static str,
) -> Metric {
    Metric { name, takes, params, of, doc, source }
}

use Takes::{Ordered, Paired, Returns, Trades};

pub(super) static METRICS: [Metric; 28] = [
    of(
        "total_return",
        Returns,
        &[],
        |r, _, _| total_return(r),
        "What was gained over all bars, as a fraction",
        EMPYRICAL,
    ),
    of(
        "cagr",
        Returns,
        &[PERIODS],
        |r, _, p| cagr(r, p[0]),
        "What is gained in a year, compounded, as a fraction",
        EMPYRICAL,
    ),
    of(
        "volatility",
        Returns,
        &[PERIODS],
        |r, _, p| volatility(r, p[0]),
        "Standard deviation of the returns of a sample, of a year",
        EMPYRICAL,
    ),
    of(
        "sharpe",
        Returns,
        &[PERIODS, RISK_FREE],
        |r, _, p| sharpe(r, p[0], p[1]),
        "Sharpe ratio of a year: mean return over standard deviation of a sample",
        "W. Sharpe, Journal of Portfolio Management 21 (1994)",
    ),
    of(
        "sortino",
        Returns,
        &[PERIODS, REQUIRED],
        |r, _, p| sortino(r, p[0], p[1]),
        "Sortino ratio of a year: mean return over the root mean square of what all bars were short of the required return",
        EMPYRICAL,
    ),
    of(
        "omega",
        Returns,
        &[REQUIRED],
        |r, _, p| omega(r, p[0]),
        "What returns were above the required one over what they were below: by bars, the profit factor",
        "C. Keating and W. Shadwick (2002)",
    ),
    of(
        "tail_ratio",
        Returns,
        &[],
        |r, _, _| tail_ratio(r),
        "The return that 5 % of the bars are above over the one that 5 % are below, without signs",
        EMPYRICAL,
    ),
    of(
        "value_at_risk",
        Returns,
        &[SHARE],
        |r, _, p| value_at_risk(r, p[0]),
        "The return that a share of the bars is below",
        EMPYRICAL,
    ),
    of("cvar", Returns, &[SHARE], |r, _, p| cvar(r, p[0]), "Mean return of a share of the worst bars", EMPYRICAL),
    of("return_skewness", Returns, &[], |r, _, _| skewness(r), "Skewness of the returns, of a population", ""),
    of(
        "return_kurtosis",
        Returns,
        &[],
        |r, _, _| kurtosis(r),
        "Kurtosis of the returns, of a population: 3 where they are normal",
        "",
    ),
    of(
        "max_drawdown",
        Ordered,
        &[],
        |r, _, _| max_drawdown(r),
        "The furthest below its highest that the account was, as a fraction of it, not above 0",
        EMPYRICAL,
    ),
    of(
        "avg_drawdown",
        Ordered,
        &[],
        |r, _, _| avg_drawdown(r),
        "Mean depth of the stretches in which the account was below its highest, not above 0",
        "",
    ),
    of(
        "longest_drawdown",
        Ordered,
        &[],
        |r, _, _| longest_drawdown(r),
        "Bars of the longest stretch in which the account was below its highest",
        "",
    ),
    of(
        "ulcer_index",
        Ordered,
        &[],
        |r, _, _| ulcer_index(r),
        "Root of the sum of squared drawdowns over one bar less than all",
        "P. Martin and B. McCann (1989), as quantstats computes it",
    ),
    of(
        "calmar",
        Ordered,
        &[PERIODS],
        |r, _, p| calmar(r, p[0]),
        "What is gained in a year over the largest drawdown",
        "T. Young (1991)",
    ),
    of(
        "stability",
        Ordered,
        &[],
        |r, _, _| stability(r),
        "How much of the growth of the account's logarithm a straight line explains, from 0 to 1",
        EMPYRICAL,
    ),
    of("beta_to", Paired, &[], |r, b, _| beta(r, b), "Slope of the returns on those of a benchmark", EMPYRICAL),
    of(
        "alpha_to",
        Paired,
        &[PERIODS],
        |r, b, p| alpha(r, b, p[0]),
        "What is gained in a year beside what the benchmark explains, compounded",
        EMPYRICAL,
    ),
    of(
        "up_capture",
        Paired,
        &[PERIODS],
        |r, b, p| capture(r, b, p[0], 1.0),
        "Yearly gain over that of the benchmark, in the bars in which this rose",
        EMPYRICAL,
    ),
    of(
        "down_capture",
        Paired,
        &[PERIODS],
        |r, b, p| capture(r, b, p[0], -1.0),
        "Yearly gain over that of the benchmark, in the bars in which this fell",
        EMPYRICAL,
    ),
    of("trade_win_rate", Trades, &[], |x, _, _| win_rate(x), "Share of the trades that gained", ""),
    of("trade_profit_factor", Trades, &[], |x, _, _| omega(x, 0.0), "What trades gained over what trades lost", ""),
    of("trade_expectancy", Trades, &[], |x, _, _| mean(x), "Mean gain of a trade", ""),
    of(
        "trade_payoff",
        Trades,
        &[],
        |x, _, _| payoff(x),
        "Mean gain of those that gained over mean loss of those that lost",
        "",
    ),
    of(
        "trade_sqn",
        Trades,
        &[],
        |x, _, _| sqn(x),
        "System quality number: mean gain over its standard deviation, times the root of the number of trades",
        "V. Tharp, Trade Your Way to Financial Freedom",
    ),
    of(
        "trade_kelly",
        Trades,
        &[],
        |x, _, _| kelly(x),
        "Kelly's fraction of the account: win rate - (1 - win rate) / payoff",
        "J. Kelly, Bell System Technical Journal 35 (1956)",
    ),
    of("trade_worst", Trades, &[], |x, _, _| x.iter().copied().reduce(f64::min), "The worst trade", ""),
];

impl Metric {
    pub fn usage(&self) -> String {
        let columns = self.takes.columns().iter().map(|(name, _)| (*name).to_string());
        let params = self.params.iter().map(|param| format!("{} => {}", param.name, param.default));
        format!("{}({})", self.name, columns.chain(params).collect::<Vec<_>>().join(", "))
    }

    pub fn arguments(&self) -> Vec<(&'static str, &'static str)> {
        let params = self.params.iter().map(|param| (param.name, param.doc));
        self.takes.columns().iter().copied().chain(params).collect()
    }

    /// A statement over the columns of a candle.
    pub fn example(&self) -> String {
        let gain = "close / open - 1";
        let args = match self.takes {
            Takes::Returns | Takes::Trades => gain.to_string(),
            Takes::Ordered => format!("{gain}, ts"),
            Takes::Paired => format!("{gain}, high / low - 1"),
        };
        format!("SELECT symbol, {}({args}) AS figure FROM candles GROUP BY symbol", self.name)
    }
}
