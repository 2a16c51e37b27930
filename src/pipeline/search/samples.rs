//! Random windows that matches are compared with.

use super::QueryPattern;
use super::state::{StateRow, StateRows, kind};
use datafusion::common::{Result, internal_datafusion_err};
use std::collections::BTreeMap;
use tallow_udfs::similarity::compare::null_distances;
use tallow_udfs::similarity::random::{Null, RandomWindow, RandomWindows};

/// Random windows for patterns by what these need: those of one pattern do not depend on which others are searched for.
#[derive(Debug, Clone)]
pub struct Samples(BTreeMap<(usize, usize), RandomWindows>);

/// The windows of a finished sample.
pub struct SampledWindows(BTreeMap<(usize, usize), Vec<RandomWindow>>);

impl Samples {
    /// Empty samples for all patterns.
    pub fn empty(patterns: &[QueryPattern], null: Null) -> Samples {
        let sample = |pattern: &QueryPattern| {
            let (least, most) = pattern.reference.needs();
            ((least, most), RandomWindows::new(null, least, most))
        };
        Samples(patterns.iter().map(sample).collect())
    }

    /// Looks at the bars of a symbol that have a close, in time order.
    pub fn symbol(&mut self, symbol: &str, ts: &[i64], closes: &[f64]) {
        self.0.values_mut().for_each(|sample| sample.symbol(symbol, ts, closes));
    }

    /// Bytes that full samples take.
    pub fn bytes(&self) -> usize {
        self.0.values().map(RandomWindows::bytes).sum()
    }

    /// Writes all windows.
    pub fn write(self, state: &mut StateRows) {
        for (position, sample) in self.0.into_values().enumerate() {
            for RandomWindow { symbol, ts, closes, .. } in sample.into_windows() {
                let (kind, integers, numbers) = (kind::WINDOW, ts.as_slice(), closes.as_slice());
                state.push(StateRow { kind, position, symbol: &symbol, integers, numbers, ..StateRow::default() });
            }
        }
    }

    /// Takes in a window that was written.
    pub fn read(&mut self, row: &StateRow<'_>) -> Result<()> {
        let sample = self.0.values_mut().nth(row.position);
        let sample = sample.ok_or_else(|| internal_datafusion_err!("a random window for no pattern"))?;
        sample.window(row.symbol, row.integers, row.numbers);
        Ok(())
    }

    /// The windows.
    pub fn finish(self) -> SampledWindows {
        SampledWindows(self.0.into_iter().map(|(needs, sample)| (needs, sample.into_windows())).collect())
    }
}

impl SampledWindows {
    /// How far they are from a pattern, smallest first.
    pub fn distances(&self, pattern: &QueryPattern) -> Vec<f64> {
        let windows = self.0.get(&pattern.reference.needs()).map(Vec::as_slice).unwrap_or_default();
        null_distances(&pattern.reference, pattern.excluded.as_ref(), windows)
    }
}
