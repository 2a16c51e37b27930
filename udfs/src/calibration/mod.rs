//! How well probabilities fit what came true, and how to make them fit better.

mod isotonic;
mod scores;

use crate::family::Family;

const CALIBRATION: &str = "Calibration";

pub(crate) fn functions() -> Family {
    Family {
        aggregates: vec![
            scores::Score::brier().into(),
            scores::Score::ece().into(),
            isotonic::IsotonicFit::new().into(),
        ],
        scalars: vec![isotonic::Isotonic::new().into()],
        ..Family::default()
    }
}
