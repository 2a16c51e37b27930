//! Which candles are accepted while many wait.

use super::event::Rejection;

/// Above the first share of what may wait, candles of low priority are refused until fewer than the second share wait.
const WATER: (f64, f64) = (0.80, 0.20);

/// Whether candles are being refused.
#[derive(Debug, Default)]
pub(super) struct Admission {
    is_high: bool,
}

impl Admission {
    /// Whether one more candle may wait.
    pub fn admit(&mut self, pending: usize, capacity: usize, priority: u8, inverted: bool) -> Result<(), Rejection> {
        if pending >= capacity {
            return Err(Rejection::QueueFull);
        }
        let load = pending as f64 / capacity as f64;
        if load >= WATER.0 {
            self.is_high = !inverted;
        } else if load < WATER.1 {
            self.is_high = inverted;
        }
        let admitted = !self.is_high || load <= 0.30 + 0.10 * f64::from(priority);
        if admitted { Ok(()) } else { Err(Rejection::Throttled((load * 100.0) as u8)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_urgent_waits_until_the_queue_is_nearly_empty() {
        let mut admission = Admission::default();
        let mut admits = |pending, priority| admission.admit(pending, 1_000, priority, false);
        assert_eq!(admits(799, 0), Ok(()));
        assert_eq!(admits(800, 0), Err(Rejection::Throttled(80)));
        assert_eq!(admits(800, 5), Ok(()));
        assert_eq!(admits(801, 5), Err(Rejection::Throttled(80)));
        assert_eq!(admits(999, 7), Ok(()));
        assert_eq!(admits(1_000, 10), Err(Rejection::QueueFull));
        assert_eq!(admits(400, 0), Err(Rejection::Throttled(40)));
        assert_eq!(admits(300, 0), Ok(()));
        assert_eq!(admits(301, 0), Err(Rejection::Throttled(30)));
        assert_eq!(admits(199, 0), Ok(()));
        assert_eq!(admits(799, 0), Ok(()));
    }
}
