//! `ewm_std(x, span)`.

use super::STATISTICS;
use crate::series::{Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// Exponentially weighted standard deviation.
#[derive(Debug)]
pub(super) struct EwmStd {
    signature: SeriesSignature,
    real: Input<Number>,
    span: Param<usize>,
    std: Output<f64>,
}

impl EwmStd {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "ewm_std",
            STATISTICS,
            "Exponentially weighted standard deviation with decay 2 / (span + 1), unbiased, weights normalised over the \
             bars seen so far; null on the first bar",
            "pandas `Series.ewm(span=span).std()`",
        );
        let real = signature.input("real", Some("close"));
        let span = signature.integer("span", 2..=100_000, Some(20), "Span of the decay, in bars");
        let std = signature.output("std");
        Self { signature, real, span, std }
    }
}

impl SeriesFunction for EwmStd {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach::back(ewm_std_back(params.get(self.span)))
    }

    fn is_total(&self) -> bool {
        true
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        if let Some(out) = outputs.get(self.std) {
            ewm_std(inputs.get(self.real), params.get(self.span) as f64, out);
        }
        Ok(())
    }
}

/// How many bars back it looks: the weight of the forgotten past, `(1 - alpha)^back`, is below 1e-20, and a variance of that
/// share is 1e-10 of a standard deviation.
pub(crate) fn ewm_std_back(span: usize) -> usize {
    let keep: f64 = 1.0 - 2.0 / (span as f64 + 1.0);
    (1e-20f64.ln() / keep.ln()).ceil() as usize
}

/// Welford's update with decaying weights; the unbiased correction is `1 / (1 - sum(w^2) / sum(w)^2)`.
pub(crate) fn ewm_std(x: &[f64], span: f64, out: &mut [f64]) {
    let keep = 1.0 - 2.0 / (span + 1.0);
    let (mut weight, mut weight_squares, mut mean, mut moment) = (0.0, 0.0, 0.0, 0.0);
    for (x, out) in x.iter().zip(out) {
        weight = weight * keep + 1.0;
        weight_squares = weight_squares * keep * keep + 1.0;
        moment *= keep;
        let delta = x - mean;
        mean += delta / weight;
        moment += delta * (x - mean);
        let correction = weight - weight_squares / weight;
        *out = if correction > 1e-12 { (moment.max(0.0) / correction).sqrt() } else { f64::NAN };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_pandas() {
        // pandas 3.1: pd.Series([1, 2, 4, 3.5, 7]).ewm(span=3).std()
        let expected =
            [std::f64::consts::FRAC_1_SQRT_2, 1.581_138_830_084_189_8, 1.082_325_538_564_332, 2.437_608_558_376_625];
        let mut out = [0.0; 5];
        ewm_std(&[1.0, 2.0, 4.0, 3.5, 7.0], 3.0, &mut out);
        assert!(out[0].is_nan());
        for (got, want) in out[1..].iter().zip(expected) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
}
