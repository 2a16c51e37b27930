//! `return_quantile(close, horizon, window)`.

use super::forward_return::forward_return;
use super::path;
use crate::series::{
    Bars, Input, Inputs, Number, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature,
};
use datafusion_common::Result;

/// Decile of a forward return among those that were known.
#[derive(Debug)]
pub(super) struct ReturnQuantile {
    signature: SeriesSignature,
    real: Input<Number>,
    horizon: Param<usize>,
    window: Param<usize>,
    min_count: Param<usize>,
    decile: Output<i32>,
}

impl ReturnQuantile {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "return_quantile",
            super::LABELS,
            "Decile, 1 to 10, of the forward return among the returns whose horizon ended within the last `window` bars, this \
             one included; equal returns count half. Null with fewer than `min_count` of them",
            "",
        );
        let real = signature.input("real", Some("close"));
        let horizon = path::horizon(&mut signature);
        let window = signature.integer(
            "window",
            10..=100_000,
            Some(1000),
            "Bars within which the horizons of the other returns ended",
        );
        let min_count = signature.integer("min_count", 1..=100_000, Some(50), "Returns that are needed to rank among");
        let decile = signature.output("decile");
        Self { signature, real, horizon, window, min_count, decile }
    }
}

impl SeriesFunction for ReturnQuantile {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, params: &Params) -> Reach {
        let (horizon, window) = (params.get(self.horizon), params.get(self.window));
        Reach { back: Bars::Count(horizon + window), ahead: Bars::Count(horizon) }
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let first = outputs.first_read();
        if let Some(out) = outputs.get(self.decile) {
            let (horizon, window, min_count) =
                (params.get(self.horizon), params.get(self.window), params.get(self.min_count));
            return_quantile(inputs.get(self.real), horizon, window, min_count, first, out);
        }
        Ok(())
    }
}

fn return_quantile(x: &[f64], horizon: usize, window: usize, min_count: usize, first: usize, out: &mut [i32]) {
    let mut returns = vec![f64::NAN; x.len()];
    forward_return(x, horizon, &mut returns);
    let first = first.max(horizon);
    // The known returns in ascending order: at first those that are known before the first row.
    let mut known: Vec<f64> = Vec::with_capacity(window.min(x.len()) + 1);
    let ended = first - horizon;
    let within = returns.get(ended.saturating_sub(window)..ended).unwrap_or_default();
    known.extend(within.iter().filter(|v| v.is_finite()));
    known.sort_unstable_by(f64::total_cmp);
    for t in first..x.len() {
        let ended = returns[t - horizon];
        if ended.is_finite() {
            known.insert(known.partition_point(|v| *v < ended), ended);
        }
        if let Some(left) = (t - horizon).checked_sub(window).map(|i| returns[i]).filter(|v| v.is_finite()) {
            known.remove(known.partition_point(|v| *v < left));
        }
        if returns[t].is_finite() && known.len() >= min_count {
            let below = known.partition_point(|v| *v < returns[t]);
            let equal = known[below..].partition_point(|v| *v <= returns[t]);
            let share = (below as f64 + equal as f64 / 2.0) / known.len() as f64;
            out[t] = ((share * 10.0).floor() as i32 + 1).min(10);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::NO_INT;

    #[test]
    fn ranks_among_returns_whose_horizon_has_ended() {
        // One-bar returns: 1, -0.5, 1, 0.5, -0.5, then none.
        let x = [1.0, 2.0, 1.0, 2.0, 3.0, 1.5];
        let mut out = [NO_INT; 6];
        return_quantile(&x, 1, 10, 2, 0, &mut out);
        // At 2 the return is 1; known are 1 and -0.5: one below, one equal: 0.75.
        assert_eq!(out[2], 8);
        // At 3: 0.5 among 1, -0.5, 1: one below: a third.
        assert_eq!(out[3], 4);
        // At 4: -0.5 among 1, -0.5, 1, 0.5: one equal: an eighth.
        assert_eq!(out[4], 2);
        assert_eq!([out[0], out[1], out[5]], [NO_INT; 3]);
    }

    #[test]
    fn forgets_what_ended_before_the_window() {
        let x: Vec<f64> =
            (0..40).map(|i| 100.0 + if i < 20 { f64::from(i) } else { 20.0 + f64::from(i % 2) }).collect();
        let mut out = [NO_INT; 40];
        return_quantile(&x, 1, 10, 5, 0, &mut out);
        assert!(out[38] == 8 || out[38] == 3, "{}", out[38]);
    }

    #[test]
    fn rows_that_nobody_reads_change_nothing() {
        let x: Vec<f64> = (0..60).map(|i| 100.0 + f64::from(i * i % 17)).collect();
        let mut all = [NO_INT; 60];
        return_quantile(&x, 2, 12, 5, 0, &mut all);
        for first in 0..60 {
            let mut out = [NO_INT; 60];
            return_quantile(&x, 2, 12, 5, first, &mut out);
            assert_eq!(out[first..], all[first..]);
        }
    }
}
