//! Users' own models: ONNX files, run by tract.
//!
//! The model takes one float tensor of shape [rows, features] and gives one of shape [rows] or [rows, targets]. Operators
//! that tract has run; it has no tree ensembles, so trees must be exported as tensor operations.
//!
//! A file of a few hundred bytes can ask for any amount of memory and time. Rows are given to a model in parts whose
//! tensors fit into its share of the memory, a tensor that does not fit is not made, and it is asked between any two
//! operations whether the time is over. What tract itself computes while it reads a model can only be stopped from outside:
//! constants that become large are looked for beforehand, and whoever reads does not wait longer than the limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tallow_common::{Error, Result};
use tract_onnx::pb::{GraphProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::infer::Factoid;

/// How long a model may take to be read, or to answer for a batch of rows.
const TIME: Duration = Duration::from_secs(60);
/// What reading a model takes, for each byte of its file: its text, its tensors as they stand and as they are computed with.
const READING: usize = 4;
/// Operators that make tensors as large as the values of an input say.
const SIZED_BY_VALUE: [&str; 9] =
    ["ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"];

/// A model that is ready to run.
pub struct Onnx {
    /// Features.
    pub inputs: usize,
    /// Targets: `out_1`, `out_2`, ...
    pub targets: Vec<String>,
    name: String,
    model: Arc<TypedRunnableModel>,
    /// The number of rows, in the shapes of its tensors.
    rows: Symbol,
    /// Bytes that its tensors may take.
    memory: usize,
}

impl std::fmt::Debug for Onnx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onnx").field("name", &self.name).field("inputs", &self.inputs).finish()
    }
}

impl Onnx {
    /// Reads a model that may take so many bytes of memory, and tries it on a row of zeros.
    pub fn read(name: &str, bytes: &[u8], memory: usize) -> Result<Onnx> {
        if bytes.len().saturating_mul(READING) > memory {
            return Err(too_large(name, "reading it", (bytes.len() * READING) as f64, memory));
        }
        let (sender, receiver) = mpsc::channel();
        let (owned, file) = (name.to_string(), bytes.to_vec());
        // A thread cannot be stopped: one that takes too long is left behind.
        std::thread::spawn(move || sender.send(Onnx::ready(&owned, &file, memory)));
        match receiver.recv_timeout(TIME) {
            Ok(read) => read,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(too_slow(name, "getting it ready", TIME)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::invalid(format!("model '{name}' cannot be read"))),
        }
    }

    fn ready(name: &str, bytes: &[u8], memory: usize) -> Result<Onnx> {
        let wrong = |said: String| Error::invalid(format!("model '{name}': {said}"));
        let failed = |error: TractError| wrong(format!("{error:#}"));
        let mut reader = bytes;
        let framework = tract_onnx::onnx();
        let proto = framework.proto_model_for_read(&mut reader).map_err(failed)?;
        if let Some(graph) = &proto.graph {
            let made = largest_constant(graph);
            if made > memory as f64 {
                return Err(too_large(name, "one of its tensors", made, memory));
            }
        }
        let model = framework.model_for_proto_model(&proto).map_err(failed)?;
        let shape = model.input_fact(0).map_err(failed)?.shape.clone();
        let inputs = shape.dim(1).and_then(|d| d.concretize()).and_then(|d| d.to_i64().ok());
        let Some(inputs) = inputs.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) else {
            return Err(wrong(format!("its input has the shape {shape:?}, expected [rows, features]")));
        };
        let rows = model.sym("rows");
        let fact = InferenceFact::dt_shape(f32::datum_type(), tvec![rows.to_dim(), inputs.to_dim()]);
        let model = model.with_input_fact(0, fact).map_err(failed)?;
        let model = model.into_optimized().map_err(failed)?.into_runnable().map_err(failed)?;
        let mut onnx = Onnx { inputs, targets: vec![], name: name.to_string(), model, rows, memory };
        let tried = onnx.predict(&vec![0.0; inputs], 1)?;
        onnx.targets = (1..=tried.len()).map(|i| format!("out_{i}")).collect();
        Ok(onnx)
    }

    /// One column a target.
    pub fn predict(&self, features: &[f64], rows: usize) -> Result<Vec<Vec<f64>>> {
        self.predict_within(features, rows, TIME)
    }

    fn predict_within(&self, features: &[f64], rows: usize, time: Duration) -> Result<Vec<Vec<f64>>> {
        let started = Instant::now();
        let at_once = self.rows_at_once(rows)?;
        let mut columns: Vec<Vec<f64>> = vec![vec![]; self.targets.len()];
        for from in (0..rows).step_by(at_once) {
            let part = from..rows.min(from + at_once);
            let by_row = part
                .clone()
                .flat_map(|row| (0..self.inputs).map(move |column| features[column * rows + row] as f32))
                .collect::<Vec<f32>>();
            let time_left = time.checked_sub(started.elapsed());
            let time_left = time_left.ok_or_else(|| too_slow(&self.name, &format!("{rows} rows"), time))?;
            let values = self.run(&by_row, part.len(), time_left)?;
            let width = values.len() / part.len();
            columns.resize(width, vec![]);
            for (i, value) in values.into_iter().enumerate() {
                columns[i % width].push(f64::from(value));
            }
        }
        Ok(columns)
    }

    /// How many rows, up to a number of them, fit into the memory as if all tensors were held at the same time.
    fn rows_at_once(&self, rows: usize) -> Result<usize> {
        let mut at_once = rows.max(1);
        loop {
            let symbols = SymbolValues::default().with(&self.rows, at_once as i64);
            let nodes = self.model.model().nodes().iter();
            let facts = nodes.flat_map(|node| &node.outputs).map(|output| &output.fact);
            // What is constant was there before; what depends on the data is known when it is made.
            let made = facts.filter(|fact| fact.konst.is_none());
            let bytes: f64 =
                made.filter_map(|fact| fact.mem_size().eval(&symbols).to_i64().ok()).map(|n| n as f64).sum();
            match at_once {
                _ if bytes <= self.memory as f64 => return Ok(at_once),
                1 => return Err(too_large(&self.name, "one row", bytes, self.memory)),
                _ => at_once = at_once.div_ceil(2),
            }
        }
    }

    /// The output for some rows, row after row.
    fn run(&self, by_row: &[f32], rows: usize, time: Duration) -> Result<Vec<f32>> {
        let failed = |error: TractError| match error.downcast::<Error>() {
            Ok(own) => own,
            Err(error) => Error::invalid(format!("model '{}': {error:#}", self.name)),
        };
        let started = Instant::now();
        let input = Tensor::from_shape(&[rows, self.inputs], by_row).map_err(failed)?;
        let mut state = self.model.spawn().map_err(failed)?;
        let output = state.run_plan_with_eval(tvec!(input.into_tvalue()), |context, state, node, inputs| {
            if started.elapsed() > time {
                return Err(TractError::from(too_slow(&self.name, &format!("{rows} rows"), TIME)));
            }
            for output in &node.outputs {
                let bytes = output.fact.mem_size().eval(context.symbols).to_i64().unwrap_or_default();
                if bytes as f64 > self.memory as f64 {
                    return Err(
                        too_large(&self.name, &format!("the tensor of {node}"), bytes as f64, self.memory).into()
                    );
                }
            }
            eval(context, state, node, inputs)
        });
        let output = output.map_err(failed)?;
        let output = output[0].cast_to::<f32>().map_err(failed)?.into_owned();
        let view = output.to_plain_array_view::<f32>().map_err(failed)?;
        Ok(view.iter().copied().collect())
    }
}

fn too_large(name: &str, what: &str, bytes: f64, memory: usize) -> Error {
    let mebibytes = |bytes: f64| (bytes / f64::from(1 << 20)).ceil();
    Error::invalid(format!(
        "model '{name}': {what} needs {:.0} MiB, more than the {:.0} MiB that the memory limit leaves for a model",
        mebibytes(bytes),
        mebibytes(memory as f64)
    ))
}

fn too_slow(name: &str, what: &str, time: Duration) -> Error {
    Error::invalid(format!("model '{name}': {what} took longer than {} s, the limit for a model", time.as_secs()))
}

/// Bytes of the largest tensor that some operator makes as constants say, as far as these are numbers.
fn largest_constant(graph: &GraphProto) -> f64 {
    let of_nodes = graph.node.iter().filter(|n| n.op_type == "Constant").filter_map(|n| {
        let tensor = n.attribute.iter().find_map(|a| a.t.as_ref())?;
        Some((n.output.first()?.as_str(), tensor))
    });
    let known: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|t| (t.name.as_str(), t)).chain(of_nodes).collect();
    let made = |name: &String| known.get(name.as_str()).map_or(0.0, |tensor| product(tensor) * 4.0);
    let own = graph.node.iter().filter(|n| SIZED_BY_VALUE.contains(&n.op_type.as_str()));
    let own = own.flat_map(|n| &n.input).map(made);
    // Loops and branches have graphs of their own.
    let inner = graph.node.iter().flat_map(|n| &n.attribute).filter_map(|a| a.g.as_ref()).map(largest_constant);
    own.chain(inner).fold(0.0, f64::max)
}

/// The product of the whole numbers of a tensor that can be a shape.
fn product(tensor: &TensorProto) -> f64 {
    const INT64: i32 = 7;
    if tensor.data_type != INT64 || tensor.dims.len() > 1 || tensor.dims.first().is_some_and(|n| *n > 16) {
        return 0.0;
    }
    let raw = tensor.raw_data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
    tensor.int64_data.iter().copied().chain(raw).map(|n| n.max(1) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of the features, from a tensor of 10,000 copies of it.
    const WIDE: &[u8] = include_bytes!("../../../tests/golden/wide.onnx");

    #[test]
    fn rows_come_in_parts_that_fit() {
        let onnx = Onnx::read("wide", WIDE, 4 << 20).unwrap();
        let parts = onnx.rows_at_once(8192).unwrap();
        assert!((16..128).contains(&parts), "{parts}");
        let rows = 1000;
        let features: Vec<f64> = (0..onnx.inputs * rows).map(|i| (i % rows) as f64).collect();
        let predicted = onnx.predict(&features, rows).unwrap();
        assert_eq!(predicted.len(), 1);
        assert!(
            predicted[0].iter().enumerate().all(|(row, mean)| (mean - row as f64).abs() < 1e-2),
            "{:?}",
            &predicted[0][..9]
        );
    }

    #[test]
    fn a_model_that_needs_too_much_memory_or_time_is_refused() {
        let said = Onnx::read("wide", WIDE, 30_000).unwrap_err().to_string();
        assert!(said.contains("model 'wide'") && said.contains("more than the"), "{said}");
        let onnx = Onnx::read("wide", WIDE, 4 << 20).unwrap();
        let said = onnx.predict_within(&vec![1.0; onnx.inputs], 1, Duration::ZERO).unwrap_err().to_string();
        assert!(said.contains("took longer than"), "{said}");
    }
}
