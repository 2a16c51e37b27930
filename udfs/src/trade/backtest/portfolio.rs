//! All symbols with shared money, instant by instant.

use super::account::{Costs, Funds, Lots, Rejected, quantity};
use super::order::{Bar, Entry, Order, Side};
use super::position::{Exit, Filled, Reason};
use super::resting::Arrived;
use super::rules::{Fill, Rules};
use super::simulate::{Trade, trade};
use super::trader::Trader;
use std::collections::HashMap;
use std::sync::Arc;

/// Money, limits and costs of a portfolio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Money at the beginning.
    pub cash: f64,
    /// What all positions may be worth, in multiples of the account.
    pub leverage: f64,
    /// Everything is closed once the account is worth less than this fraction of its positions.
    pub maintenance: f64,
    /// The most positions at a time.
    pub slots: usize,
    /// An entry of more than this fraction of the account does not happen.
    pub max_weight: f64,
    /// What is paid beside prices.
    pub costs: Costs,
    /// Which quantities there are.
    pub lots: Lots,
}

impl Default for Terms {
    /// A hundred thousand in ten slots, without credit and costs.
    fn default() -> Self {
        Terms {
            cash: 100_000.0,
            leverage: 1.0,
            maintenance: 0.0,
            slots: 10,
            max_weight: f64::INFINITY,
            costs: Costs::default(),
            lots: Lots::default(),
        }
    }
}

/// What an order's size is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizing {
    /// A fraction of the account.
    Fraction,
    /// Money.
    Value,
    /// The fraction of the account that is lost at the stop.
    Risk,
}

/// A bar of a symbol, with the order at its close.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SymbolBar {
    /// Which symbol, counted from 0.
    pub symbol: usize,
    /// The bar.
    pub bar: Bar,
    /// What is wanted at its close.
    pub order: Order,
    /// Which entries come first: those with more; NaN comes last.
    pub rank: f64,
    /// What a long position pays at the bar, as a fraction of its value.
    pub funding: f64,
    /// It is the last bar of its symbol.
    pub is_last: bool,
}

/// What an account is worth at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mark {
    /// Money.
    pub cash: f64,
    /// What positions are worth; what was sold short counts below 0.
    pub value: f64,
    /// Both.
    pub equity: f64,
    /// What positions are worth without signs, over what the account is.
    pub exposure: f64,
    /// What was bought and sold at the instant, over what the account was worth before.
    pub turnover: f64,
    /// Positions.
    pub positions: usize,
}

/// What was bought, or sold short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entered {
    /// Its side.
    pub side: Side,
    /// What was paid, or got, for a unit.
    pub price: f64,
    /// Units.
    pub quantity: f64,
}

/// What happens to a portfolio.
pub trait Ledger {
    /// A position was entered, or became larger.
    fn entered(&mut self, _symbol: usize, _entered: &Entered) {}
    /// A position was left; its rows count instants.
    fn left(&mut self, symbol: usize, trade: &Trade);
    /// An entry that was wanted did not happen.
    fn rejected(&mut self, symbol: usize, why: Rejected);
}

/// A symbol's orders and position, and what is known of it.
#[derive(Debug, Clone, Default)]
struct Symbol {
    trader: Trader,
    rank: f64,
    /// The last price, and its time.
    last: (f64, i64),
    /// What its position cost so far beside prices.
    costs: f64,
}

/// A portfolio.
#[derive(Debug, Clone)]
pub struct Portfolio<'a> {
    rules: Arc<Rules>,
    terms: Terms,
    sizing: Sizing,
    symbols: Vec<Symbol>,
    /// Symbols with a position, ascending.
    held: Vec<usize>,
    cash: f64,
    /// What the account was worth at the last instant.
    equity: f64,
    traded: f64,
    instant: usize,
    is_over: bool,
    /// Some entries wait for their price.
    waits: bool,
    details: Option<&'a Details>,
    /// Bars of which the details are missing.
    unclear: Vec<(usize, i64)>,
}

/// The shorter bars within bars, by the symbol and the time of a bar; none where there are none.
pub type Details = HashMap<(usize, i64), Vec<Bar>>;

impl<'a> Portfolio<'a> {
    /// Nothing but money.
    pub fn new(rules: Arc<Rules>, terms: Terms, sizing: Sizing) -> Portfolio<'a> {
        Portfolio {
            rules,
            terms,
            sizing,
            symbols: vec![],
            held: vec![],
            cash: terms.cash,
            equity: terms.cash,
            traded: 0.0,
            instant: 0,
            is_over: false,
            waits: false,
            details: None,
            unclear: vec![],
        }
    }

    /// Lets shorter bars tell what came first within a bar, as far as they are known.
    pub fn with_details(&mut self, details: &'a Details) {
        self.details = Some(details);
    }

    /// The bars, by symbol and time, in which it was not clear what came first, and of which there are no details.
    pub fn unclear(&self) -> &[(usize, i64)] {
        &self.unclear
    }

    /// A bar, or its parts where it does not tell what came first.
    fn parts<'b>(&mut self, bar: &'b SymbolBar, ts: i64) -> &'b [Bar]
    where
        'a: 'b,
    {
        let whole = std::slice::from_ref(&bar.bar);
        let Some(details) = self.details else { return whole };
        if !self.symbols[bar.symbol].trader.is_unclear(&bar.bar, &self.rules) {
            return whole;
        }
        let key = (bar.symbol, ts);
        let known = details.get(&key);
        if known.is_none() {
            self.unclear.push(key);
        }
        known.filter(|parts| !parts.is_empty()).map_or(whole, Vec::as_slice)
    }

    /// An instant: the bars that all symbols have then, by symbol. `is_last`: no other comes.
    pub fn step(&mut self, ts: i64, bars: &[SymbolBar], is_last: bool, ledger: &mut impl Ledger) -> Mark {
        let rules = Arc::clone(&self.rules);
        let rules = rules.as_ref();
        if let Some(most) = bars.iter().map(|bar| bar.symbol).max()
            && most >= self.symbols.len()
        {
            self.symbols.resize_with(most + 1, Symbol::default);
        }
        if self.is_over {
            self.instant += 1;
            return self.mark(0.0);
        }
        let before = self.equity;
        let mut open = Vec::with_capacity(bars.len());
        for bar in bars {
            if self.symbols[bar.symbol].trader.begin(&bar.bar, rules) {
                self.pay_for_time(bar, ts);
                self.symbols[bar.symbol].last = (bar.bar.open, ts);
                if let Some(exit) = self.symbols[bar.symbol].trader.at_open(&bar.bar, rules) {
                    self.cash += self.leave(bar, &exit, ledger);
                }
                open.push(bar);
            } else {
                self.pass(bar, ledger);
            }
        }
        if rules.fill == Fill::Open {
            self.enter(&open, |bar| bar.open, ledger);
        }
        if self.waits {
            self.arrive(&open, ledger, |trader, bar| trader.arrives_at_open(&bar.bar, rules));
        }
        let parts: Vec<&[Bar]> = match self.details {
            Some(_) => open.iter().map(|bar| self.parts(bar, ts)).collect(),
            None => vec![],
        };
        if self.waits {
            let mut known = parts.iter().copied();
            self.arrive(&open, ledger, |trader, bar| match known.next() {
                Some(parts) => trader.arrives(parts, rules),
                None => trader.arrives(std::slice::from_ref(&bar.bar), rules),
            });
        }
        // What is got in the course of a bar is there from the next instant on.
        let mut got = 0.0;
        for (at, bar) in open.iter().enumerate() {
            let parts = parts.get(at).copied().unwrap_or(std::slice::from_ref(&bar.bar));
            let trader = &mut self.symbols[bar.symbol].trader;
            let exit = match parts {
                [_] => trader.in_bar(&bar.bar, rules),
                parts => trader.in_parts(parts, rules),
            };
            if let Some(exit) = exit {
                got += self.leave(bar, &exit, ledger);
            }
        }
        for bar in &open {
            let symbol = &mut self.symbols[bar.symbol];
            symbol.last = (bar.bar.close, ts);
            if symbol.trader.expires(&bar.order.signals) {
                ledger.rejected(bar.symbol, Rejected::Expired);
            }
            if bar.order.enters() {
                symbol.rank = bar.rank;
                self.waits |= bar.order.entry != Entry::Market;
            }
            if let Some(exit) = symbol.trader.at_close(&bar.bar, &bar.order, rules) {
                self.cash += self.leave(bar, &exit, ledger);
            }
        }
        if rules.fill == Fill::Close && !is_last {
            let going_on: Vec<&SymbolBar> = open.iter().copied().filter(|bar| !bar.is_last).collect();
            self.enter(&going_on, |bar| bar.close, ledger);
        }
        self.cash += got;
        if !is_last {
            for bar in bars.iter().filter(|bar| bar.is_last) {
                self.close(bar.symbol, Reason::Delisted, ledger);
            }
        }
        let mark = self.mark(before);
        let gross = mark.exposure * mark.equity;
        if mark.equity <= 0.0 {
            self.close_all(Reason::Ruin, ledger);
            self.is_over = true;
        } else if mark.equity < self.terms.maintenance * gross {
            self.close_all(Reason::Liquidation, ledger);
        }
        if is_last {
            self.end(bars, ledger);
        }
        self.instant += 1;
        let mark = self.mark(before);
        self.equity = mark.equity;
        self.traded = 0.0;
        mark
    }

    /// A bar in which nothing is filled.
    fn pass(&mut self, bar: &SymbolBar, ledger: &mut impl Ledger) {
        let symbol = &mut self.symbols[bar.symbol];
        if symbol.trader.pass(&bar.bar, bar.order, &self.rules) {
            ledger.rejected(bar.symbol, Rejected::Stale);
        }
        if bar.bar.has_prices() {
            symbol.last.0 = bar.bar.close;
            if bar.order.enters() {
                symbol.rank = bar.rank;
                self.waits |= bar.order.entry != Entry::Market;
            }
        }
    }

    /// Signed and unsigned value of the positions.
    fn value(&self) -> (f64, f64) {
        let values = self.held.iter().filter_map(|symbol| {
            let Symbol { trader, last, .. } = &self.symbols[*symbol];
            trader.position.map(|held| (held.side.sign(), held.quantity * last.0))
        });
        values.fold((0.0, 0.0), |(net, gross), (sign, value)| (net + sign * value, gross + value))
    }

    fn mark(&self, before: f64) -> Mark {
        let (value, gross) = self.value();
        let equity = self.cash + value;
        Mark {
            cash: self.cash,
            value,
            equity,
            exposure: if equity > 0.0 { gross / equity } else { 0.0 },
            turnover: if before > 0.0 { self.traded / before } else { 0.0 },
            positions: self.held.len(),
        }
    }

    fn pay_for_time(&mut self, bar: &SymbolBar, ts: i64) {
        let symbol = &mut self.symbols[bar.symbol];
        let Some(held) = &symbol.trader.position else { return };
        let value = held.quantity * symbol.last.0;
        let paid = self.terms.costs.of_holding(held.side, value, Some((symbol.last.1, ts)), bar.funding);
        symbol.costs += paid;
        self.cash -= paid;
    }

    /// Fills the entries that wait, those of the highest rank first.
    fn enter(&mut self, bars: &[&SymbolBar], price: impl Fn(&Bar) -> f64, ledger: &mut impl Ledger) {
        let rules = Arc::clone(&self.rules);
        let rules = rules.as_ref();
        let mut wanted = vec![];
        for bar in bars {
            let Symbol { trader, rank, .. } = &self.symbols[bar.symbol];
            if trader.is_contradictory(rules) {
                ledger.rejected(bar.symbol, Rejected::Conflict);
            }
            match trader.entry(rules) {
                Some((side, order)) => {
                    wanted.push((*rank, *bar, Arrived { side, order, market: price(&bar.bar), is_limit: false }));
                }
                None if trader.position.is_some() && trader.wants(rules).is_some() => {
                    ledger.rejected(bar.symbol, Rejected::InPosition);
                }
                None => {}
            }
        }
        self.fill(wanted, ledger);
    }

    /// Fills the entries whose price came, those of the highest rank first.
    fn arrive(
        &mut self,
        bars: &[&SymbolBar],
        ledger: &mut impl Ledger,
        mut came: impl FnMut(&mut Trader, &SymbolBar) -> Option<Arrived>,
    ) {
        let mut wanted = vec![];
        for bar in bars {
            let Symbol { trader, rank, .. } = &mut self.symbols[bar.symbol];
            wanted.extend(came(trader, bar).map(|arrived| (*rank, *bar, arrived)));
        }
        self.fill(wanted, ledger);
    }

    /// Fills entries, which are by symbol: that stays where ranks are the same.
    fn fill(&mut self, mut wanted: Vec<(f64, &SymbolBar, Arrived)>, ledger: &mut impl Ledger) {
        wanted.sort_by(|(a, ..), (b, ..)| a.is_nan().cmp(&b.is_nan()).then(b.total_cmp(a)));
        for (_, bar, arrived) in wanted {
            let Arrived { side, order, market, .. } = arrived;
            match self.granted(&arrived, bar.bar.volume) {
                Ok((price, quantity)) => {
                    let paid = self.terms.costs.of_fill(price, quantity);
                    self.cash -= side.sign() * price * quantity + paid;
                    self.traded += price * quantity;
                    let symbol = &mut self.symbols[bar.symbol];
                    symbol.costs = paid;
                    let filled = Filled { price, market, quantity };
                    symbol.trader.enter((side, &order), &filled, &self.rules, self.instant);
                    ledger.entered(bar.symbol, &Entered { side, price, quantity });
                    let place = self.held.partition_point(|held| *held < bar.symbol);
                    self.held.insert(place, bar.symbol);
                }
                Err(why) => ledger.rejected(bar.symbol, why),
            }
        }
    }

    /// What an order gets for which price.
    fn granted(&self, arrived: &Arrived, volume: f64) -> Result<(f64, f64), Rejected> {
        let Arrived { side, order, .. } = arrived;
        let Terms { leverage, slots, max_weight, costs, lots, .. } = &self.terms;
        if !order.has_levels() {
            return Err(Rejected::NoPrice);
        }
        if self.held.len() >= *slots {
            return Err(Rejected::NoSlot);
        }
        let price = arrived.price(costs);
        let value = match self.sizing {
            Sizing::Fraction => order.size * self.equity,
            Sizing::Value => order.size,
            Sizing::Risk => {
                let away = order.bracket.stop_distance(price, *side).filter(|away| *away > 0.0);
                order.size * self.equity * price / away.ok_or(Rejected::NoPrice)?
            }
        };
        if value > max_weight * self.equity {
            return Err(Rejected::MaxWeight);
        }
        let (net, gross) = self.value();
        let most = leverage * (self.cash + net) - gross;
        let funds = Funds { value, most };
        let units = quantity(*side, price, volume, funds, costs, lots)?;
        Ok((price, units))
    }

    /// A position is left. What is got for it.
    fn leave(&mut self, bar: &SymbolBar, exit: &Exit, ledger: &mut impl Ledger) -> f64 {
        let symbol = &mut self.symbols[bar.symbol];
        let Some(position) = symbol.trader.leave(exit, &bar.bar) else { return 0.0 };
        let price = match exit.reason {
            Reason::Target => exit.price,
            _ => self.terms.costs.slipped(exit.price, -position.side.sign()),
        };
        let paid = self.terms.costs.of_fill(price, position.quantity);
        let costs = std::mem::take(&mut symbol.costs) + paid;
        self.traded += price * position.quantity;
        self.held.retain(|held| *held != bar.symbol);
        ledger.left(bar.symbol, &trade(&position, price, exit.reason, self.instant, costs));
        position.side.sign() * price * position.quantity - paid
    }

    /// Leaves a position at the last price of its symbol.
    fn close(&mut self, symbol: usize, reason: Reason, ledger: &mut impl Ledger) {
        let price = self.symbols[symbol].last.0;
        let bar = Bar { open: price, high: price, low: price, close: price, volume: f64::NAN };
        let bar = SymbolBar { symbol, bar, order: Order::default(), rank: 0.0, funding: 0.0, is_last: true };
        self.cash += self.leave(&bar, &Exit { price, reason }, ledger);
    }

    fn close_all(&mut self, reason: Reason, ledger: &mut impl Ledger) {
        for symbol in self.held.clone() {
            self.close(symbol, reason, ledger);
        }
    }

    /// The data ends.
    fn end(&mut self, bars: &[SymbolBar], ledger: &mut impl Ledger) {
        for symbol in self.held.clone() {
            let bar = bars.iter().find(|bar| bar.symbol == symbol && bar.bar.has_prices());
            let exit = match bar {
                Some(bar) => self.symbols[symbol].trader.at_end(&bar.bar, &self.rules).map(|exit| (*bar, exit)),
                None => {
                    let last = self.symbols[symbol].last.0;
                    let bar = Bar { open: last, high: last, low: last, close: last, volume: f64::NAN };
                    let exit = self.symbols[symbol].trader.at_end(&bar, &self.rules);
                    let bar =
                        SymbolBar { symbol, bar, order: Order::default(), rank: 0.0, funding: 0.0, is_last: true };
                    exit.map(|exit| (bar, exit))
                }
            };
            if let Some((bar, exit)) = exit {
                self.cash += self.leave(&bar, &exit, ledger);
            }
        }
    }
}
