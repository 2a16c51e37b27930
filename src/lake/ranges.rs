//! How sorted files are cut into partitions at symbol boundaries.

use super::profile::Profile;
use super::pruning::Selection;
use super::symbol_range::SymbolRange;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

/// Rows of one file that a partition reads, and the symbols they hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub file: usize,
    /// Row ranges in order, none empty, not touching.
    pub rows: Vec<Range<usize>>,
    pub first_symbol: String,
    pub last_symbol: String,
    /// Smallest and largest time.
    pub times: (i64, i64),
    /// The symbols that are kept, where rows of others come with them: it is not known at which row each begins.
    pub kept: Option<SymbolRange>,
}

/// Where rows are cut into partitions: each holds the symbols from one border on, up to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Borders(Vec<String>);

impl Borders {
    /// The borders of at most so many partitions of about equal rows, given the first symbols of stretches of rows, and how many
    /// rows these have.
    pub fn spreading(stretches: impl IntoIterator<Item = (String, usize)>, partitions: usize) -> Borders {
        let mut by_symbol: BTreeMap<String, usize> = BTreeMap::new();
        for (symbol, rows) in stretches {
            *by_symbol.entry(symbol).or_default() += rows;
        }
        let all: usize = by_symbol.values().sum();
        let (mut borders, mut seen, mut current) = (vec![], 0, None);
        for (symbol, rows) in by_symbol {
            // The partition that the middle of the stretch falls into.
            let at = ((seen + rows / 2) * partitions / all.max(1)).min(partitions.saturating_sub(1));
            seen += rows;
            if current.replace(at).is_some_and(|before| before != at) {
                borders.push(symbol);
            }
        }
        Borders(borders)
    }

    /// With so many partitions; those that are added lie behind all symbols and are empty. Where there are fewer partitions than
    /// threads, DataFusion spreads rows anew, which cannot help: there are not more symbols, or they do not fit into memory.
    pub fn padded(mut self, partitions: usize) -> Borders {
        while self.0.len() + 1 < partitions {
            let last = self.0.last().map_or("", String::as_str);
            self.0.push(format!("{last}\u{10ffff}"));
        }
        self
    }

    /// The first symbols of all partitions but the first.
    pub fn symbols(&self) -> &[String] {
        &self.0
    }

    /// The partitions of these symbols.
    fn partitions(&self, first: &str, last: &str) -> RangeInclusive<usize> {
        let of = |symbol: &str| self.0.partition_point(|border| border.as_str() <= symbol);
        of(first)..=of(last)
    }

    /// The symbols of a partition.
    fn of(&self, partition: usize) -> SymbolRange {
        let from = partition.checked_sub(1).and_then(|before| self.0.get(before));
        SymbolRange { from: from.cloned(), until: self.0.get(partition).cloned() }
    }
}

/// Whether sorted files hold disjoint symbol ranges, and if so in which order they follow each other.
pub(super) fn disjoint_order(profiles: &[Profile]) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..profiles.len()).filter(|&i| profiles[i].rows > 0).collect();
    if order.iter().any(|&i| !profiles[i].sorted) {
        return None;
    }
    let ends = |i: usize| profiles[i].runs.first().zip(profiles[i].runs.last());
    order.sort_by(|&a, &b| ends(a).map(|(f, _)| &f.symbol).cmp(&ends(b).map(|(f, _)| &f.symbol)));
    let disjoint = order.windows(2).all(|pair| match (ends(pair[0]), ends(pair[1])) {
        (Some((_, last)), Some((first, _))) => last.last_symbol() < first.symbol.as_str(),
        _ => false,
    });
    disjoint.then_some(order)
}

/// Sorted files in as few chains as possible, in each of which symbols follow each other without overlap.
pub(super) fn chains(profiles: &[Profile]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..profiles.len()).filter(|&i| !profiles[i].runs.is_empty()).collect();
    let first = |i: usize| &profiles[i].runs[0].symbol;
    let last = |i: usize| profiles[i].runs[profiles[i].runs.len() - 1].last_symbol();
    order.sort_by(|&a, &b| first(a).cmp(first(b)));
    let mut chains: Vec<Vec<usize>> = vec![];
    for file in order {
        let free = chains.iter_mut().find(|chain| chain.last().is_some_and(|&end| last(end) < first(file).as_str()));
        match free {
            Some(chain) => chain.push(file),
            None => chains.push(vec![file]),
        }
    }
    chains
}

/// The stretches of rows of files that a cut tells apart: of each, the file and its runs. Of a file whose rows cannot be
/// addressed (`divisible` false), it is all of them.
fn stretches<'a>(
    profiles: &'a [Profile],
    order: &'a [usize],
    selection: &'a Selection,
    divisible: bool,
) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
    order.iter().flat_map(move |&file| {
        let runs = &profiles[file].runs;
        let selected: Vec<usize> = (0..runs.len()).filter(|&r| selection.touches(&runs[r])).collect();
        let whole = if selected.is_empty() { vec![] } else { vec![(file, 0..runs.len())] };
        if divisible { selected.into_iter().map(|r| (file, r..r + 1)).collect() } else { whole }
    })
}

/// The first symbols of all stretches of rows, and how many rows they have.
pub(super) fn weights<'a>(
    profiles: &'a [Profile],
    order: &'a [usize],
    selection: &'a Selection,
    divisible: bool,
) -> impl Iterator<Item = (String, usize)> + 'a {
    stretches(profiles, order, selection, divisible).map(|(file, runs)| {
        let profile = &profiles[file];
        (profile.runs[runs.start].symbol.clone(), profile.rows_of_runs(&runs).len())
    })
}

/// Cuts files at these borders, leaving out what is not selected.
pub(super) fn cut(
    profiles: &[Profile],
    order: &[usize],
    selection: &Selection,
    divisible: bool,
    borders: &Borders,
) -> Vec<Vec<Part>> {
    let mut partitions = vec![vec![]; borders.symbols().len() + 1];
    for (file, runs) in stretches(profiles, order, selection, divisible) {
        let of = &profiles[file].runs;
        let within = borders.partitions(&of[runs.start].symbol, of[runs.end - 1].last_symbol());
        let is_whole = within.start() == within.end();
        for partition in within {
            append(&mut partitions[partition], &profiles[file], file, &runs);
            if let (false, Some(part)) = (is_whole, partitions[partition].last_mut()) {
                part.kept = Some(borders.of(partition));
            }
        }
    }
    partitions
}

fn append(parts: &mut Vec<Part>, profile: &Profile, file: usize, runs: &Range<usize>) {
    let rows = profile.rows_of_runs(runs);
    let times = profile.runs[runs.clone()]
        .iter()
        .fold((i64::MAX, i64::MIN), |(lo, hi), run| (lo.min(run.first), hi.max(run.last)));
    let last_symbol = profile.runs[runs.end - 1].last_symbol();
    match parts.last_mut() {
        Some(part) if part.file == file => {
            match part.rows.last_mut() {
                Some(range) if range.end == rows.start => range.end = rows.end,
                _ => part.rows.push(rows),
            }
            part.last_symbol = last_symbol.to_string();
            part.times = (part.times.0.min(times.0), part.times.1.max(times.1));
        }
        _ => parts.push(Part {
            file,
            rows: vec![rows],
            first_symbol: profile.runs[runs.start].symbol.clone(),
            last_symbol: last_symbol.to_string(),
            times,
            kept: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Run;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn profile(symbols: &[(&str, usize)]) -> Profile {
        let mut rows = 0;
        let runs = symbols
            .iter()
            .map(|(symbol, n)| {
                let run = Run::of(symbol, rows, 0, *n as i64);
                rows += n;
                run
            })
            .collect();
        Profile { rows, sorted: true, runs, row_groups: vec![], schema: 0 }
    }

    /// Cut into so many partitions at symbols that spread the rows of these files.
    fn spread(files: &[Profile], order: &[usize], selection: &Selection, partitions: usize) -> Vec<Vec<Part>> {
        let borders = Borders::spreading(weights(files, order, selection, true), partitions);
        cut(files, order, selection, true, &borders)
    }

    #[test]
    fn one_big_file_is_cut_at_a_symbol_boundary() {
        let cut = spread(&[profile(&[("A", 10), ("B", 10), ("C", 20)])], &[0], &Selection::default(), 2);
        assert_eq!(cut.len(), 2);
        assert_eq!((cut[0][0].rows.clone(), &cut[0][0].kept), (vec![0..20], &None));
        assert_eq!((cut[1][0].first_symbol.as_str(), cut[1][0].rows.clone()), ("C", vec![20..40]));
    }

    #[test]
    fn only_the_selected_symbols_are_read() {
        let files = [profile(&[("A", 10), ("B", 10), ("C", 20)])];
        let symbols = Some(BTreeSet::from(["A".to_string(), "C".to_string()]));
        let cut = spread(&files, &[0], &Selection { symbols, ..Selection::default() }, 1);
        assert_eq!(cut[0][0].rows, vec![0..10, 20..40]);
    }

    #[test]
    fn rows_around_a_border_that_lies_among_them_are_read_on_both_sides() {
        let mut file = profile(&[("A", 10), ("C", 10), ("F", 20)]);
        file.runs[1].through = Some("E".to_string());
        let borders = Borders(vec!["D".to_string(), "F".to_string()]);
        let cut = cut(&[file], &[0], &Selection::default(), true, &borders);
        let range = |from: Option<&str>, until: Option<&str>| {
            Some(SymbolRange { from: from.map(str::to_string), until: until.map(str::to_string) })
        };
        let read: Vec<_> = cut.iter().flatten().map(|part| (part.rows.clone(), part.kept.clone())).collect();
        assert_eq!(
            read,
            [(vec![0..20], range(None, Some("D"))), (vec![10..20], range(Some("D"), Some("F"))), (vec![20..40], None)]
        );
    }

    #[test]
    fn more_partitions_than_symbols_are_empty() {
        let files = [profile(&[("A", 10), ("B", 10)])];
        let borders = Borders::spreading(weights(&files, &[0], &Selection::default(), true), 4).padded(4);
        let rows: Vec<usize> = cut(&files, &[0], &Selection::default(), true, &borders).iter().map(Vec::len).collect();
        assert_eq!(rows, [1, 1, 0, 0]);
        assert!(borders.symbols().windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn files_that_are_read_together_are_spread_together() {
        let long = [("A".to_string(), 10), ("B".to_string(), 10), ("C".to_string(), 10), ("D".to_string(), 10)];
        let short = [("A".to_string(), 30), ("B".to_string(), 30)];
        assert_eq!(Borders::spreading(long.into_iter().chain(short), 2), Borders(vec!["B".to_string()]));
    }

    #[test]
    fn files_that_share_a_symbol_are_not_disjoint() {
        assert_eq!(disjoint_order(&[profile(&[("A", 1), ("C", 1)]), profile(&[("C", 1)])]), None);
        assert_eq!(disjoint_order(&[profile(&[("D", 1)]), profile(&[("A", 1), ("C", 1)])]), Some(vec![1, 0]));
    }

    #[test]
    fn overlapping_files_form_few_chains() {
        let files = [
            profile(&[("A", 1), ("C", 1)]),
            profile(&[("A", 1), ("Z", 1)]),
            profile(&[("D", 1), ("F", 1)]),
            profile(&[("G", 1)]),
        ];
        assert_eq!(chains(&files), [vec![0, 2, 3], vec![1]]);
    }

    proptest! {
        #[test]
        fn every_row_is_read_once(sizes in prop::collection::vec(1usize..50, 1..30), per_file in 1usize..7, partitions in 1usize..9) {
            let names: Vec<String> = (0..sizes.len()).map(|i| format!("S{i:03}")).collect();
            let all: Vec<(&str, usize)> = names.iter().map(String::as_str).zip(sizes.iter().copied()).collect();
            let files: Vec<Profile> = all.chunks(per_file).map(profile).collect();
            let order = disjoint_order(&files).unwrap();
            let cut = spread(&files, &order, &Selection::default(), partitions);
            prop_assert!(cut.len() <= partitions);
            for (i, file) in files.iter().enumerate() {
                let mut rows: Vec<_> = cut.iter().flatten().filter(|p| p.file == i).flat_map(|p| p.rows.clone()).collect();
                rows.sort_by_key(|r| r.start);
                let covered: Vec<usize> = rows.into_iter().flatten().collect();
                prop_assert_eq!(covered, (0..file.rows).collect::<Vec<_>>());
            }
        }
    }
}
