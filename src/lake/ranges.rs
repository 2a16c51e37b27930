//! How sorted files are cut into partitions at symbol boundaries.

use super::profile::Profile;
use super::pruning::Selection;
use std::ops::Range;

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

/// Cuts files into at most `partitions` parts of about equal rows, at symbol boundaries, leaving out what is not selected. A
/// file whose rows cannot be addressed (`divisible` false) stays whole.
pub(super) fn cut(
    profiles: &[Profile],
    order: &[usize],
    selection: &Selection,
    divisible: bool,
    partitions: usize,
) -> Vec<Vec<Part>> {
    let units: Vec<(usize, Range<usize>)> = order
        .iter()
        .flat_map(|&file| {
            let runs = &profiles[file].runs;
            let selected: Vec<usize> = (0..runs.len()).filter(|&r| selection.touches(&runs[r])).collect();
            let whole = if selected.is_empty() { vec![] } else { vec![(file, 0..runs.len())] };
            if divisible { selected.into_iter().map(|r| (file, r..r + 1)).collect() } else { whole }
        })
        .collect();
    let length = |(file, runs): &(usize, Range<usize>)| -> usize {
        let profile = &profiles[*file];
        profile.rows_of(runs.end - 1).end - profile.rows_of(runs.start).start
    };
    let rows: usize = units.iter().map(length).sum();
    let mut result: Vec<Vec<Part>> = vec![];
    let mut seen = 0;
    let mut current: Option<usize> = None;
    for unit in &units {
        // The partition that the middle of this unit falls into.
        let size = length(unit);
        let at = ((seen + size / 2) * partitions / rows.max(1)).min(partitions - 1);
        seen += size;
        if current != Some(at) {
            current = Some(at);
            result.push(vec![]);
        }
        if let Some(parts) = result.last_mut() {
            append(parts, profiles, unit);
        }
    }
    if result.is_empty() {
        result.push(vec![]);
    }
    result
}

fn append(parts: &mut Vec<Part>, profiles: &[Profile], (file, runs): &(usize, Range<usize>)) {
    let profile = &profiles[*file];
    let rows = profile.rows_of(runs.start).start..profile.rows_of(runs.end - 1).end;
    let times = profile.runs[runs.clone()]
        .iter()
        .fold((i64::MAX, i64::MIN), |(lo, hi), run| (lo.min(run.first), hi.max(run.last)));
    let last_symbol = profile.runs[runs.end - 1].last_symbol();
    match parts.last_mut() {
        Some(part) if part.file == *file => {
            match part.rows.last_mut() {
                Some(range) if range.end == rows.start => range.end = rows.end,
                _ => part.rows.push(rows),
            }
            part.last_symbol = last_symbol.to_string();
            part.times = (part.times.0.min(times.0), part.times.1.max(times.1));
        }
        _ => parts.push(Part {
            file: *file,
            rows: vec![rows],
            first_symbol: profile.runs[runs.start].symbol.clone(),
            last_symbol: last_symbol.to_string(),
            times,
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

    #[test]
    fn one_big_file_is_cut_at_a_symbol_boundary() {
        let files = [profile(&[("A", 10), ("B", 10), ("C", 20)])];
        let cut = cut(&files, &[0], &Selection::default(), true, 2);
        assert_eq!(cut.len(), 2);
        assert_eq!(cut[0][0].rows, vec![0..20]);
        assert_eq!((cut[1][0].first_symbol.as_str(), cut[1][0].rows.clone()), ("C", vec![20..40]));
    }

    #[test]
    fn only_the_selected_symbols_are_read() {
        let files = [profile(&[("A", 10), ("B", 10), ("C", 20)])];
        let symbols = Some(BTreeSet::from(["A".to_string(), "C".to_string()]));
        let cut = cut(&files, &[0], &Selection { symbols, ..Selection::default() }, true, 1);
        assert_eq!(cut[0][0].rows, vec![0..10, 20..40]);
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
            let cut = cut(&files, &order, &Selection::default(), true, partitions);
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
