//! `forward_return(close, horizon)`.

use crate::series::{Bars, Inputs, OutputKind, Outputs, ParamValue, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// Return from a bar's close to that of a later bar.
#[derive(Debug)]
pub struct ForwardReturn {
    signature: SeriesSignature,
}

impl ForwardReturn {
    /// The function.
    #[allow(clippy::new_without_default, reason = "every function of the registry is made by `new`")]
    pub fn new() -> Self {
        let signature = SeriesSignature::new(
            "forward_return",
            super::LABELS,
            "Return from this close to the one `horizon` bars later, as a fraction; null where the series ends before",
            "",
        )
        .input("real", Some("close"))
        .param("horizon", super::path::HORIZON, Some(ParamValue::Int(6)), "How far to look, in bars")
        .output("return", OutputKind::Float);
        Self { signature }
    }
}

impl SeriesFunction for ForwardReturn {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach { back: Bars::Count(0), ahead: Bars::Count(params.bars(0)) }
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        if let Some(out) = outputs.float(0) {
            forward_return(inputs.number(0), params.bars(0), out);
        }
        Ok(())
    }
}

pub(super) fn forward_return(x: &[f64], horizon: usize, out: &mut [f64]) {
    for ((x, later), out) in x.iter().zip(x.iter().skip(horizon)).zip(out) {
        *out = (later - x) / x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bars_have_none() {
        let mut out = [f64::NAN; 4];
        forward_return(&[1.0, 2.0, 3.0, 1.0], 2, &mut out);
        assert_eq!(out[..2], [2.0, -0.5]);
        assert!(out[2].is_nan() && out[3].is_nan());
        let mut one = [f64::NAN];
        forward_return(&[1.0], 1, &mut one);
        assert!(one[0].is_nan());
    }
}
