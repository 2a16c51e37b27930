//! Whether the best of many variants is more than luck, in words.

use super::Swept;
use super::overfitting::{CrossValidation, Pbo, WalkForward, Winner};
use crate::backtest::Permutation;
use crate::scan::typed;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use std::sync::Arc;
use tallow_common::Result;

/// Whether the best of many variants is more than luck.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Luck {
    /// Whether all symbols share money.
    pub is_shared: bool,
    /// Instants.
    pub bars: usize,
    /// Bars a year.
    pub periods: f64,
    /// Variants that were tried.
    pub trials: usize,
    /// How many independent ones they are worth.
    pub effective_trials: Option<f64>,
    /// Sharpe ratio of a year of the best.
    pub best_sharpe: Option<f64>,
    /// What the best of as many independent trials without skill would show, of a year.
    pub expected_sharpe: Option<f64>,
    /// The probability that the true Sharpe ratio of the best is above that.
    pub deflated_sharpe: Option<f64>,
    /// Backtest overfitting, where there are two variants or more.
    pub pbo: Option<Pbo>,
    /// The chosen variants where they were not chosen, where there are two variants or more; ratios of one bar.
    pub cross_validation: Option<CrossValidation>,
    /// What a walk-forward test found, where one was asked for; ratios of one bar.
    pub walk_forward: Option<WalkForward>,
    /// The best of the variants on bars in other orders, where that was asked for.
    pub permutation: Option<Permutation>,
    /// The parameters of the variant that was the best before most folds.
    pub most_frequent: Option<String>,
}

impl Luck {
    /// A sentence for each answer.
    pub fn sentences(&self) -> Vec<String> {
        let Luck { bars, periods, trials, effective_trials, best_sharpe, expected_sharpe, .. } = self;
        let number = |figure: &Option<f64>| figure.map_or("-".to_string(), |figure| format!("{figure:.2}"));
        let money = match self.is_shared {
            true => "each variant a back-test with money that all symbols share",
            false => "the mean of all symbols, each with money of its own",
        };
        let mut said = vec![format!("{bars} bars, {periods} a year; {money}")];
        said.push(format!(
            "luck: {trials} variants, worth {} independent ones; without skill the best of them would show a Sharpe ratio of {}, \
             and it shows {}",
            effective_trials.map_or("-".to_string(), |trials| format!("{trials:.1}")),
            number(expected_sharpe),
            number(best_sharpe),
        ));
        if let Some(deflated) = self.deflated_sharpe {
            said.push(format!(
                "deflated Sharpe ratio: {:.1} % is the probability that the best is better than such luck",
                deflated * 100.0
            ));
        }
        if let Some(Pbo { probability, splits }) = self.pbo {
            said.push(format!(
                "overfitting: of {splits} ways to cut time in two halves, in {:.1} % the best of one half is not above the \
                 middle in the other",
                probability * 100.0
            ));
        }
        if let Some(CrossValidation { splits, paths, mean, losing }) = self.cross_validation {
            said.push(format!(
                "cross-validation: chosen by all blocks of time but two and tried on these, in {splits} ways ({paths} histories), the \
                 best had a mean Sharpe ratio of {:.2}, and one below 0 in {:.1} % of them",
                mean * periods.sqrt(),
                losing * 100.0
            ));
        }
        if let Some(walk) = &self.walk_forward
            && let Some((before, after)) = walk.means()
        {
            let a_year = periods.sqrt();
            let (folds, kept) = (walk.winners.len(), number(&walk.robustness()));
            said.push(format!(
                "walk-forward: the best before each of {folds} folds had a mean Sharpe ratio of {:.2}, and of {:.2} in the fold{}: \
                 {kept} of it remains; most often it was {}",
                before * a_year,
                after * a_year,
                if walk.is_flat { ", without a position at its borders" } else { "" },
                self.most_frequent.as_deref().unwrap_or("-")
            ));
        }
        if let Some(permutation) = &self.permutation {
            said.push(format!("permutation: the best variant on {}", permutation.sentence()));
        }
        said
    }
}

impl Swept {
    /// One row a fold of the walk-forward test: the best variant before it, and its Sharpe ratios of a year before the fold and in it.
    ///
    /// # Errors
    /// The rows cannot be made.
    pub fn folds(&self, params: &[&str]) -> Result<Option<RecordBatch>> {
        let Some(walk) = &self.luck.walk_forward else { return Ok(None) };
        let a_year = self.luck.periods.sqrt();
        let ratios = |of: fn(&Winner) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(walk.winners.iter().map(|winner| of(winner) * a_year)))
        };
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("fold", Arc::new(Int64Array::from_iter_values(walk.winners.iter().map(|of| of.fold as i64 + 1))))];
        for (at, name) in params.iter().enumerate() {
            let values: Vec<&str> = walk.winners.iter().map(|of| self.tried[of.variant][at].1.as_str()).collect();
            columns.push((name, typed(&values)));
        }
        columns.push(("sharpe_before", ratios(|of| of.before)));
        columns.push(("sharpe_in_fold", ratios(|of| of.after)));
        Ok(Some(RecordBatch::try_from_iter(columns)?))
    }
}
