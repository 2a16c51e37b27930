//! `cusum_events(close, threshold)`.

use crate::series::{
    Input, Inputs, Number, Output, Outputs, Param, ParamValue, Params, Reach, SeriesFunction, SeriesSignature, Standing,
};
use datafusion_common::Result;

/// Bars on which the price has drifted by more than a threshold since the last event.
#[derive(Debug)]
pub(super) struct CusumEvents {
    signature: SeriesSignature,
    real: Input<Number>,
    threshold: Param<f64>,
    event: Output<bool>,
}

impl CusumEvents {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "cusum_events",
            super::LABELS,
            "Whether the log returns since the last event on that side add up to more than the threshold: the symmetric \
             CUSUM filter, to sample the bars that are worth a label. Does not look ahead",
            "M. Lopez de Prado, Advances in Financial Machine Learning, ch. 2.5.2",
        );
        let real = signature.input("real", Some("close"));
        let threshold = signature.real("threshold", 1e-9..=100.0, None, "Drift of an event, as a log return");
        signature.example(threshold, ParamValue::Real(0.02));
        let event = signature.output("event");
        Self { signature, real, threshold, event }
    }
}

impl SeriesFunction for CusumEvents {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    /// Where the sums were last zero depends on everything before.
    fn reach(&self, _: &Params) -> Reach {
        Reach::history()
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        self.events(inputs, params, outputs);
        Ok(())
    }

    fn stands_after(&self, _: &Params) -> Option<usize> {
        Some(1)
    }

    fn stand(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<Box<dyn Standing>> {
        Ok(Box::new(self.events(inputs, params, outputs)))
    }
}

impl CusumEvents {
    fn events(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Cusum {
        let mut cusum = Cusum::new(params.get(self.threshold));
        let mut out = outputs.get(self.event);
        for (row, x) in inputs.get(self.real).iter().enumerate() {
            let event = cusum.add(*x);
            if let Some(out) = &mut out {
                out[row] = event;
            }
        }
        cusum
    }
}

/// The sums of both sides.
#[derive(Debug, Clone)]
struct Cusum {
    threshold: f64,
    last: f64,
    up: f64,
    down: f64,
}

impl Cusum {
    fn new(threshold: f64) -> Self {
        Self { threshold, last: f64::NAN, up: 0.0, down: 0.0 }
    }

    /// Whether a bar is an event; `None`: it has no return.
    fn add(&mut self, x: f64) -> Option<bool> {
        let step = (x / std::mem::replace(&mut self.last, x)).ln();
        if !step.is_finite() {
            return None;
        }
        self.up = (self.up + step).max(0.0);
        self.down = (self.down + step).min(0.0);
        if self.down < -self.threshold {
            self.down = 0.0;
        } else if self.up > self.threshold {
            self.up = 0.0;
        } else {
            return Some(false);
        }
        Some(true)
    }
}

impl Standing for Cusum {
    fn push(&mut self, bar: &[f64], values: &mut [f64]) -> Result<()> {
        let event = bar.first().and_then(|x| self.add(*x));
        values[0] = event.map_or(f64::NAN, |event| f64::from(u8::from(event)));
        Ok(())
    }

    fn fork(&self) -> Box<dyn Standing> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_starts_anew_after_its_event() {
        let x = [0.0f64, 0.03, 0.06, 0.05, 0.02, -0.01, -0.01].map(f64::exp);
        let mut cusum = Cusum::new(0.05);
        let out = x.map(|x| cusum.add(x));
        let some = |b| Some(b);
        assert_eq!(out, [None, some(false), some(true), some(false), some(false), some(true), some(false)]);
    }
}
