//! Z-normalisation: of one series, and of every window of a series.

/// A spread below this is none.
pub const FLAT: f64 = 1e-10;

/// Mean 0 and population standard deviation 1; zeros where the deviation is below [`FLAT`].
pub fn znorm(series: &[f64]) -> Vec<f64> {
    let mut result = vec![];
    znorm_into(series, &mut result);
    result
}

/// As [`znorm`], into memory that is there.
pub fn znorm_into(series: &[f64], into: &mut Vec<f64>) {
    let (mean, inverse) = two_pass(series);
    into.clear();
    into.extend(series.iter().map(|x| (x - mean) * inverse));
}

/// Mean, and one over the population standard deviation; 0 in place of the latter for a flat series.
pub fn two_pass(series: &[f64]) -> (f64, f64) {
    if series.is_empty() {
        return (0.0, 0.0);
    }
    let n = series.len() as f64;
    // From the first value on: prices lie far from zero, compared with what they change.
    let mean = series[0] + sum(series, |x| x - series[0]) / n;
    let deviation = (sum(series, |x| (x - mean) * (x - mean)) / n).sqrt();
    (mean, if deviation < FLAT { 0.0 } else { 1.0 / deviation })
}

/// A sum in eight lanes.
#[inline(always)]
fn sum(series: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let chunks = series.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|x| of(*x)).sum();
    for chunk in chunks {
        for k in 0..8 {
            lanes[k] += of(chunk[k]);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Mean and inverse deviation of every window, by running sums: Rakthanmanon et al., KDD 2012.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    /// The mean of the window that begins at each position.
    pub mean: Vec<f64>,
    /// One over its deviation; 0 for a flat window.
    pub inverse: Vec<f64>,
}

/// The largest ratio of what a running sum of squares has held to the squares of a window, at which it is trusted: it keeps
/// the rounding of the largest value that it ever had.
const TRUSTED: f64 = 1e4;

impl Windows {
    /// Fills in the windows of `length` points of a series, in constant time each.
    ///
    /// Sums run over values less a centre, and begin anew with a centre of its own every `length` windows. Where a window
    /// lies far from its centre, or a much larger value has passed through the sums, the variance would lose digits: such
    /// windows are computed in two passes.
    pub fn fill(&mut self, series: &[f64], length: usize) {
        self.mean.clear();
        self.inverse.clear();
        if length == 0 || series.len() < length {
            return;
        }
        let n = length as f64;
        for first in (0..=series.len() - length).step_by(length) {
            let (center, _) = two_pass(&series[first..first + length]);
            let (mut total, mut squares) = (0.0, 0.0);
            for x in &series[first..first + length] {
                total += x - center;
                squares += (x - center) * (x - center);
            }
            let mut largest = squares;
            for start in first..(first + length).min(series.len() - length + 1) {
                if start > first {
                    let (gone, come) = (series[start - 1] - center, series[start + length - 1] - center);
                    total += come - gone;
                    squares += (come - gone) * (come + gone);
                    largest = largest.max(squares);
                }
                let off = total / n;
                let variance = squares / n - off * off;
                // Includes windows far from the centre: their squares are those of the distance.
                if variance > 0.0 && largest < TRUSTED * n * variance {
                    self.mean.push(center + off);
                    let deviation = variance.sqrt();
                    self.inverse.push(if deviation < FLAT { 0.0 } else { 1.0 / deviation });
                } else {
                    let (mean, inverse) = two_pass(&series[start..start + length]);
                    self.mean.push(mean);
                    self.inverse.push(inverse);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flat_series_is_zeros() {
        assert_eq!(znorm(&[5.0, 5.0, 5.0]), [0.0, 0.0, 0.0]);
        assert_eq!(znorm(&[]), [0.0; 0]);
        assert_eq!(znorm(&[1.0, 3.0]), [-1.0, 1.0]);
    }

    fn assert_two_passes(series: &[f64], length: usize) -> Result<(), TestCaseError> {
        let mut windows = Windows::default();
        windows.fill(series, length);
        prop_assert_eq!(windows.mean.len(), (series.len() + 1).saturating_sub(length));
        for (start, (mean, inverse)) in windows.mean.iter().zip(&windows.inverse).enumerate() {
            let window = &series[start..start + length];
            let exact = znorm(window);
            for (x, z) in window.iter().zip(exact) {
                let sliding = (x - mean) * inverse;
                // A mean that is far from zero cannot be known better than to its last digit.
                let digit = 4.0 * mean.abs() * f64::EPSILON * inverse;
                prop_assert!((sliding - z).abs() < 1e-9 * z.abs().max(1.0) + digit, "{sliding} {z}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_jump_that_has_left_the_window_leaves_nothing_behind() {
        // The two jumps cancel, so that the centre of the sums lies where the small window will be.
        let series = [12345.678, -12345.678, 0.3, 0.1, -0.2, 0.2, -0.1, 0.3, 0.1, -0.2, 0.1];
        assert_two_passes(&series, 7).unwrap();
    }

    proptest! {
        #[test]
        fn windows_are_those_of_two_passes(
            steps in prop::collection::vec(prop_oneof![-1.0..1.0, Just(0.0), -1e4..1e4], 1..300),
            length in 2usize..60, offset in prop_oneof![Just(0.0), Just(1e6), Just(-3e4)],
        ) {
            let mut level = offset;
            let series: Vec<f64> = steps.iter().map(|s| { level += s; level }).collect();
            assert_two_passes(&series, length)?;
        }
    }
}
