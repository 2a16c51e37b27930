//! Barriers around a price, and which of them the path touches first.

use super::path::{Path, option};
use crate::series::{InputKind, Inputs, Pairs, ParamKind, ParamValue, Params, SeriesOption, SeriesSignature};
use std::borrow::Cow;

/// Which barrier a bar that touches both has touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    Lower,
    Upper,
    Unknown,
    /// The one that the smaller bars inside touch first.
    Refine,
}

/// What the multiples of a barrier count in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Width {
    Atr(usize),
    /// A share of the price.
    Percent(f64),
    /// Exponentially weighted standard deviation of simple returns.
    Sigma(f64),
}

/// The parameters that place barriers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub up: f64,
    pub down: f64,
    pub tie: Tie,
    /// Touched by a close, not by the range of a bar.
    pub by_close: bool,
    pub gate: f64,
    pub buffer: f64,
    pub min_dist: f64,
    pub width: Width,
}

const MULTIPLE: ParamKind = ParamKind::Real { min: 0.0, max: 1e6 };

fn real(value: f64) -> Option<ParamValue> {
    Some(ParamValue::Real(value))
}

/// `up` and `down`, which stand first.
pub(super) fn multiples(signature: SeriesSignature) -> SeriesSignature {
    signature.param("up", MULTIPLE, real(2.0), "Distance of the upper barrier, in widths; 0 for none").param(
        "down",
        MULTIPLE,
        real(2.0),
        "Distance of the lower barrier, in widths; 0 for none",
    )
}

/// The other parameters, which [`Rules::of`] reads.
pub(super) fn rules(signature: SeriesSignature) -> SeriesSignature {
    let choice = |values| ParamKind::Choice(values);
    signature
        .param(
            "tie",
            choice(&[(0, "down"), (1, "up"), (2, "null"), (3, "refine")]),
            Some(ParamValue::Int(0)),
            "Which barrier counts when one bar touches both; refine asks the smaller bars inside",
        )
        .param(
            "width",
            choice(&[(0, "atr"), (1, "pct"), (2, "sigma")]),
            Some(ParamValue::Int(0)),
            "What distances count in: average true range, a share of the price, or the deviation of returns",
        )
        .param(
            "touch",
            choice(&[(0, "range"), (1, "close")]),
            Some(ParamValue::Int(0)),
            "Whether high and low touch a barrier, or the close",
        )
        .param("level_gate", MULTIPLE, real(3.0), "Levels within this many widths move a barrier")
        .param("level_buffer", MULTIPLE, real(0.1), "How far before a level the barrier stands, in widths")
        .param("min_dist", MULTIPLE, real(0.25), "How near to the price a level may pull a barrier, in widths")
        .param("pct", ParamKind::Real { min: 1e-9, max: 1.0 }, real(0.01), "Share of the price, with width 'pct'")
        .param(
            "span",
            ParamKind::Integer { min: 2, max: 100_000 },
            Some(ParamValue::Int(100)),
            "Span of the decay in bars, with width 'sigma'",
        )
        .param(
            "timeperiod",
            ParamKind::Integer { min: 2, max: 100_000 },
            Some(ParamValue::Int(14)),
            "Bars of the average true range",
        )
}

/// Widths of its own, in price.
pub(super) fn unit() -> SeriesOption {
    option("unit", InputKind::Number, "price distance that the multiples count in, instead of `width`")
}

/// Levels and smaller bars.
pub(super) fn level_options(signature: SeriesSignature) -> SeriesSignature {
    signature
        .option(option("resistance", InputKind::Number, "nearest resistance above the price, as known then"))
        .option(option("support", InputKind::Number, "nearest support below the price, as known then"))
        .option(option("smaller", InputKind::SmallerBars, "the smaller bars inside a bar, for tie 'refine'"))
}

impl Rules {
    /// Reads `up` and `down` at 0 and 1, and what [`rules`] added from `first` on.
    pub fn of(params: &Params, first: usize) -> Rules {
        let width = match params.int(first + 1) {
            0 => Width::Atr(params.bars(first + 8)),
            1 => Width::Percent(params.real(first + 6)),
            _ => Width::Sigma(params.real(first + 7)),
        };
        Rules {
            up: params.real(0),
            down: params.real(1),
            tie: [Tie::Lower, Tie::Upper, Tie::Unknown, Tie::Refine][params.bars(first).min(3)],
            by_close: params.int(first + 2) == 1,
            gate: params.real(first + 3),
            buffer: params.real(first + 4),
            min_dist: params.real(first + 5),
            width,
        }
    }

    /// The same for a position on a side: what ties are decided against is the position, not the price.
    pub fn of_side(&self, side: f64) -> Rules {
        let tie = match self.tie {
            Tie::Lower if side < 0.0 => Tie::Upper,
            Tie::Upper if side < 0.0 => Tie::Lower,
            tie => tie,
        };
        Rules { tie, ..*self }
    }

    /// How many bars back the width looks.
    pub fn back(&self) -> usize {
        match self.width {
            Width::Atr(period) => settled("atr", period),
            Width::Percent(_) => 0,
            Width::Sigma(span) => settled("ewm_std", span as usize) + 1,
        }
    }

    /// The width of every bar, in price: the optional series at `unit`, or computed from high, low and close at 0, 1, 2.
    pub fn widths<'a>(&self, inputs: &Inputs<'a>, unit: usize) -> Cow<'a, [f64]> {
        match inputs.optional_number(unit) {
            Some(given) => given.into(),
            None => self.computed(inputs.number(0), inputs.number(1), inputs.number(2)).into(),
        }
    }

    fn computed(&self, high: &[f64], low: &[f64], close: &[f64]) -> Vec<f64> {
        match self.width {
            Width::Atr(period) => atr(high, low, close, period),
            Width::Percent(share) => close.iter().map(|c| c * share).collect(),
            Width::Sigma(span) => {
                let mut sigma = vec![f64::NAN; close.len()];
                let returns: Vec<f64> = close.windows(2).map(|c| c[1] / c[0] - 1.0).collect();
                crate::rolling::ewm_std(&returns, span, &mut sigma[1..]);
                sigma.iter().zip(close).map(|(sigma, close)| sigma * close).collect()
            }
        }
    }
}

/// Reach of a function with one parameter, in bars back.
pub(super) fn settled(name: &str, period: usize) -> usize {
    let function = crate::series_function(name);
    let back =
        function.and_then(|f| Some(f.reach(&f.signature().resolve(&[ParamValue::Int(period as i64)]).ok()?).back));
    match back {
        Some(crate::series::Bars::Count(bars)) => bars,
        _ => usize::MAX,
    }
}

/// Wilder's average true range, as TA-Lib computes it: NaN on the first `period` bars.
pub(crate) fn atr(high: &[f64], low: &[f64], close: &[f64], period: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; close.len()];
    let range = |i: usize| {
        let before = close[i - 1];
        (high[i] - low[i]).max((high[i] - before).abs()).max((low[i] - before).abs())
    };
    if close.len() <= period {
        return out;
    }
    let length = period as f64;
    let mut atr = (1..=period).map(range).sum::<f64>() / length;
    out[period] = atr;
    for (i, out) in out.iter_mut().enumerate().skip(period + 1) {
        atr = (atr * (length - 1.0) + range(i)) / length;
        *out = atr;
    }
    out
}

/// Two barriers around a price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Barriers {
    pub upper: f64,
    pub lower: f64,
    /// Whether a level moved one of them.
    pub adjusted: bool,
}

impl Rules {
    /// The barriers of a bar; `None` where its width is unknown or zero, or they would not enclose the price.
    #[inline]
    pub fn place(&self, price: f64, width: f64, side: f64, resistance: f64, support: f64) -> Option<Barriers> {
        // For a short position the multiples change sides: `up` is the distance to the profit.
        let (up, down) = if side < 0.0 { (self.down, self.up) } else { (self.up, self.down) };
        if width.is_nan() || width <= 0.0 || !price.is_finite() {
            return None;
        }
        let mut upper = if up > 0.0 { price + up * width } else { f64::INFINITY };
        let mut lower = if down > 0.0 { price - down * width } else { f64::NEG_INFINITY };
        let mut adjusted = false;
        if up > 0.0 && resistance > price && resistance - price <= self.gate * width {
            let near = (resistance - self.buffer * width).max(price + self.min_dist * width);
            adjusted |= near < upper;
            upper = upper.min(near);
        }
        if down > 0.0 && support < price && price - support <= self.gate * width {
            let near = (support + self.buffer * width).min(price - self.min_dist * width);
            adjusted |= near > lower;
            lower = lower.max(near);
        }
        (lower < price && price < upper).then_some(Barriers { upper, lower, adjusted })
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

/// High and low of every bar, or its close for both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    pub high: &'a [f64],
    pub low: &'a [f64],
}

impl Range<'_> {
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
        let mut bars = self.high[row + 1..=last].iter().zip(&self.low[row + 1..=last]);
        // Both comparisons always: one branch a bar, and what follows stays out of the loop.
        let row = row + 1 + bars.position(|(high, low)| (*high >= upper) | (*low <= lower))?;
        let (high, low) = (self.high[row], self.low[row]);
        let tied = high >= upper && low <= lower;
        let side = match (tied, tie) {
            (false, _) if high >= upper => 1,
            (false, _) | (true, Tie::Lower) => -1,
            (true, Tie::Upper) => 1,
            (true, Tie::Unknown) => 0,
            (true, Tie::Refine) => refine(smaller, row, barriers),
        };
        let price = match side {
            1 => upper.max(low),
            -1 => lower.min(high),
            _ => f64::NAN,
        };
        Some(Touch { row, side, tied, price })
    }
}

/// Which barrier the smaller bars inside a bar touch first; 0 where they do not tell.
fn refine(smaller: Option<Pairs<'_>>, row: usize, barriers: &Barriers) -> i8 {
    let Some(smaller) = smaller else { return 0 };
    let (high, low) = smaller.at(row);
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

/// The series that a barrier walk reads, with their defaults filled in.
pub(super) struct Walk<'a> {
    pub path: Path<'a>,
    pub price: &'a [f64],
    pub range: Range<'a>,
    pub entry: Option<&'a [bool]>,
    pub side: Option<&'a [f64]>,
    pub resistance: Option<&'a [f64]>,
    pub support: Option<&'a [f64]>,
    pub smaller: Option<Pairs<'a>>,
}

/// Positions of the optional series among the inputs of a barrier function.
pub(super) struct Slots {
    pub price: usize,
    pub entry: usize,
    pub unit: usize,
    pub resistance: usize,
    pub support: usize,
    pub smaller: usize,
    pub side: usize,
}

impl<'a> Walk<'a> {
    /// Reads high, low and close at 0, 1 and 2, and the options.
    pub fn new(inputs: &Inputs<'a>, slots: &Slots, rules: &Rules, path: Path<'a>) -> Self {
        let (high, low, close) = (inputs.number(0), inputs.number(1), inputs.number(2));
        let range = if rules.by_close { Range { high: close, low: close } } else { Range { high, low } };
        Walk {
            path,
            price: inputs.optional_number(slots.price).unwrap_or(close),
            range,
            entry: inputs.optional_condition(slots.entry),
            side: inputs.optional_number(slots.side),
            resistance: inputs.optional_number(slots.resistance),
            support: inputs.optional_number(slots.support),
            smaller: inputs.pairs(slots.smaller),
        }
    }

    /// Whether a row is to be labelled.
    #[inline]
    pub fn is_entry(&self, row: usize) -> bool {
        match self.entry {
            Some(entry) => entry[row],
            None => self.path.is_end(row),
        }
    }

    /// The barriers of a row.
    #[inline]
    pub fn barriers(&self, rules: &Rules, row: usize, width: f64) -> Option<Barriers> {
        let at = |series: Option<&[f64]>| series.map_or(f64::NAN, |s| s[row]);
        let side = self.side.map_or(1.0, |s| s[row]);
        if side.is_nan() || side == 0.0 {
            return None;
        }
        rules.place(self.price[row], width, side, at(self.resistance), at(self.support))
    }

    /// The first touch within the horizon of a row.
    #[inline]
    pub fn touch(&self, rules: &Rules, row: usize, last: usize, barriers: &Barriers) -> Option<Touch> {
        self.range.first_touch(row, last, barriers, rules.tie, self.smaller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        up: 2.0,
        down: 2.0,
        tie: Tie::Lower,
        by_close: false,
        gate: 3.0,
        buffer: 0.1,
        min_dist: 0.25,
        width: Width::Atr(14),
    };

    fn close_to(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn without_levels_the_multiples_decide() {
        let b = RULES.place(1.0520, 0.0050, 1.0, f64::NAN, f64::NAN).unwrap();
        assert!(close_to(b.upper, 1.0620) && close_to(b.lower, 1.0420) && !b.adjusted);
    }

    #[test]
    fn a_level_pulls_a_barrier_up_to_its_least_distance() {
        let b = RULES.place(100.0, 1.0, 1.0, 101.5, f64::NAN).unwrap();
        assert!(close_to(b.upper, 101.4) && b.adjusted, "{b:?}");
        // Closer than `min_dist`: the barrier stays a quarter of a width away.
        let b = RULES.place(100.0, 1.0, 1.0, 100.1, 99.95).unwrap();
        assert!(close_to(b.upper, 100.25) && close_to(b.lower, 99.75), "{b:?}");
        // Beyond the gate, or on the wrong side, a level does not count; one beyond the barrier does not move it.
        assert!(!RULES.place(100.0, 1.0, 1.0, 103.5, 100.5).unwrap().adjusted);
        assert!(!RULES.place(100.0, 1.0, 1.0, 102.5, f64::NAN).unwrap().adjusted);
    }

    #[test]
    fn a_width_of_zero_has_no_barriers_and_a_multiple_of_zero_none_on_that_side() {
        assert_eq!(RULES.place(100.0, 0.0, 1.0, f64::NAN, f64::NAN), None);
        let b = Rules { up: 0.0, ..RULES }.place(100.0, 1.0, 1.0, 100.5, f64::NAN).unwrap();
        assert_eq!((b.upper, b.lower), (f64::INFINITY, 98.0));
    }

    #[test]
    fn a_short_side_has_its_profit_below() {
        let b = Rules { up: 3.0, down: 1.0, ..RULES }.place(100.0, 1.0, -1.0, f64::NAN, f64::NAN).unwrap();
        assert_eq!((b.upper, b.lower), (101.0, 97.0));
    }

    #[test]
    fn touches_are_inclusive_and_gaps_cost() {
        let b = Barriers { upper: 1.0580, lower: 1.0460, adjusted: false };
        let walk = |high: &[f64], low: &[f64], tie| Range { high, low }.first_touch(0, high.len() - 1, &b, tie, None);
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
        let touch = Range { high: &[1.5, 2.5], low: &[1.5, 0.9] }.first_touch(0, 1, &b, Tie::Refine, Some(smaller));
        assert_eq!(touch.map(|t| t.side), Some(-1));
    }
}
