//! Ranges of time by symbol: what changed of a table, what a change affects, what has to be read.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

/// Ranges of one symbol are kept apart up to this number; beyond it, those with the least time between them become one.
const MOST: usize = 64;

/// Ranges of time in microseconds: in order, none empty, with time between them. `i64::MIN` is the beginning of a series and
/// `i64::MAX` its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Times(Vec<Range<i64>>);

impl Times {
    /// All times.
    pub fn all() -> Times {
        Times(vec![i64::MIN..i64::MAX])
    }

    /// The instants, each a range of its own unless there are too many.
    pub fn of_instants(instants: impl IntoIterator<Item = i64>) -> Times {
        instants.into_iter().map(|t| t..t.saturating_add(1)).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Range<i64>> + ExactSizeIterator {
        self.0.iter()
    }

    /// Whether a time lies in one of them.
    pub fn contains(&self, time: i64) -> bool {
        if let [only] = self.0.as_slice() {
            return only.contains(&time);
        }
        let at = self.0.partition_point(|range| range.end <= time);
        self.0.get(at).is_some_and(|range| range.start <= time)
    }

    /// Whether one of them has a time in common with a range.
    pub fn touches(&self, range: &Range<i64>) -> bool {
        let at = self.0.partition_point(|own| own.end <= range.start);
        self.0.get(at).is_some_and(|own| own.start < range.end)
    }

    /// From the beginning of the first to the end of the last.
    pub fn hull(&self) -> Option<Range<i64>> {
        Some(self.0.first()?.start..self.0.last()?.end)
    }

    /// The times of both.
    pub fn union(&self, other: &Times) -> Times {
        self.0.iter().chain(&other.0).cloned().collect()
    }
}

impl FromIterator<Range<i64>> for Times {
    fn from_iter<I: IntoIterator<Item = Range<i64>>>(ranges: I) -> Times {
        let mut ranges: Vec<Range<i64>> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut apart: Vec<Range<i64>> = vec![];
        for range in ranges {
            match apart.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        Times(few(apart))
    }
}

/// At most [`MOST`] ranges that cover these.
fn few(ranges: Vec<Range<i64>>) -> Vec<Range<i64>> {
    if ranges.len() <= MOST {
        return ranges;
    }
    let mut gaps: Vec<i64> = ranges.windows(2).map(|pair| pair[1].start.saturating_sub(pair[0].end)).collect();
    // The gaps that stay are the MOST - 1 widest; among equal ones, the last.
    let drop = gaps.len() - (MOST - 1);
    let mut by_width: Vec<usize> = (0..gaps.len()).collect();
    by_width.sort_by_key(|&i| gaps[i]);
    by_width[..drop].iter().for_each(|&i| gaps[i] = -1);
    let mut joined: Vec<Range<i64>> = vec![];
    for (i, range) in ranges.into_iter().enumerate() {
        match joined.last_mut() {
            Some(last) if gaps[i - 1] == -1 => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// Ranges of time by symbol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ranges {
    by_symbol: BTreeMap<String, Times>,
    /// Those that hold for every symbol.
    everywhere: Times,
}

impl Ranges {
    /// Every time of every symbol.
    pub fn all() -> Ranges {
        Ranges::everywhere(Times::all())
    }

    /// The same times of every symbol.
    pub fn everywhere(times: Times) -> Ranges {
        Ranges { by_symbol: BTreeMap::new(), everywhere: times }
    }

    /// Adds times of a symbol.
    pub fn add(&mut self, symbol: &str, times: &Times) {
        if times.is_empty() {
            return;
        }
        match self.by_symbol.get_mut(symbol) {
            Some(known) => *known = known.union(times),
            None => {
                self.by_symbol.insert(symbol.to_string(), times.clone());
            }
        }
    }

    /// Adds those of others.
    pub fn extend(&mut self, other: &Ranges) {
        other.by_symbol.iter().for_each(|(symbol, times)| self.add(symbol, times));
        self.everywhere = self.everywhere.union(&other.everywhere);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_symbol.is_empty() && self.everywhere.is_empty()
    }

    /// Symbols with ranges of their own, in order.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, &Times)> {
        self.by_symbol.iter().map(|(symbol, times)| (symbol.as_str(), times))
    }

    /// The ranges that hold for every symbol.
    pub fn of_all(&self) -> &Times {
        &self.everywhere
    }

    /// The ranges of a symbol.
    pub fn of(&self, symbol: &str) -> Times {
        match self.by_symbol.get(symbol) {
            Some(own) if self.everywhere.is_empty() => own.clone(),
            Some(own) => own.union(&self.everywhere),
            None => self.everywhere.clone(),
        }
    }

    /// Whether a time of a symbol lies in them.
    pub fn contains(&self, symbol: &str, time: i64) -> bool {
        self.everywhere.contains(time) || self.by_symbol.get(symbol).is_some_and(|own| own.contains(time))
    }

    /// Whether a time of a symbol between two, or of several, may lie in them.
    pub fn touches(&self, symbols: (&str, &str), times: &Range<i64>) -> bool {
        let (first, last) = (Bound::Included(symbols.0), Bound::Included(symbols.1));
        self.everywhere.touches(times)
            || symbols.0 <= symbols.1
                && self.by_symbol.range::<str, _>((first, last)).any(|(_, own)| own.touches(times))
    }

    /// From the first to the last time of any symbol.
    pub fn hull(&self) -> Option<Range<i64>> {
        let hulls = self.by_symbol.values().chain([&self.everywhere]).filter_map(Times::hull);
        hulls.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ranges: &[Range<i64>]) -> Times {
        ranges.iter().cloned().collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(times(&[5..7, 1..3, 3..4, 6..9, 2..2]).0, [1..4, 5..9]);
        assert_eq!(Times::of_instants([3, 1, 2]).0, [1..4]);
    }

    #[test]
    fn a_time_is_found_in_its_range() {
        let some = times(&[1..4, 6..9]);
        let inside: Vec<i64> = (0..10).filter(|t| some.contains(*t)).collect();
        assert_eq!(inside, [1, 2, 3, 6, 7, 8]);
        assert!(some.touches(&(3..6)) && !some.touches(&(4..6)) && some.touches(&(0..100)));
    }

    #[test]
    fn of_too_many_ranges_the_nearest_become_one() {
        // Far apart but for two pairs.
        let many = (0..66i64).map(|i| i * 1000..i * 1000 + 10).chain([2020..2030, 5015..5020]);
        let few: Times = many.collect();
        assert_eq!(few.iter().len(), MOST);
        assert!(few.contains(2015) && few.contains(5012));
        assert!((0..66).all(|i| few.contains(i * 1000)));
    }

    #[test]
    fn what_holds_for_all_symbols_holds_for_each() {
        let mut ranges = Ranges::everywhere(times(&[10..20]));
        ranges.add("B", &times(&[30..40]));
        assert!(ranges.contains("A", 15) && ranges.contains("B", 35) && !ranges.contains("A", 35));
        assert_eq!(ranges.of("B"), times(&[10..20, 30..40]));
        assert!(ranges.touches(("A", "C"), &(39..50)) && !ranges.touches(("C", "D"), &(39..50)));
        assert_eq!(ranges.hull(), Some(10..40));
        assert!(Ranges::all().contains("Z", 0));
    }
}
