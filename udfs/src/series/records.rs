//! Outputs that are lists: any number of records for each row.

use super::handle::foreign;
use super::inputs::{InputKind, NO_TIME};
use super::output_builder::names_array;
use super::outputs::{Output, OutputKind, OutputSlice, Outputs};
use super::signature::SeriesSignature;
use crate::list::list_of;
use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use std::ops::Range;
use std::sync::Arc;

/// A field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordField {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: RecordKind,
}

/// The type of a field of a record. Values of all types are given as float64, where NaN is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// float64
    Float,
    /// int32
    Int,
    /// Timestamp in microseconds, UTC; exact until the year 2255
    Time,
    /// Text, one of these
    Choice(&'static [&'static str]),
}

impl RecordKind {
    fn data_type(self) -> DataType {
        match self {
            RecordKind::Float => DataType::Float64,
            RecordKind::Int => DataType::Int32,
            RecordKind::Time => InputKind::Time.data_type(),
            RecordKind::Choice(_) => DataType::Utf8View,
        }
    }
}

/// The handle of an output of [`OutputKind::Records`]: [`Outputs::push`].
#[derive(Debug, Clone, Copy)]
pub struct Records;

/// The Arrow type of a list of records.
pub(super) fn records_type(fields: &[RecordField]) -> DataType {
    list_of(DataType::Struct(arrow_fields(fields)))
}

fn arrow_fields(fields: &[RecordField]) -> Fields {
    fields.iter().map(|field| Field::new(field.name, field.kind.data_type(), true)).collect()
}

/// Records, in the order in which they came, each with its row.
#[derive(Debug, Default)]
pub struct RecordList {
    rows: Vec<usize>,
    /// The values of one record after those of another.
    values: Vec<f64>,
}

/// Where records of some rows are put.
#[derive(Debug)]
pub struct RecordSlice<'a> {
    list: &'a mut RecordList,
    /// The row that is the first here.
    first: usize,
}

impl RecordList {
    /// The records of the rows from one on.
    pub(super) fn after(&mut self, first: usize) -> RecordSlice<'_> {
        RecordSlice { list: self, first }
    }

    /// Adds those records of another list that belong to its rows from `first` on, to the rows `at`, counted from `from`.
    pub(super) fn scatter(&mut self, other: &RecordList, first: usize, at: &[usize], from: usize) {
        let width = other.width();
        for (record, row) in other.rows.iter().enumerate() {
            if let Some(target) = row.checked_sub(first).and_then(|place| at.get(place)) {
                self.rows.push(from + target);
                self.values.extend_from_slice(&other.values[record * width..(record + 1) * width]);
            }
        }
    }

    fn width(&self) -> usize {
        self.values.len().checked_div(self.rows.len()).unwrap_or_default()
    }

    /// The lists of so many rows.
    pub(super) fn finish(self, fields: &'static [RecordField], rows: usize) -> ArrayRef {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|record| self.rows[*record]);
        let mut lengths = vec![0; rows];
        self.rows.iter().for_each(|row| lengths[*row] += 1);
        let column = |(at, field): (usize, &RecordField)| -> ArrayRef {
            let values = order.iter().map(|record| self.values[record * fields.len() + at]);
            let known = |value: f64| Some(value).filter(|value| value.is_finite());
            match field.kind {
                RecordKind::Float => Arc::new(values.map(known).collect::<Float64Array>()),
                RecordKind::Int => Arc::new(values.map(|v| known(v).map(|v| v as i32)).collect::<Int32Array>()),
                RecordKind::Time => {
                    let times = values.map(|v| known(v).map(|v| v as i64).filter(|v| *v != NO_TIME));
                    Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
                }
                RecordKind::Choice(names) => {
                    let code = |v: f64| if v.is_finite() { v as u8 } else { u8::MAX };
                    names_array(&values.map(code).collect::<Vec<_>>(), names)
                }
            }
        };
        let columns = fields.iter().enumerate().map(column).collect::<Vec<_>>();
        let records = match columns.first() {
            Some(first) if first.is_empty() => StructArray::new_null(arrow_fields(fields), 0),
            _ => StructArray::new(arrow_fields(fields), columns, None),
        };
        let item = Arc::new(Field::new_list_field(DataType::Struct(arrow_fields(fields)), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(records), None))
    }
}

impl RecordSlice<'_> {
    pub(super) fn at(&mut self, rows: &Range<usize>) -> RecordSlice<'_> {
        RecordSlice { list: self.list, first: self.first + rows.start }
    }
}

impl SeriesSignature {
    /// Adds an output that is a list of records for each row.
    pub fn records_output(&mut self, name: &str, fields: &'static [RecordField]) -> Output<Records> {
        self.declare(name, OutputKind::Records(fields))
    }
}

impl Outputs<'_> {
    /// Adds a record to the list of a row; nothing happens where the column is not requested.
    ///
    /// # Panics
    /// As [`Outputs::is_requested`].
    pub fn push(&mut self, output: Output<Records>, row: usize, record: &[f64]) {
        match self.slice(output) {
            Some(OutputSlice::Unrequested) => {}
            Some(OutputSlice::Records(RecordSlice { list, first })) => {
                list.rows.push(*first + row);
                list.values.extend_from_slice(record);
            }
            _ => foreign("output", 0),
        }
    }
}
