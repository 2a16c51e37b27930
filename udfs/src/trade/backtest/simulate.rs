//! One symbol, with money of its own: the rules of fills, bar by bar.

use super::account::{Costs, Funds, Lots, Rejected, quantity};
use super::order::{Bar, Order, Side};
use super::position::{Exit, Filled, Position, Reason};
use super::resting::Arrived;
use super::rules::{Fill, Rules};
use super::trader::Trader;

/// A position that was left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trade {
    /// Its side.
    pub side: Side,
    /// The row of its entry.
    pub entry_row: usize,
    /// The row of its exit.
    pub exit_row: usize,
    /// What was paid, or got, for a unit.
    pub entry_price: f64,
    /// What was got, or paid, for a unit.
    pub exit_price: f64,
    /// Units.
    pub quantity: f64,
    /// What it gained, costs taken off.
    pub pnl: f64,
    /// The same as a fraction of the value of the entry.
    pub gain: f64,
    /// The most that the market was ahead of the entry, as a fraction of it; not below 0.
    pub mfe: f64,
    /// The most that the market was behind the entry, as a fraction of it; not above 0.
    pub mae: f64,
    /// What was paid beside prices.
    pub costs: f64,
    /// Bars from the entry to the exit.
    pub bars: u32,
    /// Why it was left.
    pub reason: Reason,
}

/// What there is to tell of a simulation, while it runs.
pub trait Record {
    /// A position was entered in a row.
    fn entered(&mut self, row: usize, side: Side, filled: &Filled);
    /// A position was left.
    fn left(&mut self, trade: &Trade);
    /// An entry that was wanted did not happen.
    fn rejected(&mut self, row: usize, why: Rejected);
    /// A bar is over: what the account is worth, and how many units it holds, below 0 if they were sold short.
    fn closed(&mut self, row: usize, equity: f64, units: f64);
}

/// What a simulation follows beside the rules of fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Money at the beginning.
    pub cash: f64,
    /// What positions may be worth, in multiples of the account.
    pub leverage: f64,
    /// What is paid beside prices.
    pub costs: Costs,
    /// Which quantities there are.
    pub lots: Lots,
}

/// The bars of a symbol.
#[derive(Debug, Clone, Copy)]
pub struct Bars<'a> {
    /// First prices.
    pub open: &'a [f64],
    /// Highest prices.
    pub high: &'a [f64],
    /// Lowest prices.
    pub low: &'a [f64],
    /// Last prices.
    pub close: &'a [f64],
    /// What was traded, if that is known.
    pub volume: Option<&'a [f64]>,
    /// Times in microseconds, if they are known.
    pub ts: Option<&'a [i64]>,
    /// What a position gets or pays at each bar, as a fraction of its value, if there is such a thing.
    pub funding: Option<&'a [f64]>,
}

impl Bars<'_> {
    #[inline]
    fn at(&self, row: usize) -> Bar {
        Bar {
            open: self.open[row],
            high: self.high[row],
            low: self.low[row],
            close: self.close[row],
            volume: self.volume.map_or(f64::NAN, |volume| volume[row]),
        }
    }
}

/// An account with one symbol.
#[derive(Debug, Clone)]
pub struct Simulation<'a> {
    rules: &'a Rules,
    terms: Terms,
    trader: Trader,
    cash: f64,
    /// What the account was worth at the last close.
    equity: f64,
    /// The last price, and its time.
    last: (f64, Option<i64>),
    /// What the position cost so far beside prices.
    costs: f64,
    /// Nothing is traded any more.
    is_over: bool,
}

impl<'a> Simulation<'a> {
    /// An account with nothing but money.
    pub fn new(rules: &'a Rules, terms: Terms) -> Simulation<'a> {
        Simulation {
            rules,
            terms,
            trader: Trader::default(),
            cash: terms.cash,
            equity: terms.cash,
            last: (f64::NAN, None),
            costs: 0.0,
            is_over: false,
        }
    }

    /// Whether it neither holds nor wants anything.
    pub fn is_idle(&self) -> bool {
        self.trader.is_idle()
    }

    /// All bars, with the order at the close of each.
    pub fn run(mut self, bars: &Bars<'_>, order: impl Fn(usize) -> Order, record: &mut impl Record) {
        let rows = bars.close.len();
        let Costs { borrow, .. } = self.terms.costs;
        // Neither age nor time changes anything: a position goes on until a signal, or a bar that touches a level.
        let is_timeless = self.rules.max_bars.is_none()
            && self.rules.target_steps.is_empty()
            && borrow == 0.0
            && bars.funding.is_none();
        for row in 0..rows {
            let order = order(row);
            if !order.signals.any() {
                if self.trader.is_idle() {
                    // Nothing can happen.
                    record.closed(row, self.equity, 0.0);
                    continue;
                }
                if is_timeless && row + 1 < rows && self.hold(row, bars, record) {
                    continue;
                }
            }
            let (bar, ts) = (bars.at(row), bars.ts.map(|ts| ts[row]));
            let funding = bars.funding.map_or(0.0, |funding| funding[row]);
            self.step(row, &bar, (ts, funding), &order, row + 1 == rows, record);
        }
    }

    /// A bar in which what is held goes on. Whether it does: not in bars without trades, and not where nothing is left of the account.
    #[inline]
    fn hold(&mut self, row: usize, bars: &Bars<'_>, record: &mut impl Record) -> bool {
        let bar = bars.at(row);
        let Some(held) = &self.trader.position else { return false };
        let units = held.side.sign() * held.quantity;
        let equity = self.cash + units * bar.close;
        let is_worth = equity > 0.0 && !self.is_over;
        if !is_worth || !bar.trades(self.rules) || !self.trader.hold(&bar, self.rules) {
            return false;
        }
        self.last = (bar.close, bars.ts.map(|ts| ts[row]));
        self.equity = equity;
        record.closed(row, equity, units);
        true
    }

    /// One bar, and the order at its close.
    pub fn step(
        &mut self,
        row: usize,
        bar: &Bar,
        (ts, funding): (Option<i64>, f64),
        order: &Order,
        is_last: bool,
        record: &mut impl Record,
    ) {
        let rules = self.rules;
        if self.is_over {
            record.closed(row, self.equity, 0.0);
            return;
        }
        if self.trader.begin(bar, rules) {
            self.pay_for_time(ts, funding);
            if let Some(exit) = self.trader.at_open(bar, rules) {
                self.leave(&exit, bar, row, record);
            }
            if rules.fill == Fill::Open {
                self.enter(bar.open, bar, row, record);
            }
            if let Some(arrived) = self.trader.arrives_at_open(bar, rules) {
                self.fill(&arrived, bar, row, record);
            }
            if let Some(arrived) = self.trader.arrives(std::slice::from_ref(bar), rules) {
                self.fill(&arrived, bar, row, record);
            }
            if let Some(exit) = self.trader.in_bar(bar, rules) {
                self.leave(&exit, bar, row, record);
            }
            if self.trader.expires(&order.signals) {
                record.rejected(row, Rejected::Expired);
            }
            if let Some(exit) = self.trader.at_close(bar, order, rules) {
                self.leave(&exit, bar, row, record);
            }
            if rules.fill == Fill::Close && !is_last {
                self.enter(bar.close, bar, row, record);
            }
            self.last = (bar.close, ts);
        } else {
            if self.trader.pass(bar, *order, rules) {
                record.rejected(row, Rejected::Stale);
            }
            if bar.has_prices() {
                self.last.0 = bar.close;
            }
        }
        self.mark();
        if self.equity <= 0.0
            && let Some(exit) = self.trader.position.map(|_| Exit { price: self.last.0, reason: Reason::Ruin })
        {
            self.leave(&exit, bar, row, record);
            self.mark();
        }
        self.is_over = self.equity <= 0.0;
        if is_last && let Some(exit) = self.trader.at_end(bar, rules) {
            let exit = if bar.has_prices() { exit } else { Exit { price: self.last.0, ..exit } };
            self.leave(&exit, bar, row, record);
            self.mark();
        }
        let units = self.trader.position.map_or(0.0, |held| held.side.sign() * held.quantity);
        record.closed(row, self.equity, units);
    }

    /// What the account is worth at the last price.
    #[inline]
    fn mark(&mut self) {
        let value = self.trader.position.map_or(0.0, |held| held.side.sign() * held.quantity * self.last.0);
        self.equity = self.cash + value;
    }

    /// Borrowing what was sold short, and funding.
    #[inline]
    fn pay_for_time(&mut self, ts: Option<i64>, funding: f64) {
        let Some(held) = &self.trader.position else { return };
        let value = held.quantity * self.last.0;
        let paid = self.terms.costs.of_holding(held.side, value, self.last.1.zip(ts), funding);
        self.cash -= paid;
        self.costs += paid;
    }

    fn enter(&mut self, market: f64, bar: &Bar, row: usize, record: &mut impl Record) {
        let rules = self.rules;
        if self.trader.is_contradictory(rules) {
            record.rejected(row, Rejected::Conflict);
        }
        if let Some((side, order)) = self.trader.entry(rules) {
            self.fill(&Arrived { side, order, market, is_limit: false }, bar, row, record);
        } else if self.trader.position.is_some() && self.trader.wants(rules).is_some() {
            record.rejected(row, Rejected::InPosition);
        }
    }

    fn fill(&mut self, arrived: &Arrived, bar: &Bar, row: usize, record: &mut impl Record) {
        let rules = self.rules;
        let Arrived { side, order, market, .. } = *arrived;
        let price = arrived.price(&self.terms.costs);
        let granted = match order.has_levels() {
            false => Err(Rejected::NoPrice),
            true => {
                let most = match side {
                    Side::Long => self.cash + (self.terms.leverage - 1.0) * self.equity,
                    Side::Short => self.equity * self.terms.leverage,
                };
                let funds = Funds { value: order.size * self.equity, most };
                quantity(side, price, bar.volume, funds, &self.terms.costs, &self.terms.lots)
            }
        };
        match granted {
            Ok(quantity) => {
                let paid = self.terms.costs.of_fill(price, quantity);
                self.cash -= side.sign() * price * quantity + paid;
                self.costs = paid;
                let filled = Filled { price, market, quantity };
                self.trader.enter((side, &order), &filled, rules, row);
                record.entered(row, side, &filled);
            }
            Err(why) => record.rejected(row, why),
        }
    }

    fn leave(&mut self, exit: &Exit, bar: &Bar, row: usize, record: &mut impl Record) {
        let Some(position) = self.trader.leave(exit, bar) else { return };
        // A target is an order at its price; everything else takes what the market gives.
        let price = match exit.reason {
            Reason::Target => exit.price,
            _ => self.terms.costs.slipped(exit.price, -position.side.sign()),
        };
        let paid = self.terms.costs.of_fill(price, position.quantity);
        self.cash += position.side.sign() * price * position.quantity - paid;
        record.left(&trade(&position, price, exit.reason, row, self.costs + paid));
        self.costs = 0.0;
    }
}

/// A position that is left for a price.
pub fn trade(position: &Position, price: f64, reason: Reason, row: usize, costs: f64) -> Trade {
    let Position { side, quantity, price: paid, row: entry_row, bars, extremes: (best, worst), .. } = *position;
    let pnl = side.sign() * (price - paid) * quantity - costs;
    let ahead = |market: f64| side.sign() * (market / paid - 1.0);
    Trade {
        side,
        entry_row,
        exit_row: row,
        entry_price: paid,
        exit_price: price,
        quantity,
        pnl,
        gain: pnl / (paid * quantity),
        mfe: ahead(best).max(0.0),
        mae: ahead(worst).min(0.0),
        costs,
        bars,
        reason,
    }
}
