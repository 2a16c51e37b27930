//! Functions that stay at the end of a series: a further bar costs them the bar, not the series.

use datafusion_common::Result;
use std::fmt::Debug;

/// A function at the end of a series, ready for the next bar.
pub trait Standing: Debug + Send + Sync {
    /// Takes the next bar: its series arguments in the order of the signature, then the optional ones that are given. Conditions
    /// are 1 or 0, times are microseconds since the epoch; only an optional argument may be missing, and is NaN then.
    ///
    /// Writes one value for each output: conditions and whole numbers as numbers; what is not finite is no value.
    fn push(&mut self, bar: &[f64], values: &mut [f64]) -> Result<()>;

    /// Another one that goes on from here by itself.
    fn fork(&self) -> Box<dyn Standing>;
}
