//! How well predictions tell what came.

use serde::{Deserialize, Serialize};

/// Predictions of what was not seen in training, beside those of models that know less.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// Folds in time.
    pub folds: usize,
    /// Matches that were predicted out of sample.
    pub rows: usize,
    /// One for each target.
    pub targets: Vec<TargetScore>,
}

/// How well one target is predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetScore {
    /// Its name.
    pub target: String,
    /// Its mean.
    pub mean: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Root mean square error.
    pub rmse: f64,
    /// That of the mean of the training rows.
    pub rmse_of_mean: f64,
    /// That of a random walk.
    pub rmse_of_walk: f64,
    /// Expected calibration error, over ten bins of equal width.
    pub ece: f64,
    /// The bins that hold predictions.
    pub bins: Vec<Bin>,
}

/// Predictions of about the same size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many.
    pub rows: usize,
    /// Their mean.
    pub predicted: f64,
    /// The mean of what came.
    pub came: f64,
}

impl TargetScore {
    /// Scores predictions of one target. All slices have one length.
    pub fn of(target: &str, came: &[f64], predicted: &[f64], mean: &[f64], walk: &[f64]) -> TargetScore {
        let n = came.len().max(1) as f64;
        let error = |of: &[f64], size: fn(f64) -> f64| came.iter().zip(of).map(|(a, b)| size(a - b)).sum::<f64>() / n;
        let bins: Vec<Bin> = (0..10)
            .filter_map(|bin| {
                let of_bin = |p: &f64| ((p * 10.0) as usize).min(9) == bin;
                let (mut rows, mut sums) = (0, (0.0, 0.0));
                for (came, predicted) in came.iter().zip(predicted).filter(|(_, p)| of_bin(p)) {
                    rows += 1;
                    sums = (sums.0 + predicted, sums.1 + came);
                }
                let count = rows as f64;
                (rows > 0).then(|| Bin { rows, predicted: sums.0 / count, came: sums.1 / count })
            })
            .collect();
        let ece = bins.iter().map(|b| b.rows as f64 * (b.predicted - b.came).abs()).sum::<f64>() / n;
        let square = |x: f64| x * x;
        TargetScore {
            target: target.to_string(),
            mean: came.iter().sum::<f64>() / n,
            mae: error(predicted, f64::abs),
            rmse: error(predicted, square).sqrt(),
            rmse_of_mean: error(mean, square).sqrt(),
            rmse_of_walk: error(walk, square).sqrt(),
            ece,
            bins,
        }
    }

    /// The share of the squared error that the better of the two simple models makes and this one does not; below zero, it
    /// makes more.
    pub fn skill(&self) -> f64 {
        let simple = self.rmse_of_mean.min(self.rmse_of_walk);
        if simple > 0.0 { 1.0 - (self.rmse / simple).powi(2) } else { 0.0 }
    }
}

impl Evaluation {
    /// One sentence on whether there is an edge.
    pub fn verdict(&self) -> String {
        if self.folds < 3 {
            return format!(
                "Not evaluated: only {} of the folds left enough matches to train on; ask for more matches.",
                self.folds
            );
        }
        let predicted: Vec<_> = self.targets.iter().filter(|t| t.skill() > 0.02).map(|t| t.target.as_str()).collect();
        match predicted.as_slice() {
            [] => "No edge: out of sample, no target is predicted better than by its mean or by a random walk."
                .to_string(),
            some => format!(
                "Out of sample, {} of {} targets are predicted better than by their mean and by a random walk: {}.",
                some.len(),
                self.targets.len(),
                some.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_by_hand() {
        let score = TargetScore::of("gain_5", &[0.0, 1.0], &[0.25, 0.55], &[0.5, 0.5], &[0.0, 0.0]);
        assert!((score.mae - 0.35).abs() < 1e-12);
        assert!((score.rmse - ((0.0625 + 0.2025f64) / 2.0).sqrt()).abs() < 1e-12);
        assert!((score.rmse_of_mean - 0.5).abs() < 1e-12);
        assert!((score.rmse_of_walk - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((score.ece - 0.35).abs() < 1e-12);
        assert_eq!(score.bins.len(), 2);
        assert!((score.skill() - (1.0 - 0.1325 / 0.25)).abs() < 1e-12);
    }
}
