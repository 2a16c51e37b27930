//! `sample_weights(close, bars)`.

use crate::series::{
    Bars, Input, Inputs, Number, Optional, Output, Outputs, Param, Params, Reach, SeriesFunction, SeriesSignature,
};
use datafusion_common::Result;

/// How much each label says that the others do not.
#[derive(Debug)]
pub(super) struct SampleWeights {
    signature: SeriesSignature,
    close: Input<Number>,
    oldest: Param<f64>,
    bars: Optional<Number>,
    uniqueness: Output<f64>,
    return_attribution: Output<f64>,
    time_decay: Output<f64>,
}

impl SampleWeights {
    pub fn new() -> Self {
        let mut signature = SeriesSignature::new(
            "sample_weights",
            super::LABELS,
            "Weights of labels that overlap, per symbol: average uniqueness (1 over the number of labels alive, averaged over \
             the label's bars), the absolute log return that is the label's own share (mean 1 over the labels), and a decay \
             of age, linear in cumulated uniqueness. Looks at the whole series: for training, not for decisions",
            "M. Lopez de Prado, Advances in Financial Machine Learning, ch. 4",
        );
        Self {
            close: signature.input("close", Some("close")),
            oldest: signature.real(
                "oldest",
                -0.99..=1.0,
                Some(1.0),
                "Decay of the oldest label: 1 for none; below 0, the oldest labels count nothing",
            ),
            bars: signature.needed_option(
                "bars",
                "bars that a label lives, such as coalesce(bars_to_hit, horizon); bars without one have no label",
            ),
            uniqueness: signature.output("uniqueness"),
            return_attribution: signature.output("return_attribution"),
            time_decay: signature.output("time_decay"),
            signature,
        }
    }
}

impl SeriesFunction for SampleWeights {
    fn signature(&self) -> &SeriesSignature {
        &self.signature
    }

    fn reach(&self, _: &Params) -> Reach {
        Reach { back: Bars::Unbounded, ahead: Bars::Unbounded }
    }

    fn evaluate(&self, inputs: &Inputs<'_>, params: &Params, outputs: &mut Outputs<'_>) -> Result<()> {
        let Some(bars) = inputs.optional(self.bars) else { return Ok(()) };
        for (row, [own, attribution, decay]) in weigh(inputs.get(self.close), bars, params.get(self.oldest)) {
            outputs.set(self.uniqueness, row, own);
            outputs.set(self.return_attribution, row, attribution);
            outputs.set(self.time_decay, row, decay);
        }
        Ok(())
    }
}

/// For every labelled row: uniqueness, return attribution, time decay. A label at `t` lives on bars `t + 1 ..= t + bars`.
fn weigh(close: &[f64], bars: &[f64], oldest: f64) -> Vec<(usize, [f64; 3])> {
    let rows = close.len();
    let span = |t: usize| {
        let length = bars[t];
        (length >= 1.0).then(|| (t + 1, t.saturating_add(length as usize))).filter(|(_, last)| *last < rows)
    };
    // How many labels live on each bar: steps up and down, summed.
    let mut alive = vec![0i64; rows + 1];
    for (first, last) in (0..rows).filter_map(span) {
        alive[first] += 1;
        alive[last + 1] -= 1;
    }
    for i in 1..rows {
        alive[i] += alive[i - 1];
    }
    // Sums up to and including each bar, so that a span is a difference.
    let (mut shares, mut returns) = (vec![0.0; rows], vec![0.0; rows]);
    for i in 1..rows {
        let share = if alive[i] > 0 { 1.0 / alive[i] as f64 } else { 0.0 };
        shares[i] = shares[i - 1] + share;
        returns[i] = returns[i - 1] + (close[i] / close[i - 1]).ln() * share;
    }
    let mut weights: Vec<(usize, [f64; 3])> = (0..rows)
        .filter_map(|t| span(t).map(|(first, last)| (t, first, last)))
        .map(|(t, first, last)| {
            // A difference of sums can come out a little above the largest value.
            let own = f64::min((shares[last] - shares[first - 1]) / (last - first + 1) as f64, 1.0);
            (t, [own, (returns[last] - returns[first - 1]).abs(), f64::NAN])
        })
        .collect();
    let count = weights.len() as f64;
    let total: f64 = weights.iter().map(|(_, w)| w[1]).sum();
    let all_unique: f64 = weights.iter().map(|(_, w)| w[0]).sum();
    let slope = if oldest >= 0.0 { (1.0 - oldest) / all_unique } else { 1.0 / ((oldest + 1.0) * all_unique) };
    let base = 1.0 - slope * all_unique;
    let mut so_far = 0.0;
    for (_, weight) in &mut weights {
        so_far += weight[0];
        weight[1] *= count / total;
        weight[2] = (base + slope * so_far).max(0.0);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_labels_share_their_bars() {
        // Labels at 0 and 1 live two bars each: bar 2 is shared.
        let close = [1.0f64, 2.0, 4.0, 8.0];
        let weights = weigh(&close, &[2.0, 2.0, f64::NAN, 5.0], 1.0);
        assert_eq!(weights.len(), 2, "the last label goes past the end");
        for (_, [own, attribution, decay]) in weights {
            assert!((own - 0.75).abs() < 1e-12 && (attribution - 1.0).abs() < 1e-12 && (decay - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn decay_ends_at_one() {
        let close: Vec<f64> = (1..=6).map(f64::from).collect();
        let weights = weigh(&close, &[1.0; 6], 0.5);
        let decay: Vec<f64> = weights.iter().map(|(_, w)| w[2]).collect();
        let expected = [0.6, 0.7, 0.8, 0.9, 1.0];
        assert!(decay.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{decay:?}");
        let cut = weigh(&close, &[1.0; 6], -0.5);
        assert_eq!(cut[0].1[2], 0.0);
        assert!((cut[4].1[2] - 1.0).abs() < 1e-12);
    }
}
