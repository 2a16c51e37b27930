//! The nearest known word.

use strsim::damerau_levenshtein;

/// The candidate nearest to `word`, if it is near enough to be a slip.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match word.chars().count() {
        0..=3 => 1,
        4..=5 => 2,
        _ => 3,
    };
    within(allowed, word, candidates)
}

/// The candidate nearest to `word`, if it differs in no more than `allowed` letters; their case does not count.
pub fn within<'a>(allowed: usize, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|c| (damerau_levenshtein(&word, &c.to_ascii_lowercase()), c))
        .filter(|(distance, _)| *distance <= allowed)
        // A letter typed twice is likelier than a wrong one: of those as near, the shortest.
        .min_by_key(|(distance, c)| (*distance, c.len(), *c))
        .map(|(_, c)| c)
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
        assert_eq!(within(1, "APPL", ["AMZN", "AAPL"]), Some("AAPL"));
    }
}
