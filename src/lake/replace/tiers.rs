//! Where the rows of a result table lie: by symbol, or with those of all symbols in tails.

use crate::delta::DataFile;
use crate::profile::Profile;
use crate::writer::tier_of;
use std::collections::VecDeque;
use tallow_common::Ranges;

/// A tail of more bytes is closed.
pub(super) const TAIL_BYTES: i64 = 4 << 20;

/// So many closed tails of about one size become one.
const FAN_IN: usize = 4;
/// Tails do not become larger by that.
const MOST_BYTES: i64 = 256 << 20;

/// What a file of all symbols is; other files are cut by symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    /// The newest rows, which most runs replace.
    Tail,
    /// Rows between those and the files by symbol.
    Closed,
}

impl Tier {
    /// As the tag of a file has it.
    pub fn number(self) -> u32 {
        match self {
            Tier::Tail => 0,
            Tier::Closed => 1,
        }
    }
}

/// Files that may hold rows in some ranges, by their position.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Touched {
    /// Those cut by symbol, in the order of their symbols.
    pub by_symbol: Vec<usize>,
    /// The last symbol of each.
    pub ends: VecDeque<String>,
    /// Tails.
    pub recent: Vec<usize>,
}

impl Touched {
    pub fn all(&self) -> impl Iterator<Item = usize> {
        self.by_symbol.iter().chain(&self.recent).copied()
    }
}

impl Touched {
    /// Whether the tail that is rewritten is closed.
    pub fn closes_tail(&self, files: &[DataFile]) -> bool {
        self.recent.iter().map(|&file| files[file].add.size).sum::<i64>() > TAIL_BYTES
    }

    /// With the closed tails that become one with a tail which is closed.
    pub fn with_merged_tails(mut self, files: &[DataFile]) -> Touched {
        if self.closes_tail(files) {
            let is_closed = |file: &usize| tier_of(&files[*file].add) == Some(Tier::Closed.number());
            let closed = (0..files.len()).filter(|file| !self.recent.contains(file)).filter(is_closed);
            let sizes = closed.map(|file| (file, files[file].add.size)).collect();
            let bytes = self.recent.iter().map(|&file| files[file].add.size).sum();
            self.recent.extend(merged_with(bytes, sizes));
            self.recent.sort_unstable();
        }
        self
    }
}

/// Which of some closed tails, of these sizes, become one with a tail that is closed: all of about its size or smaller, once
/// there are enough of them, and so on with what that makes. Each row is thus written once for each power of [`FAN_IN`].
fn merged_with(mut bytes: i64, mut closed: Vec<(usize, i64)>) -> Vec<usize> {
    let mut merged = vec![];
    loop {
        let (alike, larger): (Vec<_>, Vec<_>) = closed.iter().copied().partition(|(_, size)| *size < 2 * bytes);
        let together = bytes + alike.iter().map(|(_, size)| size).sum::<i64>();
        if alike.len() + 1 < FAN_IN || together > MOST_BYTES {
            return merged;
        }
        merged.extend(alike.into_iter().map(|(file, _)| file));
        (bytes, closed) = (together, larger);
    }
}

/// The files that a replacement has to rewrite: those that may hold rows in its ranges, and the tail, if rows newer than all
/// others may come.
pub(super) fn touched(files: &[DataFile], profiles: &[Profile], ranges: &Ranges) -> Touched {
    let newest = profiles.iter().flat_map(|profile| &profile.runs).map(|run| run.last).max();
    let appends = ranges.hull().is_some_and(|hull| newest.is_none_or(|newest| hull.end > newest.saturating_add(1)));
    let is_tail = |file: usize| tier_of(&files[file].add) == Some(Tier::Tail.number());
    let is_touched = |profile: &Profile| {
        !profile.sorted
            || profile.runs.iter().any(|run| {
                let times = run.first..run.last.saturating_add(1);
                ranges.touches((&run.symbol, run.last_symbol()), &times)
            })
    };
    let touched = (0..files.len()).filter(|&file| is_touched(&profiles[file]) || appends && is_tail(file));
    let (mut by_symbol, recent): (Vec<_>, Vec<_>) = touched.partition(|&file| tier_of(&files[file].add).is_none());
    let first = |file: usize| profiles[file].runs.first().map(|run| run.symbol.clone());
    by_symbol.sort_by_key(|&file| first(file));
    let last = |&file: &usize| profiles[file].runs.last().map(|run| run.last_symbol().to_string());
    let ends = by_symbol.iter().filter_map(last).collect();
    Touched { by_symbol, ends, recent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_become_few_files_and_each_row_is_written_a_few_times() {
        let (mut closed, mut written, mut most) = (vec![], 0, 0);
        let tails = 2_000;
        for tail in 0..tails {
            let merged = merged_with(TAIL_BYTES, closed.clone());
            let of_merged = |(file, _): &(usize, i64)| merged.contains(file);
            let bytes = TAIL_BYTES + closed.iter().filter(|file| of_merged(file)).map(|(_, size)| size).sum::<i64>();
            closed.retain(|file| !of_merged(file));
            closed.push((tail, bytes));
            written += bytes;
            most = most.max(closed.iter().filter(|(_, size)| *size < MOST_BYTES).count());
            assert!(bytes <= MOST_BYTES);
        }
        assert_eq!(closed.iter().map(|(_, size)| size).sum::<i64>(), tails as i64 * TAIL_BYTES);
        assert!(most <= 12, "{most} tails");
        assert!(written <= 4 * tails as i64 * TAIL_BYTES, "{} times", written / (tails as i64 * TAIL_BYTES));
    }
}
