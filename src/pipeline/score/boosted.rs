//! Gradient-boosted trees: one ensemble for each target.

use super::Evaluation;
use forust_ml::objective::ObjectiveType;
use forust_ml::sampler::SampleMethod;
use forust_ml::{GradientBooster, Matrix};
use serde::{Deserialize, Serialize};
use tallow_common::{Error, Result};

/// Trees of an ensemble, their depth, what each adds, the share of rows that each sees, and rows of a leaf at least.
const TREES: usize = 300;
const DEPTH: usize = 4;
const RATE: f32 = 0.05;
const SUBSAMPLE: f32 = 0.8;
const LEAF: f32 = 20.0;
const SEED: u64 = 42;

/// The version of the file.
const FORMAT: u32 = 1;

/// Trained ensembles, and what they were trained on.
pub struct Boosted {
    /// The features, in order.
    pub features: Vec<String>,
    /// The targets, one for each ensemble.
    pub targets: Vec<String>,
    /// Where the model comes from.
    pub origin: Origin,
    ensembles: Vec<GradientBooster>,
}

impl std::fmt::Debug for Boosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Boosted").field("features", &self.features).field("origin", &self.origin).finish()
    }
}

/// What a model was trained on, and how well it predicted what it had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The patterns.
    pub patterns: Vec<String>,
    /// The length of the bars.
    pub timeframe: String,
    /// The version of the candles, where their table has versions.
    pub candles_version: Option<u64>,
    /// Matches.
    pub rows: usize,
    /// When it was trained, in microseconds since the epoch.
    pub trained_at: i64,
    /// Out of sample.
    pub evaluation: Evaluation,
}

#[derive(Serialize, Deserialize)]
struct File {
    tallow_model: u32,
    features: Vec<String>,
    targets: Vec<String>,
    origin: Origin,
    ensembles: Vec<String>,
}

fn booster() -> GradientBooster {
    GradientBooster::default()
        .set_objective_type(ObjectiveType::SquaredLoss)
        .set_iterations(TREES)
        .set_max_depth(DEPTH)
        .set_learning_rate(RATE)
        .set_sample_method(SampleMethod::Random)
        .set_subsample(SUBSAMPLE)
        .set_min_leaf_weight(LEAF)
        .set_seed(SEED)
        .set_parallel(true)
}

/// The library indexes past its bins for infinities.
fn finite(features: &[f64]) -> Vec<f64> {
    features.iter().map(|x| if x.is_finite() { *x } else { f64::NAN }).collect()
}

/// Fits one ensemble; features lie column after column.
pub(super) fn fit(features: &[f64], target: &[f64]) -> Result<GradientBooster> {
    let features = finite(features);
    let matrix = Matrix::new(&features, target.len(), features.len() / target.len().max(1));
    let mut model = booster();
    model.fit_unweighted(&matrix, target, None).map_err(|e| Error::invalid(format!("training failed: {e}")))?;
    Ok(model)
}

/// The predictions of one ensemble.
pub(super) fn predict(model: &GradientBooster, features: &[f64], rows: usize) -> Vec<f64> {
    if rows == 0 {
        return vec![];
    }
    let features = finite(features);
    let matrix = Matrix::new(&features, rows, features.len() / rows);
    // A share: trees may go a little beyond.
    model.predict(&matrix, true).into_iter().map(|p| p.clamp(0.0, 1.0)).collect()
}

/// Makes shares of one match agree: what gained twenty percent gained ten. Of a match without any feature nothing is predicted.
pub(super) fn possible(predicted: &mut [Vec<f64>], features: &[f64], rows: usize) {
    for row in 0..rows {
        let unknown = (0..features.len() / rows).all(|column| !features[column * rows + row].is_finite());
        let mut most = f64::INFINITY;
        for target in predicted.iter_mut() {
            most = if unknown { f64::NAN } else { most.min(target[row]) };
            target[row] = most;
        }
    }
}

impl Boosted {
    pub(super) fn new(
        features: Vec<String>,
        targets: Vec<String>,
        origin: Origin,
        ensembles: Vec<GradientBooster>,
    ) -> Boosted {
        Boosted { features, targets, origin, ensembles }
    }

    /// One column a target.
    pub fn predict(&self, features: &[f64], rows: usize) -> Vec<Vec<f64>> {
        let mut predicted: Vec<Vec<f64>> = self.ensembles.iter().map(|e| predict(e, features, rows)).collect();
        possible(&mut predicted, features, rows);
        predicted
    }

    /// The model as the text of a file.
    pub fn to_json(&self) -> Result<String> {
        let dump = |e: &GradientBooster| e.json_dump().map_err(|e| Error::invalid(format!("saving the model: {e}")));
        let file = File {
            tallow_model: FORMAT,
            features: self.features.clone(),
            targets: self.targets.clone(),
            origin: self.origin.clone(),
            ensembles: self.ensembles.iter().map(dump).collect::<Result<_>>()?,
        };
        serde_json::to_string(&file).map_err(|e| Error::invalid(format!("saving the model: {e}")))
    }

    /// Reads what [`Boosted::to_json`] wrote.
    pub fn from_json(name: &str, text: &str) -> Result<Boosted> {
        let wrong = |said: String| Error::invalid(format!("model '{name}' cannot be read: {said}"));
        let file: File = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if file.tallow_model != FORMAT {
            return Err(wrong(format!("format {}, expected {FORMAT}", file.tallow_model)));
        }
        let load = |text: &String| GradientBooster::from_json(text).map_err(|e| wrong(e.to_string()));
        let ensembles = file.ensembles.iter().map(load).collect::<Result<Vec<_>>>()?;
        if ensembles.len() != file.targets.len() {
            return Err(wrong(format!("{} ensembles for {} targets", ensembles.len(), file.targets.len())));
        }
        Ok(Boosted { features: file.features, targets: file.targets, origin: file.origin, ensembles })
    }
}
