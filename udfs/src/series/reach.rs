//! How far a function looks.

use std::fmt::{Display, Formatter};
use std::ops::Add;

/// A count of valid bars; ordered, with [`Bars::Unbounded`] above every count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bars {
    /// At most this many.
    Count(usize),
    /// The whole history.
    Unbounded,
}

impl Add for Bars {
    type Output = Bars;

    fn add(self, other: Bars) -> Bars {
        match (self, other) {
            (Bars::Count(a), Bars::Count(b)) => Bars::Count(a.saturating_add(b)),
            _ => Bars::Unbounded,
        }
    }
}

impl Display for Bars {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Bars::Count(n) => write!(f, "{n}"),
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
        Reach { back: self.back.max(other.back), ahead: self.ahead.max(other.ahead) }
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
}
