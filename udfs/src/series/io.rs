//! The slices a series function reads and writes.

/// "No value" in an integer output.
pub const NO_INT: i32 = i32::MIN;
/// "No value" in a class output.
pub const NO_CLASS: i8 = i8::MIN;
/// "No value" in a time input or output.
pub const NO_TIME: i64 = i64::MIN;
/// "No value" in a choice output.
pub const NO_CHOICE: u8 = u8::MAX;

/// One series argument.
#[derive(Debug, Clone, Copy)]
pub enum InputSlice<'a> {
    /// Finite numbers.
    Number(&'a [f64]),
    /// Booleans.
    Condition(&'a [bool]),
    /// Microseconds since the epoch, UTC.
    Time(&'a [i64]),
    /// A short list of pairs on every bar.
    Pairs(Pairs<'a>),
    /// An optional argument that was left out.
    Absent,
}

/// A list of pairs of numbers on every bar: price and side of levels (1 resistance, -1 support), or high and low of the
/// smaller bars inside.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// Where the pairs of each bar stand: first, count.
    pub(crate) rows: &'a [(usize, usize)],
    pub(crate) first: &'a [f64],
    pub(crate) second: &'a [f64],
}

impl<'a> Pairs<'a> {
    /// The pairs of a bar.
    pub fn at(&self, row: usize) -> (&'a [f64], &'a [f64]) {
        let (start, count) = self.rows[row];
        (&self.first[start..start + count], &self.second[start..start + count])
    }
}

/// The series arguments of one call over one series, required ones first, then the optional ones. All have equal length.
/// In required ones nothing is missing; a missing value of an optional one is NaN, false, [`NO_TIME`] or an empty list.
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

impl<'a> Inputs<'a> {
    /// The numeric argument at `index`, if it was given.
    pub fn optional_number(&self, index: usize) -> Option<&'a [f64]> {
        match self.slices.get(index) {
            Some(InputSlice::Number(slice)) => Some(slice),
            _ => None,
        }
    }

    /// The boolean argument at `index`, if it was given.
    pub fn optional_condition(&self, index: usize) -> Option<&'a [bool]> {
        match self.slices.get(index) {
            Some(InputSlice::Condition(slice)) => Some(slice),
            _ => None,
        }
    }

    /// The time argument at `index`, if it was given.
    pub fn optional_time(&self, index: usize) -> Option<&'a [i64]> {
        match self.slices.get(index) {
            Some(InputSlice::Time(slice)) => Some(slice),
            _ => None,
        }
    }

    /// The list argument at `index`, if it was given.
    pub fn pairs(&self, index: usize) -> Option<Pairs<'a>> {
        match self.slices.get(index) {
            Some(InputSlice::Pairs(pairs)) => Some(*pairs),
            _ => None,
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
    /// int8; [`NO_CLASS`] is no value.
    Class(&'a mut [i8]),
    /// Microseconds since the epoch, UTC; [`NO_TIME`] is no value.
    Time(&'a mut [i64]),
    /// An index into the names of an [`OutputKind::Choice`](super::OutputKind::Choice); [`NO_CHOICE`] is no value.
    Choice(&'a mut [u8]),
}

/// Sets one value; nothing happens where the column is not wanted.
impl OutputSlice<'_> {
    /// Whether anybody reads it.
    pub fn is_wanted(&self) -> bool {
        !matches!(self, OutputSlice::Unwanted)
    }

    /// Of a float column.
    #[inline]
    pub fn set_float(&mut self, row: usize, value: f64) {
        if let OutputSlice::Float(slice) = self {
            slice[row] = value;
        }
    }

    /// Of an integer column.
    #[inline]
    pub fn set_int(&mut self, row: usize, value: i32) {
        if let OutputSlice::Int(slice) = self {
            slice[row] = value;
        }
    }

    /// Of a boolean column.
    #[inline]
    pub fn set_bool(&mut self, row: usize, value: bool) {
        if let OutputSlice::Bool(slice) = self {
            slice[row] = Some(value);
        }
    }

    /// Of a class column.
    #[inline]
    pub fn set_class(&mut self, row: usize, value: i8) {
        if let OutputSlice::Class(slice) = self {
            slice[row] = value;
        }
    }

    /// Of a time column.
    #[inline]
    pub fn set_time(&mut self, row: usize, value: i64) {
        if let OutputSlice::Time(slice) = self {
            slice[row] = value;
        }
    }

    /// Of a choice column.
    #[inline]
    pub fn set_choice(&mut self, row: usize, value: u8) {
        if let OutputSlice::Choice(slice) = self {
            slice[row] = value;
        }
    }
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
