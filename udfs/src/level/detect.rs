//! Support and resistance levels of one symbol, found and followed bar by bar.

use super::pivot::extreme_in_the_middle;
use super::{BREAK, RETEST, half_height};
use crate::technical::atr;
use std::fmt::{Display, Formatter};

/// How levels are found and how long they live.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LevelRules {
    /// Bars on each side of a swing pivot.
    pub k: usize,
    /// A pivot this many average true ranges from an active level belongs to that level.
    pub cluster: f64,
    /// A level that no bar has touched for this many bars is given up.
    pub max_age: usize,
}

/// Bars of the average true range.
const PERIOD: usize = 14;
/// EventKind happens to a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventKind {
    New,
    Touch,
    Break,
    FlipTo,
    Deactivate,
}

/// Something that happened to a level. It is known when the bar `bar` has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Event {
    pub bar: usize,
    /// Number of the level, from 1.
    pub level: i64,
    pub kind: EventKind,
    /// Whether the level is a resistance: after a flip, the new side.
    pub resistance: bool,
    pub price: f64,
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            EventKind::New => "NEW",
            EventKind::Touch => "TOUCH",
            EventKind::Break => "BREAK",
            EventKind::FlipTo => "FLIP_TO",
            EventKind::Deactivate => "DEACTIVATE",
        };
        write!(f, "{kind}_{}", if self.resistance { "RESISTANCE" } else { "SUPPORT" })
    }
}

#[derive(Debug)]
struct Level {
    number: i64,
    price: f64,
    resistance: bool,
    broken: bool,
    /// The bar that touched, broke or made it last, and whether the bar before touched it.
    last: usize,
    touching: bool,
}

/// Everything that happens to the levels of a series, in order.
///
/// A swing pivot becomes a level when the k-th bar after it ends, unless an active level lies near: then it is a touch of
/// that one. A close more than 0.2 % beyond a level breaks it; a later bar that comes back to within 0.1 % of it and closes
/// beyond flips it to the other side, a close back through it undoes the break. A level that nothing has touched for
/// `max_age` bars is deactivated.
pub(super) fn detect(high: &[f64], low: &[f64], close: &[f64], rules: &LevelRules) -> Vec<Event> {
    let atr = atr(high, low, close, PERIOD);
    let mut levels: Vec<Level> = vec![];
    let mut events = vec![];
    let mut number = 0;
    for i in 0..close.len() {
        if atr[i].is_nan() {
            continue;
        }
        let mut record = |level: &Level, kind: EventKind| {
            events.push(Event { bar: i, level: level.number, kind, resistance: level.resistance, price: level.price });
        };
        levels.retain_mut(|level| {
            if let Some(kind) = level.step(i, high[i], low[i], close[i], atr[i]) {
                if kind == EventKind::FlipTo {
                    level.resistance = !level.resistance;
                }
                record(level, kind);
            }
            let is_old = i - level.last > rules.max_age;
            if is_old {
                record(level, EventKind::Deactivate);
            }
            !is_old
        });
        for resistance in [true, false] {
            let Some(price) = pivot(if resistance { high } else { low }, i, rules.k, resistance) else { continue };
            let distance = |l: &Level| (l.price - price).abs();
            let near = levels.iter_mut().min_by(|a, b| distance(a).total_cmp(&distance(b)));
            let near = near.filter(|l| distance(l) <= rules.cluster * atr[i]);
            match near {
                Some(level) => {
                    level.last = i;
                    if !level.touching {
                        level.touching = true;
                        record(level, EventKind::Touch);
                    }
                }
                None => {
                    number += 1;
                    let level = Level { number, price, resistance, broken: false, last: i, touching: false };
                    record(&level, EventKind::New);
                    levels.push(level);
                }
            }
        }
    }
    events
}

/// The price of a pivot that bar `i` confirms.
fn pivot(x: &[f64], i: usize, k: usize, high: bool) -> Option<f64> {
    extreme_in_the_middle(&x[i.checked_sub(2 * k)?..=i], high)
}

impl Level {
    /// EventKind a bar does to the level.
    fn step(&mut self, i: usize, high: f64, low: f64, close: f64, atr: f64) -> Option<EventKind> {
        let half = half_height(self.price, atr);
        let touches = high >= self.price - half && low <= self.price + half;
        let before = std::mem::replace(&mut self.touching, touches);
        // Above the level counts as beyond for a resistance, below it for a support.
        let beyond = |x: f64| if self.resistance { x / self.price - 1.0 } else { 1.0 - x / self.price };
        let event = if !self.broken {
            if beyond(close) > BREAK {
                self.broken = true;
                Some(EventKind::Break)
            } else if touches && !before {
                Some(EventKind::Touch)
            } else {
                None
            }
        } else {
            let nearest = if self.resistance { low } else { high };
            if beyond(nearest).abs() <= RETEST && beyond(close) > 0.0 {
                self.broken = false;
                Some(EventKind::FlipTo)
            } else if beyond(close) < -BREAK {
                self.broken = false;
                Some(EventKind::Touch)
            } else {
                None
            }
        };
        if touches || event.is_some() {
            self.last = i;
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars of height 1 around these closes.
    fn run(closes: &[f64], rules: &LevelRules) -> Vec<(usize, String, f64)> {
        let high: Vec<f64> = closes.iter().map(|c| c + 0.5).collect();
        let low: Vec<f64> = closes.iter().map(|c| c - 0.5).collect();
        detect(&high, &low, closes, rules).iter().map(|e| (e.bar, e.to_string(), e.price)).collect()
    }

    const RULES: LevelRules = LevelRules { k: 2, cluster: 0.25, max_age: 20 };

    #[test]
    fn a_pivot_becomes_a_level_when_it_is_confirmed_then_breaks_and_flips() {
        let mut closes: Vec<f64> = (0..16).map(|i| 100.0 + 0.01 * f64::from(i)).collect();
        // Peak at 16, confirmed at 18; broken at 20; back at 22, where the low is the level.
        closes.extend([104.0, 102.0, 101.0, 102.5, 106.0, 107.0, 105.0, 107.0]);
        let events = run(&closes, &RULES);
        let of_level: Vec<_> = events.iter().filter(|e| e.2 == 104.5).map(|e| (e.0, e.1.as_str())).collect();
        assert_eq!(of_level, [(18, "NEW_RESISTANCE"), (20, "BREAK_RESISTANCE"), (22, "FLIP_TO_SUPPORT")]);
    }

    #[test]
    fn a_near_pivot_is_a_touch_and_an_old_level_is_given_up() {
        let mut closes: Vec<f64> = (0..16).map(|i| 100.0 + 0.01 * f64::from(i)).collect();
        closes.extend([104.0, 102.0, 101.0, 102.5, 104.1, 102.0, 101.0]);
        closes.extend((0..30).map(|i| 95.0 - 0.3 * f64::from(i)));
        let events = run(&closes, &RULES);
        let of_level: Vec<_> = events.iter().filter(|e| e.2 == 104.5).map(|e| (e.0, e.1.as_str())).collect();
        // The second peak touches it, and does so again when it is confirmed as a pivot.
        let expected =
            [(18, "NEW_RESISTANCE"), (20, "TOUCH_RESISTANCE"), (22, "TOUCH_RESISTANCE"), (43, "DEACTIVATE_RESISTANCE")];
        assert_eq!(of_level, expected);
        assert!(!events.iter().any(|e| e.1.starts_with("NEW") && e.2 == 104.6), "clustered: {events:?}");
    }

    #[test]
    fn nothing_is_known_of_the_future() {
        let x: Vec<f64> =
            (0..300).map(|i| 100.0 + 5.0 * (f64::from(i) * 0.37).sin() + 3.0 * (f64::from(i) * 0.11).cos()).collect();
        let all = run(&x, &RULES);
        assert!(all.len() > 50);
        for cut in [50, 120, 257] {
            let part = run(&x[..cut], &RULES);
            assert_eq!(part, all.iter().filter(|e| e.0 < cut).cloned().collect::<Vec<_>>());
        }
    }
}
