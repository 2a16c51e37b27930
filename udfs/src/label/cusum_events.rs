//! `cusum_events(close, threshold)`.

use crate::series::{
    Input, Inputs, Number, Output, Outputs, Param, ParamValue, Params, Reach, SeriesFunction, SeriesSignature,
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
        if let Some(out) = outputs.get(self.event) {
            cusum_events(inputs.get(self.real), params.get(self.threshold), out);
        }
        Ok(())
    }
}

fn cusum_events(x: &[f64], threshold: f64, out: &mut [Option<bool>]) {
    let (mut up, mut down) = (0.0f64, 0.0f64);
    for (pair, out) in x.windows(2).zip(out.iter_mut().skip(1)) {
        let step = (pair[1] / pair[0]).ln();
        if !step.is_finite() {
            continue;
        }
        up = (up + step).max(0.0);
        down = (down + step).min(0.0);
        *out = Some(true);
        if down < -threshold {
            down = 0.0;
        } else if up > threshold {
            up = 0.0;
        } else {
            *out = Some(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_starts_anew_after_its_event() {
        let x = [0.0f64, 0.03, 0.06, 0.05, 0.02, -0.01, -0.01].map(f64::exp);
        let mut out = [None; 7];
        cusum_events(&x, 0.05, &mut out);
        let some = |b| Some(b);
        assert_eq!(out, [None, some(false), some(true), some(false), some(false), some(true), some(false)]);
    }
}
