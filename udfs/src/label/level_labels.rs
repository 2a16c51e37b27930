//! `level_labels(high, low, close, horizon, ..., levels => ..)`.

use super::path::{
    Clock, HORIZON, Path, PathSlots, clock_params, close_time, counts_by_time, entry, label_end, label_ts, option,
    price,
};
use crate::level::{BREAK, RETEST, half_height};
use crate::series::{
    Bars, InputKind, Inputs, OutputKind, Outputs, ParamKind, ParamValue, Params, Reach, SeriesFunction, SeriesSignature,
};
use datafusion_common::{Result, internal_err, plan_err};
use std::ops::RangeInclusive;

/// What the path of a bar does at the levels that were active when it ended.
#[derive(Debug)]
pub struct LevelLabels {
    signature: SeriesSignature,
}

/// Only levels this many widths from the price can be touched.
const NEAR: f64 = 3.0;
impl LevelLabels {
    /// The function.
    #[allow(clippy::new_without_default, reason = "every function of the registry is made by `new`")]
    pub fn new() -> Self {
        let signature = SeriesSignature::new(
            "level_labels",
            super::LABELS,
            "What the bars within the horizon do at support and resistance levels as they were known at this bar: touches, \
             breakout (1 up, -1 down, 0 none), flip, penetration; and the nearest levels. `levels` must be given",
            "",
        )
        .input("high", Some("high"))
        .input("low", Some("low"))
        .input("close", Some("close"))
        .param("horizon", HORIZON, Some(ParamValue::Int(6)), "How far to look, in bars")
        .param(
            "max_gap",
            ParamKind::Integer { min: 0, max: 1000 },
            Some(ParamValue::Int(1)),
            "Bars without a touch that a run of touches survives",
        )
        .param(
            "timeperiod",
            ParamKind::Integer { min: 2, max: 100_000 },
            Some(ParamValue::Int(14)),
            "Bars of the average true range",
        );
        let signature = clock_params(signature)
            .option(option("levels", InputKind::Levels, "active levels: a list of struct{price, type}"))
            .option(price())
            .option(entry())
            .option(label_ts())
            .option(option("unit", InputKind::Number, "width in price, instead of the average true range"))
            .option(close_time(&["available_at"]))
            .option(label_end())
            .output("level_touch_bars", OutputKind::Int)
            .output("level_touch_events", OutputKind::Int)
            .output("longest_touch_run", OutputKind::Int)
            .output("breakout", OutputKind::Class)
            .output("breakout_distance", OutputKind::Float)
            .output("breakout_bars", OutputKind::Int)
            .output("flip", OutputKind::Bool)
            .output("event_burst", OutputKind::Bool)
            .output("max_penetration", OutputKind::Float)
            .output("nearest_support", OutputKind::Float)
            .output("nearest_resistance", OutputKind::Float)
            .output("support_distance", OutputKind::Float)
            .output("resistance_distance", OutputKind::Float)
            .output("next_touch_bars", OutputKind::Int)
            .output("horizon_complete", OutputKind::Bool)
            .output("available_at", OutputKind::Time);
        Self { signature }
    }
}

const PATH: PathSlots = PathSlots { label_ts: 6, close_time: 8, label_end: 9 };

impl SeriesFunction for LevelLabels {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    /// `event_burst` compares with every count before.
    fn reach(&self, params: &Params) -> Reach {
        Reach { back: Bars::Unbounded, ahead: Bars::Count(params.bars(0)) }
    }

    fn check(&self, params: &Params) -> Result<()> {
        Clock::of(params, 3).map(|_| ())
    }

    fn always_uses(&self, option: &str, params: &Params) -> bool {
        option == "close_time" && counts_by_time(params, 3)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let (high, low, close) = (inputs.number(0), inputs.number(1), inputs.number(2));
        let Some(levels) = inputs.pairs(3) else {
            return plan_err!(
                "level_labels needs the active levels of each bar: levels => a list of struct{{price, type}}, as \
                 label_path('4h', levels => 'auto') yields them"
            );
        };
        let path = Path::new(inputs, params.bars(0), Clock::of(params, 3)?, PATH)?;
        let price = inputs.optional_number(4).unwrap_or(close);
        let entry = inputs.optional_condition(5);
        let atr;
        let widths = match inputs.optional_number(7) {
            Some(unit) => unit,
            None => {
                atr = super::barrier::atr(high, low, close, params.bars(2));
                &atr
            }
        };
        let [
            touch_bars,
            touch_events,
            longest_run,
            breakout,
            breakout_distance,
            breakout_bars,
            flip,
            event_burst,
            max_penetration,
            nearest_support,
            nearest_resistance,
            support_distance,
            resistance_distance,
            next_touch_bars,
            horizon_complete,
            available_at,
        ] = outputs.slices()
        else {
            return internal_err!("level_labels has 16 outputs");
        };
        let mut bursts = Bursts::default();
        let mut touching = vec![];
        for row in 0..inputs.len() {
            let is_entry = entry.map_or_else(|| path.is_end(row), |entry| entry[row]);
            let p = price[row];
            if !is_entry || !p.is_finite() {
                continue;
            }
            let (prices, sides) = levels.at(row);
            let here = Here::of(prices, sides, p);
            nearest_support.set_float(row, here.support);
            nearest_resistance.set_float(row, here.resistance);
            support_distance.set_float(row, p - here.support);
            resistance_distance.set_float(row, here.resistance - p);
            let (last, complete) = path.last(row);
            horizon_complete.set_bool(row, complete);
            if !complete || last == row {
                continue;
            }
            if let Some(time) = path.end_time(row, last) {
                available_at.set_time(row, time);
            }
            let along = row + 1..=last;
            let (highs, lows) = (&high[along.clone()], &low[along.clone()]);
            if let Some(found) = here.breakout(highs, lows) {
                let bars = |at: usize| path.bars(row, row + 1 + at);
                breakout.set_class(row, found.side);
                flip.set_bool(row, found.flips(highs, lows));
                if found.side != 0 {
                    breakout_distance.set_float(row, found.distance);
                    breakout_bars.set_int(row, bars(found.at));
                }
            }
            max_penetration.set_float(row, penetration(prices, sides, p, highs, lows));
            let width = widths[row];
            if width.is_nan() || width <= 0.0 {
                continue;
            }
            touches(prices, p, width, highs, lows, &mut touching);
            let runs = Runs::of(&touching, params.bars(1));
            touch_bars.set_int(row, runs.bars);
            touch_events.set_int(row, runs.events);
            longest_run.set_int(row, runs.longest);
            if let Some(first) = touching.iter().position(|t| *t) {
                next_touch_bars.set_int(row, path.bars(row, row + 1 + first));
            }
            if let Some(is_burst) = bursts.judge(row, along, runs.events) {
                event_burst.set_bool(row, is_burst);
            }
        }
        Ok(())
    }
}

/// The nearest levels on their own side of the price; NaN where there is none.
struct Here {
    resistance: f64,
    support: f64,
}

struct Breakout {
    side: i8,
    at: usize,
    level: f64,
    distance: f64,
}

impl Here {
    fn of(prices: &[f64], sides: &[f64], p: f64) -> Here {
        let mut here = Here { resistance: f64::NAN, support: f64::NAN };
        for (&level, &side) in prices.iter().zip(sides) {
            // The nearest so far is NaN until there is one, which min and max pass over.
            if side > 0.0 && level > p {
                here.resistance = here.resistance.min(level);
            } else if side < 0.0 && level < p {
                here.support = here.support.max(level);
            }
        }
        here
    }

    /// The first bar that goes beyond the nearest level on either side; `None` where there are no levels, or one bar
    /// goes beyond both.
    fn breakout(&self, high: &[f64], low: &[f64]) -> Option<Breakout> {
        if self.resistance.is_nan() && self.support.is_nan() {
            return None;
        }
        for (at, (&high, &low)) in high.iter().zip(low).enumerate() {
            let up = high > self.resistance * (1.0 + BREAK);
            let down = low < self.support * (1.0 - BREAK);
            let (side, level, beyond) = match (up, down) {
                (true, true) => return None,
                (true, false) => (1, self.resistance, high - self.resistance),
                (false, true) => (-1, self.support, self.support - low),
                (false, false) => continue,
            };
            return Some(Breakout { side, at, level, distance: beyond / level });
        }
        Some(Breakout { side: 0, at: 0, level: f64::NAN, distance: f64::NAN })
    }
}

impl Breakout {
    /// Whether a bar after the breakout comes back to the level from the other side.
    fn flips(&self, high: &[f64], low: &[f64]) -> bool {
        let tests = if self.side > 0 { low } else { high };
        self.side != 0 && tests[self.at + 1..].iter().any(|x| (x - self.level).abs() <= RETEST * self.level)
    }
}

/// The largest share of its price by which a bar goes beyond a level that lay on its own side.
fn penetration(prices: &[f64], sides: &[f64], p: f64, high: &[f64], low: &[f64]) -> f64 {
    let top = high.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bottom = low.iter().copied().fold(f64::INFINITY, f64::min);
    let beyond = prices.iter().zip(sides).filter_map(|(&level, &side)| match side > 0.0 {
        true if level > p => Some((top - level) / level),
        false if level < p => Some((level - bottom) / level),
        _ => None,
    });
    // Without levels there is nothing to go beyond.
    beyond.fold(f64::NAN, |most, x| if most.is_nan() { x.max(0.0) } else { most.max(x) })
}

/// Which bars touch any level near the price.
fn touches(prices: &[f64], p: f64, width: f64, high: &[f64], low: &[f64], touching: &mut Vec<bool>) {
    touching.clear();
    touching.resize(high.len(), false);
    for &level in prices.iter().filter(|level| (*level - p).abs() <= NEAR * width) {
        let half = half_height(level, width);
        for ((high, low), touching) in high.iter().zip(low).zip(touching.iter_mut()) {
            *touching |= *high >= level - half && *low <= level + half;
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Runs {
    bars: i32,
    events: i32,
    longest: i32,
}

impl Runs {
    /// `longest` counts the touching bars of a run that survives `max_gap` others.
    fn of(touching: &[bool], max_gap: usize) -> Runs {
        let mut runs = Runs::default();
        let (mut run, mut gap) = (0, usize::MAX);
        for (i, &touches) in touching.iter().enumerate() {
            if touches {
                runs.bars += 1;
                runs.events += i32::from(i == 0 || !touching[i - 1]);
                run = if gap > max_gap { 1 } else { run + 1 };
                gap = 0;
                runs.longest = runs.longest.max(run);
            } else {
                gap = gap.saturating_add(1);
            }
        }
        runs
    }
}

/// Counts of touch events whose horizons have ended.
#[derive(Default)]
struct Bursts {
    /// Counts with the row at which they are known, in that order.
    open: std::collections::VecDeque<(usize, i32)>,
    count: f64,
    sum: f64,
    squares: f64,
}

impl Bursts {
    /// Whether a count is more than two deviations above the mean of those known at `row`; `None` with fewer than two.
    fn judge(&mut self, row: usize, along: RangeInclusive<usize>, events: i32) -> Option<bool> {
        while let Some((_, known)) = self.open.pop_front_if(|(end, _)| *end <= row) {
            let known = f64::from(known);
            self.count += 1.0;
            self.sum += known;
            self.squares += known * known;
        }
        self.open.push_back((*along.end(), events));
        if self.count < 2.0 {
            return None;
        }
        let mean = self.sum / self.count;
        let deviation = (self.squares / self.count - mean * mean).max(0.0).sqrt();
        Some(f64::from(events) > mean + 2.0 * deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_make_events_and_runs() {
        let t = |text: &str| text.chars().map(|c| c == 'x').collect::<Vec<_>>();
        assert_eq!(Runs::of(&t("xx.x..xxx"), 1), Runs { bars: 6, events: 3, longest: 3 });
        assert_eq!(Runs::of(&t("xx.x.xx"), 1), Runs { bars: 5, events: 3, longest: 5 });
        assert_eq!(Runs::of(&t("xx.x"), 0), Runs { bars: 3, events: 2, longest: 2 });
        assert_eq!(Runs::of(&t("...."), 1), Runs::default());
    }

    #[test]
    fn a_level_is_met_within_a_band() {
        let mut touching = vec![];
        // Half a band is 0.1 % of 100, and a tenth of a width of 0.5: 0.1.
        touches(&[100.0], 100.5, 0.5, &[100.3, 100.2, 99.95, 99.8], &[100.2, 100.1, 99.9, 99.7], &mut touching);
        assert_eq!(touching, [false, true, true, false]);
        // Four widths away it does not count.
        touches(&[100.0], 102.0, 0.5, &[100.0], &[100.0], &mut touching);
        assert_eq!(touching, [false]);
    }

    #[test]
    fn breakouts_are_strict_and_flip_on_a_retest() {
        let here = Here::of(&[100.0, 90.0, 105.0, 120.0], &[1.0, -1.0, 1.0, -1.0], 95.0);
        assert_eq!((here.resistance, here.support), (100.0, 90.0));
        assert_eq!(here.breakout(&[100.2], &[95.0]).unwrap().side, 0);
        let up = here.breakout(&[99.0, 101.0, 101.0], &[95.0, 99.0, 100.05]).unwrap();
        assert_eq!((up.side, up.at), (1, 1));
        assert!(up.flips(&[99.0, 101.0, 101.0], &[95.0, 99.0, 100.05]));
        assert!(!up.flips(&[99.0, 101.0, 101.0], &[95.0, 99.0, 100.5]));
        assert!(here.breakout(&[101.0], &[89.0]).is_none(), "both at once");
        assert!(Here::of(&[], &[], 95.0).breakout(&[101.0], &[89.0]).is_none());
    }

    #[test]
    fn penetration_is_of_the_levels_own_side() {
        assert_eq!(penetration(&[100.0, 90.0], &[1.0, -1.0], 95.0, &[102.0], &[89.1]), 0.02);
        assert_eq!(penetration(&[100.0], &[1.0], 95.0, &[99.0], &[94.0]), 0.0);
        assert!(penetration(&[], &[], 95.0, &[99.0], &[94.0]).is_nan());
    }

    #[test]
    fn a_burst_is_judged_by_ended_horizons() {
        let mut bursts = Bursts::default();
        assert_eq!(bursts.judge(0, 1..=2, 1), None);
        assert_eq!(bursts.judge(1, 2..=3, 1), None);
        assert_eq!(bursts.judge(2, 3..=4, 9), None, "one horizon has ended");
        assert_eq!(bursts.judge(3, 4..=5, 2), Some(true));
        assert_eq!(bursts.judge(4, 5..=6, 5), Some(false), "the 9 is known now");
    }
}
