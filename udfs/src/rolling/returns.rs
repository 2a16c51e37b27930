//! `log_return(x, periods)` and `simple_return(x, periods)`.

use super::STATISTICS;
use crate::series::{Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// The return over a number of bars.
#[derive(Debug)]
pub(super) struct Returns {
    signature: SeriesSignature,
    real: Input<Number>,
    periods: Param<usize>,
    change: Output<f64>,
    log: bool,
}

impl Returns {
    /// `ln(x / x[periods ago])`.
    pub fn log() -> Self {
        Self::new("log_return", "Natural logarithm of the price ratio over `periods` bars", true)
    }

    /// `x / x[periods ago] - 1`.
    pub fn simple() -> Self {
        Self::new("simple_return", "Relative change over `periods` bars, as a fraction", false)
    }

    fn new(name: &str, doc: &str, log: bool) -> Self {
        let mut signature = SeriesSignature::new(name, STATISTICS, doc, "");
        let real = signature.input("real", Some("close"));
        let periods = signature.integer("periods", 1..=1_000_000, Some(1), "Bars between the two prices");
        let change = signature.output("return");
        Self { signature, real, periods, change, log }
    }
}

impl SeriesFunction for Returns {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach::back(params.get(self.periods))
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let (x, n) = (inputs.get(self.real), params.get(self.periods));
        if let Some(out) = outputs.get(self.change)
            && n < x.len()
        {
            for ((out, now), then) in out[n..].iter_mut().zip(&x[n..]).zip(x) {
                *out = if self.log { (now / then).ln() } else { now / then - 1.0 };
            }
        }
        Ok(())
    }
}
