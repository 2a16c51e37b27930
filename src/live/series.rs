//! The bars of a symbol in memory.

use crate::core::{Bar, Micros};
use std::ops::RangeInclusive;

/// How far results look, in bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looks {
    /// Back; `None`: to the beginning.
    pub back: Option<usize>,
    pub ahead: usize,
}

/// Bars that are kept beside those that the newest result needs: so many may come late without a look at the lake.
const RING: usize = 64;

impl Looks {
    /// How many bars are kept of a symbol.
    pub fn kept(self) -> usize {
        self.back.map_or(usize::MAX, |back| back.saturating_add(self.ahead).saturating_add(RING))
    }

    /// The rows, of so many, whose results change with the bar of one.
    pub fn affected(self, at: usize, rows: usize) -> RangeInclusive<usize> {
        let last = rows.saturating_sub(1);
        let end = self.back.map_or(last, |back| at.saturating_add(back).min(last));
        at.saturating_sub(self.ahead)..=end
    }
}

/// The bars of a symbol in the order of their times, as far back as they are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub times: Vec<Micros>,
    /// Open, high, low, close, volume; NaN: null.
    pub values: [Vec<f64>; 5],
    /// Whether there were bars before these.
    pub is_cut: bool,
}

/// What a bar took the place of, to put it back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    ts: Micros,
    values: Option<[f64; 5]>,
}

impl Series {
    /// Puts a bar among the others.
    pub fn put(&mut self, bar: &Bar) -> Before {
        let at = self.times.partition_point(|ts| *ts < bar.ts);
        let values = if self.times.get(at) == Some(&bar.ts) {
            let old = std::array::from_fn(|i| self.values[i][at]);
            self.values.iter_mut().zip(bar.values).for_each(|(column, value)| column[at] = value);
            Some(old)
        } else {
            self.times.insert(at, bar.ts);
            self.values.iter_mut().zip(bar.values).for_each(|(column, value)| column.insert(at, value));
            None
        };
        Before { ts: bar.ts, values }
    }

    /// Puts bars among the others.
    pub fn extend(&mut self, bars: impl IntoIterator<Item = Bar>) {
        for bar in bars {
            self.put(&bar);
        }
    }

    /// The bars.
    pub fn bars(&self) -> impl Iterator<Item = Bar> + '_ {
        let value = |at: usize| std::array::from_fn(|i| self.values[i][at]);
        self.times.iter().enumerate().map(move |(at, ts)| Bar { ts: *ts, values: value(at) })
    }

    /// All bars of the symbol, and these, which count where both are there.
    pub fn within(&self, all: &[Bar]) -> Series {
        let mut whole = Series::default();
        whole.extend(all.iter().copied());
        whole.extend(self.bars());
        whole
    }

    /// Forgets so many of the oldest bars.
    pub fn forget(&mut self, over: usize) {
        self.times.drain(..over);
        self.values.iter_mut().for_each(|column| drop(column.drain(..over)));
        self.is_cut |= over > 0;
    }

    /// Puts back what was there before a bar.
    pub fn undo(&mut self, before: Before) {
        let at = self.times.partition_point(|ts| *ts < before.ts);
        match before.values {
            Some(old) => self.values.iter_mut().zip(old).for_each(|(column, value)| column[at] = value),
            None => {
                self.times.remove(at);
                self.values.iter_mut().for_each(|column| {
                    column.remove(at);
                });
            }
        }
    }

    /// Forgets the oldest bars but so many; not each time that one comes, since the others have to be moved for it.
    pub fn trim(&mut self, kept: usize) {
        if self.times.len() > kept.saturating_mul(2) {
            self.forget(self.times.len() - kept);
        }
    }

    /// The rows whose results change with a bar of this time that is among them.
    pub fn affected(&self, ts: Micros, looks: Looks) -> RangeInclusive<usize> {
        looks.affected(self.times.partition_point(|known| *known < ts), self.times.len())
    }

    /// The rows that results of these look at; `None`: they look further back than bars are kept.
    pub fn needed(&self, rows: &RangeInclusive<usize>, looks: Looks) -> Option<RangeInclusive<usize>> {
        let first = looks.back.and_then(|back| rows.start().checked_sub(back));
        if first.is_none() && self.is_cut {
            return None;
        }
        let last = rows.end().saturating_add(looks.ahead).min(self.times.len().saturating_sub(1));
        Some(first.unwrap_or(0)..=last)
    }

    /// Of these rows, those after which enough bars have come for their results to stay.
    pub fn settled(&self, rows: &RangeInclusive<usize>, looks: Looks) -> Option<RangeInclusive<usize>> {
        let last = self.times.len().checked_sub(looks.ahead + 1)?;
        let rows = *rows.start()..=last.min(*rows.end());
        (!rows.is_empty()).then_some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(ts: Micros, value: f64) -> Bar {
        Bar { ts, values: [value; 5] }
    }

    fn of(times: impl IntoIterator<Item = Micros>) -> Series {
        let mut series = Series::default();
        for ts in times {
            series.put(&bar(ts, ts as f64));
        }
        series
    }

    #[test]
    fn what_failed_leaves_no_trace() {
        let mut series = of([10, 20, 40]);
        let whole = format!("{series:?}");
        let before = [series.put(&bar(30, 1.0)), series.put(&bar(20, 2.0)), series.put(&bar(30, 3.0))];
        assert_eq!(
            (series.times.as_slice(), series.values[3].as_slice()),
            (&[10, 20, 30, 40][..], &[10.0, 2.0, 3.0, 40.0][..])
        );
        before.into_iter().rev().for_each(|before| series.undo(before));
        assert_eq!(format!("{series:?}"), whole);
    }

    #[test]
    fn rows_around_a_bar_change_and_some_of_them_are_settled() {
        let series = of(0..10);
        let looks = Looks { back: Some(3), ahead: 1 };
        assert_eq!(series.affected(9, looks), 8..=9);
        assert_eq!(series.affected(5, looks), 4..=8);
        assert_eq!(series.needed(&(8..=9), looks), Some(5..=9));
        assert_eq!(series.settled(&(8..=9), looks), Some(8..=8));
        assert_eq!(series.settled(&(9..=9), looks), None);
        assert_eq!(series.affected(2, Looks { back: None, ahead: 0 }), 2..=9);
    }

    #[test]
    fn bars_that_are_not_kept_any_more_have_to_be_looked_up() {
        let mut series = of(0..100);
        series.trim(20);
        assert_eq!((series.times.len(), series.times[0], series.is_cut), (20, 80, true));
        let looks = Looks { back: Some(5), ahead: 0 };
        assert_eq!(series.needed(&(5..=19), looks), Some(0..=19));
        assert_eq!(series.needed(&(4..=19), looks), None);
    }
}
