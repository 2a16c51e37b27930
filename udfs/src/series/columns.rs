//! Arguments of a call: from Arrow arrays to the slices that a function reads.

use super::inputs::{InputKind, InputSlice, NO_TIME, Pairs};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use datafusion_common::{Result, internal_datafusion_err};
use std::borrow::Cow;
use std::ops::Range;

/// One argument as plain values plus validity.
pub(super) enum Column<'a> {
    Number(Cow<'a, [f64]>, Option<&'a NullBuffer>),
    Condition(Vec<bool>, Option<&'a NullBuffer>),
    Time(Cow<'a, [i64]>, Option<&'a NullBuffer>),
    Levels(Lists<'a>),
    SmallerBars(Lists<'a>),
    Absent,
}

/// A list of pairs on every bar.
pub(super) struct Lists<'a> {
    /// Where the pairs of each bar stand: first, count.
    rows: Vec<(usize, usize)>,
    first: Cow<'a, [f64]>,
    second: Cow<'a, [f64]>,
}

impl<'a> Column<'a> {
    /// A required argument.
    pub fn of(array: &'a ArrayRef, kind: InputKind) -> Result<Self> {
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
    pub fn optional(array: &'a ArrayRef, kind: InputKind) -> Result<Self> {
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

    pub fn slice(&self) -> InputSlice<'_> {
        match self {
            Column::Number(values, _) => InputSlice::Number(values),
            Column::Condition(values, _) => InputSlice::Condition(values),
            Column::Time(values, _) => InputSlice::Time(values),
            Column::Levels(lists) => InputSlice::Levels(lists.pairs()),
            Column::SmallerBars(lists) => InputSlice::SmallerBars(lists.pairs()),
            Column::Absent => InputSlice::Absent,
        }
    }

    /// The rows of a range.
    pub fn range(&self, rows: &Range<usize>) -> Column<'_> {
        match self {
            Column::Absent => Column::Absent,
            Column::Levels(lists) => Column::Levels(lists.range(rows)),
            Column::SmallerBars(lists) => Column::SmallerBars(lists.range(rows)),
            Column::Number(values, _) => Column::Number(values[rows.clone()].into(), None),
            Column::Condition(values, _) => Column::Condition(values[rows.clone()].to_vec(), None),
            Column::Time(values, _) => Column::Time(values[rows.clone()].into(), None),
        }
    }

    /// Some of the rows.
    pub fn take(&self, rows: &[usize]) -> Column<'_> {
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
        let number = |column: &'a ArrayRef| -> Option<Cow<'a, [f64]>> {
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

    fn range(&self, rows: &Range<usize>) -> Lists<'_> {
        let rows = self.rows[rows.clone()].to_vec();
        Lists { rows, first: self.first.as_ref().into(), second: self.second.as_ref().into() }
    }

    fn take(&self, rows: &[usize]) -> Lists<'_> {
        Lists {
            rows: rows.iter().map(|&i| self.rows[i]).collect(),
            first: self.first.as_ref().into(),
            second: self.second.as_ref().into(),
        }
    }
}

/// Whether every number is finite.
pub(super) fn all_finite(values: &[f64]) -> bool {
    // Without an early exit the loop vectorises; missing values are rare.
    values.iter().fold(true, |all, v| all & v.is_finite())
}

/// The rows where every argument has a value; `None`: all.
pub(super) fn valid_rows(columns: &[Column<'_>], rows: usize) -> Option<BooleanBuffer> {
    let mut valid: Option<BooleanBuffer> = None;
    let mut only = |bits: &BooleanBuffer| {
        valid = Some(match valid.take() {
            Some(known) => &known & bits,
            None => bits.clone(),
        });
    };
    for column in columns {
        if let Some(nulls) = column.nulls() {
            only(nulls.inner());
        }
        if let Column::Number(values, _) = column
            && !all_finite(values)
        {
            only(&BooleanBuffer::collect_bool(rows, |row| values[row].is_finite()));
        }
    }
    valid
}

/// The rows where every argument has a value.
#[derive(Debug, PartialEq)]
pub(super) enum ValidRows {
    /// All.
    All,
    /// Those of a range, such as the rows after a warm-up.
    Range(Range<usize>),
    /// These.
    Some(Vec<usize>),
}

impl ValidRows {
    pub fn of(columns: &[Column<'_>], rows: usize) -> ValidRows {
        let Some(valid) = valid_rows(columns, rows) else { return ValidRows::All };
        let mut runs = valid.set_slices();
        match (runs.next(), runs.next()) {
            (None, _) => ValidRows::Range(0..0),
            (Some((start, end)), None) if (start, end) == (0, rows) => ValidRows::All,
            (Some((start, end)), None) => ValidRows::Range(start..end),
            _ => ValidRows::Some(valid.set_indices().collect()),
        }
    }

    /// The rows one by one; `None`: all.
    pub fn list(self) -> Option<Vec<usize>> {
        match self {
            ValidRows::All => None,
            ValidRows::Range(rows) => Some(rows.collect()),
            ValidRows::Some(rows) => Some(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Float64Array;
    use std::sync::Arc;

    #[test]
    fn rows_are_those_where_nothing_is_missing() {
        let column = |values: &[Option<f64>]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        let of = |arrays: &[ArrayRef]| {
            let columns: Vec<_> = arrays.iter().map(|array| Column::of(array, InputKind::Number).unwrap()).collect();
            ValidRows::of(&columns, 4)
        };
        let (all, late) = ([Some(1.0); 4], [None, Some(1.0), Some(2.0), Some(3.0)]);
        assert_eq!(of(&[column(&all)]), ValidRows::All);
        assert_eq!(of(&[column(&all), column(&late)]), ValidRows::Range(1..4));
        let infinite = [Some(1.0), Some(1.0), Some(f64::INFINITY), Some(1.0)];
        assert_eq!(of(&[column(&infinite), column(&late)]), ValidRows::Some(vec![1, 3]));
        assert_eq!(of(&[column(&[None; 4])]), ValidRows::Range(0..0));
    }
}
