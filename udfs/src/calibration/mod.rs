//! How well probabilities fit what came true, and how to make them fit better.

mod isotonic;
mod scores;

pub use isotonic::{Isotonic, IsotonicFit};
pub use scores::{Score, ScoreKind};

/// Family of these functions in listings.
pub(crate) const CALIBRATION: &str = "Calibration";
