//! `z_score(x, timeperiod)`.

use super::STATISTICS;
use crate::series::{Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// Distance from the rolling mean in population standard deviations.
#[derive(Debug)]
pub(super) struct ZScore {
    signature: SeriesSignature,
    real: Input<Number>,
    timeperiod: Param<usize>,
    z: Output<f64>,
}

impl ZScore {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "z_score",
            STATISTICS,
            "(x - mean) / population standard deviation over the last `timeperiod` bars; null where they are all equal",
            "",
        );
        signature.aliases.push("zscore".to_string());
        let real = signature.input("real", Some("close"));
        let timeperiod = signature.integer("timeperiod", 2..=100_000, Some(20), "Bars in the window");
        let z = signature.output("z");
        Self { signature, real, timeperiod, z }
    }
}

impl SeriesFunction for ZScore {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach::back(params.get(self.timeperiod) - 1)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        if let Some(out) = outputs.get(self.z) {
            z_score(inputs.get(self.real), params.get(self.timeperiod), out);
        }
        Ok(())
    }
}

/// Two passes over each window: a running sum of squares would lose the digits that a z-score is made of, and would
/// make a value depend on where the series begins.
fn z_score(x: &[f64], n: usize, out: &mut [f64]) {
    for (window, out) in x.windows(n).zip(out.iter_mut().skip(n - 1)) {
        let mean = window.iter().sum::<f64>() / n as f64;
        let variance = window.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64;
        // Equal values have a mean that may differ from them by rounding: that is not a deviation.
        let flat = window.iter().all(|v| *v == window[0]);
        *out = if flat { f64::NAN } else { (window[n - 1] - mean) / variance.sqrt() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Mean 2, deviations -1 0 1, population variance 2/3.
        let mut out = [f64::NAN; 4];
        z_score(&[1.0, 2.0, 3.0, 3.0], 3, &mut out);
        assert!(out[1].is_nan());
        assert!((out[2] - 1.0 / (2.0f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn a_flat_window_has_no_value() {
        let mut out = [0.0; 3];
        z_score(&[0.1, 0.1, 0.1], 3, &mut out);
        assert!(out[2].is_nan());
    }
}
