//! How far a function looks.

use crate::calendar::Anchor;
use std::fmt::{Display, Formatter};
use std::ops::Add;

/// How many valid bars away something lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bars {
    /// At most this many.
    Count(usize),
    /// This many, then back to the beginning of the period that the bar there lies in, then this many again.
    Since(usize, Anchor),
    /// The whole history.
    Unbounded,
}

impl Bars {
    /// Whichever lies further away; where that is not known, the whole history.
    #[must_use]
    pub fn further(self, other: Bars) -> Bars {
        match (self, other) {
            (Bars::Count(a), Bars::Count(b)) => Bars::Count(a.max(b)),
            (Bars::Since(a, anchor), Bars::Count(b)) | (Bars::Count(a), Bars::Since(b, anchor)) => {
                Bars::Since(a.max(b), anchor)
            }
            (Bars::Since(a, one), Bars::Since(b, other)) => match one.longer(other) {
                Some(longer) => Bars::Since(a.max(b), longer),
                None => Bars::Unbounded,
            },
            _ => Bars::Unbounded,
        }
    }
}

impl Add for Bars {
    type Output = Bars;

    fn add(self, other: Bars) -> Bars {
        match (self, other) {
            (Bars::Count(a), Bars::Count(b)) => Bars::Count(a.saturating_add(b)),
            (Bars::Since(a, anchor), Bars::Count(b)) | (Bars::Count(a), Bars::Since(b, anchor)) => {
                Bars::Since(a.saturating_add(b), anchor)
            }
            // Bars between the two might lead from one period into the one before.
            (Bars::Since(0, _), Bars::Since(0, _)) => self.further(other),
            _ => Bars::Unbounded,
        }
    }
}

impl Display for Bars {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Bars::Count(n) => write!(f, "{n}"),
            Bars::Since(0, anchor) => write!(f, "{}", anchor.name()),
            Bars::Since(n, anchor) => write!(f, "{}+{n}", anchor.name()),
            Bars::Unbounded => write!(f, "all"),
        }
    }
}

/// How many bars before and after a bar its value depends on.
///
/// For a recursive function `back` is the number of bars after which its start no longer shows at 1e-9 of the column's
/// scale; a function whose start never fades has [`Bars::Unbounded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Bars into the past.
    pub back: Bars,
    /// Bars into the future.
    pub ahead: Bars,
}

impl Reach {
    /// A function of the bar alone.
    pub const NONE: Reach = Reach::back(0);

    /// Looks `bars` back and never ahead.
    pub const fn back(bars: usize) -> Reach {
        Reach { back: Bars::Count(bars), ahead: Bars::Count(0) }
    }

    /// Looks back to the beginning of the period that a bar lies in, and never ahead.
    pub const fn since(anchor: Anchor) -> Reach {
        Reach { back: Bars::Since(0, anchor), ahead: Bars::Count(0) }
    }

    /// Looks `bars` ahead and never back.
    pub const fn ahead(bars: usize) -> Reach {
        Reach { back: Bars::Count(0), ahead: Bars::Count(bars) }
    }

    /// Needs everything since the series began and never looks ahead.
    pub const fn history() -> Reach {
        Reach { back: Bars::Unbounded, ahead: Bars::Count(0) }
    }

    /// The reach of a function applied to the result of another.
    pub fn over(self, inner: Reach) -> Reach {
        Reach { back: self.back + inner.back, ahead: self.ahead + inner.ahead }
    }

    /// The reach of an expression that uses both.
    pub fn and(self, other: Reach) -> Reach {
        Reach { back: self.back.further(other.back), ahead: self.ahead.further(other.ahead) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_adds_and_joining_takes_the_larger() {
        let (a, b) = (Reach::back(20), Reach::back(14));
        assert_eq!(a.over(b), Reach::back(34));
        assert_eq!(a.and(b), a);
        assert_eq!(a.over(Reach::history()).back, Bars::Unbounded);
    }

    #[test]
    fn periods_take_the_bars_around_them_along() {
        let [day, year] =
            ["session", "year"].map(|period| Reach::since(Anchor::parse(period, "utc").unwrap().unwrap()));
        assert_eq!(day.and(year).and(Reach::back(3)).back.to_string(), "year+3");
        assert_eq!(Reach::back(5).over(day).over(Reach::back(2)).back.to_string(), "session+7");
        assert_eq!(day.over(year).back, year.back);
        assert_eq!(day.over(Reach::back(1)).over(day).back, Bars::Unbounded);
    }
}
