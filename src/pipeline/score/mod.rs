//! Scores of matches: what a model makes of their 19 features.
//!
//! Training and serving read the same features, those of the named query `match_features`.

mod boosted;
mod evaluation;
mod features;
mod model;
#[cfg(feature = "onnx")]
mod onnx;
mod predict;
mod store;
mod train;
mod walk;

pub use boosted::{Boosted, Origin};
pub use evaluation::{Bin, Evaluation, TargetScore};
pub use features::{FEATURES, TARGETS, check_benchmark, scored};
pub use model::Model;
pub(crate) use predict::Predict;
pub use store::Models;
pub use train::{Trained, Training, TrainingRequest, check_name};
