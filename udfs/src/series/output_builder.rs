//! Which outputs a call computes, and the columns that they are collected in.

use super::columns::all_finite;
use super::inputs::NO_TIME;
use super::outputs::{NO_CHOICE, NO_CLASS, NO_INT, OutputKind, OutputSlice, Outputs};
use super::records::{RecordField, RecordList};
use super::signature::SeriesSignature;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int8Array, Int32Array, StringViewArray, StructArray,
    TimestampMicrosecondArray, make_view, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
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

    /// No output of a signature.
    pub fn none(signature: &SeriesSignature) -> Self {
        Self(vec![false; signature.outputs.len()])
    }

    /// The outputs of both sets.
    #[must_use]
    pub fn or(&self, other: &OutputSet) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| *own || *other).collect())
    }

    /// The outputs of this set that are also in another.
    #[must_use]
    pub fn and(&self, other: &OutputSet) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| *own && *other).collect())
    }

    /// The outputs of this set that are not in another.
    #[must_use]
    pub fn without(&self, other: &OutputSet) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| *own && !*other).collect())
    }

    /// Whether the output at `index` is read.
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }

    /// How many are read.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|requested| **requested).count()
    }
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
    Unrequested(OutputKind),
    Float(Vec<f64>),
    Int(Vec<i32>),
    Bool(Vec<Option<bool>>),
    Class(Vec<i8>),
    Time(Vec<i64>),
    Choice(Vec<u8>, &'static [&'static str]),
    Records(RecordList, &'static [RecordField]),
}

impl OutputBuilder {
    /// An empty builder for the requested outputs of a signature, with room for `rows`.
    pub(super) fn new(signature: &SeriesSignature, requested: &OutputSet, rows: usize) -> Self {
        let columns = signature
            .outputs
            .iter()
            .enumerate()
            .map(|(i, output)| match output.kind {
                kind if !requested.contains(i) => Buffer::Unrequested(kind),
                OutputKind::Float => Buffer::Float(Vec::with_capacity(rows)),
                OutputKind::Int => Buffer::Int(Vec::with_capacity(rows)),
                OutputKind::Bool => Buffer::Bool(Vec::with_capacity(rows)),
                OutputKind::Class => Buffer::Class(Vec::with_capacity(rows)),
                OutputKind::Time => Buffer::Time(Vec::with_capacity(rows)),
                OutputKind::Choice(names) => Buffer::Choice(Vec::with_capacity(rows), names),
                OutputKind::Records(fields) => Buffer::Records(RecordList::default(), fields),
            })
            .collect();
        Self { data_type: signature.return_type(), rows: 0, columns }
    }

    /// Adds rows without values.
    pub(super) fn grow(&mut self, rows: usize) {
        self.rows += rows;
        for column in &mut self.columns {
            match column {
                Buffer::Unrequested(_) => {}
                Buffer::Float(values) => values.resize(self.rows, f64::NAN),
                Buffer::Int(values) => values.resize(self.rows, NO_INT),
                Buffer::Bool(values) => values.resize(self.rows, None),
                Buffer::Class(values) => values.resize(self.rows, NO_CLASS),
                Buffer::Time(values) => values.resize(self.rows, NO_TIME),
                Buffer::Choice(values, _) => values.resize(self.rows, NO_CHOICE),
                Buffer::Records(..) => {}
            }
        }
    }

    /// Some outputs of the last `rows` rows, to be written.
    pub(super) fn last(&mut self, rows: usize, outputs: &OutputSet) -> Outputs<'_> {
        let from = self.rows - rows;
        Outputs::new(
            self.columns
                .iter_mut()
                .enumerate()
                .map(|(i, column)| match column {
                    _ if !outputs.contains(i) => OutputSlice::Unrequested,
                    Buffer::Unrequested(_) => OutputSlice::Unrequested,
                    Buffer::Float(values) => OutputSlice::Float(&mut values[from..]),
                    Buffer::Int(values) => OutputSlice::Int(&mut values[from..]),
                    Buffer::Bool(values) => OutputSlice::Bool(&mut values[from..]),
                    Buffer::Class(values) => OutputSlice::Class(&mut values[from..]),
                    Buffer::Time(values) => OutputSlice::Time(&mut values[from..]),
                    Buffer::Choice(values, _) => OutputSlice::Choice(&mut values[from..]),
                    Buffer::Records(list, _) => OutputSlice::Records(list.after(from)),
                })
                .collect(),
        )
    }

    /// Writes the values of one of the last `rows` rows, as [`Standing`](super::Standing) gives them.
    pub(super) fn put(&mut self, rows: usize, row: usize, values: &[f64]) {
        let at = self.rows - rows + row;
        for (column, value) in self.columns.iter_mut().zip(values) {
            match column {
                Buffer::Float(cells) => cells[at] = *value,
                Buffer::Int(cells) => cells[at] = if value.is_finite() { *value as i32 } else { NO_INT },
                Buffer::Bool(cells) => cells[at] = value.is_finite().then_some(*value != 0.0),
                _ => {}
            }
        }
    }

    /// Writes the rows of `dense` from `first` on to the positions `at` of the last `rows` rows.
    pub(super) fn scatter(&mut self, dense: &OutputBuilder, first: usize, at: &[usize], rows: usize) {
        let from = self.rows - rows;
        for (target, source) in self.columns.iter_mut().zip(&dense.columns) {
            match (target, source) {
                (Buffer::Float(t), Buffer::Float(s)) => put(&mut t[from..], &s[first..], at),
                (Buffer::Int(t), Buffer::Int(s)) => put(&mut t[from..], &s[first..], at),
                (Buffer::Bool(t), Buffer::Bool(s)) => put(&mut t[from..], &s[first..], at),
                (Buffer::Class(t), Buffer::Class(s)) => put(&mut t[from..], &s[first..], at),
                (Buffer::Time(t), Buffer::Time(s)) => put(&mut t[from..], &s[first..], at),
                (Buffer::Choice(t, _), Buffer::Choice(s, _)) => put(&mut t[from..], &s[first..], at),
                (Buffer::Records(t, _), Buffer::Records(s, _)) => t.scatter(s, first, at, from),
                _ => {}
            }
        }
    }

    /// The column: a plain array for one output, a struct for several; unrequested fields are null.
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
            Buffer::Unrequested(kind) => nulls_of(&kind.data_type(), rows),
            Buffer::Float(values) => {
                let nulls = nulls(finite(&values));
                Arc::new(Float64Array::new(values.into(), nulls))
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
            Buffer::Choice(values, names) => names_array(&values, names),
            Buffer::Records(list, fields) => list.finish(fields, rows),
        }
    }
}

/// Which numbers are finite. Nearly all are, and the few that are not stand together, so that 64 are looked at at once.
fn finite(values: &[f64]) -> BooleanBuffer {
    let word = |chunk: &[f64]| match all_finite(chunk) {
        true => u64::MAX,
        false => chunk.iter().enumerate().fold(0, |bits, (i, value)| bits | u64::from(value.is_finite()) << i),
    };
    let words: Vec<u64> = values.chunks(64).map(word).collect();
    BooleanBuffer::new(words.into(), 0, values.len())
}

/// Names by their places; what is no place is null.
pub(super) fn names_array(places: &[u8], names: &[&str]) -> ArrayRef {
    // Names of up to twelve bytes live inside the views, others behind them.
    let mut offset = 0;
    let mut view = |name: &&str| {
        let view = make_view(name.as_bytes(), 0, offset);
        offset += name.len() as u32;
        view
    };
    let views: Vec<u128> = names.iter().map(&mut view).collect();
    let text = arrow::buffer::Buffer::from(names.concat().as_bytes());
    let valid = BooleanBuffer::collect_bool(places.len(), |i| usize::from(places[i]) < views.len());
    let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
    let view = |place: &u8| views.get(usize::from(*place)).copied().unwrap_or(0);
    let views: Vec<u128> = places.iter().map(view).collect();
    match StringViewArray::try_new(views.into(), vec![text], nulls) {
        Ok(array) => Arc::new(array),
        Err(_) => new_null_array(&DataType::Utf8View, places.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_not_finite_is_null(values in prop::collection::vec(prop_oneof![9 => 0.0..1.0f64, 1 => Just(f64::NAN)], 0..200)) {
            let expected: Vec<bool> = values.iter().map(|value: &f64| value.is_finite()).collect();
            prop_assert_eq!(finite(&values).iter().collect::<Vec<_>>(), expected);
            prop_assert_eq!(finite(&vec![1.0; values.len()]).count_set_bits(), values.len());
        }
    }
}
