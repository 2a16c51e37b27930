//! Random windows of many symbols: what a match is compared with to see how unusual it is.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Which windows, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Null {
    /// How many.
    pub size: usize,
    /// Which.
    pub seed: u64,
}

/// Bars of a symbol up to a random one.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomWindow {
    hash: u64,
    /// The symbol.
    pub symbol: String,
    /// Times of the bars.
    pub ts: Vec<i64>,
    /// Closes of the bars.
    pub closes: Vec<f64>,
}

impl Eq for RandomWindow {}

impl PartialOrd for RandomWindow {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RandomWindow {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.hash, &self.symbol, &self.ts).cmp(&(other.hash, &other.symbol, &other.ts))
    }
}

/// A sample: the windows with the smallest hashes of symbol and time, which are the same in whatever order symbols are
/// seen, and by however many.
#[derive(Debug, Clone)]
pub struct RandomWindows {
    null: Null,
    /// Bars that a window needs, and that it has where there are as many before it.
    least: usize,
    most: usize,
    /// The largest hash on top.
    kept: BinaryHeap<RandomWindow>,
}

impl RandomWindows {
    /// An empty sample of windows of `least` to `most` bars.
    pub fn new(null: Null, least: usize, most: usize) -> RandomWindows {
        RandomWindows { null, least: least.max(1), most: most.max(least).max(1), kept: BinaryHeap::new() }
    }

    /// Looks at the bars of a symbol that have a close, in time order.
    pub fn symbol(&mut self, symbol: &str, ts: &[i64], closes: &[f64]) {
        let Null { size, seed } = self.null;
        if size == 0 {
            return;
        }
        let of_symbol = hash_of(seed, symbol);
        for end in self.least..=closes.len() {
            let hash = mix(of_symbol, ts[end - 1] as u64);
            if self.kept.len() < size || self.kept.peek().is_some_and(|top| hash < top.hash) {
                let bars = end.saturating_sub(self.most)..end;
                let (ts, closes) = (ts[bars.clone()].to_vec(), closes[bars].to_vec());
                self.add(RandomWindow { hash, symbol: symbol.to_string(), ts, closes });
            }
        }
    }

    fn add(&mut self, window: RandomWindow) {
        self.kept.push(window);
        if self.kept.len() > self.null.size {
            self.kept.pop();
        }
    }

    /// Takes in what another one sampled.
    pub fn merge(&mut self, other: RandomWindows) {
        other.kept.into_iter().for_each(|window| self.add(window));
    }

    /// Takes in a window that another one sampled.
    pub fn window(&mut self, symbol: &str, ts: &[i64], closes: &[f64]) {
        let hash = mix(hash_of(self.null.seed, symbol), ts.last().copied().unwrap_or_default() as u64);
        self.add(RandomWindow { hash, symbol: symbol.to_string(), ts: ts.to_vec(), closes: closes.to_vec() });
    }

    /// The windows, in the order of their hashes.
    pub fn into_windows(self) -> Vec<RandomWindow> {
        self.kept.into_sorted_vec()
    }

    /// Bytes that a full sample takes.
    pub fn bytes(&self) -> usize {
        self.null.size * (self.most * 16 + 128)
    }
}

/// The share of random windows that are farther away; `None` where there are none.
pub fn percentile(null: &[f64], distance: f64) -> Option<f64> {
    let nearer = null.partition_point(|d| *d <= distance);
    (!null.is_empty()).then(|| (null.len() - nearer) as f64 / null.len() as f64)
}

fn hash_of(seed: u64, symbol: &str) -> u64 {
    mix(seed, symbol.bytes().fold(0, |h, b| mix(h, b.into())))
}

/// A step of splitmix64 over two words.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.rotate_left(5) ^ b.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_does_not_depend_on_who_sees_what() {
        let series = |seed: usize| -> (Vec<i64>, Vec<f64>) {
            ((0..200).collect(), (0..200).map(|i| ((i * seed) % 17) as f64).collect())
        };
        let symbols: Vec<_> = (1..9).map(|i| (format!("S{i}"), series(i))).collect();
        let sample = |parts: &[&[usize]]| {
            let mut whole = RandomWindows::new(Null { size: 50, seed: 7 }, 20, 30);
            for part in parts {
                let mut own = RandomWindows::new(Null { size: 50, seed: 7 }, 20, 30);
                for &i in *part {
                    let (symbol, (ts, closes)) = &symbols[i];
                    own.symbol(symbol, ts, closes);
                }
                whole.merge(own);
            }
            whole.into_windows()
        };
        let one = sample(&[&[0, 1, 2, 3, 4, 5, 6, 7]]);
        assert_eq!(one.len(), 50);
        assert_eq!(one, sample(&[&[7, 2], &[1, 0, 5], &[6, 4, 3]]));
        let mut again = RandomWindows::new(Null { size: 50, seed: 7 }, 20, 30);
        one.iter().rev().for_each(|w| again.window(&w.symbol, &w.ts, &w.closes));
        assert_eq!(one, again.into_windows());
    }

    #[test]
    fn the_percentile_is_the_share_that_is_farther_away() {
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0], 2.5), Some(0.5));
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0], 0.5), Some(1.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
