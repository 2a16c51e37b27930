//! One bound call: from Arrow arrays of a whole series to output columns.

use super::columns::{Column, valid_rows};
use super::function::SeriesFunction;
use super::inputs::Inputs;
use super::output_builder::{OutputBuilder, OutputSet};
use super::outputs::Outputs;
use super::params::Params;
use super::reach::Reach;
use arrow::array::{Array, ArrayRef};
use datafusion_common::{Result, internal_err};
use std::sync::Arc;

/// A function with its parameters and the outputs to compute.
#[derive(Debug, Clone)]
pub struct SeriesCall {
    function: Arc<dyn SeriesFunction>,
    params: Params,
    wanted: OutputSet,
    /// Which of the optional series are among the arguments.
    given: Vec<bool>,
}

impl SeriesCall {
    /// Binds `params`, which come from [`SeriesSignature::resolve`](super::SeriesSignature::resolve); all outputs are wanted.
    pub fn try_new(function: Arc<dyn SeriesFunction>, params: Params) -> Result<Self> {
        let signature = function.signature();
        if !signature.fits(&params) {
            return internal_err!("{}: the parameters are not those of its signature", signature.name);
        }
        function.check(&params)?;
        let wanted = OutputSet::all(signature);
        let given = vec![false; signature.options.len()];
        Ok(Self { function, params, wanted, given })
    }

    /// Says which of the optional series are among the arguments, after the required ones.
    pub fn with_options(mut self, mut given: Vec<bool>) -> Self {
        given.resize(self.function.signature().options.len(), false);
        self.given = given;
        self
    }

    /// Leaves out the optional series that only unwanted outputs use; returns which of the arguments remain.
    pub fn drop_unused_options(&mut self) -> Vec<bool> {
        let signature = self.function.signature();
        let mut remain = vec![true; signature.inputs.len()];
        for (option, given) in signature.options.iter().zip(&mut self.given).filter(|(_, given)| **given) {
            let is_used = |name: &&'static str| signature.output_index(name).is_some_and(|i| self.wanted.contains(i));
            *given = option.only_for.is_empty()
                || option.only_for.iter().any(is_used)
                || self.function.always_uses(option.name, &self.params);
            remain.push(*given);
        }
        remain
    }

    /// Restricts the outputs to compute; the others become null.
    pub fn with_wanted(mut self, wanted: OutputSet) -> Self {
        self.wanted = wanted;
        self
    }

    /// The function.
    pub fn function(&self) -> &Arc<dyn SeriesFunction> {
        &self.function
    }

    /// Its parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The outputs it computes.
    pub fn wanted(&self) -> &OutputSet {
        &self.wanted
    }

    /// How far it looks.
    pub fn reach(&self) -> Reach {
        self.function.reach(&self.params)
    }

    /// Evaluates one whole series and returns its column.
    pub fn evaluate(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let mut builder = OutputBuilder::with_capacity(self, rows);
        self.append(args, rows, &mut builder)?;
        Ok(builder.finish())
    }

    /// Evaluates one whole series of `rows` bars and appends its column to `out`.
    ///
    /// `args` are the series arguments, required ones first, then the optional ones that are given, coerced to
    /// [`InputKind::data_type`](super::InputKind::data_type).
    pub fn append(&self, args: &[ArrayRef], rows: usize, out: &mut OutputBuilder) -> Result<()> {
        let signature = self.function.signature();
        let given = self.given.iter().filter(|given| **given).count();
        if args.len() != signature.inputs.len() + given || args.iter().any(|a| a.len() != rows) {
            return internal_err!("{}: {} arguments for {rows} rows", signature.name, args.len());
        }
        out.grow(rows);
        if rows == 0 {
            return Ok(());
        }
        let (required, mut optional) = args.split_at(signature.inputs.len());
        let mut owned = required
            .iter()
            .zip(&signature.inputs)
            .map(|(array, input)| Column::of(array, input.kind))
            .collect::<Result<Vec<_>>>()?;
        let valid = valid_rows(&owned, rows);
        for (option, given) in signature.options.iter().zip(&self.given) {
            owned.push(match optional.split_first().filter(|_| *given) {
                Some((array, rest)) => {
                    optional = rest;
                    Column::optional(array, option.kind)?
                }
                None => Column::Absent,
            });
        }
        match valid {
            None => self.compute(&owned, rows, &mut out.last(rows)),
            Some(valid) if valid.is_empty() => Ok(()),
            Some(valid) => {
                let compact: Vec<_> = owned.iter().map(|c| c.take(&valid)).collect();
                let mut dense = OutputBuilder::with_capacity(self, valid.len());
                dense.grow(valid.len());
                self.compute(&compact, valid.len(), &mut dense.last(valid.len()))?;
                out.scatter(&dense, &valid, rows);
                Ok(())
            }
        }
    }

    fn compute(&self, columns: &[Column<'_>], rows: usize, outputs: &mut Outputs<'_>) -> Result<()> {
        let slices: Vec<_> = columns.iter().map(Column::slice).collect();
        let (required, optional) = slices.split_at(self.function.signature().inputs.len());
        self.function.evaluate(&Inputs::new(required, optional, rows), &self.params, outputs)
    }
}

impl OutputBuilder {
    /// An empty builder for the outputs of a call, with room for `rows`.
    pub fn with_capacity(call: &SeriesCall, rows: usize) -> Self {
        OutputBuilder::new(call.function.signature(), &call.wanted, rows)
    }
}
