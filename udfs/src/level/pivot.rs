//! `pivot_high(high, k)` and `pivot_low(low, k)`.

use super::LEVELS;
use crate::series::{Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// A swing pivot, reported when it is confirmed.
#[derive(Debug)]
pub(super) struct Pivot {
    signature: SeriesSignature,
    real: Input<Number>,
    k: Param<usize>,
    pivot: Output<f64>,
    high: bool,
}

impl Pivot {
    /// Swing highs.
    pub fn high() -> Self {
        Self::new("pivot_high", "high", true, "Price of a swing high")
    }

    /// Swing lows.
    pub fn low() -> Self {
        Self::new("pivot_low", "low", false, "Price of a swing low")
    }

    fn new(name: &str, column: &'static str, high: bool, what: &str) -> Self {
        let doc = format!(
            "{what} on the bar that confirms it, which is the k-th after the pivot; null on all other bars. The pivot is \
             beyond the k bars before it and not exceeded by the k bars after it"
        );
        let mut signature = SeriesSignature::new(name, LEVELS, &doc, "");
        let real = signature.input("real", Some(column));
        let k = signature.integer("k", 1..=10_000, Some(5), "Bars on each side");
        let pivot = signature.output("pivot");
        Self { signature, real, k, pivot, high }
    }
}

impl SeriesFunction for Pivot {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach::back(2 * params.get(self.k))
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        if let Some(out) = outputs.get(self.pivot) {
            pivot(inputs.get(self.real), params.get(self.k), self.high, out);
        }
        Ok(())
    }
}

fn pivot(x: &[f64], k: usize, high: bool, out: &mut [f64]) {
    for (window, out) in x.windows(2 * k + 1).zip(out.iter_mut().skip(2 * k)) {
        if let Some(price) = extreme_in_the_middle(window, high) {
            *out = price;
        }
    }
}

/// The middle of a window of odd length, if it is a pivot. Of equal extremes the first is one: strictly beyond what came
/// before, not exceeded by what follows.
pub(super) fn extreme_in_the_middle(window: &[f64], high: bool) -> Option<f64> {
    let (sign, k) = (if high { 1.0 } else { -1.0 }, window.len() / 2);
    let peak = sign * window[k];
    let is_pivot = window[..k].iter().all(|v| sign * v < peak) && window[k + 1..].iter().all(|v| sign * v <= peak);
    is_pivot.then_some(window[k])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_on_the_confirming_bar() {
        let mut out = [f64::NAN; 7];
        pivot(&[1.0, 2.0, 5.0, 3.0, 2.0, 4.0, 1.0], 2, true, &mut out);
        assert_eq!(out[4], 5.0);
        assert_eq!(out.iter().filter(|v| v.is_finite()).count(), 1);
    }

    #[test]
    fn of_equal_lows_the_first_is_the_pivot() {
        let mut out = [f64::NAN; 6];
        pivot(&[3.0, 1.0, 1.0, 3.0, 4.0, 5.0], 1, false, &mut out);
        assert_eq!(out[2], 1.0);
        assert!(out[3].is_nan());
    }
}
