//! One series against many: each in a lane of a vector.

use super::band::Band;
use super::simd::widest_of;

/// Series that are compared at once.
pub const LANES: usize = 16;

/// The distances of a series to [`LANES`] others of one length, which lie point by point: `others[i][lane]`. `line` is
/// memory to reuse.
///
/// Every lane runs the recurrence of [`dtw`](super::dtw::dtw); no lane waits for another, so the latency of one is hidden
/// behind the others: Rognes, *Faster Smith-Waterman database searches with inter-sequence SIMD parallelisation*, BMC
/// Bioinformatics 12 (2011).
pub fn dtw_many(series: &[f64], others: &[Cell], band: Band, line: &mut Vec<Cell>) -> Cell {
    match (series.is_empty(), others.is_empty()) {
        (true, true) => [0.0; LANES],
        (true, false) | (false, true) => [f64::INFINITY; LANES],
        _ => widest_of(
            #[inline(always)]
            |doubles| match doubles {
                8.. => parts::<16>(series, others, band, line),
                4.. => parts::<8>(series, others, band, line),
                _ => parts::<4>(series, others, band, line),
            },
        )
        .map(f64::sqrt),
    }
}

type Cell = [f64; LANES];

/// In parts of `L` lanes: with two vectors for each cell, what a step needs just fits into the registers.
#[inline(always)]
fn parts<const L: usize>(series: &[f64], others: &[Cell], band: Band, line: &mut Vec<Cell>) -> Cell {
    let mut all = [0.0; LANES];
    for (part, distances) in all.as_chunks_mut::<L>().0.iter_mut().enumerate() {
        *distances = lanes(series, others, part, band, line);
    }
    all
}

#[inline(always)]
fn cell<const L: usize>(x: &[f64; L], y: f64, above: &[f64; L], diagonal: &[f64; L], left: &[f64; L]) -> [f64; L] {
    let mut cost = [0.0; L];
    for k in 0..L {
        let difference = x[k] - y;
        let before = if above[k] < diagonal[k] { above[k] } else { diagonal[k] };
        cost[k] = difference * difference + if left[k] < before { left[k] } else { before };
    }
    cost
}

/// Two rows at a time, the second one column behind the first: neither waits for the other, and half of the cells never
/// leave the registers.
#[inline(always)]
fn lanes<const L: usize>(series: &[f64], others: &[Cell], part: usize, band: Band, line: &mut Vec<Cell>) -> [f64; L] {
    let none = [f64::INFINITY; L];
    let m = series.len();
    line.clear();
    line.resize(m, [f64::INFINITY; LANES]);
    let line = &mut line.as_flattened_mut().as_chunks_mut::<L>().0[..m];
    let of = |point: &Cell| -> [f64; L] { point.as_chunks::<L>().0[part] };
    // Of the row before, the cell before the first of this one.
    let corner = |line: &[[f64; L]], i: usize, first: usize| match (i, first) {
        (0, _) => [0.0; L],
        (_, 0) => none,
        _ => line[first - 1],
    };
    let (pairs, rest) = others.as_chunks::<2>();
    for (pair, [x, z]) in pairs.iter().enumerate() {
        let (x, z) = (&of(x), &of(z));
        let i = 2 * pair;
        let (first, second) = (band.columns(i, m), band.columns(i + 1, m));
        let mut diagonal = corner(line, i, first.start);
        // Of the first row the last two cells, of the second row the last one.
        let (mut last, mut before, mut left) = (none, none, none);
        let mut j = first.start;
        while j <= second.start && j < first.end {
            let above = line[j];
            (before, last) = (last, cell(x, series[j], &above, &diagonal, &last));
            diagonal = above;
            j += 1;
        }
        let both = j..first.end.max(j);
        let cells = &mut line[both.start - 1..both.end];
        let points = &series[both.start - 1..both.end];
        for k in 1..cells.len().min(points.len()) {
            let above = cells[k];
            let next = cell(x, points[k], &above, &diagonal, &last);
            left = cell(z, points[k - 1], &last, &before, &left);
            cells[k - 1] = left;
            (before, last, diagonal) = (last, next, above);
        }
        for j in both.end..=second.end {
            if j > second.start {
                left = cell(z, series[j - 1], &last, &before, &left);
                line[j - 1] = left;
            }
            (before, last) = (last, none);
        }
    }
    for x in rest {
        let i = others.len() - 1;
        let columns = band.columns(i, m);
        let (mut diagonal, mut left) = (corner(line, i, columns.start), none);
        for j in columns {
            let above = line[j];
            left = cell(&of(x), series[j], &above, &diagonal, &left);
            (line[j], diagonal) = (left, above);
        }
    }
    line[m - 1]
}

/// Puts up to [`LANES`] series of one length side by side; lanes that none is left for repeat the last.
pub fn side_by_side<'a>(series: impl Iterator<Item = &'a [f64]>, into: &mut Vec<[f64; LANES]>) {
    let mut used = 0;
    for (lane, one) in series.take(LANES).enumerate() {
        if lane == 0 {
            into.clear();
            into.resize(one.len(), [0.0; LANES]);
        }
        for (point, value) in into.iter_mut().zip(one) {
            point[lane] = *value;
        }
        used = lane + 1;
    }
    if used > 0 {
        for point in into.iter_mut() {
            let last = point[used - 1];
            point[used..].fill(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::dtw::dtw;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_lane_is_the_distance_of_its_pair(
            series in prop::collection::vec(-3.0..3.0, 1..30),
            others in (1usize..30).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(-3.0..3.0, n), 1..=LANES)),
            w in 1usize..35,
        ) {
            let n = others[0].len();
            let band = Band::window(n, series.len(), w);
            let mut points = vec![];
            side_by_side(others.iter().map(Vec::as_slice), &mut points);
            let found = dtw_many(&series, &points, band, &mut vec![]);
            for (one, found) in others.iter().zip(found) {
                prop_assert_eq!(dtw(one, &series, band).to_bits(), found.to_bits());
            }
        }
    }
}
