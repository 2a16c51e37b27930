//! `triple_barrier(high, low, close, up, down, horizon, ...)`.

use super::path::{self, BarInputs, ClockParams, PathArgs};
use super::walk::{BarrierOptions, BarrierParams, WalkArgs};
use crate::series::{
    Choice, Inputs, Name, Number, OptionDefault, Optional, Output, Outputs, Param, Params, Reach, SeriesFunction,
    SeriesSignature, Time,
};
use datafusion_common::Result;

/// Which of three barriers the path touches first: one above, one below, and the end of the horizon.
#[derive(Debug)]
pub(super) struct TripleBarrier {
    signature: SeriesSignature,
    walk: WalkArgs,
    vertical: Param<Vertical>,
    side: Optional<Number>,
    ts: Optional<Time>,
    columns: Columns,
}

/// The label where nothing is touched.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Vertical {
    Zero,
    /// The sign of the return.
    Sign,
}

impl Choice for Vertical {
    const NAMES: &'static [(Self, &'static str)] = &[(Vertical::Zero, "zero"), (Vertical::Sign, "sign")];
}

#[derive(Debug, Clone, Copy)]
struct Columns {
    label: Output<i8>,
    barrier: Output<Name>,
    bars_to_hit: Output<i32>,
    hit_ts: Output<Time>,
    hit_price: Output<f64>,
    upper: Output<f64>,
    lower: Output<f64>,
    level_adjusted: Output<bool>,
    tied: Output<bool>,
    atr: Output<f64>,
    horizon_complete: Output<bool>,
    available_at: Output<Time>,
}

const BARRIERS: [&str; 3] = ["upper", "lower", "none"];
const UPPER: u8 = 0;
const LOWER: u8 = 1;
const NONE: u8 = 2;

impl Columns {
    fn declare(signature: &mut SeriesSignature) -> Self {
        Self {
            label: signature.output("label"),
            barrier: signature.name_output("barrier", &BARRIERS),
            bars_to_hit: signature.output("bars_to_hit"),
            hit_ts: signature.output("hit_ts"),
            hit_price: signature.output("hit_price"),
            upper: signature.output("upper"),
            lower: signature.output("lower"),
            level_adjusted: signature.output("level_adjusted"),
            tied: signature.output("tied"),
            atr: signature.output("atr"),
            horizon_complete: signature.output("horizon_complete"),
            available_at: signature.output("available_at"),
        }
    }

    /// Whether anything is read that takes a walk along the path.
    fn need_walk(&self, outputs: &Outputs<'_>) -> bool {
        outputs.is_requested(self.label)
            || outputs.is_requested(self.barrier)
            || outputs.is_requested(self.bars_to_hit)
            || outputs.any_requested([self.hit_ts, self.available_at])
            || outputs.is_requested(self.hit_price)
            || outputs.is_requested(self.tied)
    }
}

impl TripleBarrier {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "triple_barrier",
            super::LABELS,
            "Which barrier the bars after this one touch first: upper (1), lower (-1), or none within the horizon (0). Null \
             where the width is unknown or zero, or the horizon goes past the end untouched",
            "M. Lopez de Prado, Advances in Financial Machine Learning, ch. 3; levels and ties are ours",
        );
        let bars = BarInputs::declare(&mut signature);
        let (barriers, horizon) = BarrierParams::declare(&mut signature);
        let vertical = signature.choice(
            "vertical",
            Vertical::Zero,
            "The label when nothing is touched: 0, or the sign of the return",
        );
        let clock = ClockParams::declare(&mut signature);
        let (options, label_ts) = BarrierOptions::declare(&mut signature);
        let close_time = path::close_time(&mut signature);
        let side = signature.option("side", "1 long, -1 short: `up` is then the distance to the profit below");
        let ts = signature.option_for("ts", OptionDefault::Time, &["hit_ts"], "time of a bar");
        let label_end = path::label_end(&mut signature);
        let columns = Columns::declare(&mut signature);
        let path = PathArgs { horizon, clock, label_ts, close_time, label_end };
        let walk = WalkArgs { bars, barriers, options, path };
        Self { signature, walk, vertical, side, ts, columns }
    }
}

impl SeriesFunction for TripleBarrier {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach { back: self.walk.back(params), ahead: self.walk.path.ahead(params) }
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.walk.path.check(params)
    }

    fn always_uses(&self, option: &str, params: &Params) -> bool {
        self.walk.path.always_uses(option, params)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let columns = &self.columns;
        let walk = self.walk.read(inputs, params, inputs.optional(self.side))?;
        let vertical = params.get(self.vertical);
        let ts = inputs.optional(self.ts);
        let need_walk = columns.need_walk(outputs);
        for row in outputs.first_read()..inputs.len() {
            if !walk.is_entry(row) {
                continue;
            }
            outputs.set(columns.atr, row, walk.widths[row]);
            let (last, complete) = walk.path.last(row);
            outputs.set(columns.horizon_complete, row, complete);
            let Some(barriers) = walk.barriers(row) else { continue };
            outputs.set(columns.upper, row, barriers.upper);
            outputs.set(columns.lower, row, barriers.lower);
            outputs.set(columns.level_adjusted, row, barriers.adjusted);
            if !need_walk {
                continue;
            }
            let known_at = match walk.touch(row, last, &barriers, walk.tie) {
                Some(touch) => {
                    outputs.set(columns.tied, row, touch.tied);
                    outputs.set(columns.bars_to_hit, row, walk.path.bars(row, touch.row));
                    if let Some(ts) = ts {
                        outputs.set(columns.hit_ts, row, ts[touch.row]);
                    }
                    if touch.side != 0 {
                        outputs.set(columns.label, row, touch.side);
                        outputs.set(columns.barrier, row, if touch.side > 0 { UPPER } else { LOWER });
                        outputs.set(columns.hit_price, row, touch.price);
                    }
                    walk.path.close_time(touch.row)
                }
                // By the wall clock a horizon may hold no bar at all: then nothing is known.
                None if complete && last > row => {
                    outputs.set(columns.tied, row, false);
                    outputs.set(columns.barrier, row, NONE);
                    if vertical == Vertical::Zero {
                        outputs.set(columns.label, row, 0);
                    } else if let Some(target) = walk.path.target(row) {
                        let change = walk.price[target] - walk.price[row];
                        outputs.set(columns.label, row, i8::from(change > 0.0) - i8::from(change < 0.0));
                    }
                    walk.path.end_time(row, last)
                }
                None => continue,
            };
            if let Some(time) = known_at {
                outputs.set(columns.available_at, row, time);
            }
        }
        Ok(())
    }
}
