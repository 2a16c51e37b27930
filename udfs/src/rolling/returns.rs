//! `log_return(x, periods)` and `simple_return(x, periods)`.

use super::STATISTICS;
use crate::series::{
    Inputs, OutputKind, Outputs, ParamKind, ParamValue, Params, Reach, SeriesFunction, SeriesSignature,
};
use datafusion_common::Result;

/// The return over a number of bars.
#[derive(Debug)]
pub struct Returns {
    signature: SeriesSignature,
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
        let signature = SeriesSignature::new(name, STATISTICS, doc, "")
            .input("real", Some("close"))
            .param(
                "periods",
                ParamKind::Integer { min: 1, max: 1_000_000 },
                Some(ParamValue::Int(1)),
                "Bars between the two prices",
            )
            .output("return", OutputKind::Float);
        Self { signature, log }
    }
}

impl SeriesFunction for Returns {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach::back(params.bars(0))
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let (x, n) = (inputs.number(0), params.bars(0));
        if let Some(out) = outputs.float(0)
            && n < x.len()
        {
            for ((out, now), then) in out[n..].iter_mut().zip(&x[n..]).zip(x) {
                *out = if self.log { (now / then).ln() } else { now / then - 1.0 };
            }
        }
        Ok(())
    }
}
