//! Entries that wait for their price, better than the market's (limit) or worse (stop).

use super::account::Costs;
use super::order::{Bar, Bracket, Entry, Order, Side, Signals};
use super::rules::{Both, LimitFill, Rules};

/// An entry that waits for its price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Resting {
    side: Side,
    order: Order,
    price: f64,
    is_stop: bool,
    /// For how many bars it still waits.
    bars: u32,
}

/// An entry whose price came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrived {
    /// Its side.
    pub side: Side,
    /// The order.
    pub order: Order,
    /// The price of the market.
    pub market: f64,
    /// It is filled at no worse a price than this one.
    pub is_limit: bool,
}

impl Arrived {
    /// What a unit is bought or sold for.
    pub(super) fn price(&self, costs: &Costs) -> f64 {
        if self.is_limit { self.market } else { costs.slipped(self.market, self.side.sign()) }
    }
}

impl Resting {
    /// That of an order of a side, whose bar closed at a price; `None`: it is filled at the market, or its price is not known.
    pub fn of(side: Side, order: &Order, close: f64, rules: &Rules) -> Option<Resting> {
        let way = side.sign();
        let (price, is_stop) = match order.entry {
            _ if !order.has_levels() => return None,
            Entry::Market => return None,
            Entry::Limit(level) => (level.at(close, -way), false),
            Entry::Stop(level) => (level.at(close, way), true),
        };
        let bars = if rules.valid_bars == 0 { u32::MAX } else { rules.valid_bars };
        Some(Resting { side, order: *order, price, is_stop, bars })
    }

    /// Whether a market that is at a price fills it.
    fn takes(&self, price: f64, rules: &Rules) -> bool {
        match self.is_stop {
            true => self.side.is_at_or_worse(self.price, price),
            false => {
                let through = rules.limit_fill == LimitFill::Through && price == self.price;
                self.side.is_at_or_worse(price, self.price) && !through
            }
        }
    }

    fn arrived(&self, market: f64) -> Arrived {
        Arrived { side: self.side, order: self.order, market, is_limit: !self.is_stop }
    }

    /// Whether its position will have a level.
    pub fn has_levels(&self) -> bool {
        self.order.bracket != Bracket::default()
    }

    /// What it gets at the open of a bar.
    pub fn at_open(&self, bar: &Bar, rules: &Rules) -> Option<Arrived> {
        self.takes(bar.open, rules).then(|| self.arrived(bar.open))
    }

    /// What it gets in the course of a bar that does not open there.
    pub fn in_bar(&self, bar: &Bar, rules: &Rules) -> Option<Arrived> {
        let nearest = if self.is_stop { self.side.best(bar) } else { self.side.worst(bar) };
        self.takes(nearest, rules).then(|| self.arrived(self.price))
    }

    /// What was seen of a bar after it was filled in its course. On one side that is certain: the price had to pass the level to get
    /// there. Whether the other extreme came before or after is decided as for stop and target; if before, the close is left.
    pub fn seen(&self, bar: &Bar, rules: &Rules) -> Bar {
        let side = self.side;
        let (best, worst) = (side.best(bar), side.worst(bar));
        let worst_first = (worst - bar.open).abs() <= (best - bar.open).abs();
        let after = match (rules.both, self.is_stop) {
            (Both::Stop, is_stop) => is_stop,
            (Both::Target, is_stop) => !is_stop,
            (Both::Near, is_stop) => is_stop != worst_first,
        };
        let (best, worst) = match (after, self.is_stop) {
            (true, _) => (best, worst),
            (false, true) => (best, side.worse(self.price, bar.close)),
            (false, false) => (side.better(self.price, bar.close), worst),
        };
        let (high, low) = if side == Side::Long { (best, worst) } else { (worst, best) };
        Bar { open: self.price, high, low, close: bar.close, volume: bar.volume }
    }

    /// A bar ends with signals; whether it still waits.
    pub fn goes_on(&mut self, signals: &Signals) -> bool {
        self.bars -= 1;
        self.bars > 0 && !signals.exits(self.side)
    }
}
