//! How far a run has come: which candles are accepted, done and in the lake.

use super::event::{Action, Candle, Feed, Sequence};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Candles that are not done, and what of each feed is.
#[derive(Default)]
pub(super) struct Progress {
    /// Candles that are neither answered nor dead.
    open: Open,
    /// Candles whose feeds wait to hear that they are accepted.
    unsynced: BTreeMap<Sequence, Feed>,
    feeds: BTreeMap<Feed, Offsets>,
    /// The feed and the offset of candles that have one.
    offsets: BTreeMap<Sequence, (Feed, u64)>,
    /// The offsets that are being written.
    flushing: BTreeMap<Feed, u64>,
}

/// The candles that are not done, which are done nearly in the order of their numbers.
#[derive(Default)]
struct Open {
    /// From the first that is not done on, whether each is not.
    is_open: VecDeque<bool>,
    first: Sequence,
}

impl Open {
    fn insert(&mut self, sequence: Sequence) {
        if self.is_open.is_empty() {
            self.first = sequence;
        }
        let at = (sequence - self.first) as usize;
        if self.is_open.len() <= at {
            self.is_open.resize(at + 1, false);
        }
        self.is_open[at] = true;
    }

    fn remove(&mut self, sequence: Sequence) {
        let at = sequence.checked_sub(self.first).and_then(|at| self.is_open.get_mut(at as usize));
        at.into_iter().for_each(|is_open| *is_open = false);
        while self.is_open.front() == Some(&false) {
            self.is_open.pop_front();
            self.first += 1;
        }
    }

    fn first(&self) -> Option<Sequence> {
        (!self.is_open.is_empty()).then_some(self.first)
    }
}

/// The offsets of a feed.
#[derive(Default)]
struct Offsets {
    open: BTreeSet<u64>,
    last: Option<u64>,
    acknowledged: Option<u64>,
}

impl Offsets {
    /// Up to where everything is done.
    fn position(&self) -> Option<u64> {
        match self.open.first() {
            Some(first) => first.checked_sub(1),
            None => self.last,
        }
    }
}

impl Progress {
    /// Notes a candle; one that is in no journal is accepted at once.
    pub fn accepted(&mut self, sequence: Sequence, candle: &Candle, journaled: bool, out: &mut Vec<Action>) {
        self.open.insert(sequence);
        if let Some(offset) = candle.offset {
            let of = self.feeds.entry(candle.feed).or_default();
            of.open.insert(offset);
            of.last = of.last.max(Some(offset));
            self.offsets.insert(sequence, (candle.feed, offset));
        }
        if journaled {
            self.unsynced.insert(sequence, candle.feed);
        } else {
            out.push(Action::Accepted { sequence, feed: candle.feed });
        }
    }

    /// Notes what is not to be delivered again, and nothing came of.
    pub fn skipped(&mut self, feed: Feed, offset: u64) {
        let of = self.feeds.entry(feed).or_default();
        of.last = of.last.max(Some(offset));
    }

    /// Notes a candle that its feed is to deliver again, if it can: what comes after it does not take its place.
    pub fn refused(&mut self, candle: &Candle) {
        if let Some(offset) = candle.offset {
            self.feeds.entry(candle.feed).or_default().open.insert(offset);
        }
    }

    /// Notes a candle of the journal.
    pub fn replayed(&mut self, sequence: Sequence) {
        self.open.insert(sequence);
    }

    /// Notes a dead letter that is tried again.
    pub fn revived(&mut self, sequence: Sequence) {
        self.open.insert(sequence);
    }

    /// The journal is on disk up to a candle: those up to it are accepted.
    pub fn synced(&mut self, through: Sequence, out: &mut Vec<Action>) {
        let later = self.unsynced.split_off(&(through + 1));
        for (sequence, feed) in std::mem::replace(&mut self.unsynced, later) {
            out.push(Action::Accepted { sequence, feed });
        }
    }

    /// A candle is answered or dead.
    pub fn done(&mut self, sequence: Sequence) {
        self.open.remove(sequence);
        if let Some((feed, offset)) = self.offsets.remove(&sequence)
            && let Some(of) = self.feeds.get_mut(&feed)
        {
            of.open.remove(&offset);
        }
    }

    /// Up to which candle all are done, of those up to `last`.
    pub fn position(&self, last: Sequence) -> Sequence {
        self.open.first().map_or(last, |first| first - 1)
    }

    /// Up to which offset of each feed all candles are done: written with what they gave.
    pub fn offsets(&mut self, ignores_open: bool) -> BTreeMap<Feed, u64> {
        let position = |(feed, of): (&Feed, &Offsets)| {
            let position = if ignores_open { of.last } else { of.position() };
            Some((*feed, position?))
        };
        self.flushing = self.feeds.iter().filter_map(position).collect();
        self.flushing.clone()
    }

    /// What was being written is: offsets that are new to their feeds.
    pub fn flushed(&mut self) -> Vec<(Feed, u64)> {
        let mut news = vec![];
        for (feed, offset) in std::mem::take(&mut self.flushing) {
            let of = self.feeds.entry(feed).or_default();
            if of.acknowledged.is_none_or(|known| known < offset) {
                of.acknowledged = Some(offset);
                news.push((feed, offset));
            }
        }
        news
    }
}
