//! `meta_label(high, low, close, side, up, down, horizon, ...)`.

use super::barrier::{Rules, Slots, Walk, level_options, multiples, rules, unit};
use super::path::{
    Clock, HORIZON, Path, PathSlots, clock_params, close_time, counts_by_time, entry, label_end, label_ts, price,
};
use crate::series::{Bars, Inputs, OutputKind, Outputs, ParamValue, Params, Reach, SeriesFunction, SeriesSignature};
use datafusion_common::{Result, internal_err};

/// Whether a position taken on a side would have made money when the first of three barriers was touched.
#[derive(Debug)]
pub struct MetaLabel {
    signature: SeriesSignature,
}

const BARRIERS: [&str; 3] = ["profit", "stop", "none"];

const SLOTS: Slots = Slots { price: 4, entry: 5, unit: 7, resistance: 8, support: 9, smaller: 10, side: 3 };

impl MetaLabel {
    /// The function.
    #[allow(clippy::new_without_default, reason = "every function of the registry is made by `new`")]
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "meta_label",
            super::LABELS,
            "1 where a position on the given side (1 long, -1 short) makes money at the first of its profit (`up`), its stop \
             (`down`) and the end of the horizon, else 0. Tie 'down' means the stop, whichever the side. Bars without a side, \
             or with side 0, have none",
            "M. Lopez de Prado, Advances in Financial Machine Learning, ch. 3.6",
        )
        .input("high", Some("high"))
        .input("low", Some("low"))
        .input("close", Some("close"))
        .input("side", None);
        signature =
            multiples(signature).param("horizon", HORIZON, Some(ParamValue::Int(6)), "How far to look, in bars");
        signature = clock_params(rules(signature)).option(price()).option(entry()).option(label_ts()).option(unit());
        let signature = level_options(signature)
            .option(close_time(&["available_at"]))
            .option(label_end())
            .output("bin", OutputKind::Class)
            .output("ret", OutputKind::Float)
            .output("barrier", OutputKind::Choice(&BARRIERS))
            .output("bars", OutputKind::Int)
            .output("horizon_complete", OutputKind::Bool)
            .output("available_at", OutputKind::Time);
        Self { signature }
    }
}

const PATH: PathSlots = PathSlots { label_ts: 6, close_time: 11, label_end: 12 };

impl SeriesFunction for MetaLabel {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach { back: Bars::Count(Rules::of(params, 3).back()), ahead: Bars::Count(params.bars(2)) }
    }

    fn check(&self, params: &Params) -> Result<()> {
        Clock::of(params, 12).map(|_| ())
    }

    fn always_uses(&self, option: &str, params: &Params) -> bool {
        option == "close_time" && counts_by_time(params, 12)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let rules = Rules::of(params, 3);
        let path = Path::new(inputs, params.bars(2), Clock::of(params, 12)?, PATH)?;
        let walk = Walk::new(inputs, &SLOTS, &rules, path);
        let side = inputs.number(3);
        let widths = rules.widths(inputs, SLOTS.unit);
        let [bin, ret, barrier, bars, horizon_complete, available_at] = outputs.slices() else {
            return internal_err!("meta_label has six outputs");
        };
        for row in 0..inputs.len() {
            if !walk.is_entry(row) || side[row] == 0.0 {
                continue;
            }
            let (last, complete) = walk.path.last(row);
            horizon_complete.set_bool(row, complete);
            let Some(barriers) = walk.barriers(&rules, row, widths[row]) else { continue };
            let touch = walk.touch(&rules.of_side(side[row]), row, last, &barriers);
            let (exit, price) = match touch {
                Some(touch) => (touch.row, Some(touch.price)),
                None if complete && last > row => (last, walk.path.target(row).map(|target| walk.price[target])),
                None => continue,
            };
            let side = side[row].signum();
            let known = if touch.is_some() { walk.path.close_time(exit) } else { walk.path.end_time(row, exit) };
            if let Some(time) = known {
                available_at.set_time(row, time);
            }
            bars.set_int(row, walk.path.bars(row, exit));
            match touch {
                Some(touch) if touch.side != 0 => barrier.set_choice(row, u8::from(f64::from(touch.side) != side)),
                Some(_) => {}
                None => barrier.set_choice(row, 2),
            }
            if let Some(price) = price.filter(|p| p.is_finite()) {
                let gain = (price / walk.price[row] - 1.0) * side;
                ret.set_float(row, gain);
                bin.set_class(row, i8::from(gain > 0.0));
            }
        }
        Ok(())
    }
}
