//! The nearest known word.

use strsim::damerau_levenshtein;

/// The candidate nearest to `word`, if it is near enough to be a slip.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let allowed = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|c| (damerau_levenshtein(&word, &c.to_ascii_lowercase()), c.len().abs_diff(word.len()), c))
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
    }
}
