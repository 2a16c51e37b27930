//! Output columns: what a signature declares, and the slices that the function writes.

use super::handle::foreign;
use super::inputs::{InputKind, Time};
use super::records::{RecordField, RecordSlice, records_type};
use arrow::datatypes::DataType;
use std::marker::PhantomData;
use std::ops::Range;

/// "No value" in an integer output.
pub const NO_INT: i32 = i32::MIN;
/// "No value" in a class output.
pub const NO_CLASS: i8 = i8::MIN;
/// "No value" in a choice output.
pub const NO_CHOICE: u8 = u8::MAX;

/// One output column.
#[derive(Debug, Clone)]
pub struct OutputField {
    /// Field name inside the struct; unused when it is the only output.
    pub name: String,
    /// Its type.
    pub kind: OutputKind,
}

/// The type of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// float64
    Float,
    /// int32
    Int,
    /// boolean
    Bool,
    /// int8: a class such as -1, 0, 1
    Class,
    /// Timestamp in microseconds, UTC
    Time,
    /// Text, one of these
    Choice(&'static [&'static str]),
    /// A list of structs with these fields
    Records(&'static [RecordField]),
}

impl OutputKind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            OutputKind::Float => DataType::Float64,
            OutputKind::Int => DataType::Int32,
            OutputKind::Bool => DataType::Boolean,
            OutputKind::Class => DataType::Int8,
            OutputKind::Time => InputKind::Time.data_type(),
            OutputKind::Choice(_) => DataType::Utf8View,
            OutputKind::Records(fields) => records_type(fields),
        }
    }
}

/// The handle of a declared output, by which a function writes it: [`Outputs::get`], [`Outputs::set`].
#[derive(Debug, Clone, Copy)]
pub struct Output<T> {
    index: usize,
    of: PhantomData<T>,
}

impl<T> Output<T> {
    /// Only [`SeriesSignature`](super::SeriesSignature) makes them, from the type that it declares.
    pub(super) fn new(index: usize) -> Self {
        Self { index, of: PhantomData }
    }
}

/// What an output is to the function that writes it.
pub trait OutputType {
    /// One value.
    type Value;
    /// A value, or none.
    type Cell: From<Self::Value> + 'static;

    /// The cells; `None` for a column of another kind.
    fn cells<'o>(slice: &'o mut OutputSlice<'_>) -> Option<&'o mut [Self::Cell]>;
}

/// An output type that says all about its kind.
pub trait PlainOutput: OutputType {
    /// The kind that the signature declares.
    const KIND: OutputKind;
}

/// Outputs of [`OutputKind::Choice`], written as an index into its names.
#[derive(Debug, Clone, Copy)]
pub struct Name;

impl OutputType for f64 {
    type Value = f64;
    type Cell = f64;

    fn cells<'o>(slice: &'o mut OutputSlice<'_>) -> Option<&'o mut [f64]> {
        match slice {
            OutputSlice::Float(cells) => Some(cells),
            _ => None,
        }
    }
}

impl OutputType for i32 {
    type Value = i32;
    type Cell = i32;

    fn cells<'o>(slice: &'o mut OutputSlice<'_>) -> Option<&'o mut [i32]> {
        match slice {
            OutputSlice::Int(cells) => Some(cells),
            _ => None,
        }
    }
}

impl OutputType for bool {
    type Value = bool;
    type Cell = Option<bool>;

    fn cells<'o>(slice: &'o mut OutputSlice<'_>) -> Option<&'o mut [Option<bool>]> {
        match slice {
            OutputSlice::Bool(cells) => Some(cells),
            _ => None,
        }
    }
}

/// A class such as -1, 0, 1.
impl OutputType for i8 {
    type Value = i8;
    type Cell = i8;

    fn cells<'o>(slice: &'o mut OutputSlice<'_>) -> Option<&'o mut [i8]> {
        match slice {
            OutputSlice::Class(cells) => Some(cells),
            _ => None,
        }
    }
}

impl OutputType for Time {
    type Value = i64;
    type Cell = i64;

    fn cells<'o>(slice: &'o mut OutputSlice<'_>) -> Option<&'o mut [i64]> {
        match slice {
            OutputSlice::Time(cells) => Some(cells),
            _ => None,
        }
    }
}

impl OutputType for Name {
    type Value = u8;
    type Cell = u8;

    fn cells<'o>(slice: &'o mut OutputSlice<'_>) -> Option<&'o mut [u8]> {
        match slice {
            OutputSlice::Choice(cells) => Some(cells),
            _ => None,
        }
    }
}

impl PlainOutput for f64 {
    const KIND: OutputKind = OutputKind::Float;
}

impl PlainOutput for i32 {
    const KIND: OutputKind = OutputKind::Int;
}

impl PlainOutput for bool {
    const KIND: OutputKind = OutputKind::Bool;
}

impl PlainOutput for i8 {
    const KIND: OutputKind = OutputKind::Class;
}

impl PlainOutput for Time {
    const KIND: OutputKind = OutputKind::Time;
}

/// One output column; see [`SeriesFunction::evaluate`](super::SeriesFunction::evaluate) for what "no value" is.
#[derive(Debug)]
pub enum OutputSlice<'a> {
    /// A field that nobody reads: leave it.
    Unrequested,
    /// float64; NaN is no value.
    Float(&'a mut [f64]),
    /// int32; [`NO_INT`] is no value.
    Int(&'a mut [i32]),
    /// boolean.
    Bool(&'a mut [Option<bool>]),
    /// int8; [`NO_CLASS`] is no value.
    Class(&'a mut [i8]),
    /// Microseconds since the epoch, UTC; [`NO_TIME`](super::NO_TIME) is no value.
    Time(&'a mut [i64]),
    /// An index into the names of an [`OutputKind::Choice`]; [`NO_CHOICE`] is no value.
    Choice(&'a mut [u8]),
    /// Lists of records.
    Records(RecordSlice<'a>),
}

impl OutputSlice<'_> {
    fn at(&mut self, rows: Range<usize>) -> OutputSlice<'_> {
        match self {
            OutputSlice::Unrequested => OutputSlice::Unrequested,
            OutputSlice::Float(cells) => OutputSlice::Float(&mut cells[rows]),
            OutputSlice::Int(cells) => OutputSlice::Int(&mut cells[rows]),
            OutputSlice::Bool(cells) => OutputSlice::Bool(&mut cells[rows]),
            OutputSlice::Class(cells) => OutputSlice::Class(&mut cells[rows]),
            OutputSlice::Time(cells) => OutputSlice::Time(&mut cells[rows]),
            OutputSlice::Choice(cells) => OutputSlice::Choice(&mut cells[rows]),
            OutputSlice::Records(records) => OutputSlice::Records(records.at(&rows)),
        }
    }
}

/// The output columns of one call over one series.
#[derive(Debug)]
pub struct Outputs<'a> {
    slices: Vec<OutputSlice<'a>>,
    first_read: usize,
}

impl<'a> Outputs<'a> {
    /// Wraps slices in the signature's order.
    pub fn new(slices: Vec<OutputSlice<'a>>) -> Self {
        Self { slices, first_read: 0 }
    }

    /// The rows at these positions.
    pub fn at(&mut self, rows: &Range<usize>) -> Outputs<'_> {
        Outputs::new(self.slices.iter_mut().map(|slice| slice.at(rows.clone())).collect())
    }

    /// Says that nobody reads the rows before one.
    pub fn read_from(mut self, row: usize) -> Self {
        self.first_read = row;
        self
    }

    /// The first row that is read: a function may leave those before it without values.
    pub fn first_read(&self) -> usize {
        self.first_read
    }

    /// All columns, in the signature's order.
    pub fn slices(&mut self) -> &mut [OutputSlice<'a>] {
        &mut self.slices
    }

    /// Whether anybody reads a column.
    ///
    /// # Panics
    /// If the handle is of another signature than the slices: a mistake in a function, which its first call shows.
    pub fn is_requested<T>(&self, output: Output<T>) -> bool {
        match self.slices.get(output.index) {
            Some(slice) => !matches!(slice, OutputSlice::Unrequested),
            None => foreign("output", output.index),
        }
    }

    /// The column of an output.
    pub(super) fn slice<T>(&mut self, output: Output<T>) -> Option<&mut OutputSlice<'a>> {
        self.slices.get_mut(output.index)
    }

    /// Whether anybody reads one of these columns.
    ///
    /// # Panics
    /// As [`Outputs::is_requested`].
    pub fn any_requested<T: Copy, const N: usize>(&self, outputs: [Output<T>; N]) -> bool {
        outputs.iter().any(|output| self.is_requested(*output))
    }

    /// A column, if it is requested.
    ///
    /// # Panics
    /// As [`Outputs::is_requested`].
    #[inline]
    pub fn get<T: OutputType>(&mut self, output: Output<T>) -> Option<&mut [T::Cell]> {
        match self.slices.get_mut(output.index) {
            Some(OutputSlice::Unrequested) => None,
            slice => match slice.and_then(T::cells) {
                Some(cells) => Some(cells),
                None => foreign("output", output.index),
            },
        }
    }

    /// Writes one value; nothing happens where the column is not requested.
    ///
    /// # Panics
    /// As [`Outputs::is_requested`].
    #[inline]
    pub fn set<T: OutputType>(&mut self, output: Output<T>, row: usize, value: T::Value) {
        if let Some(cells) = self.get(output) {
            cells[row] = value.into();
        }
    }
}
