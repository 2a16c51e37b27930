//! What one symbol's bars do to orders and to the position: the rules of fills, bar by bar. How much is bought, and with what
//! money, is decided elsewhere.

use super::rules::{Both, End, Fill, Gap, LimitFill, Rules, Trail, TrailOn};

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
    fn is_at_or_worse(self, price: f64, than: f64) -> bool {
        match self {
            Side::Long => price <= than,
            Side::Short => price >= than,
        }
    }

    #[inline]
    fn worse(self, a: f64, b: f64) -> f64 {
        if self.is_at_or_worse(a, b) { a } else { b }
    }

    #[inline]
    fn better(self, a: f64, b: f64) -> f64 {
        if self.is_at_or_worse(a, b) { b } else { a }
    }

    /// The best price of a bar.
    #[inline]
    fn best(self, bar: &Bar) -> f64 {
        if self == Side::Long { bar.high } else { bar.low }
    }

    /// The worst price of a bar.
    #[inline]
    fn worst(self, bar: &Bar) -> f64 {
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
    fn entry(&self, despite_exit: bool) -> Option<Side> {
        match (self.enter_long, self.enter_short) {
            (true, false) if despite_exit || !self.exit_long => Some(Side::Long),
            (false, true) if despite_exit || !self.exit_short => Some(Side::Short),
            _ => None,
        }
    }

    /// Whether a position of this side is to be closed.
    #[inline]
    fn exits(&self, side: Side) -> bool {
        match side {
            Side::Long => self.exit_long && !self.enter_long,
            Side::Short => self.exit_short && !self.enter_short,
        }
    }

    /// Whether an entry is wanted that another signal contradicts.
    #[inline]
    fn contradict(&self) -> bool {
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
    fn is_known(self) -> bool {
        match self {
            Level::None => true,
            Level::Fraction(x) | Level::Distance(x) | Level::Price(x) => x.is_finite() && x > 0.0,
        }
    }

    /// The price of it, this way from an entry: 1 up, -1 down. Infinitely far where there is none.
    #[inline]
    fn at(self, entry: f64, way: f64) -> f64 {
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

/// What was wanted at a close, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Order {
    /// What is wanted.
    pub signals: Signals,
    /// The levels of an entry.
    pub bracket: Bracket,
    /// How much is entered, in units of whoever sizes.
    pub size: f64,
}

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
}

impl Reason {
    /// Names, in the order of the variants.
    pub const NAMES: [&'static str; 9] =
        ["signal", "stop", "trailing", "target", "time", "end", "delisted", "ruin", "liquidation"];
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
    fn new(price: f64, reason: Reason) -> Option<Exit> {
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
    has_levels: bool,
    stop: f64,
    target: f64,
    trail: Level,
    /// The best price so far, as the trailing stop has it.
    best: f64,
    /// Where the trailing stop is; infinitely far while there is none.
    trailing: f64,
    /// The best and the worst price of the market while it was there.
    pub extremes: (f64, f64),
}

impl Position {
    /// The nearer of stop and trailing stop.
    #[inline]
    fn stop(&self) -> (f64, Reason) {
        match self.side.is_at_or_worse(self.stop, self.trailing) {
            true if self.trailing.is_finite() => (self.trailing, Reason::Trailing),
            _ => (self.stop, Reason::Stop),
        }
    }

    #[inline]
    fn target(&self, rules: &Rules) -> f64 {
        let step = rules.target_steps.iter().rev().find(|(bars, _)| *bars <= self.bars);
        match step {
            Some((_, fraction)) => self.price * (1.0 + self.side.sign() * fraction),
            None => self.target,
        }
    }

    #[inline]
    fn reaches(&self, price: f64, target: f64, rules: &Rules) -> bool {
        match rules.limit_fill {
            LimitFill::Touch => self.side.is_at_or_worse(target, price),
            LimitFill::Through => self.side.is_at_or_worse(target, price) && price != target,
        }
    }

    #[inline]
    fn sees(&mut self, price: f64) {
        let (best, worst) = self.extremes;
        self.extremes = (self.side.better(best, price), self.side.worse(worst, price));
    }

    /// Raises the trailing stop by a price.
    #[inline]
    fn raise(&mut self, price: f64, rules: &Rules) {
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

/// One symbol's orders and position, from bar to bar.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trader {
    /// What is held.
    pub position: Option<Position>,
    order: Order,
    stale: u32,
    /// A level was left in this bar.
    hit: bool,
}

impl Trader {
    /// A bar begins; whether orders are filled in it.
    #[inline]
    pub fn begin(&mut self, bar: &Bar, rules: &Rules) -> bool {
        self.hit = false;
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
        if by_signal.is_some() {
            return by_signal;
        }
        if rules.engine.gap == Gap::Range {
            return None;
        }
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
        match order.signals.enter_long || order.signals.enter_short {
            true => self.order = *order,
            false => self.order.signals = order.signals,
        }
        let position = self.position.as_mut()?;
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
        if self.order.signals.any() {
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
        self.position.is_none() && !self.order.signals.any()
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

    /// The order to be filled, of the side that it enters: nothing is held, and no level was left in this bar.
    #[inline]
    pub fn entry(&self, rules: &Rules) -> Option<(Side, Order)> {
        if self.position.is_some() || self.hit {
            return None;
        }
        self.wants(rules).map(|side| (side, self.order))
    }

    /// Whether the levels of an order are known.
    pub fn has_levels(order: &Order) -> bool {
        order.bracket.stop.is_known() && order.bracket.target.is_known() && order.bracket.trail.is_known()
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

/// At which price a stop is left that a bar touches.
#[inline]
fn stop_price(side: Side, stop: f64, bar: &Bar, rules: &Rules) -> f64 {
    match rules.engine.gap {
        // Nobody gets the stop where the market is already beyond it.
        Gap::Open => side.worse(stop, bar.open),
        // A stop within the bar is taken, and otherwise the open, since all of the bar is beyond.
        Gap::Range if side.is_at_or_worse(side.best(bar), stop) => bar.open,
        Gap::Range => stop,
    }
}
