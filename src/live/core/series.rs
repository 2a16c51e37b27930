//! What is known of the bars of a symbol.

use super::event::{Bar, Micros, Work};
use std::collections::VecDeque;

/// So many of the newest bars are known by their values.
const RING: usize = 64;

/// The newest bars of a symbol, and the candles that wait.
#[derive(Default)]
pub(super) struct Series {
    /// In the order of their times.
    recent: VecDeque<Bar>,
    /// The newest bar that ever came, and whether there were more than are known.
    last: Option<Micros>,
    pub waiting: VecDeque<Work>,
    /// Whether candles of it are being computed, or wait to be tried again: those that wait come after them.
    pub is_computed: bool,
}

/// What a bar is to the bars before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Arrival {
    /// The newest; between these times bars are missing.
    New { hole: Option<(Micros, Micros)> },
    /// The same as one that came.
    Duplicate,
    /// Other values than one that came had.
    Restated,
    /// One that did not come when it was due, or so old that it is not known any more.
    Late,
}

impl Series {
    /// Notes a bar that is known from before.
    pub fn know(&mut self, bar: Bar) {
        self.note(bar);
    }

    /// Notes a bar and says what it is.
    pub fn arrival(&mut self, bar: &Bar, step: Option<Micros>) -> Arrival {
        let newest = self.last;
        if newest.is_none_or(|newest| bar.ts > newest) {
            let due = newest.zip(step).map(|(newest, step)| newest.saturating_add(step));
            self.note(*bar);
            return Arrival::New { hole: due.filter(|due| *due < bar.ts).map(|due| (due, bar.ts)) };
        }
        let known = self.recent.iter().find(|known| known.ts == bar.ts).copied();
        let arrival = match known {
            Some(known) if known == *bar => Arrival::Duplicate,
            Some(_) => Arrival::Restated,
            None => Arrival::Late,
        };
        self.note(*bar);
        arrival
    }

    /// A bar that could not be computed did not come, unless another took its place.
    pub fn forget(&mut self, bar: &Bar) {
        self.recent.retain(|known| known != bar);
    }

    fn note(&mut self, bar: Bar) {
        if self.last.is_none_or(|last| bar.ts > last) {
            self.last = Some(bar.ts);
            self.recent.push_back(bar);
        } else {
            let at = self.recent.partition_point(|known| known.ts < bar.ts);
            match self.recent.get_mut(at) {
                Some(known) if known.ts == bar.ts => *known = bar,
                _ => self.recent.insert(at, bar),
            }
        }
        if self.recent.len() > RING {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(ts: Micros, close: f64) -> Bar {
        Bar { ts, values: [close; 5] }
    }

    #[test]
    fn bars_come_once_twice_late_and_corrected() {
        let mut series = Series::default();
        let mut arrival = |ts, close| series.arrival(&bar(ts, close), Some(10));
        assert_eq!(arrival(100, 1.0), Arrival::New { hole: None });
        assert_eq!(arrival(110, 1.0), Arrival::New { hole: None });
        assert_eq!(arrival(110, 1.0), Arrival::Duplicate);
        assert_eq!(arrival(100, 2.0), Arrival::Restated);
        assert_eq!(arrival(150, 1.0), Arrival::New { hole: Some((120, 150)) });
        assert_eq!(arrival(120, 1.0), Arrival::Late);
        assert_eq!(arrival(120, 1.0), Arrival::Duplicate);
    }

    #[test]
    fn what_is_too_old_to_be_known_is_late() {
        let mut series = Series::default();
        for ts in 0..200 {
            series.arrival(&bar(ts, 1.0), None);
        }
        assert_eq!(series.arrival(&bar(136, 1.0), None), Arrival::Duplicate);
        assert_eq!(series.arrival(&bar(135, 1.0), None), Arrival::Late);
    }
}
