//! Users' own models: ONNX files, run by tract.
//!
//! The model takes one float tensor of shape [rows, features] and gives one of shape [rows] or [rows, targets]. Operators
//! that tract has run; it has no tree ensembles, so trees must be exported as tensor operations.

use crate::error::{Error, Result};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

/// A model that is ready to run.
pub struct Onnx {
    /// Features.
    pub inputs: usize,
    /// Targets: `out_1`, `out_2`, ...
    pub targets: Vec<String>,
    name: String,
    model: Arc<TypedRunnableModel>,
}

impl std::fmt::Debug for Onnx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onnx").field("name", &self.name).field("inputs", &self.inputs).finish()
    }
}

impl Onnx {
    /// Reads a model, and tries it on a row of zeros.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Onnx> {
        let wrong = |said: String| Error::Setting(format!("model '{name}': {said}"));
        let failed = |error: TractError| wrong(format!("{error:#}"));
        let mut reader = bytes;
        let model = tract_onnx::onnx().model_for_read(&mut reader).map_err(failed)?;
        let shape = model.input_fact(0).map_err(failed)?.shape.clone();
        let inputs = shape.dim(1).and_then(|d| d.concretize()).and_then(|d| d.to_i64().ok());
        let Some(inputs) = inputs.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) else {
            return Err(wrong(format!("its input has the shape {shape:?}, expected [rows, features]")));
        };
        let rows = model.sym("rows");
        let fact = InferenceFact::dt_shape(f32::datum_type(), tvec![rows.to_dim(), inputs.to_dim()]);
        let model = model.with_input_fact(0, fact).map_err(failed)?;
        let model = model.into_optimized().map_err(failed)?.into_runnable().map_err(failed)?;
        let mut onnx = Onnx { inputs, targets: vec![], name: name.to_string(), model };
        let tried = onnx.predict(&vec![0.0; inputs], 1)?;
        onnx.targets = (1..=tried.len()).map(|i| format!("out_{i}")).collect();
        Ok(onnx)
    }

    /// One column a target.
    pub fn predict(&self, features: &[f64], rows: usize) -> Result<Vec<Vec<f64>>> {
        let failed = |error: TractError| Error::Setting(format!("model '{}': {error:#}", self.name));
        if rows == 0 {
            return Ok(vec![vec![]; self.targets.len()]);
        }
        let by_row: Vec<f32> = (0..rows)
            .flat_map(|row| (0..self.inputs).map(move |column| features[column * rows + row] as f32))
            .collect();
        let input = Tensor::from_shape(&[rows, self.inputs], &by_row).map_err(failed)?;
        let output = self.model.run(tvec!(input.into_tvalue())).map_err(failed)?;
        let output = output[0].cast_to::<f32>().map_err(failed)?.into_owned();
        let view = output.to_plain_array_view::<f32>().map_err(failed)?;
        let columns = view.len() / rows;
        let values: Vec<f64> = view.iter().map(|v| f64::from(*v)).collect();
        Ok((0..columns).map(|column| (0..rows).map(|row| values[row * columns + column]).collect()).collect())
    }
}
