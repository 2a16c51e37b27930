//! `bars_since(condition)`.

use super::EVENTS;
use crate::series::{Condition, Input, Inputs, Output, Outputs, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::Result;

/// Bars since a condition was last true.
#[derive(Debug)]
pub(super) struct BarsSince {
    signature: SeriesSignature,
    condition: Input<Condition>,
    bars: Output<i32>,
}

impl BarsSince {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "bars_since",
            EVENTS,
            "Bars since the condition was last true: 0 on that bar, null before it was ever true",
            "",
        );
        let condition = signature.input("condition", None);
        let bars = signature.output("bars");
        Self { signature, condition, bars }
    }
}

impl SeriesFunction for BarsSince {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, _: &Params) -> Reach {
        Reach::history()
    }

    fn evaluate(&self, inputs: &Inputs<'_>, _: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        if let Some(out) = outputs.get(self.bars) {
            let mut last = None;
            for (row, (hit, out)) in inputs.get(self.condition).iter().zip(out).enumerate() {
                if *hit {
                    last = Some(row);
                }
                if let Some(bars) = last.and_then(|at| i32::try_from(row - at).ok()) {
                    *out = bars;
                }
            }
        }
        Ok(())
    }
}
