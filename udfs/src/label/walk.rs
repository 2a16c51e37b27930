//! The walk from a bar to the first of its barriers: its arguments, declared and read.

use super::barrier::{Barriers, Distances, Extremes, NearestLevels, Tie, Touch};
use super::path::{self, BarInputs, Path, PathArgs};
use super::width::{self, Measure, WidthParams};
use crate::series::{
    Bars, Choice, Condition, Inputs, Number, Optional, Pairs, Param, Params, SeriesSignature, SmallerBars, Time,
};
use datafusion_common::Result;
use std::borrow::Cow;

/// What touches a barrier.
#[derive(Debug, Clone, Copy, PartialEq)]
enum TouchedBy {
    Range,
    Close,
}

impl Choice for TouchedBy {
    const NAMES: &'static [(Self, &'static str)] = &[(TouchedBy::Range, "range"), (TouchedBy::Close, "close")];
}

/// The parameters that place barriers and say what touches them.
#[derive(Debug, Clone, Copy)]
pub(super) struct BarrierParams {
    up: Param<f64>,
    down: Param<f64>,
    tie: Param<Tie>,
    touch: Param<TouchedBy>,
    level_gate: Param<f64>,
    level_buffer: Param<f64>,
    min_dist: Param<f64>,
    width: WidthParams,
}

impl BarrierParams {
    /// Declares them, and the horizon, which stands among them.
    pub fn declare(signature: &mut SeriesSignature) -> (Self, Param<usize>) {
        let multiple = || 0.0..=1e6;
        let up = signature.real("up", multiple(), Some(2.0), "Distance of the upper barrier, in widths; 0 for none");
        let down =
            signature.real("down", multiple(), Some(2.0), "Distance of the lower barrier, in widths; 0 for none");
        let horizon = path::horizon(signature);
        let tie = signature.choice(
            "tie",
            Tie::Lower,
            "Which barrier counts when one bar touches both; refine asks the smaller bars inside",
        );
        let measure = signature.choice(
            "width",
            Measure::Atr,
            "What distances count in: average true range, a share of the price, or the deviation of returns",
        );
        let touch = signature.choice("touch", TouchedBy::Range, "Whether high and low touch a barrier, or the close");
        let level_gate =
            signature.real("level_gate", multiple(), Some(3.0), "Levels within this many widths move a barrier");
        let level_buffer = signature.real(
            "level_buffer",
            multiple(),
            Some(0.1),
            "How far before a level the barrier stands, in widths",
        );
        let min_dist = signature.real(
            "min_dist",
            multiple(),
            Some(0.25),
            "How near to the price a level may pull a barrier, in widths",
        );
        let pct = signature.real("pct", 1e-9..=1.0, Some(0.01), "Share of the price, with width 'pct'");
        let span = signature.integer("span", 2..=100_000, Some(100), "Span of the decay in bars, with width 'sigma'");
        let timeperiod = width::timeperiod(signature);
        let width = WidthParams { measure, pct, span, timeperiod };
        (Self { up, down, tie, touch, level_gate, level_buffer, min_dist, width }, horizon)
    }

    fn distances(&self, params: &Params) -> Distances {
        Distances {
            up: params.get(self.up),
            down: params.get(self.down),
            level_gate: params.get(self.level_gate),
            level_buffer: params.get(self.level_buffer),
            min_dist: params.get(self.min_dist),
        }
    }
}

/// The optional series of a labelled bar: what it starts from, and the levels around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BarrierOptions {
    price: Optional<Number>,
    entry: Optional<Condition>,
    unit: Optional<Number>,
    resistance: Optional<Number>,
    support: Optional<Number>,
    smaller: Optional<SmallerBars>,
}

impl BarrierOptions {
    /// Declares them, and `label_ts`, which stands among them.
    pub fn declare(signature: &mut SeriesSignature) -> (Self, Optional<Time>) {
        let price = path::price(signature);
        let entry = path::entry(signature);
        let label_ts = path::label_ts(signature);
        let options = Self {
            price,
            entry,
            unit: signature.option("unit", "price distance that the multiples count in, instead of `width`"),
            resistance: signature.option("resistance", "nearest resistance above the price, as known then"),
            support: signature.option("support", "nearest support below the price, as known then"),
            smaller: signature.option("smaller", "the smaller bars inside a bar, for tie 'refine'"),
        };
        (options, label_ts)
    }
}

/// The arguments of a function that walks along a path to a barrier.
#[derive(Debug, Clone, Copy)]
pub(super) struct WalkArgs {
    pub bars: BarInputs,
    pub barriers: BarrierParams,
    pub options: BarrierOptions,
    pub path: PathArgs,
}

impl WalkArgs {
    /// How many bars back the width of a bar looks.
    pub fn back(&self, params: &Params) -> Bars {
        self.barriers.width.read(params).back()
    }

    /// Reads all but the side of the position, which one function takes for granted and another requires.
    pub fn read<'a>(&self, inputs: &Inputs<'a>, params: &Params, side: Option<&'a [f64]>) -> Result<Walk<'a>> {
        let Self { bars, barriers, options, path } = self;
        let candles = bars.read(inputs);
        Ok(Walk {
            path: path.read(inputs, params)?,
            price: inputs.optional(options.price).unwrap_or(candles.close),
            widths: match inputs.optional(options.unit) {
                Some(given) => given.into(),
                None => barriers.width.read(params).of(&candles).into(),
            },
            distances: barriers.distances(params),
            tie: params.get(barriers.tie),
            extremes: match params.get(barriers.touch) {
                TouchedBy::Range => Extremes { high: candles.high, low: candles.low },
                TouchedBy::Close => Extremes { high: candles.close, low: candles.close },
            },
            entry: inputs.optional(options.entry),
            side,
            resistance: inputs.optional(options.resistance),
            support: inputs.optional(options.support),
            smaller: inputs.optional(options.smaller),
        })
    }
}

/// A series and its parameters, ready to be walked from any of its bars.
pub(super) struct Walk<'a> {
    pub path: Path<'a>,
    pub price: &'a [f64],
    /// In price; NaN where there is none yet.
    pub widths: Cow<'a, [f64]>,
    pub tie: Tie,
    distances: Distances,
    extremes: Extremes<'a>,
    entry: Option<&'a [bool]>,
    side: Option<&'a [f64]>,
    resistance: Option<&'a [f64]>,
    support: Option<&'a [f64]>,
    smaller: Option<Pairs<'a>>,
}

impl Walk<'_> {
    /// Whether a row is to be labelled.
    #[inline]
    pub fn is_entry(&self, row: usize) -> bool {
        match self.entry {
            Some(entry) => entry[row],
            None => self.path.is_end(row),
        }
    }

    /// The barriers of a row; none without a position.
    #[inline]
    pub fn barriers(&self, row: usize) -> Option<Barriers> {
        let at = |series: Option<&[f64]>| series.map_or(f64::NAN, |s| s[row]);
        let side = self.side.map_or(1.0, |s| s[row]);
        if side.is_nan() || side == 0.0 {
            return None;
        }
        let levels = NearestLevels { resistance: at(self.resistance), support: at(self.support) };
        Barriers::around(self.price[row], self.widths[row], side, &self.distances, levels)
    }

    /// The first touch after a row, up to `last`.
    #[inline]
    pub fn touch(&self, row: usize, last: usize, barriers: &Barriers, tie: Tie) -> Option<Touch> {
        self.extremes.first_touch(row, last, barriers, tie, self.smaller)
    }
}
