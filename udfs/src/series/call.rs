//! One bound call: from Arrow arrays of a whole series to output columns.

use super::columns::{Column, ValidRows};
use super::function::SeriesFunction;
use super::inputs::Inputs;
use super::output_builder::{OutputBuilder, OutputSet};
use super::outputs::Outputs;
use super::params::Params;
use super::reach::{Bars, Reach};
use arrow::array::{Array, ArrayRef};
use datafusion_common::{Result, internal_err};
use std::ops::Range;
use std::sync::Arc;

/// A function with its parameters and the outputs to compute.
#[derive(Debug, Clone)]
pub struct SeriesCall {
    function: Arc<dyn SeriesFunction>,
    params: Params,
    requested: OutputSet,
    /// Those of the requested outputs that are read in some rows only; see [`SeriesCall::append_read`].
    in_some_rows: OutputSet,
    /// Which of the optional series are among the arguments.
    given: Vec<bool>,
}

impl SeriesCall {
    /// Binds `params`, which come from [`SeriesSignature::resolve`](super::SeriesSignature::resolve); all outputs are requested.
    pub fn try_new(function: Arc<dyn SeriesFunction>, params: Params) -> Result<Self> {
        let signature = function.signature();
        if !signature.fits(&params) {
            return internal_err!("{}: the parameters are not those of its signature", signature.name);
        }
        function.check(&params)?;
        let (requested, in_some_rows) = (OutputSet::all(signature), OutputSet::none(signature));
        let given = vec![false; signature.options.len()];
        Ok(Self { function, params, requested, in_some_rows, given })
    }

    /// Says which of the optional series are among the arguments, after the required ones.
    pub fn with_options(mut self, mut given: Vec<bool>) -> Self {
        given.resize(self.function.signature().options.len(), false);
        self.given = given;
        self
    }

    /// Leaves out the optional series that only unrequested outputs use; returns which of the arguments remain.
    pub fn drop_unused_options(&mut self) -> Vec<bool> {
        let signature = self.function.signature();
        let mut remain = vec![true; signature.inputs.len()];
        for (option, given) in signature.options.iter().zip(&mut self.given).filter(|(_, given)| **given) {
            let is_used =
                |name: &&'static str| signature.output_index(name).is_some_and(|i| self.requested.contains(i));
            *given = option.only_for.is_empty()
                || option.only_for.iter().any(is_used)
                || self.function.always_uses(option.name, &self.params);
            remain.push(*given);
        }
        remain
    }

    /// Restricts the outputs to compute; the others become null.
    pub fn with_requested(mut self, requested: OutputSet) -> Self {
        self.requested = requested;
        self
    }

    /// Says which of the requested outputs are read in some rows only. All rows are computed all the same where it
    /// is not known how many bars the function looks back, or where it forgets its start only as its inputs move.
    pub fn with_in_some_rows(mut self, outputs: OutputSet) -> Self {
        self.in_some_rows = match self.neighbours() {
            Some(_) => outputs.and(&self.requested),
            None => OutputSet::none(self.function.signature()),
        };
        self
    }

    /// The outputs that are read in some rows only.
    pub fn in_some_rows(&self) -> &OutputSet {
        &self.in_some_rows
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
    pub fn requested(&self) -> &OutputSet {
        &self.requested
    }

    /// Which of the optional series are among the arguments.
    pub(super) fn given(&self) -> &[bool] {
        &self.given
    }

    /// How far it looks.
    pub fn reach(&self) -> Reach {
        self.function.reach(&self.params)
    }

    /// How many valid rows it looks back and ahead, where that is a number whatever their values are; [`usize::MAX`]: to the
    /// end.
    pub fn neighbours(&self) -> Option<(usize, usize)> {
        let Reach { back: Bars::Count(back), ahead: Bars::Count(ahead) } = self.reach() else { return None };
        let mut given = self.function.signature().options.iter().zip(&self.given).filter(|(_, given)| **given);
        let ahead = if given.any(|(option, _)| option.makes_rows_smaller()) { usize::MAX } else { ahead };
        (!self.function.fades_by_movement(&self.params)).then_some((back, ahead))
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
        self.append_read(args, rows, &(0..rows), out)
    }

    /// As [`SeriesCall::append`], where outputs that are read in some rows only are null outside of `read`, and of the series
    /// only the bars are looked at that the function's reach names.
    pub fn append_read(
        &self,
        args: &[ArrayRef],
        rows: usize,
        read: &Range<usize>,
        out: &mut OutputBuilder,
    ) -> Result<()> {
        self.check_args(args, rows)?;
        out.grow(rows);
        let all = 0..rows;
        if *read == all {
            return self.fill(&self.requested, args, read, &all, out);
        }
        self.fill(&self.requested.without(&self.in_some_rows), args, &all, &all, out)?;
        self.fill(&self.in_some_rows, args, read, &all, out)
    }

    /// As [`SeriesCall::append`], where only the rows of `read` are appended.
    pub fn append_only(
        &self,
        args: &[ArrayRef],
        rows: usize,
        read: &Range<usize>,
        out: &mut OutputBuilder,
    ) -> Result<()> {
        self.check_args(args, rows)?;
        out.grow(read.len());
        self.fill(&self.requested, args, read, read, out)
    }

    pub(super) fn check_args(&self, args: &[ArrayRef], rows: usize) -> Result<()> {
        let signature = self.function.signature();
        let given = self.given.iter().filter(|given| **given).count();
        if args.len() != signature.inputs.len() + given || args.iter().any(|a| a.len() != rows) {
            return internal_err!("{}: {} arguments for {rows} rows", signature.name, args.len());
        }
        Ok(())
    }

    /// Computes some outputs in the rows of `read`; the last rows of `out` are those of `held`, which it lies in.
    fn fill(
        &self,
        outputs: &OutputSet,
        args: &[ArrayRef],
        read: &Range<usize>,
        held: &Range<usize>,
        out: &mut OutputBuilder,
    ) -> Result<()> {
        let rows = args.first().map_or(0, |array| array.len());
        if read.is_empty() || outputs.count() == 0 {
            return Ok(());
        }
        let columns = self.columns(args)?;
        let valid = ValidRows::of(&columns[..self.function.signature().inputs.len()], rows);
        let is_whole = *read == (0..rows) && read == held;
        match &valid {
            ValidRows::All if is_whole => return self.compute(&columns, rows, &mut out.last(rows, outputs)),
            ValidRows::Range(valid) if valid.is_empty() => return Ok(()),
            ValidRows::Range(valid) if is_whole => {
                let columns: Vec<_> = columns.iter().map(|column| column.range(valid)).collect();
                return self.compute(&columns, valid.len(), &mut out.last(rows, outputs).at(valid));
            }
            _ => {}
        }
        let valid = valid.list();
        // The bars that are looked at, as positions among the valid ones, and those of them that are read.
        let count = valid.as_ref().map_or(rows, Vec::len);
        let position = |row: usize| valid.as_ref().map_or(row, |valid| valid.partition_point(|&v| v < row));
        let (first, last) = (position(read.start), position(read.end));
        if first == last {
            return Ok(());
        }
        let (start, end) = match self.neighbours() {
            Some((back, ahead)) => (first.saturating_sub(back), last.saturating_add(ahead).min(count)),
            None => (0, count),
        };
        let mut dense = OutputBuilder::new(self.function.signature(), outputs, end - start);
        dense.grow(end - start);
        let mut cells = dense.last(end - start, outputs).read_from(first - start);
        let at: Vec<usize> = match &valid {
            Some(valid) => {
                let compact: Vec<_> = columns.iter().map(|c| c.take(&valid[start..end])).collect();
                self.compute(&compact, end - start, &mut cells)?;
                valid[first..last].iter().map(|row| row - held.start).collect()
            }
            None => {
                let args: Vec<_> = args.iter().map(|a| a.slice(start, end - start)).collect();
                self.compute(&self.columns(&args)?, end - start, &mut cells)?;
                (first - held.start..last - held.start).collect()
            }
        };
        out.scatter(&dense, first - start, &at, held.len());
        Ok(())
    }

    /// The arguments, required ones first, then all optional ones.
    pub(super) fn columns<'a>(&self, args: &'a [ArrayRef]) -> Result<Vec<Column<'a>>> {
        let signature = self.function.signature();
        let (required, mut optional) = args.split_at(signature.inputs.len());
        let required = required.iter().zip(&signature.inputs).map(|(array, input)| Column::of(array, input.kind));
        let mut columns = required.collect::<Result<Vec<_>>>()?;
        for (option, given) in signature.options.iter().zip(&self.given) {
            columns.push(match optional.split_first().filter(|_| *given) {
                Some((array, rest)) => {
                    optional = rest;
                    Column::optional(array, option.kind)?
                }
                None => Column::Absent,
            });
        }
        Ok(columns)
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
        OutputBuilder::new(call.function.signature(), &call.requested, rows)
    }

    /// Rows without values for the outputs of a call.
    pub fn of_rows(call: &SeriesCall, rows: usize) -> Self {
        let mut builder = Self::with_capacity(call, rows);
        builder.grow(rows);
        builder
    }
}
