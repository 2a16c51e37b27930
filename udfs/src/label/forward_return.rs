//! `forward_return(close, horizon)`.

use super::path;
use crate::series::{Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// Return from a bar's close to that of a later bar.
#[derive(Debug)]
pub(super) struct ForwardReturn {
    signature: SeriesSignature,
    real: Input<Number>,
    horizon: Param<usize>,
    change: Output<f64>,
}

impl ForwardReturn {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "forward_return",
            super::LABELS,
            "Return from this close to the one `horizon` bars later, as a fraction; null where the series ends before",
            "",
        );
        let real = signature.input("real", Some("close"));
        let horizon = path::horizon(&mut signature);
        let change = signature.output("return");
        Self { signature, real, horizon, change }
    }
}

impl SeriesFunction for ForwardReturn {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach::ahead(params.get(self.horizon))
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        if let Some(out) = outputs.get(self.change) {
            forward_return(inputs.get(self.real), params.get(self.horizon), out);
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
