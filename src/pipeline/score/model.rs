//! What turns features into targets.

use super::boosted::Boosted;
use super::walk;
use super::{FEATURES, TARGETS};
use tallow_common::{Error, Result};

/// A model by its name.
#[derive(Debug)]
pub enum Model {
    /// No training: what a random walk would do.
    Walk,
    /// Gradient-boosted trees that were trained on matches.
    Boosted(Box<Boosted>),
    /// A model of the user's own.
    #[cfg(feature = "onnx")]
    Onnx(super::onnx::Onnx),
}

impl Model {
    /// The name of the model that needs no training.
    pub const WALK: &'static str = "heuristic";

    /// Reads a model file; `memory` is what a model of the user's own may take, in bytes.
    ///
    /// # Errors
    /// A file that is no model, or one that asks for too much, named.
    #[cfg_attr(not(feature = "onnx"), expect(unused_variables, reason = "the other models take what their file takes"))]
    pub fn read(name: &str, bytes: &[u8], memory: usize) -> Result<Model> {
        if name.ends_with(".onnx") {
            #[cfg(feature = "onnx")]
            return Ok(Model::Onnx(super::onnx::Onnx::read(name, bytes, memory)?));
            #[cfg(not(feature = "onnx"))]
            return Err(Error::invalid(format!(
                "model '{name}': this build reads no ONNX: it was made without the cargo feature `onnx`"
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid(format!("model '{name}' is no text")))?;
        Ok(Model::Boosted(Box::new(Boosted::from_json(name, text)?)))
    }

    /// How many features it takes.
    pub fn inputs(&self) -> usize {
        match self {
            Model::Walk => FEATURES.len(),
            Model::Boosted(model) => model.features.len(),
            #[cfg(feature = "onnx")]
            Model::Onnx(model) => model.inputs,
        }
    }

    /// What it tells.
    pub fn targets(&self) -> Vec<String> {
        match self {
            Model::Walk => TARGETS.iter().map(ToString::to_string).collect(),
            Model::Boosted(model) => model.targets.clone(),
            #[cfg(feature = "onnx")]
            Model::Onnx(model) => model.targets.clone(),
        }
    }

    /// The targets of rows, each a column; features lie column after column, NaN where one is missing.
    pub fn predict(&self, features: &[f64], rows: usize) -> Result<Vec<Vec<f64>>> {
        match self {
            Model::Walk => Ok(walk::predict(features, rows)),
            Model::Boosted(model) => Ok(model.predict(features, rows)),
            #[cfg(feature = "onnx")]
            Model::Onnx(model) => model.predict(features, rows),
        }
    }
}
