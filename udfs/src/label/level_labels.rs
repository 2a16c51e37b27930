//! `level_labels(high, low, close, horizon, ..., levels => ..)`.

use super::path::{self, BarInputs, Candles, ClockParams, PathArgs};
use super::width::{self, Width};
use crate::level::{BREAK, RETEST, half_height};
use crate::series::{
    Bars, Condition, Inputs, Levels, Number, Optional, Output, Outputs, Param, Params, Reach, SeriesFunction,
    SeriesSignature, Time,
};
use datafusion_common::{Result, plan_err};
use std::borrow::Cow;
use std::ops::RangeInclusive;

/// What the path of a bar does at the levels that were active when it ended.
#[derive(Debug)]
pub(super) struct LevelLabels {
    signature: SeriesSignature,
    bars: BarInputs,
    path: PathArgs,
    max_gap: Param<usize>,
    timeperiod: Param<usize>,
    levels: Optional<Levels>,
    price: Optional<Number>,
    entry: Optional<Condition>,
    unit: Optional<Number>,
    columns: Columns,
}

#[derive(Debug, Clone, Copy)]
struct Columns {
    level_touch_bars: Output<i32>,
    level_touch_events: Output<i32>,
    longest_touch_run: Output<i32>,
    breakout: Output<i8>,
    breakout_distance: Output<f64>,
    breakout_bars: Output<i32>,
    flip: Output<bool>,
    event_burst: Output<bool>,
    max_penetration: Output<f64>,
    nearest_support: Output<f64>,
    nearest_resistance: Output<f64>,
    support_distance: Output<f64>,
    resistance_distance: Output<f64>,
    next_touch_bars: Output<i32>,
    horizon_complete: Output<bool>,
    available_at: Output<Time>,
}

impl Columns {
    fn declare(signature: &mut SeriesSignature) -> Self {
        Self {
            level_touch_bars: signature.output("level_touch_bars"),
            level_touch_events: signature.output("level_touch_events"),
            longest_touch_run: signature.output("longest_touch_run"),
            breakout: signature.output("breakout"),
            breakout_distance: signature.output("breakout_distance"),
            breakout_bars: signature.output("breakout_bars"),
            flip: signature.output("flip"),
            event_burst: signature.output("event_burst"),
            max_penetration: signature.output("max_penetration"),
            nearest_support: signature.output("nearest_support"),
            nearest_resistance: signature.output("nearest_resistance"),
            support_distance: signature.output("support_distance"),
            resistance_distance: signature.output("resistance_distance"),
            next_touch_bars: signature.output("next_touch_bars"),
            horizon_complete: signature.output("horizon_complete"),
            available_at: signature.output("available_at"),
        }
    }
}

/// Only levels this many widths from the price can be touched.
const NEAR: f64 = 3.0;

impl LevelLabels {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "level_labels",
            super::LABELS,
            "What the bars within the horizon do at support and resistance levels as they were known at this bar: touches, \
             breakout (1 up, -1 down, 0 none), flip, penetration; and the nearest levels. `levels` must be given",
            "",
        );
        let bars = BarInputs::declare(&mut signature);
        let horizon = path::horizon(&mut signature);
        let max_gap =
            signature.integer("max_gap", 0..=1000, Some(1), "Bars without a touch that a run of touches survives");
        let timeperiod = width::timeperiod(&mut signature);
        let clock = ClockParams::declare(&mut signature);
        let levels = signature.needed_option("levels", "active levels: a list of struct{price, type}");
        let price = path::price(&mut signature);
        let entry = path::entry(&mut signature);
        let label_ts = path::label_ts(&mut signature);
        let unit = signature.option("unit", width::UNIT);
        let close_time = path::close_time(&mut signature);
        let label_end = path::label_end(&mut signature);
        let columns = Columns::declare(&mut signature);
        let path = PathArgs { horizon, clock, label_ts, close_time, label_end };
        Self { signature, bars, path, max_gap, timeperiod, levels, price, entry, unit, columns }
    }
}

impl SeriesFunction for LevelLabels {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    /// `event_burst` compares with every count before.
    fn reach(&self, params: &Params) -> Reach {
        Reach { back: Bars::Unbounded, ahead: self.path.ahead(params) }
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.path.check(params)
    }

    fn always_uses(&self, option: &str, params: &Params) -> bool {
        self.path.always_uses(option, params)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let columns = &self.columns;
        let candles = self.bars.read(inputs);
        let Candles { high, low, close } = candles;
        let Some(levels) = inputs.optional(self.levels) else {
            return plan_err!(
                "level_labels needs the active levels of each bar: levels => a list of struct{{price, type}}, as \
                 label_path('4h', levels => 'auto') yields them"
            );
        };
        let path = self.path.read(inputs, params)?;
        let price = inputs.optional(self.price).unwrap_or(close);
        let entry = inputs.optional(self.entry);
        let max_gap = params.get(self.max_gap);
        let widths: Cow<'_, [f64]> = match inputs.optional(self.unit) {
            Some(unit) => unit.into(),
            None => Width::Atr(params.get(self.timeperiod)).of(&candles).into(),
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
            outputs.set(columns.nearest_support, row, here.support);
            outputs.set(columns.nearest_resistance, row, here.resistance);
            outputs.set(columns.support_distance, row, p - here.support);
            outputs.set(columns.resistance_distance, row, here.resistance - p);
            let (last, complete) = path.last(row);
            outputs.set(columns.horizon_complete, row, complete);
            if !complete || last == row {
                continue;
            }
            if let Some(time) = path.end_time(row, last) {
                outputs.set(columns.available_at, row, time);
            }
            let along = row + 1..=last;
            let (highs, lows) = (&high[along.clone()], &low[along.clone()]);
            let bars_to = |at: usize| path.bars(row, row + 1 + at);
            if let Some(found) = here.breakout(highs, lows) {
                outputs.set(columns.breakout, row, found.side);
                outputs.set(columns.flip, row, found.flips(highs, lows));
                if found.side != 0 {
                    outputs.set(columns.breakout_distance, row, found.distance);
                    outputs.set(columns.breakout_bars, row, bars_to(found.at));
                }
            }
            outputs.set(columns.max_penetration, row, penetration(prices, sides, p, highs, lows));
            let width = widths[row];
            if width.is_nan() || width <= 0.0 {
                continue;
            }
            touches(prices, p, width, highs, lows, &mut touching);
            let runs = Runs::of(&touching, max_gap);
            outputs.set(columns.level_touch_bars, row, runs.bars);
            outputs.set(columns.level_touch_events, row, runs.events);
            outputs.set(columns.longest_touch_run, row, runs.longest);
            if let Some(first) = touching.iter().position(|t| *t) {
                outputs.set(columns.next_touch_bars, row, bars_to(first));
            }
            if let Some(is_burst) = bursts.judge(row, along, runs.events) {
                outputs.set(columns.event_burst, row, is_burst);
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
