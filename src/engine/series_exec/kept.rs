//! The rows of a series that the plan above keeps, and those around them that are looked at.

use super::node::Computation;
use super::stream::{Bound, Piece};
use arrow::array::AsArray;
use std::ops::Range;

/// The rows of a series that the plan above keeps.
pub(super) struct Kept {
    /// Which of the arguments says so.
    pub arg: usize,
    /// Other rows need not be put out.
    pub only: bool,
    /// How many valid rows before and after them are looked at, where that is a number.
    pub around: Option<(usize, usize)>,
}

impl Kept {
    /// From the first row that is kept to the last.
    pub fn hull(&self, pieces: &[Piece]) -> Range<usize> {
        let (mut hull, mut rows) = (None::<Range<usize>>, 0);
        for piece in pieces {
            let kept = piece.args[self.arg].as_boolean().values();
            if let Some(first) = kept.set_indices().next() {
                let last = (0..kept.len()).rev().find(|&row| kept.value(row)).unwrap_or(first);
                hull = Some(hull.map_or(rows + first, |hull| hull.start)..rows + last + 1);
            }
            rows += kept.len();
        }
        hull.unwrap_or_default()
    }
}

/// How many valid rows before and after a row all calls look at, where that is a number.
pub(super) fn around(calls: &[Bound]) -> Option<(usize, usize)> {
    calls.iter().try_fold((0, 0), |(back, ahead), bound| match &bound.computation {
        Computation::Series { call, .. } => call.neighbours().map(|(b, a)| (back.max(b), ahead.max(a))),
        Computation::Window(_) => None,
    })
}

/// Which rows of each piece are some rows of the series.
pub(super) fn parts<'p>(pieces: &'p [Piece], rows: &Range<usize>) -> impl Iterator<Item = (&'p Piece, Range<usize>)> {
    let (rows, mut start) = (rows.clone(), 0);
    pieces.iter().filter_map(move |piece| {
        let first = start;
        start += piece.batch.num_rows();
        let part = rows.start.max(first)..rows.end.min(start);
        (!part.is_empty()).then(|| (piece, part.start - first..part.end - first))
    })
}
