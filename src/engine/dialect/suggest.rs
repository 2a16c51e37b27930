//! The nearest known word.

use strsim::damerau_levenshtein;

/// The candidate nearest to `word`, if it is near enough to be a slip.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    within(allowed(word), word, candidates)
}

/// As [`closest`], of names and of others that are only meant where they are nearer than any name.
pub fn closest_name<'a>(
    word: &str,
    names: impl IntoIterator<Item = &'a str>,
    others: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let names = names.into_iter().map(|name| (false, name));
    nearest(allowed(word), word, names.chain(others.into_iter().map(|other| (true, other))))
}

/// The candidate nearest to `word`, if it differs in no more than `allowed` letters; their case does not count.
pub fn within<'a>(allowed: usize, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(allowed, word, candidates.into_iter().map(|candidate| (false, candidate)))
}

/// Letters in which a slip may differ from what was meant.
fn allowed(word: &str) -> usize {
    match word.chars().count() {
        0..=3 => 1,
        4..=5 => 2,
        _ => 3,
    }
}

/// The nearest candidate; of those as near one that is not marked, then the one whose length is nearest.
fn nearest<'a>(allowed: usize, word: &str, candidates: impl IntoIterator<Item = (bool, &'a str)>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|(is_other, c)| {
            (damerau_levenshtein(&word, &c.to_ascii_lowercase()), is_other, c.len().abs_diff(word.len()), c)
        })
        .filter(|(distance, ..)| *distance <= allowed)
        .min()
        .map(|(.., c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_stranger_is_not() {
        assert_eq!(closest("smaa", ["sma", "ema", "rsi"]), Some("sma"));
        assert_eq!(closest("clsoe", ["close", "open"]), Some("close"));
        assert_eq!(closest("frobnicate", ["sma", "close"]), None);
        assert_eq!(closest("rsi", ["ts", "close"]), None);
        assert_eq!(within(1, "APPL", ["AMZN", "PPL", "AAPL"]), Some("AAPL"));
        assert_eq!(closest_name("smaa", ["sma", "ema"], ["smma", "psar"]), Some("sma"));
        assert_eq!(closest_name("psarr", ["sma", "sar"], ["smma", "psar"]), Some("psar"));
    }
}
