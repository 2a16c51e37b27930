//! Where the rows of a result table lie: by symbol, or with those of all symbols in tails.

use crate::delta::DataFile;
use crate::profile::Profile;
use crate::writer::tier_of;
use std::collections::VecDeque;
use tallow_common::Ranges;

/// A tail of more bytes is closed.
pub(super) const TAIL_BYTES: i64 = 4 << 20;

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
