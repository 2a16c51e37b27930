//! `path_labels(high, low, close, horizon, side, clip)`.

use super::path::{self, BarInputs, Candles, ClockParams, Path, PathArgs};
use super::width::{self, Width};
use super::windows::{OfRows, Windows, drawdown, moments};
use crate::series::{
    Choice, Condition, Inputs, Number, OptionDefault, Optional, Output, Outputs, Param, Params, Reach, SeriesFunction,
    SeriesSignature, Time,
};
use datafusion_common::Result;
use std::borrow::Cow;

/// What the path of a bar was like: excursions, drawdown, ranges, moments.
#[derive(Debug)]
pub(super) struct PathLabels {
    signature: SeriesSignature,
    bars: BarInputs,
    path: PathArgs,
    side: Param<Side>,
    clip: Param<f64>,
    timeperiod: Param<usize>,
    price: Optional<Number>,
    entry: Optional<Condition>,
    unit: Optional<Number>,
    range: Optional<Number>,
    columns: Columns,
}

/// The position whose excursions are meant.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Long,
    Short,
}

impl Choice for Side {
    const NAMES: &'static [(Self, &'static str)] = &[(Side::Long, "long"), (Side::Short, "short")];
}

#[derive(Debug, Clone, Copy)]
struct Columns {
    vol_scaled_return: Output<f64>,
    clipped: Output<bool>,
    forward_return: Output<f64>,
    return_sign: Output<i8>,
    mfe: Output<f64>,
    mae: Output<f64>,
    mfe_pct: Output<f64>,
    mae_pct: Output<f64>,
    mfe_atr: Output<f64>,
    mae_atr: Output<f64>,
    mfe_bars: Output<i32>,
    mae_bars: Output<i32>,
    profit_factor: Output<f64>,
    range_expansion: Output<f64>,
    drawdown_depth: Output<f64>,
    end_extremum_gap: Output<f64>,
    time_underwater: Output<i32>,
    path_sharpe: Output<f64>,
    path_skew: Output<f64>,
    horizon_complete: Output<bool>,
    available_at: Output<Time>,
}

/// The outputs that count in widths.
const BY_WIDTH: [&str; 4] = ["vol_scaled_return", "clipped", "mfe_atr", "mae_atr"];

impl Columns {
    fn declare(signature: &mut SeriesSignature) -> Self {
        Self {
            vol_scaled_return: signature.output("vol_scaled_return"),
            clipped: signature.output("clipped"),
            forward_return: signature.output("forward_return"),
            return_sign: signature.output("return_sign"),
            mfe: signature.output("mfe"),
            mae: signature.output("mae"),
            mfe_pct: signature.output("mfe_pct"),
            mae_pct: signature.output("mae_pct"),
            mfe_atr: signature.output("mfe_atr"),
            mae_atr: signature.output("mae_atr"),
            mfe_bars: signature.output("mfe_bars"),
            mae_bars: signature.output("mae_bars"),
            profit_factor: signature.output("profit_factor"),
            range_expansion: signature.output("range_expansion"),
            drawdown_depth: signature.output("drawdown_depth"),
            end_extremum_gap: signature.output("end_extremum_gap"),
            time_underwater: signature.output("time_underwater"),
            path_sharpe: signature.output("path_sharpe"),
            path_skew: signature.output("path_skew"),
            horizon_complete: signature.output("horizon_complete"),
            available_at: signature.output("available_at"),
        }
    }
}

impl PathLabels {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "path_labels",
            super::LABELS,
            "What the bars within the horizon did against this bar's close: returns, best and worst excursion (price, \
             fraction, ATR, bars to it), widest range, drawdown, moments of the one-bar returns. All null where the horizon goes \
             past the end",
            "",
        );
        let bars = BarInputs::declare(&mut signature);
        let horizon = path::horizon(&mut signature);
        let side = signature.choice("side", Side::Long, "The position whose excursions are meant");
        let clip = signature.real("clip", 0.0..=1e9, Some(10.0), "Largest vol_scaled_return");
        let timeperiod = width::timeperiod(&mut signature);
        let clock = ClockParams::declare(&mut signature);
        let price = path::price(&mut signature);
        let entry = path::entry(&mut signature);
        let label_ts = path::label_ts(&mut signature);
        let unit = signature.option_for("unit", OptionDefault::Nothing, &BY_WIDTH, width::UNIT);
        let range = signature.option_for(
            "range",
            OptionDefault::Nothing,
            &["range_expansion"],
            "high - low of a labelled bar, by default that of the row",
        );
        let close_time = path::close_time(&mut signature);
        let label_end = path::label_end(&mut signature);
        let columns = Columns::declare(&mut signature);
        let path = PathArgs { horizon, clock, label_ts, close_time, label_end };
        Self { signature, bars, path, side, clip, timeperiod, price, entry, unit, range, columns }
    }
}

impl SeriesFunction for PathLabels {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        Reach { back: Width::Atr(params.get(self.timeperiod)).back(), ahead: self.path.ahead(params) }
    }

    fn check(&self, params: &Params) -> Result<()> {
        self.path.check(params)
    }

    fn always_uses(&self, option: &str, params: &Params) -> bool {
        self.path.always_uses(option, params)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let labeller = self.labeller(inputs, params, outputs)?;
        let entry = inputs.optional(self.entry);
        for row in outputs.first_read()..inputs.len() {
            let is_entry = entry.map_or_else(|| labeller.path.is_end(row), |entry| entry[row]);
            if is_entry && labeller.price[row].is_finite() {
                labeller.label(row, outputs);
            }
        }
        Ok(())
    }
}

impl PathLabels {
    fn labeller<'a>(&self, inputs: &Inputs<'a>, params: &Params, outputs: &Outputs<'_>) -> Result<Labeller<'a>> {
        let columns = self.columns;
        let candles = self.bars.read(inputs);
        let Candles { high, low, close } = candles;
        let requested = Requested::of(&columns, outputs);
        let ranges = match requested.range_expansion {
            true => high.iter().zip(low).map(|(h, l)| h - l).collect(),
            false => vec![],
        };
        let returns = match requested.moments {
            true => std::iter::once(f64::NAN).chain(close.windows(2).map(|c| c[1] / c[0] - 1.0)).collect(),
            false => vec![],
        };
        let widths = match inputs.optional(self.unit) {
            Some(unit) => unit.into(),
            None if requested.width => Width::Atr(params.get(self.timeperiod)).of(&candles).into(),
            None => Cow::default(),
        };
        let (path, price) = (self.path.read(inputs, params)?, inputs.optional(self.price).unwrap_or(close));
        // Where few bars are labelled, each is looked at alone.
        let horizon = path.horizon_in_rows().filter(|_| inputs.optional(self.entry).is_none());
        let windows = horizon.map(|horizon| Windows { first: outputs.first_read(), horizon, len: inputs.len() });
        let together = windows.map(|windows| Together::of(windows, &requested, price, close, &returns));
        Ok(Labeller {
            columns,
            path,
            candles,
            price,
            own_range: inputs.optional(self.range),
            is_short: params.get(self.side) == Side::Short,
            clip: params.get(self.clip),
            requested,
            widths,
            ranges,
            returns,
            together: together.unwrap_or_default(),
        })
    }
}

/// Which computations anybody reads the results of.
struct Requested {
    width: bool,
    end: bool,
    extremes: bool,
    range_expansion: bool,
    drawdown: bool,
    underwater: bool,
    moments: bool,
}

impl Requested {
    fn of(columns: &Columns, outputs: &Outputs<'_>) -> Self {
        let c = columns;
        Self {
            width: outputs.any_requested([c.vol_scaled_return, c.mfe_atr, c.mae_atr])
                || outputs.is_requested(c.clipped),
            end: outputs.any_requested([c.vol_scaled_return, c.forward_return, c.end_extremum_gap])
                || outputs.is_requested(c.clipped)
                || outputs.is_requested(c.return_sign),
            extremes: outputs.any_requested([c.mfe, c.mae, c.mfe_pct, c.mae_pct, c.mfe_atr, c.mae_atr])
                || outputs.any_requested([c.profit_factor, c.end_extremum_gap])
                || outputs.any_requested([c.mfe_bars, c.mae_bars]),
            range_expansion: outputs.is_requested(c.range_expansion),
            drawdown: outputs.is_requested(c.drawdown_depth),
            underwater: outputs.is_requested(c.time_underwater),
            moments: outputs.any_requested([c.path_sharpe, c.path_skew]),
        }
    }
}

/// Labels the bars of one series.
struct Labeller<'a> {
    columns: Columns,
    requested: Requested,
    path: Path<'a>,
    candles: Candles<'a>,
    price: &'a [f64],
    /// High - low of the labelled bars, where the rows are smaller ones.
    own_range: Option<&'a [f64]>,
    is_short: bool,
    clip: f64,
    /// In price; empty where nobody reads what counts in them.
    widths: Cow<'a, [f64]>,
    /// High - low of the rows; empty where nobody asks.
    ranges: Vec<f64>,
    /// One-bar returns of the rows; empty where nobody asks.
    returns: Vec<f64>,
    together: Together,
}

/// What was computed for all rows together; empty where nobody asks, or rows have horizons of their own.
#[derive(Default)]
struct Together {
    drawdowns: OfRows<f64>,
    moments: OfRows<(f64, f64)>,
}

impl Together {
    fn of(windows: Windows, requested: &Requested, price: &[f64], close: &[f64], returns: &[f64]) -> Together {
        Together {
            drawdowns: if requested.drawdown { windows.drawdowns(price, close) } else { OfRows::default() },
            moments: if requested.moments { windows.moments(price, close, returns) } else { OfRows::default() },
        }
    }
}

impl Labeller<'_> {
    fn label(&self, row: usize, outputs: &mut Outputs<'_>) {
        let (last, complete) = self.path.last(row);
        outputs.set(self.columns.horizon_complete, row, complete);
        // By the wall clock a horizon may hold no bar at all.
        if !complete || last == row {
            return;
        }
        if let Some(time) = self.path.end_time(row, last) {
            outputs.set(self.columns.available_at, row, time);
        }
        let width = if self.requested.width { self.widths[row] } else { f64::NAN };
        let end = if self.requested.end { self.path.target(row).map(|target| self.price[target]) } else { None };
        if let Some(end) = end {
            self.forward_return(row, end, width, outputs);
        }
        if self.requested.extremes {
            self.excursions(row, last, end, width, outputs);
        }
        self.shape(row, last, outputs);
    }

    /// From the price of the bar to that at the end of the horizon.
    fn forward_return(&self, row: usize, end: f64, width: f64, outputs: &mut Outputs<'_>) {
        let (columns, p) = (&self.columns, self.price[row]);
        let scaled = (end - p) / width;
        if width > 0.0 && scaled.is_finite() {
            outputs.set(columns.vol_scaled_return, row, scaled.clamp(-self.clip, self.clip));
            outputs.set(columns.clipped, row, scaled.abs() > self.clip);
        }
        outputs.set(columns.forward_return, row, (end - p) / p);
        outputs.set(columns.return_sign, row, i8::from(end > p) - i8::from(end < p));
    }

    /// The best and the worst that a position would have seen.
    fn excursions(&self, row: usize, last: usize, end: Option<f64>, width: f64, outputs: &mut Outputs<'_>) {
        let (columns, p) = (&self.columns, self.price[row]);
        let (top, top_at) = extreme(&self.candles.high[row + 1..=last], 1.0);
        let (bottom, bottom_at) = extreme(&self.candles.low[row + 1..=last], -1.0);
        let (gain, loss) = ((top - p).max(0.0), (bottom - p).min(0.0));
        let ((best, best_at), (worst, worst_at)) = match self.is_short {
            false => ((gain, top_at), (loss, bottom_at)),
            true => ((-loss, bottom_at), (-gain, top_at)),
        };
        outputs.set(columns.mfe, row, best);
        outputs.set(columns.mae, row, worst);
        outputs.set(columns.mfe_pct, row, best / p);
        outputs.set(columns.mae_pct, row, worst / p);
        if width > 0.0 {
            outputs.set(columns.mfe_atr, row, best / width);
            outputs.set(columns.mae_atr, row, worst / width);
        }
        if best > 0.0 {
            outputs.set(columns.mfe_bars, row, self.path.bars(row, row + 1 + best_at));
        }
        if worst < 0.0 {
            outputs.set(columns.mae_bars, row, self.path.bars(row, row + 1 + worst_at));
        }
        // No loss: the quotient is infinite, which becomes null.
        outputs.set(columns.profit_factor, row, best / worst.abs());
        if let Some(end) = end.filter(|end| *end != p) {
            let extremum = if end > p { top } else { bottom };
            outputs.set(columns.end_extremum_gap, row, (end - extremum).abs() / (end - p).abs());
        }
    }

    /// What the path looked like on its way.
    fn shape(&self, row: usize, last: usize, outputs: &mut Outputs<'_>) {
        let (columns, p) = (&self.columns, self.price[row]);
        let (along, close, together) = (row + 1..=last, self.candles.close, &self.together);
        if self.requested.range_expansion {
            let widest = extreme(&self.ranges[along.clone()], 1.0).0;
            let range = self.own_range.unwrap_or(&self.ranges)[row];
            outputs.set(columns.range_expansion, row, (widest / p) / (range / p) - 1.0);
        }
        if self.requested.drawdown {
            let deepest = together.drawdowns.get(row).unwrap_or_else(|| drawdown(p, &close[along.clone()]));
            outputs.set(columns.drawdown_depth, row, deepest);
        }
        if self.requested.underwater {
            let bars = close[along].iter().map(|c| i32::from(*c < p)).sum();
            outputs.set(columns.time_underwater, row, bars);
        }
        if self.requested.moments {
            let (sharpe, skew) = together
                .moments
                .get(row)
                .unwrap_or_else(|| moments(close[row + 1] / p - 1.0, &self.returns[row + 2..=last.max(row + 1)]));
            outputs.set(columns.path_sharpe, row, sharpe);
            outputs.set(columns.path_skew, row, skew);
        }
    }
}

/// The largest value of `sign * x`, and where it stands first.
#[inline]
fn extreme(x: &[f64], sign: f64) -> (f64, usize) {
    let (mut best, mut at) = (x[0], 0);
    for (i, v) in x.iter().enumerate().skip(1) {
        if sign * v > sign * best {
            (best, at) = (*v, i);
        }
    }
    (best, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_extremes_counts() {
        assert_eq!(extreme(&[1.0, 3.0, 3.0, 2.0], 1.0), (3.0, 1));
        assert_eq!(extreme(&[3.0, 1.0, 1.0], -1.0), (1.0, 1));
    }
}
