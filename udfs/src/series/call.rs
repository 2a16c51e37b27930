//! One bound call: from Arrow arrays of a whole series to output columns.

use super::inputs::{InputKind, InputSlice, Inputs, NO_TIME, Pairs};
use super::outputs::{NO_CHOICE, NO_CLASS, NO_INT, OutputKind, OutputSlice, Outputs};
use super::params::Params;
use super::signature::SeriesSignature;
use super::{Reach, SeriesFunction};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int8Array, Int32Array, StringViewArray, StructArray,
    TimestampMicrosecondArray, make_view, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use datafusion_common::{Result, internal_datafusion_err, internal_err};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Which outputs a plan reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OutputSet(Vec<bool>);

impl OutputSet {
    /// Every output of a signature.
    pub fn all(signature: &SeriesSignature) -> Self {
        Self(vec![true; signature.outputs.len()])
    }

    /// The outputs with the given names; unknown names are ignored.
    pub fn named<'a>(signature: &SeriesSignature, names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = vec![false; signature.outputs.len()];
        for name in names {
            if let Some(i) = signature.output_index(name) {
                set[i] = true;
            }
        }
        Self(set)
    }

    /// Whether the output at `index` is read.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }

    /// How many are read.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|wanted| **wanted).count()
    }
}

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
    /// Binds `params`, which come from [`SeriesSignature::resolve`]; all outputs are wanted.
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
    /// [`InputKind::data_type`].
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

/// One argument as plain values plus validity.
enum Column<'a> {
    Number(std::borrow::Cow<'a, [f64]>, Option<&'a NullBuffer>),
    Condition(Vec<bool>, Option<&'a NullBuffer>),
    Time(std::borrow::Cow<'a, [i64]>, Option<&'a NullBuffer>),
    Levels(Lists<'a>),
    SmallerBars(Lists<'a>),
    Absent,
}

/// A list of pairs on every bar.
struct Lists<'a> {
    /// Where the pairs of each bar stand: first, count.
    rows: Vec<(usize, usize)>,
    first: std::borrow::Cow<'a, [f64]>,
    second: std::borrow::Cow<'a, [f64]>,
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef, kind: InputKind) -> Result<Self> {
        let nulls = array.nulls();
        let wrong = || internal_datafusion_err!("series argument of type {} for {kind:?}", array.data_type());
        Ok(match kind {
            InputKind::Number => {
                Column::Number(array.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.values()[..].into(), nulls)
            }
            InputKind::Condition => {
                Column::Condition(array.as_boolean_opt().ok_or_else(wrong)?.values().iter().collect(), nulls)
            }
            InputKind::Time => Column::Time(
                array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?.values()[..].into(),
                nulls,
            ),
            InputKind::Levels => Column::Levels(Lists::of(array)?),
            InputKind::SmallerBars => Column::SmallerBars(Lists::of(array)?),
        })
    }

    /// An optional argument: what is missing becomes NaN, false, [`NO_TIME`] or an empty list.
    fn optional(array: &'a ArrayRef, kind: InputKind) -> Result<Self> {
        let column = Self::of(array, kind)?;
        let Some(nulls) = column.nulls() else { return Ok(column) };
        let missing = || (0..nulls.len()).filter(|&i| nulls.is_null(i));
        Ok(match column {
            Column::Number(values, _) => {
                let mut values = values.into_owned();
                missing().for_each(|i| values[i] = f64::NAN);
                Column::Number(values.into(), None)
            }
            Column::Condition(mut values, _) => {
                missing().for_each(|i| values[i] = false);
                Column::Condition(values, None)
            }
            Column::Time(values, _) => {
                let mut values = values.into_owned();
                missing().for_each(|i| values[i] = NO_TIME);
                Column::Time(values.into(), None)
            }
            other => other,
        })
    }

    fn nulls(&self) -> Option<&'a NullBuffer> {
        match self {
            Column::Number(_, nulls) | Column::Condition(_, nulls) | Column::Time(_, nulls) => {
                nulls.filter(|n| n.null_count() > 0)
            }
            Column::Levels(_) | Column::SmallerBars(_) | Column::Absent => None,
        }
    }

    fn slice(&self) -> InputSlice<'_> {
        match self {
            Column::Number(values, _) => InputSlice::Number(values),
            Column::Condition(values, _) => InputSlice::Condition(values),
            Column::Time(values, _) => InputSlice::Time(values),
            Column::Levels(lists) => InputSlice::Levels(lists.pairs()),
            Column::SmallerBars(lists) => InputSlice::SmallerBars(lists.pairs()),
            Column::Absent => InputSlice::Absent,
        }
    }

    fn take(&self, rows: &[usize]) -> Column<'_> {
        match self {
            Column::Absent => Column::Absent,
            Column::Levels(lists) => Column::Levels(lists.take(rows)),
            Column::SmallerBars(lists) => Column::SmallerBars(lists.take(rows)),
            Column::Number(values, _) => Column::Number(rows.iter().map(|&i| values[i]).collect(), None),
            Column::Condition(values, _) => Column::Condition(rows.iter().map(|&i| values[i]).collect(), None),
            Column::Time(values, _) => Column::Time(rows.iter().map(|&i| values[i]).collect(), None),
        }
    }
}

impl<'a> Lists<'a> {
    /// Lists of pairs of which the second is a number, or a text that begins with r (resistance, 1) or not (support, -1).
    fn of(array: &'a ArrayRef) -> Result<Self> {
        if array.data_type().is_null() {
            return Ok(Self { rows: vec![(0, 0); array.len()], first: vec![].into(), second: vec![].into() });
        }
        let wrong = || internal_datafusion_err!("series argument of type {}, not a list of pairs", array.data_type());
        let lists = array.as_list_opt::<i32>().ok_or_else(wrong)?;
        let rows = (0..lists.len())
            .map(|i| match lists.is_valid(i) {
                true => (lists.value_offsets()[i] as usize, lists.value_length(i) as usize),
                false => (0, 0),
            })
            .collect();
        let items = lists.values().as_struct_opt().filter(|s| s.num_columns() == 2).ok_or_else(wrong)?;
        let number = |column: &'a ArrayRef| -> Option<std::borrow::Cow<'a, [f64]>> {
            let numbers = column.as_primitive_opt::<Float64Type>()?;
            if numbers.null_count() == 0 {
                return Some(numbers.values()[..].into());
            }
            Some(numbers.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
        };
        let first = number(items.column(0)).ok_or_else(wrong)?;
        let second = match items.column(1).as_string_opt::<i32>() {
            Some(types) => types
                .iter()
                .map(|side| match side {
                    Some(text) if text.starts_with(['r', 'R']) => 1.0,
                    Some(_) => -1.0,
                    None => f64::NAN,
                })
                .collect(),
            None => number(items.column(1)).ok_or_else(wrong)?,
        };
        Ok(Self { rows, first, second })
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs { rows: &self.rows, first: &self.first, second: &self.second }
    }

    fn take(&self, rows: &[usize]) -> Lists<'_> {
        Lists {
            rows: rows.iter().map(|&i| self.rows[i]).collect(),
            first: self.first.as_ref().into(),
            second: self.second.as_ref().into(),
        }
    }
}

fn all_finite(values: &[f64]) -> bool {
    // Without an early exit the loop vectorises; missing values are rare.
    values.iter().fold(true, |all, v| all & v.is_finite())
}

/// The rows where every argument has a value; `None` when that is all of them.
fn valid_rows(columns: &[Column<'_>], rows: usize) -> Option<Vec<usize>> {
    let complete = columns.iter().all(|c| {
        c.nulls().is_none()
            && match c {
                Column::Number(values, _) => all_finite(values),
                _ => true,
            }
    });
    if complete {
        return None;
    }
    let is_valid = |row: usize| {
        columns.iter().all(|c| {
            c.nulls().is_none_or(|n| n.is_valid(row))
                && match c {
                    Column::Number(values, _) => values[row].is_finite(),
                    _ => true,
                }
        })
    };
    Some((0..rows).filter(|&row| is_valid(row)).collect())
}

/// Output columns of one call, appended series by series.
#[derive(Debug)]
pub struct OutputBuilder {
    data_type: DataType,
    rows: usize,
    columns: Vec<Buffer>,
}

#[derive(Debug)]
enum Buffer {
    Unwanted(OutputKind),
    Float(Vec<f64>),
    Int(Vec<i32>),
    Bool(Vec<Option<bool>>),
    Class(Vec<i8>),
    Time(Vec<i64>),
    Choice(Vec<u8>, &'static [&'static str]),
}

impl OutputBuilder {
    /// An empty builder for the outputs of `call`, with room for `rows`.
    pub fn with_capacity(call: &SeriesCall, rows: usize) -> Self {
        let signature = call.function.signature();
        let columns = signature
            .outputs
            .iter()
            .enumerate()
            .map(|(i, output)| match output.kind {
                kind if !call.wanted.contains(i) => Buffer::Unwanted(kind),
                OutputKind::Float => Buffer::Float(Vec::with_capacity(rows)),
                OutputKind::Int => Buffer::Int(Vec::with_capacity(rows)),
                OutputKind::Bool => Buffer::Bool(Vec::with_capacity(rows)),
                OutputKind::Class => Buffer::Class(Vec::with_capacity(rows)),
                OutputKind::Time => Buffer::Time(Vec::with_capacity(rows)),
                OutputKind::Choice(names) => Buffer::Choice(Vec::with_capacity(rows), names),
            })
            .collect();
        Self { data_type: signature.return_type(), rows: 0, columns }
    }

    fn grow(&mut self, rows: usize) {
        self.rows += rows;
        for column in &mut self.columns {
            match column {
                Buffer::Unwanted(_) => {}
                Buffer::Float(values) => values.resize(self.rows, f64::NAN),
                Buffer::Int(values) => values.resize(self.rows, NO_INT),
                Buffer::Bool(values) => values.resize(self.rows, None),
                Buffer::Class(values) => values.resize(self.rows, NO_CLASS),
                Buffer::Time(values) => values.resize(self.rows, NO_TIME),
                Buffer::Choice(values, _) => values.resize(self.rows, NO_CHOICE),
            }
        }
    }

    /// The last `rows` rows, to be written.
    fn last(&mut self, rows: usize) -> Outputs<'_> {
        let from = self.rows - rows;
        Outputs::new(
            self.columns
                .iter_mut()
                .map(|column| match column {
                    Buffer::Unwanted(_) => OutputSlice::Unwanted,
                    Buffer::Float(values) => OutputSlice::Float(&mut values[from..]),
                    Buffer::Int(values) => OutputSlice::Int(&mut values[from..]),
                    Buffer::Bool(values) => OutputSlice::Bool(&mut values[from..]),
                    Buffer::Class(values) => OutputSlice::Class(&mut values[from..]),
                    Buffer::Time(values) => OutputSlice::Time(&mut values[from..]),
                    Buffer::Choice(values, _) => OutputSlice::Choice(&mut values[from..]),
                })
                .collect(),
        )
    }

    /// Writes the rows of `dense` to the positions `at` of the last `rows` rows.
    fn scatter(&mut self, dense: &OutputBuilder, at: &[usize], rows: usize) {
        let from = self.rows - rows;
        for (target, source) in self.columns.iter_mut().zip(&dense.columns) {
            match (target, source) {
                (Buffer::Float(t), Buffer::Float(s)) => put(&mut t[from..], s, at),
                (Buffer::Int(t), Buffer::Int(s)) => put(&mut t[from..], s, at),
                (Buffer::Bool(t), Buffer::Bool(s)) => put(&mut t[from..], s, at),
                (Buffer::Class(t), Buffer::Class(s)) => put(&mut t[from..], s, at),
                (Buffer::Time(t), Buffer::Time(s)) => put(&mut t[from..], s, at),
                (Buffer::Choice(t, _), Buffer::Choice(s, _)) => put(&mut t[from..], s, at),
                _ => {}
            }
        }
    }

    /// The column: a plain array for one output, a struct for several; unwanted fields are null.
    pub fn finish(self) -> ArrayRef {
        let rows = self.rows;
        let mut arrays: Vec<ArrayRef> = self.columns.into_iter().map(|column| column.finish(rows)).collect();
        match (&self.data_type, arrays.len()) {
            (DataType::Struct(fields), _) => Arc::new(StructArray::new(fields.clone(), arrays, None)),
            (_, _) => arrays.swap_remove(0),
        }
    }
}

/// Nulls for a field that nobody reads: slices of one array for each type, so that they cost nothing.
fn nulls_of(data_type: &DataType, rows: usize) -> ArrayRef {
    thread_local! {
        static NULLS: RefCell<HashMap<DataType, ArrayRef>> = RefCell::default();
    }
    NULLS.with_borrow_mut(|nulls| {
        let known = nulls.get(data_type).filter(|array| array.len() >= rows);
        let array = match known {
            Some(array) => Arc::clone(array),
            None => {
                let array = new_null_array(data_type, rows.next_power_of_two());
                nulls.insert(data_type.clone(), Arc::clone(&array));
                array
            }
        };
        array.slice(0, rows)
    })
}

fn put<T: Copy>(target: &mut [T], source: &[T], at: &[usize]) {
    at.iter().zip(source).for_each(|(&i, value)| target[i] = *value);
}

impl Buffer {
    fn finish(self, rows: usize) -> ArrayRef {
        let nulls = |valid: BooleanBuffer| Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0);
        match self {
            Buffer::Unwanted(kind) => nulls_of(&kind.data_type(), rows),
            Buffer::Float(values) => {
                let valid = BooleanBuffer::collect_bool(rows, |i| values[i].is_finite());
                Arc::new(Float64Array::new(values.into(), nulls(valid)))
            }
            Buffer::Int(values) => {
                let valid = BooleanBuffer::collect_bool(rows, |i| values[i] != NO_INT);
                Arc::new(Int32Array::new(values.into(), nulls(valid)))
            }
            Buffer::Bool(values) => Arc::new(values.into_iter().collect::<BooleanArray>()),
            Buffer::Class(values) => {
                let valid = BooleanBuffer::collect_bool(rows, |i| values[i] != NO_CLASS);
                Arc::new(Int8Array::new(values.into(), nulls(valid)))
            }
            Buffer::Time(values) => {
                let valid = BooleanBuffer::collect_bool(rows, |i| values[i] != NO_TIME);
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls(valid)).with_timezone("UTC"))
            }
            Buffer::Choice(values, names) => {
                // Names of up to twelve bytes live inside the views; all of ours are.
                let views: Vec<u128> = names.iter().map(|name| make_view(name.as_bytes(), 0, 0)).collect();
                let valid = BooleanBuffer::collect_bool(rows, |i| usize::from(values[i]) < views.len());
                let view = |code: &u8| views.get(usize::from(*code)).copied().unwrap_or(0);
                let views: Vec<u128> = values.iter().map(view).collect();
                match StringViewArray::try_new(views.into(), vec![], nulls(valid)) {
                    Ok(array) => Arc::new(array),
                    Err(_) => new_null_array(&DataType::Utf8View, rows),
                }
            }
        }
    }
}
