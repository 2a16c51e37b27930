//! Longer bars as stretches of time: what changes of a shorter bar changes the longer one that it lies in.

use std::ops::Range;
use tallow_common::{Ranges, Times};
use tallow_udfs::calendar::Grid;

/// The times of all longer bars that ranges have a time in common with.
pub(super) fn whole_bars(grid: &Grid, ranges: &Ranges) -> Ranges {
    let mut whole = Ranges::everywhere(whole_times(grid, ranges.of_all()));
    ranges.symbols().for_each(|(symbol, times)| whole.add(symbol, &whole_times(grid, times)));
    whole
}

fn whole_times(grid: &Grid, times: &Times) -> Times {
    let of = |range: &Range<i64>| {
        let start = if range.start == i64::MIN { i64::MIN } else { grid.bar(range.start).0 };
        let end = if range.end == i64::MAX { i64::MAX } else { grid.bar(range.end - 1).1 };
        start..end
    };
    times.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_to_whole_bars() {
        let day = 86_400_000_000;
        let grid = Grid::new("1d".parse().unwrap(), "utc".parse().unwrap());
        let mut ranges = Ranges::default();
        let changed = [5..6, day + 1..day + 2, 5 * day..5 * day + 1, 9 * day..i64::MAX];
        ranges.add("A", &changed.into_iter().collect());
        let whole = [0..2 * day, 5 * day..6 * day, 9 * day..i64::MAX].into_iter().collect();
        assert_eq!(whole_bars(&grid, &ranges).of("A"), whole);
        assert_eq!(whole_bars(&grid, &Ranges::all()), Ranges::all());
    }
}
