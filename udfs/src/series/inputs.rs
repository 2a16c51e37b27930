//! Series arguments: what a signature declares, and the slices that the function reads.

use super::handle::foreign;
use crate::list::list_of;
use arrow::datatypes::{DataType, Field, TimeUnit};
use std::marker::PhantomData;
use std::ops::Range;

/// "No value" in a time input or output.
pub const NO_TIME: i64 = i64::MIN;

/// A series argument.
#[derive(Debug, Clone)]
pub struct SeriesInput {
    /// The argument's name.
    pub name: String,
    /// Its type.
    pub kind: InputKind,
    /// The candle column that stands in when the series arguments are omitted.
    pub default: Option<&'static str>,
}

/// A series argument that may be left out. A bar on which it is missing is still a bar.
#[derive(Debug, Clone)]
pub struct SeriesOption {
    /// The argument's name.
    pub name: &'static str,
    /// Its type.
    pub kind: InputKind,
    /// What an engine that knows the table puts in its place.
    pub default: OptionDefault,
    /// One line.
    pub doc: &'static str,
    /// The outputs that use it; empty: all. Where none of them is read, it is not computed.
    pub only_for: &'static [&'static str],
    /// Whether there is nothing to compute without it.
    pub needed: bool,
}

impl SeriesOption {
    /// Whether with it rows are smaller bars, while the function's reach counts the longer ones that they make up.
    pub fn makes_rows_smaller(&self) -> bool {
        self.name == "label_ts"
    }
}

/// What stands for an optional series that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionDefault {
    /// Nothing.
    Nothing,
    /// The time of the bar: the key that the series is ordered by.
    Time,
    /// The time of the bar, where this parameter is given.
    TimeWith(&'static str),
    /// The time at which the bar ends, where the length of the table's bars is known.
    CloseTime,
}

/// The type of a series argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// Any numeric type, computed as float64.
    Number,
    /// Boolean.
    Condition,
    /// Timestamp; computed as microseconds since the epoch, UTC.
    Time,
    /// Price levels: `list<struct{price, type}>`, type `support` or `resistance`.
    Levels,
    /// Smaller bars inside a bar: `list<struct{high, low}>`.
    SmallerBars,
}

impl InputKind {
    /// The Arrow type that arguments are coerced to.
    pub fn data_type(self) -> DataType {
        match self {
            InputKind::Number => DataType::Float64,
            InputKind::Condition => DataType::Boolean,
            InputKind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            InputKind::Levels => pairs_type(("price", DataType::Float64), ("type", DataType::Utf8)),
            InputKind::SmallerBars => pairs_type(("high", DataType::Float64), ("low", DataType::Float64)),
        }
    }

    /// What it holds, in words.
    pub fn describe(self) -> &'static str {
        match self {
            InputKind::Number => "numbers",
            InputKind::Condition => "booleans",
            InputKind::Time => "timestamps",
            InputKind::Levels => "lists of struct{price, type}",
            InputKind::SmallerBars => "lists of struct{high, low}",
        }
    }

    /// What may be given, of the columns of a candle.
    pub fn example(self) -> &'static str {
        match self {
            InputKind::Number => "close",
            InputKind::Condition => "close > open",
            InputKind::Time => "ts",
            InputKind::Levels => "[named_struct('price', low, 'type', 'support')]",
            InputKind::SmallerBars => "[named_struct('high', high, 'low', low)]",
        }
    }

    /// Whether a column of this type can be used.
    pub fn accepts(self, data_type: &DataType) -> bool {
        match self {
            InputKind::Number => data_type.is_numeric() || data_type.is_null(),
            InputKind::Condition => matches!(data_type, DataType::Boolean | DataType::Null),
            InputKind::Time => {
                matches!(data_type, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 | DataType::Null)
            }
            InputKind::Levels => is_list_of_pairs(data_type, ["price", "type"]),
            InputKind::SmallerBars => is_list_of_pairs(data_type, ["high", "low"]),
        }
    }
}

fn pairs_type(first: (&str, DataType), second: (&str, DataType)) -> DataType {
    let fields = [first, second].map(|(name, kind)| Field::new(name, kind, true)).to_vec();
    list_of(DataType::Struct(fields.into()))
}

fn is_list_of_pairs(data_type: &DataType, names: [&str; 2]) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            DataType::Struct(fields) => fields.iter().map(|f| f.name().as_str()).eq(names),
            _ => false,
        },
        _ => false,
    }
}

/// The handle of a declared series, by which a function reads it: [`Inputs::get`].
#[derive(Debug, Clone, Copy)]
pub struct Input<T> {
    index: usize,
    of: PhantomData<T>,
}

/// The handle of a declared series that may be left out: [`Inputs::optional`].
#[derive(Debug, Clone, Copy)]
pub struct Optional<T> {
    index: usize,
    of: PhantomData<T>,
}

impl<T> Input<T> {
    /// Only [`SeriesSignature`](super::SeriesSignature) makes them, from the type that it declares.
    pub(super) fn new(index: usize) -> Self {
        Self { index, of: PhantomData }
    }
}

impl<T> Optional<T> {
    /// As [`Input::new`]; counted apart from the required series.
    pub(super) fn new(index: usize) -> Self {
        Self { index, of: PhantomData }
    }
}

/// What a series is to the function that reads it.
pub trait InputType {
    /// The kind that the signature declares.
    const KIND: InputKind;

    /// What is read: one value for each bar.
    type Values<'a>;

    /// The values; `None` for a series of another kind.
    fn read<'a>(slice: &InputSlice<'a>) -> Option<Self::Values<'a>>;
}

/// Series of [`InputKind::Number`], read as `&[f64]`.
#[derive(Debug, Clone, Copy)]
pub struct Number;

/// Series of [`InputKind::Condition`], read as `&[bool]`.
#[derive(Debug, Clone, Copy)]
pub struct Condition;

/// Series of [`InputKind::Time`], read as microseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy)]
pub struct Time;

/// Series of [`InputKind::Levels`], read as pairs of price and side: 1 resistance, -1 support.
#[derive(Debug, Clone, Copy)]
pub struct Levels;

/// Series of [`InputKind::SmallerBars`], read as pairs of high and low.
#[derive(Debug, Clone, Copy)]
pub struct SmallerBars;

impl InputType for Number {
    const KIND: InputKind = InputKind::Number;
    type Values<'a> = &'a [f64];

    fn read<'a>(slice: &InputSlice<'a>) -> Option<&'a [f64]> {
        match slice {
            InputSlice::Number(values) => Some(values),
            _ => None,
        }
    }
}

impl InputType for Condition {
    const KIND: InputKind = InputKind::Condition;
    type Values<'a> = &'a [bool];

    fn read<'a>(slice: &InputSlice<'a>) -> Option<&'a [bool]> {
        match slice {
            InputSlice::Condition(values) => Some(values),
            _ => None,
        }
    }
}

impl InputType for Time {
    const KIND: InputKind = InputKind::Time;
    type Values<'a> = &'a [i64];

    fn read<'a>(slice: &InputSlice<'a>) -> Option<&'a [i64]> {
        match slice {
            InputSlice::Time(values) => Some(values),
            _ => None,
        }
    }
}

impl InputType for Levels {
    const KIND: InputKind = InputKind::Levels;
    type Values<'a> = Pairs<'a>;

    fn read<'a>(slice: &InputSlice<'a>) -> Option<Pairs<'a>> {
        match slice {
            InputSlice::Levels(pairs) => Some(*pairs),
            _ => None,
        }
    }
}

impl InputType for SmallerBars {
    const KIND: InputKind = InputKind::SmallerBars;
    type Values<'a> = Pairs<'a>;

    fn read<'a>(slice: &InputSlice<'a>) -> Option<Pairs<'a>> {
        match slice {
            InputSlice::SmallerBars(pairs) => Some(*pairs),
            _ => None,
        }
    }
}

/// One series argument.
#[derive(Debug, Clone, Copy)]
pub enum InputSlice<'a> {
    /// Finite numbers.
    Number(&'a [f64]),
    /// Booleans.
    Condition(&'a [bool]),
    /// Microseconds since the epoch, UTC.
    Time(&'a [i64]),
    /// Price and side of the levels on every bar.
    Levels(Pairs<'a>),
    /// High and low of the smaller bars inside every bar.
    SmallerBars(Pairs<'a>),
    /// An optional argument that was left out.
    Absent,
}

impl<'a> InputSlice<'a> {
    fn at(&self, rows: &Range<usize>) -> InputSlice<'a> {
        let pairs = |pairs: &Pairs<'a>| Pairs { rows: &pairs.rows[rows.clone()], ..*pairs };
        match self {
            InputSlice::Number(values) => InputSlice::Number(&values[rows.clone()]),
            InputSlice::Condition(values) => InputSlice::Condition(&values[rows.clone()]),
            InputSlice::Time(values) => InputSlice::Time(&values[rows.clone()]),
            InputSlice::Levels(levels) => InputSlice::Levels(pairs(levels)),
            InputSlice::SmallerBars(bars) => InputSlice::SmallerBars(pairs(bars)),
            InputSlice::Absent => InputSlice::Absent,
        }
    }
}

/// A short list of pairs of numbers on every bar.
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

/// The series arguments of one call over one series. All have equal length. In required ones nothing is missing; a missing
/// value of an optional one is NaN, false, [`NO_TIME`] or an empty list.
#[derive(Debug)]
pub struct Inputs<'a> {
    required: &'a [InputSlice<'a>],
    optional: &'a [InputSlice<'a>],
    len: usize,
}

impl<'a> Inputs<'a> {
    /// Wraps slices of length `len`, in the signature's order.
    pub fn new(required: &'a [InputSlice<'a>], optional: &'a [InputSlice<'a>], len: usize) -> Self {
        Self { required, optional, len }
    }

    /// The bars at these positions, handed to `of`.
    pub fn at<T>(&self, rows: Range<usize>, of: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let cut = |slices: &[InputSlice<'a>]| slices.iter().map(|slice| slice.at(&rows)).collect::<Vec<_>>();
        of(&Inputs { required: &cut(self.required), optional: &cut(self.optional), len: rows.len() })
    }

    /// Bars in the series.
    #[allow(clippy::len_without_is_empty, reason = "a series has at least one bar")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The values of a series.
    ///
    /// # Panics
    /// If the handle is of another signature than the slices: a mistake in a function, which its first call shows.
    pub fn get<T: InputType>(&self, input: Input<T>) -> T::Values<'a> {
        match self.required.get(input.index).and_then(T::read) {
            Some(values) => values,
            None => foreign("series", input.index),
        }
    }

    /// The values of a series that may be left out; `None` where it is.
    ///
    /// # Panics
    /// As [`Inputs::get`].
    pub fn optional<T: InputType>(&self, option: Optional<T>) -> Option<T::Values<'a>> {
        match self.optional.get(option.index) {
            Some(InputSlice::Absent) => None,
            slice => match slice.and_then(T::read) {
                Some(values) => Some(values),
                None => foreign("optional series", option.index),
            },
        }
    }
}
