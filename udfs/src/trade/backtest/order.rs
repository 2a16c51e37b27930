//! Bars, and what is wanted at the close of one.

use super::rules::Rules;

/// A bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// The first price.
    pub open: f64,
    /// The highest.
    pub high: f64,
    /// The lowest.
    pub low: f64,
    /// The last.
    pub close: f64,
    /// What was traded; NaN where that is not known.
    pub volume: f64,
}

impl Bar {
    /// Whether it has prices.
    #[inline]
    pub fn has_prices(&self) -> bool {
        let is_price = |x: f64| x > 0.0 && x.is_finite();
        is_price(self.open) && is_price(self.high) && is_price(self.low) && is_price(self.close)
    }

    /// The bar of both, of which the other comes next.
    pub(super) fn with(self, next: &Bar) -> Bar {
        let (high, low) = (self.high.max(next.high), self.low.min(next.low));
        Bar { high, low, close: next.close, volume: self.volume + next.volume, ..self }
    }

    /// Whether orders are filled in it.
    #[inline]
    pub(super) fn trades(&self, rules: &Rules) -> bool {
        self.has_prices() && !(rules.needs_volume && self.volume <= 0.0)
    }
}

/// The side of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It gains when the price rises.
    Long,
    /// It gains when the price falls.
    Short,
}

impl Side {
    /// 1 or -1.
    #[inline]
    pub fn sign(self) -> f64 {
        match self {
            Side::Long => 1.0,
            Side::Short => -1.0,
        }
    }

    /// Whether a price is at another or on its losing side.
    #[inline]
    pub(super) fn is_at_or_worse(self, price: f64, than: f64) -> bool {
        match self {
            Side::Long => price <= than,
            Side::Short => price >= than,
        }
    }

    #[inline]
    pub(super) fn worse(self, a: f64, b: f64) -> f64 {
        if self.is_at_or_worse(a, b) { a } else { b }
    }

    #[inline]
    pub(super) fn better(self, a: f64, b: f64) -> f64 {
        if self.is_at_or_worse(a, b) { b } else { a }
    }

    /// The best price of a bar.
    #[inline]
    pub(super) fn best(self, bar: &Bar) -> f64 {
        if self == Side::Long { bar.high } else { bar.low }
    }

    /// The worst price of a bar.
    #[inline]
    pub(super) fn worst(self, bar: &Bar) -> f64 {
        if self == Side::Long { bar.low } else { bar.high }
    }
}

/// What is wanted at the close of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// Buy.
    pub enter_long: bool,
    /// Close what was bought.
    pub exit_long: bool,
    /// Sell short.
    pub enter_short: bool,
    /// Close what was sold short.
    pub exit_short: bool,
}

impl Signals {
    /// Whether anything is wanted.
    #[inline]
    pub fn any(&self) -> bool {
        self.enter_long || self.exit_long || self.enter_short || self.exit_short
    }

    /// The side that is entered, unless the signals contradict each other.
    #[inline]
    pub(super) fn entry(&self, despite_exit: bool) -> Option<Side> {
        match (self.enter_long, self.enter_short) {
            (true, false) if despite_exit || !self.exit_long => Some(Side::Long),
            (false, true) if despite_exit || !self.exit_short => Some(Side::Short),
            _ => None,
        }
    }

    /// Whether a position of this side is to be closed.
    #[inline]
    pub(super) fn exits(&self, side: Side) -> bool {
        match side {
            Side::Long => self.exit_long && !self.enter_long,
            Side::Short => self.exit_short && !self.enter_short,
        }
    }

    /// Whether an entry is wanted that another signal contradicts.
    #[inline]
    pub(super) fn contradict(&self) -> bool {
        (self.enter_long || self.enter_short) && self.entry(false).is_none()
    }
}

/// Where a position is left, given when it is entered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Level {
    /// Nowhere.
    #[default]
    None,
    /// This fraction of the entry price away.
    Fraction(f64),
    /// This far away, in price.
    Distance(f64),
    /// At this price.
    Price(f64),
}

impl Level {
    /// Whether a position can be entered with it: what is not known yet is no level.
    pub(super) fn is_known(self) -> bool {
        match self {
            Level::None => true,
            Level::Fraction(x) | Level::Distance(x) | Level::Price(x) => x.is_finite() && x > 0.0,
        }
    }

    /// The price of it, this way from an entry: 1 up, -1 down. Infinitely far where there is none.
    #[inline]
    pub(super) fn at(self, entry: f64, way: f64) -> f64 {
        match self {
            Level::None => way * f64::INFINITY,
            Level::Fraction(x) => entry * (1.0 + way * x),
            Level::Distance(x) => entry + way * x,
            Level::Price(x) => x,
        }
    }
}

/// The levels of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bracket {
    /// Where it is given up.
    pub stop: Level,
    /// Where its gain is taken.
    pub target: Level,
    /// How far behind its best price it is given up.
    pub trail: Level,
}

impl Bracket {
    /// How far the stop of an entry is from its price; `None` where there is no stop.
    pub fn stop_distance(&self, price: f64, side: Side) -> Option<f64> {
        let stop = self.stop.at(price, -side.sign());
        Some(side.sign() * (price - stop)).filter(|away| away.is_finite())
    }
}

/// How a position is entered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Entry {
    /// At the market.
    #[default]
    Market,
    /// At a level or better: to buy, so far below the close of the signal; to sell short, above it.
    Limit(Level),
    /// Once the market reaches a level: to buy, so far above the close of the signal; to sell short, below it.
    Stop(Level),
}

impl Entry {
    /// Whether it is at the market, or its price is known.
    fn is_known(self) -> bool {
        match self {
            Entry::Market => true,
            Entry::Limit(level) | Entry::Stop(level) => match level {
                Level::None => false,
                Level::Fraction(away) | Level::Distance(away) => away.is_finite() && away >= 0.0,
                Level::Price(_) => level.is_known(),
            },
        }
    }
}

/// What was wanted at a close, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Order {
    /// What is wanted.
    pub signals: Signals,
    /// How it is entered.
    pub entry: Entry,
    /// The levels of an entry.
    pub bracket: Bracket,
    /// How much is entered, in units of whoever sizes.
    pub size: f64,
}

impl Order {
    /// Whether something is to be entered.
    #[inline]
    pub fn enters(&self) -> bool {
        self.signals.enter_long || self.signals.enter_short
    }

    /// Whether the price and the levels of its entry are known.
    pub fn has_levels(&self) -> bool {
        let Bracket { stop, target, trail } = self.bracket;
        self.entry.is_known() && stop.is_known() && target.is_known() && trail.is_known()
    }
}
