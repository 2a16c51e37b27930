//! `bars_since(condition)`.

use super::EVENTS;
use crate::series::{
    Condition, Input, Inputs, Output, Outputs, Params, Reach, SeriesFunction, SeriesSignature, Standing,
};
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
        self.count(inputs, outputs);
        Ok(())
    }

    fn stands_after(&self, _: &Params) -> Option<usize> {
        Some(1)
    }

    fn stand(&self, inputs: &Inputs<'_>, _: &Params, outputs: &mut Outputs<'_>) -> Result<Box<dyn Standing>> {
        Ok(Box::new(self.count(inputs, outputs)))
    }
}

impl BarsSince {
    fn count(&self, inputs: &Inputs<'_>, outputs: &mut Outputs<'_>) -> Since {
        let mut since = Since(None);
        let mut out = outputs.get(self.bars);
        for (row, hit) in inputs.get(self.condition).iter().enumerate() {
            since.add(*hit);
            if let (Some(out), Some(bars)) = (&mut out, since.0) {
                out[row] = bars;
            }
        }
        since
    }
}

/// Bars since the condition was last true, if it ever was.
#[derive(Debug, Clone)]
struct Since(Option<i32>);

impl Since {
    fn add(&mut self, hit: bool) {
        self.0 = if hit { Some(0) } else { self.0.map(|bars| bars.saturating_add(1)) };
    }
}

impl Standing for Since {
    fn push(&mut self, bar: &[f64], values: &mut [f64]) -> Result<()> {
        self.add(bar.first().is_some_and(|hit| *hit != 0.0));
        values[0] = self.0.map_or(f64::NAN, f64::from);
        Ok(())
    }

    fn fork(&self) -> Box<dyn Standing> {
        Box::new(self.clone())
    }
}
