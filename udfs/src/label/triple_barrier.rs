//! `triple_barrier(high, low, close, up, down, horizon, ...)`.

use super::barrier::{Rules, Slots, Walk, level_options, multiples, rules, unit};
use super::path::{
    Clock, HORIZON, Path, PathSlots, clock_params, close_time, counts_by_time, entry, label_end, label_ts, option,
    price,
};
use crate::series::{
    Bars, InputKind, Inputs, OptionDefault, OutputKind, Outputs, ParamKind, ParamValue, Params, Reach, SeriesFunction,
    SeriesOption, SeriesSignature,
};
use datafusion_common::{Result, internal_err};

/// Which of three barriers the path touches first: one above, one below, and the end of the horizon.
#[derive(Debug)]
pub struct TripleBarrier {
    signature: SeriesSignature,
}

const BARRIERS: [&str; 3] = ["upper", "lower", "none"];

const SLOTS: Slots = Slots { price: 3, entry: 4, unit: 6, resistance: 7, support: 8, smaller: 9, side: 11 };
const TS: usize = 12;

impl TripleBarrier {
    /// The function.
    #[allow(clippy::new_without_default, reason = "every function of the registry is made by `new`")]
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "triple_barrier",
            super::LABELS,
            "Which barrier the bars after this one touch first: upper (1), lower (-1), or none within the horizon (0). Null \
             where the width is unknown or zero, or the horizon goes past the end untouched",
            "M. Lopez de Prado, Advances in Financial Machine Learning, ch. 3; levels and ties are ours",
        )
        .input("high", Some("high"))
        .input("low", Some("low"))
        .input("close", Some("close"));
        signature =
            multiples(signature).param("horizon", HORIZON, Some(ParamValue::Int(6)), "How far to look, in bars");
        signature = rules(signature).param(
            "vertical",
            ParamKind::Choice(&[(0, "zero"), (1, "sign")]),
            Some(ParamValue::Int(0)),
            "The label when nothing is touched: 0, or the sign of the return",
        );
        signature = clock_params(signature).option(price()).option(entry()).option(label_ts()).option(unit());
        let signature = level_options(signature)
            .option(close_time(&["available_at"]))
            .option(option(
                "side",
                InputKind::Number,
                "1 long, -1 short: `up` is then the distance to the profit below",
            ))
            .option(SeriesOption {
                name: "ts",
                kind: InputKind::Time,
                default: OptionDefault::Time,
                doc: "time of a bar",
                only_for: &["hit_ts"],
            })
            .option(label_end())
            .output("label", OutputKind::Class)
            .output("barrier", OutputKind::Choice(&BARRIERS))
            .output("bars_to_hit", OutputKind::Int)
            .output("hit_ts", OutputKind::Time)
            .output("hit_price", OutputKind::Float)
            .output("upper", OutputKind::Float)
            .output("lower", OutputKind::Float)
            .output("level_adjusted", OutputKind::Bool)
            .output("tied", OutputKind::Bool)
            .output("atr", OutputKind::Float)
            .output("horizon_complete", OutputKind::Bool)
            .output("available_at", OutputKind::Time);
        Self { signature }
    }
}

const PATH: PathSlots = PathSlots { label_ts: 5, close_time: 10, label_end: 13 };

impl SeriesFunction for TripleBarrier {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach { back: Bars::Count(Rules::of(params, 3).back()), ahead: Bars::Count(params.bars(2)) }
    }

    fn check(&self, params: &Params) -> Result<()> {
        Clock::of(params, 13).map(|_| ())
    }

    fn always_uses(&self, option: &str, params: &Params) -> bool {
        option == "close_time" && counts_by_time(params, 13)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let rules = Rules::of(params, 3);
        let by_sign = params.int(12) == 1;
        let path = Path::new(inputs, params.bars(2), Clock::of(params, 13)?, PATH)?;
        let walk = Walk::new(inputs, &SLOTS, &rules, path);
        let widths = rules.widths(inputs, SLOTS.unit);
        let ts = inputs.optional_time(TS);
        let [
            label,
            barrier,
            bars_to_hit,
            hit_ts,
            hit_price,
            upper,
            lower,
            level_adjusted,
            tied,
            atr,
            horizon_complete,
            available_at,
        ] = outputs.slices()
        else {
            return internal_err!("triple_barrier has twelve outputs");
        };
        let walks = label.is_wanted()
            || [&barrier, &bars_to_hit, &hit_ts, &hit_price, &tied, &available_at].iter().any(|o| o.is_wanted());
        for (row, &width) in widths.iter().enumerate() {
            if !walk.is_entry(row) {
                continue;
            }
            atr.set_float(row, width);
            let (last, complete) = walk.path.last(row);
            horizon_complete.set_bool(row, complete);
            let Some(barriers) = walk.barriers(&rules, row, width) else { continue };
            upper.set_float(row, barriers.upper);
            lower.set_float(row, barriers.lower);
            level_adjusted.set_bool(row, barriers.adjusted);
            if !walks {
                continue;
            }
            let known = match walk.touch(&rules, row, last, &barriers) {
                Some(touch) => {
                    tied.set_bool(row, touch.tied);
                    bars_to_hit.set_int(row, walk.path.bars(row, touch.row));
                    if let Some(ts) = ts {
                        hit_ts.set_time(row, ts[touch.row]);
                    }
                    if touch.side != 0 {
                        label.set_class(row, touch.side);
                        barrier.set_choice(row, u8::from(touch.side < 0));
                        hit_price.set_float(row, touch.price);
                    }
                    walk.path.close_time(touch.row)
                }
                // By the wall clock a horizon may hold no bar at all: then nothing is known.
                None if complete && last > row => {
                    tied.set_bool(row, false);
                    barrier.set_choice(row, 2);
                    if !by_sign {
                        label.set_class(row, 0);
                    } else if let Some(target) = walk.path.target(row) {
                        let change = walk.price[target] - walk.price[row];
                        label.set_class(row, i8::from(change > 0.0) - i8::from(change < 0.0));
                    }
                    walk.path.end_time(row, last)
                }
                None => continue,
            };
            if let Some(time) = known {
                available_at.set_time(row, time);
            }
        }
        Ok(())
    }
}
