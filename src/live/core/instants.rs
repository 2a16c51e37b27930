//! Bars of all symbols at one time, which are computed together: where a result compares symbols, it needs all of them.

use super::event::{Micros, Symbol, Work};
use std::collections::{BTreeMap, BTreeSet};

/// How long bars of one time wait for those of other symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather {
    /// So long after the first of them came.
    pub grace: Micros,
    /// Whether bars come in the order of their times: a later one then says that all of an earlier time have come.
    pub in_order: bool,
}

/// Candles that wait for those of other symbols at the same time.
pub(super) struct Instants {
    gather: Gather,
    held: BTreeMap<Micros, Held>,
    /// The newest time whose candles were released, and the symbols that had one.
    released: Option<Micros>,
    members: BTreeSet<Symbol>,
    /// Of these, such as have neither a candle at the first time that is held, nor a later one.
    missing: Option<BTreeSet<Symbol>>,
}

struct Held {
    since: Micros,
    works: Vec<Work>,
}

impl Instants {
    pub fn new(gather: Gather) -> Instants {
        Instants { gather, held: BTreeMap::new(), released: None, members: BTreeSet::new(), missing: None }
    }

    /// Says that candles come in the order of their times.
    pub fn in_order(&mut self) {
        self.gather.in_order = true;
    }

    /// Notes the newest bar of a symbol that is known from before.
    pub fn know(&mut self, symbol: Symbol, newest: Micros) {
        if self.released.is_none_or(|released| released < newest) {
            self.released = Some(newest);
            self.members.clear();
        }
        if self.released == Some(newest) {
            self.members.insert(symbol);
        }
    }

    /// Holds a candle until those of other symbols have come, unless its time is over.
    pub fn hold(&mut self, now: Micros, work: Work) -> Option<Work> {
        let (symbol, ts) = (work.candle.symbol, work.candle.bar.ts);
        if self.released.is_some_and(|released| ts <= released) {
            if self.released == Some(ts) {
                self.members.insert(symbol);
                self.missing = None;
            }
            return Some(work);
        }
        let first = self.held.keys().next().copied();
        match (&mut self.missing, first) {
            (Some(missing), Some(first)) if first <= ts => drop(missing.remove(&symbol)),
            _ => self.missing = None,
        }
        self.held.entry(ts).or_insert_with(|| Held { since: now, works: vec![] }).works.push(work);
        None
    }

    /// When the first time that is held is over, whether all have come or not.
    pub fn due(&self) -> Option<Micros> {
        self.held.values().next().map(|held| held.since.saturating_add(self.gather.grace))
    }

    /// The candles of the first time that is held, if they wait no longer.
    pub fn release(&mut self, now: Micros, is_last: bool) -> Option<Vec<Work>> {
        let due = self.due()?;
        let is_complete = self.is_complete() || self.gather.in_order && self.held.len() > 1;
        if !is_complete && !is_last && now < due {
            return None;
        }
        let (ts, Held { mut works, .. }) = self.held.pop_first()?;
        works.iter_mut().for_each(|work| work.is_partial = !is_complete && !self.gather.in_order);
        self.released = Some(ts);
        self.members = works.iter().map(|work| work.candle.symbol).collect();
        self.missing = None;
        Some(works)
    }

    /// Whether all symbols that had a candle at the time before have one now, or a later one.
    fn is_complete(&mut self) -> bool {
        // What comes at the first time of all is not known.
        if self.released.is_none() {
            return false;
        }
        let (members, held) = (&self.members, &self.held);
        let missing = self.missing.get_or_insert_with(|| {
            let came: BTreeSet<Symbol> = held.values().flat_map(|held| &held.works).map(|w| w.candle.symbol).collect();
            members.difference(&came).copied().collect()
        });
        missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Bar, Candle, Feed};
    use super::*;

    fn work(symbol: u32, ts: Micros) -> Work {
        let bar = Bar { ts, values: [1.0; 5] };
        let candle = Candle { feed: Feed(0), offset: None, symbol: Symbol(symbol), bar, priority: 0 };
        Work { sequence: 0, candle, received: 0, tries: 0, is_partial: false }
    }

    fn known(symbols: u32) -> Instants {
        let mut instants = Instants::new(Gather { grace: 100, in_order: false });
        (0..symbols).for_each(|symbol| instants.know(Symbol(symbol), 10));
        instants
    }

    /// The symbols that are released, and whether some may be missing.
    fn released(instants: &mut Instants, now: Micros) -> Option<(Vec<u32>, bool)> {
        let works = instants.release(now, false)?;
        Some((works.iter().map(|work| work.candle.symbol.0).collect(), works[0].is_partial))
    }

    #[test]
    fn a_time_is_over_once_all_have_come() {
        let mut instants = known(3);
        for symbol in [2, 0] {
            assert_eq!(instants.hold(1_000, work(symbol, 20)), None);
            assert_eq!(released(&mut instants, 1_001), None);
        }
        assert_eq!(instants.due(), Some(1_100));
        assert_eq!(instants.hold(1_002, work(1, 20)), None);
        assert_eq!(released(&mut instants, 1_002), Some((vec![2, 0, 1], false)));
        assert_eq!(instants.due(), None);
    }

    #[test]
    fn who_does_not_come_is_waited_for_once() {
        let mut instants = known(3);
        for symbol in [0, 1] {
            assert_eq!(instants.hold(1_000, work(symbol, 20)), None);
        }
        assert_eq!(released(&mut instants, 1_099), None);
        assert_eq!(released(&mut instants, 1_100), Some((vec![0, 1], true)));
        for symbol in [0, 1] {
            assert_eq!(instants.hold(2_000, work(symbol, 30)), None);
        }
        assert_eq!(released(&mut instants, 2_000), Some((vec![0, 1], false)));
        // It comes after all: at once, and it is waited for again.
        assert!(instants.hold(2_100, work(2, 30)).is_some());
        for symbol in [0, 1] {
            assert_eq!(instants.hold(3_000, work(symbol, 40)), None);
        }
        assert_eq!(released(&mut instants, 3_000), None);
        // It leaves a bar out.
        instants.hold(3_001, work(2, 50));
        assert_eq!(released(&mut instants, 3_001), Some((vec![0, 1], false)));
    }

    #[test]
    fn times_are_over_one_after_the_other() {
        let mut instants = known(2);
        instants.hold(1_000, work(0, 30));
        instants.hold(1_010, work(0, 20));
        instants.hold(1_020, work(1, 30));
        // Of the first, a bar is missing: its symbol has a later one.
        assert_eq!(released(&mut instants, 1_020), Some((vec![0], false)));
        assert_eq!(released(&mut instants, 1_020), Some((vec![0, 1], false)));
    }

    #[test]
    fn in_order_a_later_bar_ends_a_time() {
        let mut instants = Instants::new(Gather { grace: 100, in_order: false });
        instants.in_order();
        instants.hold(1_000, work(0, 20));
        assert_eq!(released(&mut instants, 1_000), None);
        instants.hold(1_000, work(0, 30));
        assert_eq!(released(&mut instants, 1_000), Some((vec![0], false)));
        // At the end of the run, what is there is all there is.
        assert!(instants.release(1_001, true).is_some_and(|works| works.len() == 1));
    }
}
