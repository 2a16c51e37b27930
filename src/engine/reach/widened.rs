//! What a change affects, and what has to be read to compute that: ranges of time, widened by reach.

use tallow_common::Times;
use tallow_udfs::series::{Bars, Reach};

/// The times of a symbol's bars that count, in order, as they are after a change.
///
/// Which bars count is what a reach is given in: those with a value in all columns that are read, for instance. Rows of a
/// result need not lie on them: a row between two bars belongs to the one before.
#[derive(Debug, Clone, Copy)]
pub struct CountedBars<'a> {
    /// Up to the end of the series.
    pub times: &'a [i64],
    /// Whether they are known from the beginning of the series on.
    pub from_beginning: bool,
}

impl CountedBars<'_> {
    /// The times of all rows that may change when bars at these times are inserted, updated or deleted. `None`: the bars
    /// have to be known from further back.
    pub fn affected(&self, changed: &Times, reach: Reach) -> Option<Times> {
        let ranges = changed.iter().map(|range| {
            // A deleted bar lay between two of these: as far from them as if it still lay there.
            let first = self.at_or_after(range.start);
            Some(self.before(first, reach.ahead, range.start)?..self.after(range.end, reach.back))
        });
        ranges.collect()
    }

    /// The times of all bars that are needed to compute the rows at these times. `None`: the bars have to be known from
    /// further back.
    pub fn needed(&self, rows: &Times, reach: Reach) -> Option<Times> {
        let ranges = rows.iter().map(|range| {
            let first = self.times.partition_point(|t| *t <= range.start).checked_sub(1);
            let start = match (reach.back, first) {
                (Bars::Unbounded, _) => i64::MIN,
                (Bars::Count(_), Some(first)) => self.before(first, reach.back, range.start)?,
                (Bars::Since(bars, anchor), Some(first)) => {
                    match self.before(first, Bars::Count(bars), range.start)? {
                        i64::MIN => i64::MIN,
                        time => {
                            let start = anchor.around(time).start;
                            self.before(self.known_at(start)?, Bars::Count(bars), start)?
                        }
                    }
                }
                (Bars::Count(_) | Bars::Since(..), None) => self.beginning()?,
            };
            Some(start..self.after(range.end, reach.ahead))
        });
        ranges.collect()
    }

    fn at_or_after(&self, time: i64) -> usize {
        self.times.partition_point(|t| *t < time)
    }

    /// The first bar at or after a time, if it is surely the first.
    fn known_at(&self, time: i64) -> Option<usize> {
        let bar = self.at_or_after(time);
        (bar > 0 || self.from_beginning).then_some(bar)
    }

    fn beginning(&self) -> Option<i64> {
        self.from_beginning.then_some(i64::MIN)
    }

    /// The time so many bars before one, and no later than `latest`.
    fn before(&self, bar: usize, bars: Bars, latest: i64) -> Option<i64> {
        match bars {
            Bars::Count(0) => Some(self.times.get(bar).map_or(latest, |time| latest.min(*time))),
            Bars::Count(bars) => match bar.checked_sub(bars) {
                Some(first) => Some(self.times.get(first).map_or(latest, |time| latest.min(*time))),
                None => self.beginning(),
            },
            // Nothing looks ahead to the end of a period.
            Bars::Since(..) | Bars::Unbounded => Some(i64::MIN),
        }
    }

    /// The time at which so many bars are over that come after the bars before `end`.
    fn after(&self, end: i64, bars: Bars) -> i64 {
        match bars {
            Bars::Count(bars) => {
                self.times.get(self.at_or_after(end).saturating_add(bars)).copied().unwrap_or(i64::MAX)
            }
            Bars::Since(bars, anchor) => {
                // The last bar whose period begins before the change is over, and the bars of it.
                let last = match bars.checked_sub(1) {
                    None => Some(end).filter(|end| *end < i64::MAX).map(|end| end - 1),
                    Some(more) => self.times.get(self.at_or_after(end).saturating_add(more)).copied(),
                };
                match last.map(|last| anchor.around(last).end) {
                    Some(over) => self.after(over, Bars::Count(bars)).max(over),
                    None => i64::MAX,
                }
            }
            Bars::Unbounded => i64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tallow_udfs::calendar::Anchor;

    fn times(ranges: &[std::ops::Range<i64>]) -> Times {
        ranges.iter().cloned().collect()
    }

    fn all_of(times: &[i64]) -> CountedBars<'_> {
        CountedBars { times, from_beginning: true }
    }

    #[test]
    fn a_change_is_seen_by_those_who_look_at_it() {
        let bars = all_of(&[10, 20, 30, 40, 50, 60]);
        let affected = |changed, reach| bars.affected(&changed, reach).unwrap();
        assert_eq!(affected(times(&[30..31]), Reach::NONE), times(&[30..40]));
        assert_eq!(affected(times(&[30..31]), Reach::back(2)), times(&[30..60]));
        assert_eq!(affected(times(&[30..31]), Reach::ahead(2)), times(&[10..40]));
        assert_eq!(affected(times(&[30..31]), Reach::back(9)), times(&[30..i64::MAX]));
        assert_eq!(affected(times(&[30..31]), Reach::history()), times(&[30..i64::MAX]));
        // A bar at 35 was deleted.
        assert_eq!(affected(times(&[35..36]), Reach::back(1)), times(&[35..50]));
        assert_eq!(affected(times(&[35..36]), Reach::ahead(1)), times(&[30..40]));
    }

    #[test]
    fn bars_are_read_as_far_as_rows_look() {
        let bars = all_of(&[10, 20, 30, 40, 50, 60]);
        let needed = |rows, reach| bars.needed(&rows, reach).unwrap();
        assert_eq!(needed(times(&[40..50]), Reach::back(2)), times(&[20..50]));
        assert_eq!(needed(times(&[40..50]), Reach::ahead(1)), times(&[40..60]));
        assert_eq!(needed(times(&[40..50]), Reach::back(9)), times(&[i64::MIN..50]));
        // A row between two bars belongs to the first.
        assert_eq!(needed(times(&[45..50]), Reach::NONE), times(&[40..50]));
    }

    #[test]
    fn bars_that_are_not_known_are_asked_for() {
        let bars = CountedBars { times: &[40, 50, 60], from_beginning: false };
        assert_eq!(bars.needed(&times(&[50..60]), Reach::back(1)), Some(times(&[40..60])));
        assert_eq!(bars.needed(&times(&[50..60]), Reach::back(2)), None);
        assert_eq!(bars.affected(&times(&[60..61]), Reach::ahead(3)), None);
        assert_eq!(bars.needed(&times(&[50..60]), Reach::history()), Some(times(&[i64::MIN..60])));
        // Who looks at everything need not know where the bars are.
        let unknown = CountedBars { times: &[], from_beginning: false };
        assert_eq!(unknown.affected(&times(&[50..60]), Reach::history()), Some(times(&[50..i64::MAX])));
        assert_eq!(unknown.needed(&times(&[50..60]), Reach::history()), Some(times(&[i64::MIN..i64::MAX])));
    }

    /// A row's value: the bars that it looks at, with their versions.
    fn rows(bars: &BTreeMap<i64, u32>, back: usize, ahead: usize) -> BTreeMap<i64, Vec<(i64, u32)>> {
        let list: Vec<(i64, u32)> = bars.iter().map(|(t, v)| (*t, *v)).collect();
        let window = |i: usize| list[i.saturating_sub(back)..(i + ahead + 1).min(list.len())].to_vec();
        list.iter().enumerate().map(|(i, (time, _))| (*time, window(i))).collect()
    }

    proptest! {
        /// Brute force: every row that differs is affected, and computed from the needed bars alone it is what it is.
        #[test]
        fn nothing_is_missed(
            before in prop::collection::btree_map(0i64..120, Just(0u32), 1..60),
            edits in prop::collection::vec((0i64..130, prop::bool::ANY), 1..6),
            back in 0usize..8,
            ahead in 0usize..8,
        ) {
            let mut after = before.clone();
            for (time, insert) in &edits {
                if *insert { after.insert(*time, 1); } else { after.remove(time); }
            }
            let changed = edits.iter().map(|(t, _)| *t).filter(|t| before.get(t) != after.get(t));
            let changed = Times::of_instants(changed);
            let counted: Vec<i64> = after.keys().copied().collect();
            let reach = Reach { back: Bars::Count(back), ahead: Bars::Count(ahead) };
            let affected = all_of(&counted).affected(&changed, reach).unwrap();
            let (old, new) = (rows(&before, back, ahead), rows(&after, back, ahead));
            for time in 0..130 {
                prop_assert!(old.get(&time) == new.get(&time) || affected.contains(time), "{} is missed", time);
            }
            let needed = all_of(&counted).needed(&affected, reach).unwrap();
            let read = after.iter().filter(|(t, _)| needed.contains(**t)).map(|(t, v)| (*t, *v)).collect();
            for (time, row) in rows(&read, back, ahead).into_iter().filter(|(time, _)| affected.contains(*time)) {
                prop_assert_eq!(Some(&row), new.get(&time));
            }
        }

        /// The same of what looks back to the beginning of a period.
        #[test]
        fn nothing_of_a_period_is_missed(
            before in prop::collection::btree_map(0i64..60, Just(0u32), 1..40),
            edits in prop::collection::vec((0i64..64, prop::bool::ANY), 1..5),
            bars in 0usize..3,
        ) {
            let anchor = Anchor::parse("session", "utc").unwrap().unwrap();
            let time = |t: i64| t * 6 * 3_600_000_000;
            let before: BTreeMap<i64, u32> = before.into_iter().map(|(t, version)| (time(t), version)).collect();
            let mut after = before.clone();
            for (t, insert) in &edits {
                if *insert { after.insert(time(*t), 1); } else { after.remove(&time(*t)); }
            }
            let rows = |bars_of: &BTreeMap<i64, u32>| -> BTreeMap<i64, Vec<(i64, u32)>> {
                let list: Vec<(i64, u32)> = bars_of.iter().map(|(t, version)| (*t, *version)).collect();
                let first = |i: usize| {
                    let start = anchor.around(list[i.saturating_sub(bars)].0).start;
                    list.partition_point(|(t, _)| *t < start).saturating_sub(bars)
                };
                (0..list.len()).map(|i| (list[i].0, list[first(i)..=i].to_vec())).collect()
            };
            let changed = (0..64).map(time).filter(|t| before.get(t) != after.get(t));
            let changed = Times::of_instants(changed);
            let counted: Vec<i64> = after.keys().copied().collect();
            let reach = Reach { back: Bars::Since(bars, anchor), ahead: Bars::Count(0) };
            let affected = all_of(&counted).affected(&changed, reach).unwrap();
            let (old, new) = (rows(&before), rows(&after));
            for t in (0..64).map(time) {
                prop_assert!(old.get(&t) == new.get(&t) || affected.contains(t), "{} is missed", t);
            }
            let needed = all_of(&counted).needed(&affected, reach).unwrap();
            let read = after.iter().filter(|(t, _)| needed.contains(**t)).map(|(t, v)| (*t, *v)).collect();
            for (t, row) in rows(&read).into_iter().filter(|(t, _)| affected.contains(*t)) {
                prop_assert_eq!(Some(&row), new.get(&t));
            }
        }

        /// No more is affected than rows that look at a change.
        #[test]
        fn nothing_is_affected_that_looks_elsewhere(
            times in prop::collection::btree_set(0i64..200, 1..80),
            at in 0usize..80,
            back in 0usize..8,
            ahead in 0usize..8,
        ) {
            let bars: Vec<i64> = times.into_iter().collect();
            let at = at % bars.len();
            let reach = Reach { back: Bars::Count(back), ahead: Bars::Count(ahead) };
            let affected = all_of(&bars).affected(&Times::of_instants([bars[at]]), reach).unwrap();
            for (i, time) in bars.iter().enumerate() {
                prop_assert_eq!(affected.contains(*time), i + ahead >= at && i <= at + back);
            }
        }
    }
}
