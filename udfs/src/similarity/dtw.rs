//! Dynamic time warping of one pair of series: the whole distance, and the distance if it is below a limit.

use super::band::Band;
use super::simd::widest;

/// Cells that are computed together.
const WIDTH: usize = 16;

#[inline(always)]
fn min(a: f64, b: f64) -> f64 {
    // Without the rules for NaN that `f64::min` has, which cost an instruction in the longest chain.
    if a < b { a } else { b }
}

/// Memory that computations reuse.
#[derive(Debug, Default, Clone)]
pub struct Scratch {
    buffers: [Vec<f64>; 3],
    a: Vec<f64>,
    b: Vec<f64>,
}

/// The distance of two series under a band: root of the smallest sum of squared differences along a warping path.
/// Infinite where one is empty and the other is not.
///
/// Cell (i, j) costs `(a[i] - b[j])^2`; paths step right, up or diagonally. The matrix is walked along its anti-diagonals,
/// whose cells do not depend on each other, so that several are computed in one instruction: Wozniak, *Using video-oriented
/// instructions to speed up sequence comparison*, CABIOS 13 (1997).
pub fn dtw(a: &[f64], b: &[f64], band: Band) -> f64 {
    dtw_with(a, b, band, &mut Scratch::default())
}

/// As [`dtw`], with memory to reuse.
pub fn dtw_with(a: &[f64], b: &[f64], band: Band, scratch: &mut Scratch) -> f64 {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => 0.0,
        (true, false) | (false, true) => f64::INFINITY,
        _ => {
            // Cells of the widest anti-diagonal.
            let cells = (band.below + band.above) / 2 + 1;
            let squared = match cells {
                0..=8 => widest(
                    #[inline(always)]
                    || in_registers::<8>(a, b, band, scratch),
                ),
                9..=16 => widest(
                    #[inline(always)]
                    || in_registers::<16>(a, b, band, scratch),
                ),
                _ => widest(
                    #[inline(always)]
                    || anti_diagonals(a, b, band, scratch),
                ),
            };
            squared.sqrt()
        }
    }
}

/// What a series is continued with on both sides: too far from everything for a path, and from each other.
const FAR: f64 = 1e200;

/// The anti-diagonals of a narrow band, each in registers, its cells by their distance from the diagonal of the matrix:
/// cell `t` of every other one has `j - i = 2 t - below`, of those between them one more. The neighbours of a cell are then
/// cell `t` of the two before and a cell beside it of the last.
#[inline(always)]
fn in_registers<const L: usize>(a: &[f64], b: &[f64], band: Band, scratch: &mut Scratch) -> f64 {
    let (n, m) = (a.len(), b.len());
    let margin = n.max(m) + band.below + band.above + L;
    let Scratch { a: rows, b: columns, .. } = scratch;
    rows.clear();
    rows.resize(margin, FAR);
    rows.extend(a.iter().rev());
    rows.resize(n + 2 * margin, FAR);
    columns.clear();
    columns.resize(margin, -FAR);
    columns.extend(b);
    columns.resize(m + 2 * margin, -FAR);
    let outside = |first: usize| {
        let mut mask = [0.0; L];
        for (t, cell) in mask.iter_mut().enumerate() {
            *cell = if 2 * t + first > band.below + band.above { f64::INFINITY } else { 0.0 };
        }
        mask
    };
    let (even, odd) = (outside(0), outside(1));
    let (mut last, mut before) = ([f64::INFINITY; L], [f64::INFINITY; L]);
    // The path begins before the first cell.
    before[band.below / 2] = 0.0;
    // Cell 0 of anti-diagonal d meets row (d + below) / 2, rounded down, and column (d - below) / 2, rounded up; the next ones
    // rows before it and columns after it.
    let step = |d: usize, mask: &[f64; L], beside: &[f64; L], last: &[f64; L], before: &[f64; L]| {
        let row = margin + n - 1 - (d + band.below) / 2;
        let column = (2 * margin + d + (d + band.below) % 2 - band.below) / 2;
        let (x, y) = (lanes::<L>(rows, row), lanes::<L>(columns, column));
        let mut cost = [0.0; L];
        for t in 0..L {
            let difference = x[t] - y[t];
            cost[t] = difference * difference + mask[t] + min(min(last[t], before[t]), beside[t]);
        }
        cost
    };
    let diagonals = n + m - 1;
    let mut d = 0;
    if band.below % 2 == 1 {
        (before, last) = (last, step(0, &odd, &[f64::INFINITY; L], &last, &before));
        d = 1;
    }
    while d + 1 < diagonals {
        before = step(d, &even, &up(&last), &last, &before);
        last = step(d + 1, &odd, &down(&before), &before, &last);
        d += 2;
    }
    if d < diagonals {
        last = step(d, &even, &up(&last), &last, &before);
    }
    last[(m + band.below - n) / 2]
}

/// Every cell one place further up.
#[inline(always)]
fn up<const L: usize>(cells: &[f64; L]) -> [f64; L] {
    std::array::from_fn(|t| if t > 0 { cells[t - 1] } else { f64::INFINITY })
}

/// Every cell one place further down.
#[inline(always)]
fn down<const L: usize>(cells: &[f64; L]) -> [f64; L] {
    std::array::from_fn(|t| if t + 1 < L { cells[t + 1] } else { f64::INFINITY })
}

#[inline(always)]
fn lanes<const L: usize>(values: &[f64], at: usize) -> [f64; L] {
    let mut copy = [0.0; L];
    copy.copy_from_slice(&values[at..at + L]);
    copy
}

/// The cells of one anti-diagonal, from those of the two before.
#[inline(always)]
fn diagonal(out: &mut [f64], x: &[f64], y: &[f64], below: &[f64], left: &[f64], before: &[f64]) {
    let inputs = x.as_chunks::<WIDTH>().0.iter().zip(y.as_chunks::<WIDTH>().0);
    let earlier = below.as_chunks::<WIDTH>().0.iter().zip(left.as_chunks::<WIDTH>().0);
    let cells = inputs.zip(earlier).zip(before.as_chunks::<WIDTH>().0);
    for (out, (((x, y), (below, left)), before)) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(cells) {
        for k in 0..WIDTH {
            let difference = x[k] - y[k];
            out[k] = difference * difference + min(min(below[k], left[k]), before[k]);
        }
    }
}

#[inline(always)]
fn anti_diagonals(a: &[f64], b: &[f64], band: Band, scratch: &mut Scratch) -> f64 {
    let (n, m) = (a.len(), b.len());
    // Position i of a buffer stands at i + 1; what is not a cell of the band is infinite.
    let Scratch { buffers, a: padded, b: reversed } = scratch;
    for buffer in buffers.iter_mut() {
        buffer.clear();
        buffer.resize(n + 2 + WIDTH, f64::INFINITY);
    }
    padded.clear();
    padded.extend_from_slice(a);
    padded.resize(n + WIDTH, 0.0);
    reversed.clear();
    reversed.extend(b.iter().rev());
    reversed.resize(m + WIDTH, 0.0);
    let [current, last, before] = buffers;
    let (mut current, mut last, mut before) = (&mut current[..], &mut last[..], &mut before[..]);
    let first = a[0] - b[0];
    last[1] = first * first;
    for d in 1..n + m - 1 {
        let low = (d + 1).saturating_sub(m).max(d.saturating_sub(band.above).div_ceil(2));
        let high = (n - 1).min(d).min((d + band.below) / 2);
        // Where high < low, which a band of one point has on every other diagonal, there is no cell.
        let cells = (high + 1).saturating_sub(low);
        let columns = m - 1 + low - d;
        let padded_cells = cells.next_multiple_of(WIDTH);
        diagonal(
            &mut current[low + 1..][..padded_cells],
            &padded[low..][..padded_cells],
            &reversed[columns..][..padded_cells],
            &last[low..][..padded_cells],
            &last[low + 1..][..padded_cells],
            &before[low..][..padded_cells],
        );
        current[low] = f64::INFINITY;
        current[low + cells + 1] = f64::INFINITY;
        (current, last, before) = (before, current, last);
    }
    last[n]
}

/// The squared distance, if it is at most `limit`; `None` as soon as it cannot be.
///
/// `rest[i]`, where given, is a lower bound of what rows `i..` cost, with `rest[rows.len()] = 0`: cells from which the limit
/// cannot be kept are left out. The matrix is walked row by row, between the first and the last cell of the row before from
/// which a path may still go on.
///
/// Silva and Batista, *Speeding up all-pairwise dynamic time warping matrix calculation*, SDM 2016 (pruning); Herrmann and
/// Webb, *Early abandoning and pruning for elastic distances*, DMKD 35 (2021); the cumulative bound is Rakthanmanon et al.,
/// *Searching and mining trillions of time series subsequences under dynamic time warping*, KDD 2012.
pub fn dtw_abandoning(
    rows: &[f64],
    columns: &[f64],
    band: Band,
    rest: Option<&[f64]>,
    limit: f64,
    scratch: &mut Scratch,
) -> Option<f64> {
    let (n, m) = (rows.len(), columns.len());
    if n == 0 || m == 0 {
        return (n == m).then_some(0.0);
    }
    let line = &mut scratch.buffers[0];
    line.clear();
    line.resize(m, f64::INFINITY);
    // Cells of the row before that a path may go on from: inside `live`; all others are infinite.
    let mut live = 0..0;
    for (i, x) in rows.iter().enumerate() {
        let allowed = limit - rest.map_or(0.0, |rest| rest[i + 1]);
        let admitted = band.columns(i, m);
        let start = if i == 0 { 0 } else { admitted.start.max(live.start) };
        // The cell diagonally before the first one.
        let mut diagonal = match i {
            0 => 0.0,
            _ if start > live.start && start <= live.end => line[start - 1],
            _ => f64::INFINITY,
        };
        let (mut left, mut next) = (f64::INFINITY, None::<(usize, usize)>);
        for j in start..admitted.end {
            let above = if live.contains(&j) { line[j] } else { f64::INFINITY };
            if i > 0 && j > live.end && left == f64::INFINITY {
                break;
            }
            let difference = x - columns[j];
            let cost = difference * difference + min(min(above, diagonal), left);
            diagonal = above;
            left = if cost <= allowed {
                let first = next.map_or(j, |(first, _)| first);
                next = Some((first, j));
                cost
            } else {
                f64::INFINITY
            };
            line[j] = left;
        }
        // In the first row, nothing but the cell before it leads to a cell.
        let (first, last) = next?;
        live = first..last + 1;
    }
    (live.end == m).then(|| line[m - 1])
}

/// The distance cell by cell, as the definition says it: what the fast ones are compared with.
#[cfg(test)]
pub(crate) fn by_definition(a: &[f64], b: &[f64], band: Band) -> f64 {
    let (n, m) = (a.len(), b.len());
    let mut cost = vec![vec![f64::INFINITY; m + 1]; n + 1];
    cost[0][0] = 0.0;
    for i in 0..n {
        for j in band.columns(i, m) {
            let before = cost[i][j].min(cost[i][j + 1]).min(cost[i + 1][j]);
            cost[i + 1][j + 1] = (a[i] - b[j]).powi(2) + before;
        }
    }
    cost[n][m].sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_distances() {
        let s = [0.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 0.0, 0.0];
        let t = [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let within = |w| dtw(&s, &t, Band::window(9, 9, w));
        assert!((dtw(&s, &t, Band::open(9, 9)) - 2f64.sqrt()).abs() < 1e-12);
        assert!((within(1) - 8f64.sqrt()).abs() < 1e-12);
        assert!((within(2) - 2f64.sqrt()).abs() < 1e-12);
        assert!((within(3) - 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn empty_series_have_no_distance_to_others() {
        assert_eq!(dtw(&[], &[], Band::open(0, 0)), 0.0);
        assert_eq!(dtw(&[1.0], &[], Band::open(1, 0)), f64::INFINITY);
    }

    fn series() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-3.0..3.0, 1..40)
    }

    proptest! {
        #[test]
        fn the_anti_diagonals_give_what_the_definition_gives(a in series(), b in series(), w in 1usize..45) {
            let band = Band::window(a.len(), b.len(), w);
            prop_assert_eq!(dtw(&a, &b, band).to_bits(), by_definition(&a, &b, band).to_bits());
        }

        #[test]
        fn below_the_limit_the_distance_is_the_same_and_above_there_is_none(
            a in series(), b in series(), w in 1usize..45, share in 0.0..2.0,
        ) {
            let band = Band::window(a.len(), b.len(), w);
            let whole = dtw(&a, &b, band);
            let limit = whole * whole * share;
            let found = dtw_abandoning(&a, &b, band, None, limit, &mut Scratch::default());
            if share > 1.0 + 1e-9 {
                prop_assert_eq!(found.map(|d| d.sqrt().to_bits()), Some(whole.to_bits()));
            } else if share < 1.0 - 1e-9 && whole > 0.0 {
                prop_assert_eq!(found, None);
            }
        }

        #[test]
        fn it_is_symmetric(a in series(), b in series(), w in 1usize..45) {
            let band = Band::window(a.len(), b.len(), w);
            prop_assert_eq!(dtw(&a, &b, band), dtw(&b, &a, band.transposed()));
        }
    }
}
