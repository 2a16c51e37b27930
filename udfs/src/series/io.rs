//! The slices a series function reads and writes.

/// "No value" in an integer output.
pub const NO_INT: i32 = i32::MIN;

/// One series argument.
#[derive(Debug, Clone, Copy)]
pub enum InputSlice<'a> {
    /// Finite numbers.
    Number(&'a [f64]),
    /// Booleans.
    Condition(&'a [bool]),
    /// Microseconds since the epoch, UTC.
    Time(&'a [i64]),
}

/// The series arguments of one call over one series: equal length, nothing missing.
#[derive(Debug)]
pub struct Inputs<'a> {
    slices: &'a [InputSlice<'a>],
    len: usize,
}

impl<'a> Inputs<'a> {
    /// Wraps slices of length `len`, in the signature's order.
    pub fn new(slices: &'a [InputSlice<'a>], len: usize) -> Self {
        Self { slices, len }
    }

    /// Bars in the series.
    #[allow(clippy::len_without_is_empty, reason = "a series has at least one bar")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The numeric argument at `index`; empty if it is of another kind, which the signature rules out.
    pub fn number(&self, index: usize) -> &'a [f64] {
        match self.slices.get(index) {
            Some(InputSlice::Number(slice)) => slice,
            _ => &[],
        }
    }

    /// The boolean argument at `index`.
    pub fn condition(&self, index: usize) -> &'a [bool] {
        match self.slices.get(index) {
            Some(InputSlice::Condition(slice)) => slice,
            _ => &[],
        }
    }

    /// The time argument at `index`.
    pub fn time(&self, index: usize) -> &'a [i64] {
        match self.slices.get(index) {
            Some(InputSlice::Time(slice)) => slice,
            _ => &[],
        }
    }
}

/// One output column; see [`SeriesFunction::evaluate`](super::SeriesFunction::evaluate) for what "no value" is.
#[derive(Debug)]
pub enum OutputSlice<'a> {
    /// A field that nobody reads: leave it.
    Unwanted,
    /// float64; NaN is no value.
    Float(&'a mut [f64]),
    /// int32; [`NO_INT`] is no value.
    Int(&'a mut [i32]),
    /// boolean.
    Bool(&'a mut [Option<bool>]),
}

/// The output columns of one call over one series.
#[derive(Debug)]
pub struct Outputs<'a> {
    slices: Vec<OutputSlice<'a>>,
}

impl<'a> Outputs<'a> {
    /// Wraps slices in the signature's order.
    pub fn new(slices: Vec<OutputSlice<'a>>) -> Self {
        Self { slices }
    }

    /// All columns, in the signature's order.
    pub fn slices(&mut self) -> &mut [OutputSlice<'a>] {
        &mut self.slices
    }

    /// The float column at `index`, if it is wanted.
    pub fn float(&mut self, index: usize) -> Option<&mut [f64]> {
        match self.slices.get_mut(index) {
            Some(OutputSlice::Float(slice)) => Some(slice),
            _ => None,
        }
    }

    /// The integer column at `index`, if it is wanted.
    pub fn int(&mut self, index: usize) -> Option<&mut [i32]> {
        match self.slices.get_mut(index) {
            Some(OutputSlice::Int(slice)) => Some(slice),
            _ => None,
        }
    }

    /// The boolean column at `index`, if it is wanted.
    pub fn bool(&mut self, index: usize) -> Option<&mut [Option<bool>]> {
        match self.slices.get_mut(index) {
            Some(OutputSlice::Bool(slice)) => Some(slice),
            _ => None,
        }
    }
}
