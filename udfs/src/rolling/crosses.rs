//! `crosses_above(a, b)` and `crosses_below(a, b)`.

use super::EVENTS;
use crate::series::{Input, Inputs, Number, Output, Outputs, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// True on the bar where one series crosses another.
#[derive(Debug)]
pub(super) struct Crosses {
    signature: SeriesSignature,
    a: Input<Number>,
    b: Input<Number>,
    crosses: Output<bool>,
    above: bool,
}

impl Crosses {
    /// `a > b` now and `a <= b` on the previous valid bar.
    pub fn above() -> Self {
        Self::new("crosses_above", "True where a rises through b: a > b now and a <= b on the previous valid bar", true)
    }

    /// `a < b` now and `a >= b` on the previous valid bar.
    pub fn below() -> Self {
        Self::new(
            "crosses_below",
            "True where a falls through b: a < b now and a >= b on the previous valid bar",
            false,
        )
    }

    fn new(name: &str, doc: &str, above: bool) -> Self {
        let mut signature = SeriesSignature::new(name, EVENTS, doc, "");
        let (a, b) = (signature.input("a", None), signature.input("b", None));
        let crosses = signature.output("crosses");
        Self { signature, a, b, crosses, above }
    }
}

impl SeriesFunction for Crosses {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, _: &Params) -> Reach {
        Reach::back(1)
    }

    fn is_total(&self) -> bool {
        true
    }

    fn evaluate(&self, inputs: &Inputs<'_>, _: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let (a, b) = (inputs.get(self.a), inputs.get(self.b));
        if let Some(out) = outputs.get(self.crosses) {
            if self.above { crosses_above(a, b, out) } else { crosses_above(b, a, out) }
        }
        Ok(())
    }
}

fn crosses_above(a: &[f64], b: &[f64], out: &mut [Option<bool>]) {
    for i in 1..a.len() {
        out[i] = Some(a[i] > b[i] && a[i - 1] <= b[i - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_counts_only_when_left_upwards() {
        let mut out = [None; 3];
        crosses_above(&[10.0, 10.0, 12.0], &[10.0, 10.0, 10.0], &mut out);
        assert_eq!(out, [None, Some(false), Some(true)]);
    }
}
