//! Figures of returns and trades, and how likely they are luck.

mod aggregate;
mod luck;
mod normal;
mod returns;
mod scalar;
mod table;

use datafusion_expr::{AggregateUDF, ScalarUDF};

pub use luck::{deflated_sharpe, effective_trials, expected_max_sharpe};
pub use normal::{below, quantile as normal_quantile};

/// Figures of a series of returns, bar by bar; `None` where it does not have one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// What was gained over all bars.
    pub total_return: Option<f64>,
    /// What is gained in a year, compounded.
    pub cagr: Option<f64>,
    /// Standard deviation, of a year.
    pub volatility: Option<f64>,
    /// Sharpe ratio of a year.
    pub sharpe: Option<f64>,
    /// Sortino ratio of a year.
    pub sortino: Option<f64>,
    /// The furthest below the highest.
    pub max_drawdown: Option<f64>,
    /// Skewness of a population.
    pub skewness: Option<f64>,
    /// Kurtosis of a population, 3 where returns are normal.
    pub kurtosis: Option<f64>,
}

impl Figures {
    /// Of returns of bars, so many of which are a year.
    pub fn of(r: &[f64], periods: f64) -> Figures {
        Figures {
            total_return: returns::total_return(r),
            cagr: returns::cagr(r, periods),
            volatility: returns::volatility(r, periods),
            sharpe: returns::sharpe(r, periods, 0.0),
            sortino: returns::sortino(r, periods, 0.0),
            max_drawdown: returns::max_drawdown(r),
            skewness: returns::skewness(r),
            kurtosis: returns::kurtosis(r),
        }
    }
}

pub(super) fn aggregates() -> impl Iterator<Item = AggregateUDF> {
    aggregate::MetricAggregate::all().map(Into::into)
}

pub(super) fn scalars() -> impl Iterator<Item = ScalarUDF> {
    scalar::LuckFunction::all().map(Into::into)
}
