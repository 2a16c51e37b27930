//! How often a key may be used.

use std::time::Instant;

/// Fills up evenly to what a minute allows, and each use takes one.
#[derive(Debug)]
pub(super) struct Bucket {
    a_minute: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub fn full(a_minute: u32, at: Instant) -> Bucket {
        Bucket { a_minute: f64::from(a_minute), left: f64::from(a_minute), at }
    }

    /// Takes one; otherwise the seconds after which there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), f64> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.a_minute / 60.0).min(self.a_minute);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err((1.0 - self.left) * 60.0 / self.a_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_minute_allows_comes_back_evenly() {
        let begin = Instant::now();
        let mut bucket = Bucket::full(2, begin);
        assert_eq!((bucket.take(begin), bucket.take(begin)), (Ok(()), Ok(())));
        assert_eq!(bucket.take(begin), Err(30.0));
        assert_eq!(bucket.take(begin + Duration::from_secs(30)), Ok(()));
        assert!(bucket.take(begin + Duration::from_secs(31)).is_err());
        let later = begin + Duration::from_secs(600);
        assert_eq!([(); 3].map(|()| bucket.take(later).is_ok()), [true, true, false]);
    }
}
