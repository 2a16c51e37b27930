//! A position, and where it is left.

use super::order::{Bar, Level, Side};
use super::rules::{Gap, LimitFill, Rules};

/// Why a position was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// An exit signal, or an entry signal of the other side.
    Signal,
    /// The stop.
    Stop,
    /// The trailing stop.
    Trailing,
    /// The target.
    Target,
    /// Its age.
    Time,
    /// The end of the data.
    End,
    /// The end of the symbol's bars, before that of the data.
    Delisted,
    /// Nothing was left.
    Ruin,
    /// Too little was left for what was borrowed.
    Liquidation,
    /// The proportion of a symbol was restored.
    Rebalance,
}

impl Reason {
    /// Names, in the order of the variants.
    pub const NAMES: [&'static str; 10] =
        ["signal", "stop", "trailing", "target", "time", "end", "delisted", "ruin", "liquidation", "rebalance"];
}

/// A position is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exit {
    /// At which price of the market.
    pub price: f64,
    /// Why.
    pub reason: Reason,
}

impl Exit {
    pub(super) fn new(price: f64, reason: Reason) -> Option<Exit> {
        Some(Exit { price, reason })
    }
}

/// What an order got.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filled {
    /// For a unit, in money.
    pub price: f64,
    /// What the market's price was.
    pub market: f64,
    /// Units.
    pub quantity: f64,
}

/// A position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Its side.
    pub side: Side,
    /// What was paid, or got, for a unit.
    pub price: f64,
    /// Units.
    pub quantity: f64,
    /// The row of its entry.
    pub row: usize,
    /// Bars since then.
    pub bars: u32,
    /// Whether there is a stop, a target or a trailing stop.
    pub(super) has_levels: bool,
    pub(super) stop: f64,
    pub(super) target: f64,
    pub(super) trail: Level,
    /// The best price so far, as the trailing stop has it.
    pub(super) best: f64,
    /// Where the trailing stop is; infinitely far while there is none.
    pub(super) trailing: f64,
    /// The best and the worst price of the market while it was there.
    pub extremes: (f64, f64),
}

impl Position {
    /// The nearer of stop and trailing stop.
    #[inline]
    pub(super) fn stop(&self) -> (f64, Reason) {
        match self.side.is_at_or_worse(self.stop, self.trailing) {
            true if self.trailing.is_finite() => (self.trailing, Reason::Trailing),
            _ => (self.stop, Reason::Stop),
        }
    }

    #[inline]
    pub(super) fn target(&self, rules: &Rules) -> f64 {
        let step = rules.target_steps.iter().rev().find(|(bars, _)| *bars <= self.bars);
        match step {
            Some((_, fraction)) => self.price * (1.0 + self.side.sign() * fraction),
            None => self.target,
        }
    }

    #[inline]
    pub(super) fn reaches(&self, price: f64, target: f64, rules: &Rules) -> bool {
        match rules.limit_fill {
            LimitFill::Touch => self.side.is_at_or_worse(target, price),
            LimitFill::Through => self.side.is_at_or_worse(target, price) && price != target,
        }
    }

    #[inline]
    pub(super) fn sees(&mut self, price: f64) {
        let (best, worst) = self.extremes;
        self.extremes = (self.side.better(best, price), self.side.worse(worst, price));
    }

    /// Raises the trailing stop by a price.
    #[inline]
    pub(super) fn raise(&mut self, price: f64, rules: &Rules) {
        if self.trail == Level::None {
            return;
        }
        self.best = self.side.better(self.best, price);
        let way = self.side.sign();
        let armed = rules.trail_after <= 0.0
            || self.side.is_at_or_worse(self.price * (1.0 + way * rules.trail_after), self.best);
        if armed {
            self.trailing = self.side.better(self.trailing, self.trail.at(self.best, -way));
        }
    }
}

/// At which price a stop is left that a bar touches.
#[inline]
pub(super) fn stop_price(side: Side, stop: f64, bar: &Bar, rules: &Rules) -> f64 {
    match rules.engine.gap {
        // Nobody gets the stop where the market is already beyond it.
        Gap::Open => side.worse(stop, bar.open),
        // A stop within the bar is taken, and otherwise the open, since all of the bar is beyond.
        Gap::Range if side.is_at_or_worse(side.best(bar), stop) => bar.open,
        Gap::Range => stop,
    }
}
