//! Two barriers around a price: where they stand, and which of them the path touches first.

use crate::series::{Choice, Pairs};

/// How far from a price its barriers stand, in widths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Distances {
    /// To the upper barrier; 0 for none.
    pub up: f64,
    /// To the lower barrier; 0 for none.
    pub down: f64,
    /// A level within this distance of the price moves a barrier.
    pub level_gate: f64,
    /// How far before the level the barrier then stands.
    pub level_buffer: f64,
    /// How near to the price a level may pull a barrier.
    pub min_dist: f64,
}

/// The nearest levels above and below a price; NaN where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct NearestLevels {
    pub resistance: f64,
    pub support: f64,
}

/// Two barriers around a price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Barriers {
    /// Infinite where there is none.
    pub upper: f64,
    /// Negative infinity where there is none.
    pub lower: f64,
    /// Whether a level moved one of them.
    pub adjusted: bool,
}

impl Barriers {
    /// The barriers around a price; `None` where its width is unknown or zero, or they would not enclose the price.
    ///
    /// `side` is that of the position: below 0, a short one, whose profit (`up`) lies below the price.
    #[inline]
    pub fn around(price: f64, width: f64, side: f64, distances: &Distances, levels: NearestLevels) -> Option<Self> {
        let Distances { level_gate, level_buffer, min_dist, .. } = *distances;
        let NearestLevels { resistance, support } = levels;
        let (up, down) = if side < 0.0 { (distances.down, distances.up) } else { (distances.up, distances.down) };
        if width.is_nan() || width <= 0.0 || !price.is_finite() {
            return None;
        }
        let mut upper = if up > 0.0 { price + up * width } else { f64::INFINITY };
        let mut lower = if down > 0.0 { price - down * width } else { f64::NEG_INFINITY };
        let mut adjusted = false;
        if up > 0.0 && resistance > price && resistance - price <= level_gate * width {
            let before_level = (resistance - level_buffer * width).max(price + min_dist * width);
            adjusted |= before_level < upper;
            upper = upper.min(before_level);
        }
        if down > 0.0 && support < price && price - support <= level_gate * width {
            let before_level = (support + level_buffer * width).min(price - min_dist * width);
            adjusted |= before_level > lower;
            lower = lower.max(before_level);
        }
        (lower < price && price < upper).then_some(Barriers { upper, lower, adjusted })
    }
}

/// Which barrier counts where one bar touches both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    Lower,
    Upper,
    Unknown,
    /// The one that the smaller bars inside touch first.
    Refine,
}

impl Choice for Tie {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Tie::Lower, "down"), (Tie::Upper, "up"), (Tie::Unknown, "null"), (Tie::Refine, "refine")];
}

impl Tie {
    /// The same for a position on a side: what ties are decided against is the position, not the price.
    pub fn of_position(self, side: f64) -> Tie {
        match self {
            Tie::Lower if side < 0.0 => Tie::Upper,
            Tie::Upper if side < 0.0 => Tie::Lower,
            tie => tie,
        }
    }
}

/// What touched a barrier first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Touch {
    pub row: usize,
    /// 1 upper, -1 lower, 0 not known.
    pub side: i8,
    /// One bar touched both.
    pub tied: bool,
    /// Where a trade at the barrier could at best have been made: the barrier, or the bar's nearest price beyond it.
    pub price: f64,
}

/// The prices of each bar that can touch a barrier: its high and low, or its close for both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extremes<'a> {
    pub high: &'a [f64],
    pub low: &'a [f64],
}

impl Extremes<'_> {
    /// The first touch after `row`, up to `last`.
    #[inline]
    pub fn first_touch(
        &self,
        row: usize,
        last: usize,
        barriers: &Barriers,
        tie: Tie,
        smaller: Option<Pairs<'_>>,
    ) -> Option<Touch> {
        let Barriers { upper, lower, .. } = *barriers;
        let row = row + 1 + first_beyond(&self.high[row + 1..=last], &self.low[row + 1..=last], upper, lower)?;
        let (high, low) = (self.high[row], self.low[row]);
        let tied = high >= upper && low <= lower;
        let side = match (tied, tie) {
            (false, _) if high >= upper => 1,
            (false, _) | (true, Tie::Lower) => -1,
            (true, Tie::Upper) => 1,
            (true, Tie::Unknown) => 0,
            (true, Tie::Refine) => smaller.map_or(0, |smaller| first_of_smaller(smaller.at(row), barriers)),
        };
        let price = match side {
            1 => upper.max(low),
            -1 => lower.min(high),
            _ => f64::NAN,
        };
        Some(Touch { row, side, tied, price })
    }
}

/// The first bar that touches a barrier. Bars are looked at eight at a time, with one branch: when it comes cannot be foreseen.
#[inline]
fn first_beyond(high: &[f64], low: &[f64], upper: f64, lower: f64) -> Option<usize> {
    let is_beyond = |high: f64, low: f64| (high >= upper) | (low <= lower);
    let ((highs, last_highs), (lows, last_lows)) = (high.as_chunks::<8>(), low.as_chunks::<8>());
    for (i, (high, low)) in highs.iter().zip(lows).enumerate() {
        let beyond = (0..8).fold(0u32, |bits, bar| bits | u32::from(is_beyond(high[bar], low[bar])) << bar);
        if beyond != 0 {
            return Some(i * 8 + beyond.trailing_zeros() as usize);
        }
    }
    let rest = last_highs.iter().zip(last_lows).position(|(high, low)| is_beyond(*high, *low))?;
    Some(highs.len() * 8 + rest)
}

/// Which barrier the smaller bars inside a bar touch first; 0 where they leave it open.
fn first_of_smaller((high, low): (&[f64], &[f64]), barriers: &Barriers) -> i8 {
    for (high, low) in high.iter().zip(low) {
        match (*high >= barriers.upper, *low <= barriers.lower) {
            (true, false) => return 1,
            (false, true) => return -1,
            (true, true) => return 0,
            (false, false) => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISTANCES: Distances = Distances { up: 2.0, down: 2.0, level_gate: 3.0, level_buffer: 0.1, min_dist: 0.25 };

    fn close_to(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    /// Of a long position.
    fn long(price: f64, width: f64, distances: &Distances, resistance: f64, support: f64) -> Option<Barriers> {
        Barriers::around(price, width, 1.0, distances, NearestLevels { resistance, support })
    }

    #[test]
    fn without_levels_the_multiples_decide() {
        let b = long(1.0520, 0.0050, &DISTANCES, f64::NAN, f64::NAN).unwrap();
        assert!(close_to(b.upper, 1.0620) && close_to(b.lower, 1.0420) && !b.adjusted);
    }

    #[test]
    fn a_level_pulls_a_barrier_up_to_its_least_distance() {
        let b = long(100.0, 1.0, &DISTANCES, 101.5, f64::NAN).unwrap();
        assert!(close_to(b.upper, 101.4) && b.adjusted, "{b:?}");
        // Closer than `min_dist`: the barrier stays a quarter of a width away.
        let b = long(100.0, 1.0, &DISTANCES, 100.1, 99.95).unwrap();
        assert!(close_to(b.upper, 100.25) && close_to(b.lower, 99.75), "{b:?}");
        // Beyond the gate, or on the wrong side, a level does not count; one beyond the barrier does not move it.
        assert!(!long(100.0, 1.0, &DISTANCES, 103.5, 100.5).unwrap().adjusted);
        assert!(!long(100.0, 1.0, &DISTANCES, 102.5, f64::NAN).unwrap().adjusted);
    }

    #[test]
    fn a_width_of_zero_has_no_barriers_and_a_multiple_of_zero_none_on_that_side() {
        assert_eq!(long(100.0, 0.0, &DISTANCES, f64::NAN, f64::NAN), None);
        let b = long(100.0, 1.0, &Distances { up: 0.0, ..DISTANCES }, 100.5, f64::NAN).unwrap();
        assert_eq!((b.upper, b.lower), (f64::INFINITY, 98.0));
    }

    #[test]
    fn a_short_side_has_its_profit_below() {
        let distances = Distances { up: 3.0, down: 1.0, ..DISTANCES };
        let none = NearestLevels { resistance: f64::NAN, support: f64::NAN };
        let b = Barriers::around(100.0, 1.0, -1.0, &distances, none).unwrap();
        assert_eq!((b.upper, b.lower), (101.0, 97.0));
    }

    #[test]
    fn touches_are_inclusive_and_gaps_cost() {
        let b = Barriers { upper: 1.0580, lower: 1.0460, adjusted: false };
        let walk =
            |high: &[f64], low: &[f64], tie| Extremes { high, low }.first_touch(0, high.len() - 1, &b, tie, None);
        let t = walk(&[0.0, 1.0570, 1.0575, 1.0585], &[0.0, 1.0550, 1.0555, 1.0560], Tie::Lower).unwrap();
        assert_eq!((t.row, t.side, t.price), (3, 1, 1.0580));
        let t = walk(&[0.0, 1.0570, 1.0455], &[0.0, 1.0550, 1.0445], Tie::Lower).unwrap();
        assert_eq!((t.row, t.side, t.price), (2, -1, 1.0455));
        assert_eq!(walk(&[0.0, 1.0580], &[0.0, 1.0500], Tie::Lower).unwrap().side, 1);
        let both = |tie| walk(&[0.0, 1.06], &[0.0, 1.04], tie).unwrap();
        assert_eq!((both(Tie::Lower).side, both(Tie::Upper).side, both(Tie::Unknown).side), (-1, 1, 0));
        assert!(both(Tie::Unknown).tied && both(Tie::Refine).side == 0);
    }

    #[test]
    fn smaller_bars_decide_a_tie() {
        let b = Barriers { upper: 2.0, lower: 1.0, adjusted: false };
        let rows = [(0, 0), (0, 2)];
        let smaller = Pairs { rows: &rows, first: &[1.5, 2.5], second: &[0.9, 1.4] };
        let touch = Extremes { high: &[1.5, 2.5], low: &[1.5, 0.9] }.first_touch(0, 1, &b, Tie::Refine, Some(smaller));
        assert_eq!(touch.map(|t| t.side), Some(-1));
    }

    #[test]
    fn a_tie_goes_against_the_position() {
        assert_eq!(
            [Tie::Lower, Tie::Upper, Tie::Refine].map(|t| t.of_position(-1.0)),
            [Tie::Upper, Tie::Lower, Tie::Refine]
        );
        assert_eq!(Tie::Lower.of_position(1.0), Tie::Lower);
    }
}
