//! `meta_label(high, low, close, side, up, down, horizon, ...)`.

use super::path::{self, BarInputs, ClockParams, PathArgs};
use super::walk::{BarrierOptions, BarrierParams, WalkArgs};
use crate::series::{
    Input, Inputs, Name, Number, Output, Outputs, Params, Reach, SeriesFunction, SeriesSignature, Time,
};
use datafusion_common::Result;

/// Whether a position taken on a side would have made money when the first of three barriers was touched.
#[derive(Debug)]
pub(super) struct MetaLabel {
    signature: SeriesSignature,
    walk: WalkArgs,
    side: Input<Number>,
    columns: Columns,
}

#[derive(Debug, Clone, Copy)]
struct Columns {
    bin: Output<i8>,
    ret: Output<f64>,
    barrier: Output<Name>,
    bars: Output<i32>,
    horizon_complete: Output<bool>,
    available_at: Output<Time>,
}

const BARRIERS: [&str; 3] = ["profit", "stop", "none"];
const PROFIT: u8 = 0;
const STOP: u8 = 1;
const NONE: u8 = 2;

impl Columns {
    fn declare(signature: &mut SeriesSignature) -> Self {
        Self {
            bin: signature.output("bin"),
            ret: signature.output("ret"),
            barrier: signature.name_output("barrier", &BARRIERS),
            bars: signature.output("bars"),
            horizon_complete: signature.output("horizon_complete"),
            available_at: signature.output("available_at"),
        }
    }
}

impl MetaLabel {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "meta_label",
            super::LABELS,
            "1 where a position on the given side (1 long, -1 short) makes money at the first of its profit (`up`), its stop \
             (`down`) and the end of the horizon, else 0. Tie 'down' means the stop, whichever the side. Bars without a side, \
             or with side 0, have none",
            "M. Lopez de Prado, Advances in Financial Machine Learning, ch. 3.6",
        );
        let bars = BarInputs::declare(&mut signature);
        let side = signature.input("side", None);
        let (barriers, horizon) = BarrierParams::declare(&mut signature);
        let clock = ClockParams::declare(&mut signature);
        let (options, label_ts) = BarrierOptions::declare(&mut signature);
        let close_time = path::close_time(&mut signature);
        let label_end = path::label_end(&mut signature);
        let columns = Columns::declare(&mut signature);
        let path = PathArgs { horizon, clock, label_ts, close_time, label_end };
        let walk = WalkArgs { bars, barriers, options, path };
        Self { signature, walk, side, columns }
    }
}

impl SeriesFunction for MetaLabel {
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
        let sides = inputs.get(self.side);
        let walk = self.walk.read(inputs, params, Some(sides))?;
        for (row, &side) in sides.iter().enumerate() {
            if !walk.is_entry(row) || side == 0.0 {
                continue;
            }
            let (last, complete) = walk.path.last(row);
            outputs.set(columns.horizon_complete, row, complete);
            let Some(barriers) = walk.barriers(row) else { continue };
            let touch = walk.touch(row, last, &barriers, walk.tie.of_position(side));
            let (exit, price) = match touch {
                Some(touch) => (touch.row, Some(touch.price)),
                None if complete && last > row => (last, walk.path.target(row).map(|target| walk.price[target])),
                None => continue,
            };
            let side = side.signum();
            let known_at = if touch.is_some() { walk.path.close_time(exit) } else { walk.path.end_time(row, exit) };
            if let Some(time) = known_at {
                outputs.set(columns.available_at, row, time);
            }
            outputs.set(columns.bars, row, walk.path.bars(row, exit));
            match touch {
                Some(touch) if touch.side != 0 => {
                    let name = if f64::from(touch.side) == side { PROFIT } else { STOP };
                    outputs.set(columns.barrier, row, name);
                }
                Some(_) => {}
                None => outputs.set(columns.barrier, row, NONE),
            }
            if let Some(price) = price.filter(|p| p.is_finite()) {
                let gain = (price / walk.price[row] - 1.0) * side;
                outputs.set(columns.ret, row, gain);
                outputs.set(columns.bin, row, i8::from(gain > 0.0));
            }
        }
        Ok(())
    }
}
