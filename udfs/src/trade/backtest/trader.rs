//! What one symbol's bars do to orders and to the position: the rules of fills, bar by bar. How much is bought, and with what
//! money, is decided elsewhere.

use super::order::{Bar, Bracket, Entry, Level, Order, Side, Signals};
use super::position::{Exit, Filled, Position, Reason, stop_price};
use super::resting::{Arrived, Resting};
use super::rules::{Both, End, Fill, Gap, Rules, Trail, TrailOn};

/// One symbol's orders and position, from bar to bar.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trader {
    /// What is held.
    pub position: Option<Position>,
    order: Order,
    /// An entry that waits for its price.
    resting: Option<Resting>,
    stale: u32,
    /// A level was left in this bar.
    hit: bool,
    /// A position was entered in the course of this bar: in which part of it, and what it saw of that.
    since: Option<(usize, Bar)>,
}

impl Trader {
    /// A bar begins; whether orders are filled in it.
    #[inline]
    pub fn begin(&mut self, bar: &Bar, rules: &Rules) -> bool {
        (self.hit, self.since) = (false, None);
        if !bar.trades(rules) {
            return false;
        }
        self.stale = 0;
        if let Some(position) = &mut self.position {
            position.bars += 1;
        }
        true
    }

    /// A bar passes in which nothing is filled: its order waits, or else the one before, but not for ever. Whether an entry was
    /// given up.
    pub fn pass(&mut self, bar: &Bar, order: Order, rules: &Rules) -> bool {
        let waited = self.order.signals;
        self.stale += u32::from(waited.any());
        let is_given_up = rules.max_stale_bars.is_some_and(|most| self.stale > most);
        if is_given_up {
            (self.order.signals, self.stale) = (Signals::default(), 0);
        }
        if bar.has_prices() && order.signals.any() {
            (self.order, self.stale) = (order, 0);
            self.rest(bar, rules);
        }
        is_given_up && waited.entry(false).is_some()
    }

    /// What is left at the open of a bar.
    #[inline]
    pub fn at_open(&mut self, bar: &Bar, rules: &Rules) -> Option<Exit> {
        let position = self.position.as_ref()?;
        let side = position.side;
        let by_signal = match rules.fill {
            Fill::Open if self.is_told_to_exit(side, rules) => Exit::new(bar.open, Reason::Signal),
            Fill::Open if rules.max_bars.is_some_and(|most| position.bars >= most) => Exit::new(bar.open, Reason::Time),
            _ => None,
        };
        if by_signal.is_some() && rules.engine.levels_before_signal {
            return self.in_bar(bar, rules).or(by_signal);
        }
        by_signal.or_else(|| self.beyond(bar, rules))
    }

    /// What is left where the open of a bar is beyond a level.
    #[inline]
    fn beyond(&mut self, bar: &Bar, rules: &Rules) -> Option<Exit> {
        if rules.engine.gap == Gap::Range {
            return None;
        }
        let position = self.position.as_ref()?;
        let side = position.side;
        let ((stop, reason), target) = (position.stop(), position.target(rules));
        let left = if side.is_at_or_worse(bar.open, stop) {
            Exit::new(bar.open, reason)
        } else if rules.engine.target_at_open && position.reaches(bar.open, target, rules) {
            Exit::new(bar.open, Reason::Target)
        } else {
            None
        };
        self.hit |= left.is_some();
        left
    }

    /// What is left between the open of a bar and its close.
    #[inline]
    pub fn in_bar(&mut self, bar: &Bar, rules: &Rules) -> Option<Exit> {
        let position = self.position.as_mut()?;
        let is_entry = position.bars == 0;
        if is_entry && !rules.engine.levels_in_entry_bar {
            return None;
        }
        let bar = match &self.since {
            Some((_, seen)) if is_entry => seen,
            _ => bar,
        };
        let (side, first) = (position.side, position.trailing);
        if rules.trail == Trail::HighFirst {
            position.raise(side.best(bar), rules);
        }
        let ((stop, reason), target) = (position.stop(), position.target(rules));
        let stopped = side.is_at_or_worse(side.worst(bar), stop);
        let reached = position.reaches(side.best(bar), target, rules);
        let stop_first = match rules.both {
            Both::Stop => true,
            Both::Target => false,
            Both::Near => (side.worst(bar) - bar.open).abs() <= (side.best(bar) - bar.open).abs(),
        };
        let exit = if stopped && (stop_first || !reached) {
            let is_raised = reason == Reason::Trailing && first != stop;
            let price = match is_raised {
                // Which came first in the bar of the entry is not assumed: the stop that the entry had is left, or the worst price.
                true if is_entry => side.better(side.worst(bar), position.trail.at(position.price, -side.sign())),
                true if !side.is_at_or_worse(side.best(bar), stop) => stop,
                _ => stop_price(side, stop, bar, rules),
            };
            Exit::new(price, reason)
        } else if reached {
            let price = match rules.engine.gap {
                Gap::Open => side.better(target, bar.open),
                Gap::Range => target.clamp(bar.low, bar.high),
            };
            Exit::new(price, Reason::Target)
        } else {
            None
        };
        self.hit |= exit.is_some();
        exit
    }

    /// A bar ends with an order. What is left at its close.
    #[inline]
    pub fn at_close(&mut self, bar: &Bar, order: &Order, rules: &Rules) -> Option<Exit> {
        // The levels and the size of what enters nothing are not looked at.
        match order.enters() {
            true => self.order = *order,
            false => self.order.signals = order.signals,
        }
        if order.entry != Entry::Market {
            self.rest(bar, rules);
        }
        let position = self.position.as_mut()?;
        let bar = match &self.since {
            Some((_, seen)) if position.bars == 0 => seen,
            _ => bar,
        };
        position.sees(bar.high);
        position.sees(bar.low);
        let best = match rules.trail_on {
            TrailOn::High => position.side.best(bar),
            TrailOn::Close => bar.close,
        };
        if position.bars > 0 || rules.engine.levels_in_entry_bar {
            position.raise(best, rules);
        }
        let (side, bars) = (position.side, position.bars);
        match rules.fill {
            Fill::Close if self.is_told_to_exit(side, rules) => Exit::new(bar.close, Reason::Signal),
            Fill::Close if rules.max_bars.is_some_and(|most| bars >= most) => Exit::new(bar.close, Reason::Time),
            _ => None,
        }
    }

    /// The data ends. What is left with them.
    pub fn at_end(&self, bar: &Bar, rules: &Rules) -> Option<Exit> {
        self.position.as_ref()?;
        match rules.end {
            End::Close => Exit::new(bar.close, Reason::End),
            End::LastOpen => Exit::new(bar.open, Reason::End),
            End::Open => None,
        }
    }

    /// A bar passes in which what is held goes on: nothing is wanted, neither before it nor at its close, and no level is touched. Whether
    /// that is so; if not, nothing has happened yet. Age must not matter.
    #[inline]
    pub fn hold(&mut self, bar: &Bar, rules: &Rules) -> bool {
        if self.order.signals.any() || self.resting.is_some() {
            return false;
        }
        let Some(position) = &mut self.position else { return false };
        let side = position.side;
        if position.has_levels {
            let (stop, _) = position.stop();
            let (best, worst) = (side.better(side.best(bar), bar.open), side.worse(side.worst(bar), bar.open));
            let raises_first = rules.trail == Trail::HighFirst && position.trail != Level::None;
            if raises_first || side.is_at_or_worse(worst, stop) || side.is_at_or_worse(position.target, best) {
                return false;
            }
            position.raise(if rules.trail_on == TrailOn::High { side.best(bar) } else { bar.close }, rules);
        }
        position.bars += 1;
        position.sees(bar.high);
        position.sees(bar.low);
        (self.hit, self.stale) = (false, 0);
        true
    }

    /// Whether nothing is held and nothing wanted.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.position.is_none() && !self.order.signals.any() && self.resting.is_none()
    }

    /// The side that an order wants to enter, whatever is held.
    #[inline]
    pub fn wants(&self, rules: &Rules) -> Option<Side> {
        self.order.signals.entry(rules.engine.enters_despite_exit && self.position.is_none())
    }

    /// Whether what an order wants contradicts itself.
    #[inline]
    pub fn is_contradictory(&self, rules: &Rules) -> bool {
        self.order.signals.contradict() && self.wants(rules).is_none()
    }

    /// The order to be filled at the market, of the side that it enters: nothing is held, and no level was left in this bar.
    #[inline]
    pub fn entry(&self, rules: &Rules) -> Option<(Side, Order)> {
        let waits = || self.order.entry != Entry::Market && self.order.has_levels();
        if self.position.is_some() || self.hit || waits() {
            return None;
        }
        self.wants(rules).map(|side| (side, self.order))
    }

    /// The order waits for its price, unless there is a position that stays.
    fn rest(&mut self, bar: &Bar, rules: &Rules) {
        let Some(side) = self.wants(rules) else { return };
        if self.position.is_none_or(|held| held.side != side && rules.reverse) {
            self.resting = Resting::of(side, &self.order, bar.close, rules);
        }
    }

    /// The entry that waits, where it can be filled.
    #[inline]
    fn waiting(&self) -> Option<&Resting> {
        self.resting.as_ref().filter(|_| self.position.is_none() && !self.hit)
    }

    /// The entry whose price is there at the open of a bar.
    #[inline]
    pub fn arrives_at_open(&mut self, bar: &Bar, rules: &Rules) -> Option<Arrived> {
        let arrived = self.waiting()?.at_open(bar, rules)?;
        self.resting = None;
        Some(arrived)
    }

    /// The entry whose price comes in the course of a bar, of which these are the parts.
    #[inline]
    pub fn arrives(&mut self, parts: &[Bar], rules: &Rules) -> Option<Arrived> {
        let resting = self.waiting()?;
        let (arrived, since) = parts.iter().enumerate().find_map(|(at, part)| {
            let at_open = resting.at_open(part, rules).map(|arrived| (arrived, (at, *part)));
            at_open.or_else(|| resting.in_bar(part, rules).map(|arrived| (arrived, (at, resting.seen(part, rules)))))
        })?;
        (self.since, self.resting) = (Some(since), None);
        Some(arrived)
    }

    /// A bar ends with signals. Whether an entry that waited is given up.
    #[inline]
    pub fn expires(&mut self, signals: &Signals) -> bool {
        let is_over = self.resting.as_mut().is_some_and(|resting| !resting.goes_on(signals));
        if is_over {
            self.resting = None;
        }
        is_over
    }

    /// Whether the prices of a bar do not tell what came first in it.
    pub fn is_unclear(&self, bar: &Bar, rules: &Rules) -> bool {
        let Some(mut position) = self.position else {
            return self.waiting().is_some_and(|resting| resting.in_bar(bar, rules).is_some() && resting.has_levels());
        };
        if position.bars == 0 && !rules.engine.levels_in_entry_bar {
            return false;
        }
        let side = position.side;
        let before = position.trailing;
        if rules.trail == Trail::HighFirst {
            position.raise(side.best(bar), rules);
        }
        let stopped = side.is_at_or_worse(side.worst(bar), position.stop().0);
        stopped && (before != position.trailing || position.reaches(side.best(bar), position.target(rules), rules))
    }

    /// What is left in the course of a bar of which the parts are known.
    pub fn in_parts(&mut self, parts: &[Bar], rules: &Rules) -> Option<Exit> {
        let is_entry = self.position.as_ref()?.bars == 0;
        let since = self.since.take().filter(|_| is_entry);
        let first = since.map_or(0, |(at, _)| at);
        let mut seen: Option<Bar> = None;
        for (at, part) in parts.iter().enumerate().skip(first) {
            let part = since.map_or(*part, |(entered, seen)| if at == entered { seen } else { *part });
            let beyond = if at > first { self.beyond(&part, rules) } else { None };
            let exit = beyond.or_else(|| self.in_bar(&part, rules));
            if exit.is_some() {
                return exit;
            }
            seen = Some(seen.map_or(part, |seen| seen.with(&part)));
        }
        self.since = seen.filter(|_| since.is_some()).map(|seen| (0, seen));
        None
    }

    /// An order is filled, at `price` for a unit, while the market was at `market`.
    pub fn enter(&mut self, (side, order): (Side, &Order), fill: &Filled, rules: &Rules, row: usize) {
        let (way, Bracket { stop, target, trail }) = (side.sign(), order.bracket);
        let Filled { price, market, quantity } = *fill;
        let mut position = Position {
            side,
            price,
            quantity,
            row,
            bars: 0,
            has_levels: order.bracket != Bracket::default(),
            stop: stop.at(price, -way),
            target: target.at(price, way),
            trail,
            best: price,
            trailing: Level::None.at(price, -way),
            extremes: (market, market),
        };
        position.raise(price, rules);
        self.position = Some(position);
    }

    /// A position is left in a bar. What it was; the bar counts with its open and the price of the exit, since of its other
    /// prices it is not known whether they came before.
    pub fn leave(&mut self, exit: &Exit, bar: &Bar) -> Option<Position> {
        let mut position = self.position.take()?;
        if position.bars > 0 {
            position.sees(bar.open);
        }
        position.sees(exit.price);
        Some(position)
    }

    #[inline]
    fn is_told_to_exit(&self, side: Side, rules: &Rules) -> bool {
        let signals = self.order.signals;
        signals.exits(side) || (rules.reverse && signals.entry(false).is_some_and(|entered| entered != side))
    }
}
