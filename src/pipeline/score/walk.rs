//! The model that needs no training: a random walk without drift, as volatile as the match was.
//!
//! The chance that such a walk gains at least g within T bars is `2 (1 - Phi(ln(1 + g) / (sigma sqrt(T))))`, by the
//! reflection principle; the target is its mean over the four forward windows. It knows nothing of the pattern, so a
//! trained model that does not beat it has found none.

use super::{FEATURES, TARGETS};

/// The gains of [`TARGETS`].
pub const GAINS: [f64; TARGETS.len()] = [0.05, 0.10, 0.15, 0.20];

/// Lengths of the forward windows, as multiples of the match's.
const WINDOWS: [f64; 4] = [0.5, 1.0, 1.5, 2.0];

fn column(name: &str) -> usize {
    FEATURES.iter().position(|f| *f == name).unwrap_or_default()
}

/// One column a target.
pub fn predict(features: &[f64], rows: usize) -> Vec<Vec<f64>> {
    let (volatility, length) = (column("window_volatility") * rows, column("length") * rows);
    let of = |gain: f64| {
        let row = |i: usize| share(gain, features[volatility + i], features[length + i]);
        (0..rows).map(row).collect()
    };
    GAINS.iter().map(|gain| of(*gain)).collect()
}

fn share(gain: f64, volatility: f64, length: f64) -> f64 {
    let chance = |window: f64| {
        let spread = volatility * (window * length).floor().sqrt();
        // 2 (1 - Phi(x)) = erfc(x / sqrt 2); a walk that does not move gains nothing.
        if spread > 0.0 { libm::erfc((1.0 + gain).ln() / spread / 2f64.sqrt()) } else { spread * 0.0 }
    };
    WINDOWS.iter().map(|window| chance(*window)).sum::<f64>() / WINDOWS.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_by_the_reflection_principle() {
        // ln(1.05) / (0.02 sqrt(100)) = 0.24395: 2 (1 - Phi) = 0.80727, and so on for 50, 150, 200 bars.
        let expected: f64 = [50.0f64, 100.0, 150.0, 200.0]
            .iter()
            .map(|t| libm::erfc(1.05f64.ln() / (0.02 * t.sqrt()) / 2f64.sqrt()))
            .sum::<f64>()
            / 4.0;
        assert!((share(0.05, 0.02, 100.0) - expected).abs() < 1e-12);
        assert!((libm::erfc(1.05f64.ln() / 0.2 / 2f64.sqrt()) - 0.80727).abs() < 1e-4);
        assert_eq!(share(0.05, 0.0, 100.0), 0.0);
        assert!(share(0.05, f64::NAN, 100.0).is_nan());
        assert!(share(0.20, 0.02, 100.0) < share(0.05, 0.02, 100.0));
    }
}
