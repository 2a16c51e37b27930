//! `path_labels(high, low, close, horizon, side, clip)`.

use super::path::{
    Clock, HORIZON, Path, PathSlots, clock_params, close_time, counts_by_time, entry, label_end, label_ts, option,
    price,
};
use crate::series::{
    Bars, InputKind, Inputs, OutputKind, Outputs, ParamKind, ParamValue, Params, Reach, SeriesFunction, SeriesOption,
    SeriesSignature,
};
use datafusion_common::{Result, internal_err};

/// What the path of a bar was like: excursions, drawdown, ranges, moments.
#[derive(Debug)]
pub struct PathLabels {
    signature: SeriesSignature,
}

const BY_WIDTH: [&str; 4] = ["vol_scaled_return", "clipped", "mfe_atr", "mae_atr"];

impl PathLabels {
    /// The function.
    #[allow(clippy::new_without_default, reason = "every function of the registry is made by `new`")]
    pub fn new() -> Self {
        let signature = SeriesSignature::new(
            "path_labels",
            super::LABELS,
            "What the bars within the horizon did against this bar's close: returns, best and worst excursion (price, \
             fraction, ATR, bars to it), widest range, drawdown, moments of the one-bar returns. All null where the horizon goes \
             past the end",
            "",
        )
        .input("high", Some("high"))
        .input("low", Some("low"))
        .input("close", Some("close"))
        .param("horizon", HORIZON, Some(ParamValue::Int(6)), "How far to look, in bars")
        .param(
            "side",
            ParamKind::Choice(&[(0, "long"), (1, "short")]),
            Some(ParamValue::Int(0)),
            "The position whose excursions are meant",
        )
        .param("clip", ParamKind::Real { min: 0.0, max: 1e9 }, Some(ParamValue::Real(10.0)), "Largest vol_scaled_return")
        .param(
            "timeperiod",
            ParamKind::Integer { min: 2, max: 100_000 },
            Some(ParamValue::Int(14)),
            "Bars of the average true range",
        );
        let signature = clock_params(signature)
            .option(price())
            .option(entry())
            .option(label_ts())
            .option(SeriesOption {
                only_for: &BY_WIDTH,
                ..option("unit", InputKind::Number, "width in price, instead of the average true range")
            })
            .option(SeriesOption {
                only_for: &["range_expansion"],
                ..option("range", InputKind::Number, "high - low of a labelled bar, by default that of the row")
            })
            .option(close_time(&["available_at"]))
            .option(label_end())
            .output("vol_scaled_return", OutputKind::Float)
            .output("clipped", OutputKind::Bool)
            .output("forward_return", OutputKind::Float)
            .output("return_sign", OutputKind::Class)
            .output("mfe", OutputKind::Float)
            .output("mae", OutputKind::Float)
            .output("mfe_pct", OutputKind::Float)
            .output("mae_pct", OutputKind::Float)
            .output("mfe_atr", OutputKind::Float)
            .output("mae_atr", OutputKind::Float)
            .output("mfe_bars", OutputKind::Int)
            .output("mae_bars", OutputKind::Int)
            .output("profit_factor", OutputKind::Float)
            .output("range_expansion", OutputKind::Float)
            .output("drawdown_depth", OutputKind::Float)
            .output("end_extremum_gap", OutputKind::Float)
            .output("time_underwater", OutputKind::Int)
            .output("path_sharpe", OutputKind::Float)
            .output("path_skew", OutputKind::Float)
            .output("horizon_complete", OutputKind::Bool)
            .output("available_at", OutputKind::Time);
        Self { signature }
    }
}

const PATH: PathSlots = PathSlots { label_ts: 5, close_time: 8, label_end: 9 };

impl SeriesFunction for PathLabels {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        let back = super::barrier::settled("atr", params.bars(3));
        Reach { back: Bars::Count(back), ahead: Bars::Count(params.bars(0)) }
    }

    fn check(&self, params: &Params) -> Result<()> {
        Clock::of(params, 4).map(|_| ())
    }

    fn always_uses(&self, option: &str, params: &Params) -> bool {
        option == "close_time" && counts_by_time(params, 4)
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let (high, low, close) = (inputs.number(0), inputs.number(1), inputs.number(2));
        let (is_short, clip) = (params.int(1) == 1, params.real(2));
        let path = Path::new(inputs, params.bars(0), Clock::of(params, 4)?, PATH)?;
        let price = inputs.optional_number(3).unwrap_or(close);
        let entry = inputs.optional_condition(4);
        let [
            vol_scaled_return,
            clipped,
            forward_return,
            return_sign,
            mfe,
            mae,
            mfe_pct,
            mae_pct,
            mfe_atr,
            mae_atr,
            mfe_bars,
            mae_bars,
            profit_factor,
            range_expansion,
            drawdown_depth,
            end_extremum_gap,
            time_underwater,
            path_sharpe,
            path_skew,
            horizon_complete,
            available_at,
        ] = outputs.slices()
        else {
            return internal_err!("path_labels has 21 outputs");
        };
        let wants_width = [&vol_scaled_return, &clipped, &mfe_atr, &mae_atr].iter().any(|o| o.is_wanted());
        let wants_extremes = [&mfe, &mae, &mfe_pct, &mae_pct, &mfe_atr, &mae_atr, &mfe_bars, &mae_bars]
            .iter()
            .chain(&[&profit_factor, &end_extremum_gap])
            .any(|o| o.is_wanted());
        let wants_return = [&vol_scaled_return, &clipped, &forward_return, &return_sign, &end_extremum_gap]
            .iter()
            .any(|o| o.is_wanted());
        let wants_moments = path_sharpe.is_wanted() || path_skew.is_wanted();
        let (atr, ranges, returns);
        let widths = match inputs.optional_number(6) {
            Some(unit) => unit,
            None => {
                atr = if wants_width { super::barrier::atr(high, low, close, params.bars(3)) } else { vec![] };
                &atr
            }
        };
        ranges = if range_expansion.is_wanted() { high.iter().zip(low).map(|(h, l)| h - l).collect() } else { vec![] };
        let range = inputs.optional_number(7).unwrap_or(&ranges);
        returns = if wants_moments {
            std::iter::once(f64::NAN).chain(close.windows(2).map(|c| c[1] / c[0] - 1.0)).collect()
        } else {
            vec![]
        };

        for row in 0..inputs.len() {
            let is_entry = entry.map_or_else(|| path.is_end(row), |entry| entry[row]);
            let p = price[row];
            if !is_entry || !p.is_finite() {
                continue;
            }
            let (last, complete) = path.last(row);
            horizon_complete.set_bool(row, complete);
            // By the wall clock a horizon may hold no bar at all.
            if !complete || last == row {
                continue;
            }
            if let Some(time) = path.end_time(row, last) {
                available_at.set_time(row, time);
            }
            let along = row + 1..=last;
            let width = if wants_width { widths[row] } else { f64::NAN };
            let end = if wants_return { path.target(row).map(|target| price[target]) } else { None };
            if let Some(end) = end {
                let scaled = (end - p) / width;
                if width > 0.0 && scaled.is_finite() {
                    vol_scaled_return.set_float(row, scaled.clamp(-clip, clip));
                    clipped.set_bool(row, scaled.abs() > clip);
                }
                forward_return.set_float(row, (end - p) / p);
                return_sign.set_class(row, i8::from(end > p) - i8::from(end < p));
            }
            if wants_extremes {
                let (top, top_at) = extreme(&high[along.clone()], 1.0);
                let (bottom, bottom_at) = extreme(&low[along.clone()], -1.0);
                let (gain, gain_at) = ((top - p).max(0.0), top_at);
                let (loss, loss_at) = ((bottom - p).min(0.0), bottom_at);
                let ((best, best_at), (worst, worst_at)) = match is_short {
                    false => ((gain, gain_at), (loss, loss_at)),
                    true => ((-loss, loss_at), (-gain, gain_at)),
                };
                mfe.set_float(row, best);
                mae.set_float(row, worst);
                mfe_pct.set_float(row, best / p);
                mae_pct.set_float(row, worst / p);
                if width > 0.0 {
                    mfe_atr.set_float(row, best / width);
                    mae_atr.set_float(row, worst / width);
                }
                if best > 0.0 {
                    mfe_bars.set_int(row, path.bars(row, row + 1 + best_at));
                }
                if worst < 0.0 {
                    mae_bars.set_int(row, path.bars(row, row + 1 + worst_at));
                }
                // No loss: the quotient is infinite, which becomes null.
                profit_factor.set_float(row, best / worst.abs());
                if let Some(end) = end.filter(|end| *end != p) {
                    let extremum = if end > p { top } else { bottom };
                    end_extremum_gap.set_float(row, (end - extremum).abs() / (end - p).abs());
                }
            }
            if range_expansion.is_wanted() {
                let widest = extreme(&ranges[along.clone()], 1.0).0;
                range_expansion.set_float(row, (widest / p) / (range[row] / p) - 1.0);
            }
            if drawdown_depth.is_wanted() {
                drawdown_depth.set_float(row, drawdown(p, &close[along.clone()]));
            }
            if time_underwater.is_wanted() {
                let below = close[along.clone()].iter().map(|c| i32::from(*c < p)).sum();
                time_underwater.set_int(row, below);
            }
            if wants_moments {
                let first = close[row + 1] / p - 1.0;
                let (sharpe, skew) = moments(first, &returns[row + 2..=last.max(row + 1)]);
                path_sharpe.set_float(row, sharpe);
                path_skew.set_float(row, skew);
            }
        }
        Ok(())
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

/// The deepest fall from a running maximum that starts at `p`, as a fraction, at most 0.
#[inline]
fn drawdown(p: f64, close: &[f64]) -> f64 {
    let (mut top, mut deepest) = (p, 0.0);
    for &c in close {
        top = if c > top { c } else { top };
        let depth = c / top - 1.0;
        deepest = if depth < deepest { depth } else { deepest };
    }
    deepest
}

/// Mean over sample standard deviation, and population skewness, of `first` and `rest`; NaN where all are equal.
#[inline]
fn moments(first: f64, rest: &[f64]) -> (f64, f64) {
    let n = (rest.len() + 1) as f64;
    let mean = (first + rest.iter().sum::<f64>()) / n;
    let (mut second, mut third) = (0.0, 0.0);
    for r in std::iter::once(&first).chain(rest) {
        let d = r - mean;
        second += d * d;
        third += d * d * d;
    }
    // What rounding leaves of equal returns is no deviation.
    if second <= 1e-24 * n {
        return (f64::NAN, f64::NAN);
    }
    let deviation = (second / n).sqrt();
    (mean / (second / (n - 1.0)).sqrt(), third / n / (deviation * deviation * deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_extremes_counts() {
        assert_eq!(extreme(&[1.0, 3.0, 3.0, 2.0], 1.0), (3.0, 1));
        assert_eq!(extreme(&[3.0, 1.0, 1.0], -1.0), (1.0, 1));
    }

    #[test]
    fn drawdown_is_from_the_highest_close_so_far() {
        assert!((drawdown(100.0, &[110.0, 99.0, 104.5]) + 0.1).abs() < 1e-15);
        assert_eq!(drawdown(100.0, &[101.0, 102.0]), 0.0);
        assert_eq!(drawdown(100.0, &[50.0]), -0.5);
    }

    #[test]
    fn moments_by_hand() {
        // Mean 2, deviations -1, -1, 2: sum of squares 6, of cubes 6.
        let (sharpe, skew) = moments(1.0, &[1.0, 4.0]);
        assert!((sharpe - 2.0 / 3f64.sqrt()).abs() < 1e-12 && (skew - 2.0 / 2f64.powf(1.5)).abs() < 1e-12);
        assert!(moments(0.1, &[0.1, 0.1]).0.is_nan() && moments(0.1, &[]).1.is_nan());
    }
}
