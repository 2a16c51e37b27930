//! The width of a bar: the price distance that multiples count in.

use super::path::Candles;
use crate::rolling::{ewm_std, ewm_std_back};
use crate::series::{Bars, Choice, Param, Params, SeriesSignature};
use crate::technical::{atr, atr_back};

/// The doc of a series of widths where the average true range is the default.
pub(super) const UNIT: &str = "width in price, instead of the average true range";

/// The period of a width that is an average true range.
pub(super) fn timeperiod(signature: &mut SeriesSignature) -> Param<usize> {
    signature.integer("timeperiod", 2..=100_000, Some(14), "Bars of the average true range")
}

/// What a width is, as it is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Measure {
    Atr,
    Percent,
    Sigma,
}

impl Choice for Measure {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Measure::Atr, "atr"), (Measure::Percent, "pct"), (Measure::Sigma, "sigma")];
}

/// The parameters that say what a width is.
#[derive(Debug, Clone, Copy)]
pub(super) struct WidthParams {
    pub measure: Param<Measure>,
    pub pct: Param<f64>,
    pub span: Param<usize>,
    pub timeperiod: Param<usize>,
}

impl WidthParams {
    pub fn read(&self, params: &Params) -> Width {
        match params.get(self.measure) {
            Measure::Atr => Width::Atr(params.get(self.timeperiod)),
            Measure::Percent => Width::Percent(params.get(self.pct)),
            Measure::Sigma => Width::Sigma(params.get(self.span)),
        }
    }
}

/// What a width is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Width {
    /// Average true range of so many bars.
    Atr(usize),
    /// A share of the price.
    Percent(f64),
    /// Exponentially weighted standard deviation of simple returns, of this span.
    Sigma(usize),
}

impl Width {
    /// How many bars back it looks.
    pub fn back(self) -> Bars {
        match self {
            Width::Atr(period) => atr_back(period),
            Width::Percent(_) => Bars::Count(0),
            // A return looks one bar further back.
            Width::Sigma(span) => Bars::Count(ewm_std_back(span) + 1),
        }
    }

    /// The width of every bar, in price; NaN where there is none yet.
    pub fn of(self, candles: &Candles<'_>) -> Vec<f64> {
        let Candles { high, low, close } = *candles;
        match self {
            Width::Atr(period) => atr(high, low, close, period),
            Width::Percent(share) => close.iter().map(|c| c * share).collect(),
            Width::Sigma(span) => {
                let mut sigma = vec![f64::NAN; close.len()];
                let returns: Vec<f64> = close.windows(2).map(|c| c[1] / c[0] - 1.0).collect();
                ewm_std(&returns, span as f64, &mut sigma[1..]);
                sigma.iter().zip(close).map(|(sigma, close)| sigma * close).collect()
            }
        }
    }
}
