//! All symbols with shared money, held in proportions that are restored from time to time.

use super::account::Rejected;
use super::order::Side;
use super::portfolio::{Entered, Ledger, Mark, SymbolBar, Terms};
use super::position::Reason;
use super::rules::{End, Rules};
use super::simulate::Trade;
use crate::calendar::{Grid, Origin, Timeframe};
use std::sync::Arc;

/// When proportions are restored: at the first open of a new period, and at the first open at which proportions are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// So many instants.
    Bars(u32),
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// A quarter of a year.
    Quarter,
    /// A year.
    Year,
}

impl Every {
    /// Names of the periods of the calendar.
    pub const NAMES: [(&'static str, Every); 5] = [
        ("day", Every::Day),
        ("week", Every::Week),
        ("month", Every::Month),
        ("quarter", Every::Quarter),
        ("year", Every::Year),
    ];

    /// `month`, also as `month_end`, or a number of bars.
    pub fn parse(text: &str) -> Option<Every> {
        let name = text.trim().to_ascii_lowercase();
        let name = name.strip_suffix("_end").unwrap_or(&name);
        let named = Every::NAMES.iter().find(|(known, _)| *known == name).map(|(_, every)| *every);
        named.or_else(|| name.parse().ok().filter(|bars| *bars > 0).map(Every::Bars))
    }
}

/// The periods after which proportions are restored.
#[derive(Debug, Clone)]
struct Periods {
    every: Every,
    grid: Grid,
    /// The period of the instant before.
    last: Option<i64>,
    /// Instants since proportions were restored.
    bars: u32,
}

impl Periods {
    fn new(every: Every, origin: Origin) -> Periods {
        let timeframe = match every {
            Every::Day | Every::Bars(_) => Timeframe::Day,
            Every::Week => Timeframe::Week,
            Every::Month | Every::Quarter | Every::Year => Timeframe::Month,
        };
        Periods { every, grid: Grid::new(timeframe, origin), last: None, bars: 0 }
    }

    /// The period that an instant lies in.
    fn of(&self, ts: i64) -> i64 {
        let (begin, end) = self.grid.bar(ts);
        // Where a day begins is a matter of the origin; the middle of a month is in that month everywhere.
        let months = |count: i64| self.grid.months((begin + end) / 2).div_euclid(count);
        match self.every {
            Every::Quarter => months(3),
            Every::Year => months(12),
            Every::Bars(_) | Every::Day | Every::Week | Every::Month => begin,
        }
    }

    /// Goes on to an instant. Whether a period begins with it; the second one of all counts as such.
    fn begins(&mut self, ts: i64) -> bool {
        let period = self.of(ts);
        let Some(last) = self.last.replace(period) else { return false };
        self.bars += 1;
        match self.every {
            Every::Bars(bars) => self.bars % bars == 1 % bars,
            _ => self.bars == 1 || period != last,
        }
    }
}

/// What is held of a symbol.
#[derive(Debug, Clone, Copy)]
struct Held {
    side: Side,
    quantity: f64,
    /// What a unit cost on average.
    price: f64,
    /// When the first of them came.
    row: usize,
    bars: u32,
    /// What was paid beside prices, and is not yet counted in a trade.
    costs: f64,
    /// The highest and the lowest price of the market since then.
    extremes: (f64, f64),
}

impl Held {
    fn units(&self) -> f64 {
        self.side.sign() * self.quantity
    }
}

#[derive(Debug, Clone, Default)]
struct Symbol {
    held: Option<Held>,
    /// The last price, and its time.
    last: (f64, i64),
    /// The proportion as the last close knows it; 0: none.
    weight: f64,
    rank: f64,
    /// The proportion that is to be restored, and for how many bars that waits.
    due: Option<(f64, u32)>,
}

/// What is bought, or sold short, to restore proportions.
struct Purchase<'a> {
    bar: &'a SymbolBar,
    side: Side,
    units: f64,
}

/// A portfolio of proportions.
#[derive(Debug, Clone)]
pub struct Weights {
    rules: Arc<Rules>,
    terms: Terms,
    periods: Periods,
    symbols: Vec<Symbol>,
    cash: f64,
    /// What the account was worth at the last instant.
    equity: f64,
    traded: f64,
    instant: usize,
    is_over: bool,
}

impl Weights {
    /// Nothing but money. [`Terms::slots`] are the most symbols that have a part: those of the highest rank.
    pub fn new(rules: Arc<Rules>, terms: Terms, every: Every, origin: Origin) -> Weights {
        Weights {
            rules,
            terms,
            periods: Periods::new(every, origin),
            symbols: vec![],
            cash: terms.cash,
            equity: terms.cash,
            traded: 0.0,
            instant: 0,
            is_over: false,
        }
    }

    /// An instant: the bars that all symbols have then, by symbol, of which `order.size` is the proportion of the account, below 0 what
    /// is sold short, and a symbol without a rank has none. `is_last`: no other comes.
    pub fn step(&mut self, ts: i64, bars: &[SymbolBar], is_last: bool, ledger: &mut impl Ledger) -> Mark {
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
        if self.periods.begins(ts) {
            self.choose(ledger);
        }
        let open: Vec<&SymbolBar> = bars.iter().filter(|bar| bar.bar.trades(&self.rules)).collect();
        for bar in &open {
            self.pay_for_time(bar, ts);
            let symbol = &mut self.symbols[bar.symbol];
            symbol.last = (bar.bar.open, ts);
            if let Some(held) = &mut symbol.held {
                held.bars += 1;
            }
        }
        self.restore(&open, before, ledger);
        for bar in bars {
            self.close(bar, ts, ledger);
        }
        if !is_last {
            for bar in bars.iter().filter(|bar| bar.is_last) {
                self.leave(bar.symbol, Reason::Delisted, ledger);
            }
        }
        let mark = self.mark(before);
        if mark.equity <= 0.0 {
            self.leave_all(Reason::Ruin, ledger);
            self.is_over = true;
        } else if mark.equity < self.terms.maintenance * mark.exposure * mark.equity {
            self.leave_all(Reason::Liquidation, ledger);
        }
        if is_last && self.rules.end != End::Open {
            self.leave_all(Reason::End, ledger);
        }
        self.instant += 1;
        let mark = self.mark(before);
        self.equity = mark.equity;
        self.traded = 0.0;
        mark
    }

    /// A bar closes with a proportion.
    fn close(&mut self, bar: &SymbolBar, ts: i64, ledger: &mut impl Ledger) {
        let symbol = &mut self.symbols[bar.symbol];
        if !bar.bar.has_prices() {
            return;
        }
        symbol.weight = if bar.order.size.is_finite() { bar.order.size } else { 0.0 };
        symbol.rank = bar.rank;
        symbol.last.0 = bar.bar.close;
        if bar.bar.trades(&self.rules) {
            symbol.last.1 = ts;
            if let Some(held) = &mut symbol.held {
                let (high, low) = held.extremes;
                held.extremes = (high.max(bar.bar.high), low.min(bar.bar.low));
            }
        } else if let Some((weight, waited)) = symbol.due {
            let is_given_up = self.rules.max_stale_bars.is_some_and(|most| waited >= most);
            symbol.due = (!is_given_up).then_some((weight, waited + 1));
            if is_given_up {
                ledger.rejected(bar.symbol, Rejected::Stale);
            }
        }
    }

    /// Takes down the proportions to be restored: those of the symbols of the highest rank.
    fn choose(&mut self, ledger: &mut impl Ledger) {
        let rank = |at: &usize| self.symbols[*at].rank;
        let has_part = |at: &usize| self.symbols[*at].weight != 0.0 && !rank(at).is_nan();
        let mut chosen: Vec<usize> = (0..self.symbols.len()).filter(has_part).collect();
        chosen.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
        chosen.truncate(self.terms.slots);
        self.symbols.iter_mut().for_each(|symbol| symbol.due = symbol.held.map(|_| (0.0, 0)));
        for at in chosen {
            let weight = self.symbols[at].weight;
            if weight.abs() > self.terms.max_weight {
                ledger.rejected(at, Rejected::MaxWeight);
                continue;
            }
            self.symbols[at].due = Some((weight, 0));
        }
    }

    /// Restores the proportions of what trades: first all that is sold, then what is bought, as far as the money goes.
    fn restore(&mut self, bars: &[&SymbolBar], equity: f64, ledger: &mut impl Ledger) {
        let Terms { costs, lots, .. } = self.terms;
        let mut purchases = vec![];
        for bar in bars {
            let symbol = &mut self.symbols[bar.symbol];
            let Some((weight, _)) = symbol.due.take() else { continue };
            let market = bar.bar.open;
            let units = symbol.held.map_or(0.0, |held| held.units());
            let whole = |units: f64| if lots.lot > 0.0 { (units / lots.lot).trunc() * lots.lot } else { units };
            let wanted = whole(weight * equity / costs.slipped(market, (weight * equity / market - units).signum()));
            let most =
                if lots.participation > 0.0 { lots.participation * bar.bar.volume.max(0.0) } else { f64::INFINITY };
            let change = (wanted - units).clamp(-most, most);
            if change == 0.0 || (wanted != 0.0 && change.abs() * market < lots.minimum) {
                if wanted != units && change == 0.0 {
                    ledger.rejected(bar.symbol, Rejected::Participation);
                } else if change != 0.0 {
                    ledger.rejected(bar.symbol, Rejected::BelowMinimum);
                }
                continue;
            }
            // What is held is given up as far as it is on the other side, or too much.
            let given_up = if units * change < 0.0 { change.abs().min(units.abs()) } else { 0.0 };
            if given_up > 0.0 {
                self.give_up(bar.symbol, given_up, market, Reason::Rebalance, ledger);
            }
            let more = change.abs() - given_up;
            if more > 0.0 {
                let side = if change > 0.0 { Side::Long } else { Side::Short };
                purchases.push(Purchase { bar, side, units: more });
            }
        }
        self.buy(&purchases, ledger);
    }

    /// Buys, each as much less as money is missing for all.
    fn buy(&mut self, purchases: &[Purchase<'_>], ledger: &mut impl Ledger) {
        let Terms { costs, lots, leverage, .. } = self.terms;
        let price = |purchase: &Purchase<'_>| costs.slipped(purchase.bar.bar.open, purchase.side.sign());
        let cost =
            |purchase: &Purchase<'_>| price(purchase) * purchase.units + costs.of_fill(price(purchase), purchase.units);
        let needed: f64 = purchases.iter().map(cost).sum();
        let (net, gross) = self.value();
        let there = (leverage * (self.cash + net) - gross).max(0.0);
        let part = if needed > there { there / needed } else { 1.0 };
        for purchase in purchases {
            let units = purchase.units * part;
            let units = if lots.lot > 0.0 { (units / lots.lot).floor() * lots.lot } else { units };
            if units <= 0.0 {
                ledger.rejected(purchase.bar.symbol, Rejected::NoCash);
                continue;
            }
            let (price, market) = (price(purchase), purchase.bar.bar.open);
            let paid = costs.of_fill(price, units);
            self.cash -= purchase.side.sign() * price * units + paid;
            self.traded += price * units;
            let fresh = Held {
                side: purchase.side,
                quantity: 0.0,
                price,
                row: self.instant,
                bars: 0,
                costs: 0.0,
                extremes: (market, market),
            };
            let held = self.symbols[purchase.bar.symbol].held.get_or_insert(fresh);
            held.price = (held.price * held.quantity + price * units) / (held.quantity + units);
            held.quantity += units;
            held.costs += paid;
            ledger.entered(purchase.bar.symbol, &Entered { side: purchase.side, price, quantity: units });
        }
    }

    /// Gives up some units of a symbol where the market is at a price.
    fn give_up(&mut self, at: usize, units: f64, market: f64, reason: Reason, ledger: &mut impl Ledger) {
        let Some(mut held) = self.symbols[at].held else { return };
        let (sign, costs) = (held.side.sign(), self.terms.costs);
        let price = costs.slipped(market, -sign);
        let units = units.min(held.quantity);
        let part = units / held.quantity;
        let paid = costs.of_fill(price, units);
        let own = held.costs * part;
        self.cash += sign * price * units - paid;
        self.traded += price * units;
        let pnl = sign * (price - held.price) * units - own - paid;
        let ahead = |market: f64| sign * (market / held.price - 1.0);
        let (high, low) = (held.extremes.0.max(market), held.extremes.1.min(market));
        let (best, worst) = if held.side == Side::Long { (high, low) } else { (low, high) };
        let trade = Trade {
            side: held.side,
            entry_row: held.row,
            exit_row: self.instant,
            entry_price: held.price,
            exit_price: price,
            quantity: units,
            pnl,
            gain: pnl / (held.price * units),
            mfe: ahead(best).max(0.0),
            mae: ahead(worst).min(0.0),
            costs: own + paid,
            bars: held.bars,
            reason,
        };
        ledger.left(at, &trade);
        held.quantity -= units;
        held.costs -= own;
        self.symbols[at].held = (part < 1.0).then_some(held);
    }

    /// Gives up all of a symbol at its last price.
    fn leave(&mut self, at: usize, reason: Reason, ledger: &mut impl Ledger) {
        self.symbols[at].due = None;
        if let Some(held) = self.symbols[at].held {
            self.give_up(at, held.quantity, self.symbols[at].last.0, reason, ledger);
        }
        self.symbols[at].weight = 0.0;
    }

    fn leave_all(&mut self, reason: Reason, ledger: &mut impl Ledger) {
        (0..self.symbols.len()).for_each(|at| self.leave(at, reason, ledger));
    }

    /// Signed and unsigned value of what is held.
    fn value(&self) -> (f64, f64) {
        let held = self.symbols.iter().filter_map(|symbol| Some(symbol.held?.units() * symbol.last.0));
        held.fold((0.0, 0.0), |(net, gross), value| (net + value, gross + value.abs()))
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
            positions: self.symbols.iter().filter(|symbol| symbol.held.is_some()).count(),
        }
    }

    fn pay_for_time(&mut self, bar: &SymbolBar, ts: i64) {
        let symbol = &mut self.symbols[bar.symbol];
        let Some(held) = &mut symbol.held else { return };
        let value = held.quantity * symbol.last.0;
        let paid = self.terms.costs.of_holding(held.side, value, Some((symbol.last.1, ts)), bar.funding);
        held.costs += paid;
        self.cash -= paid;
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::{Bar, Order};
    use super::*;
    use crate::trade::backtest::account::Costs;
    use crate::trade::backtest::rules::Profile;

    const DAY: i64 = 86_400_000_000;

    #[derive(Default)]
    struct Told {
        trades: Vec<(usize, Trade)>,
        rejected: Vec<(usize, Rejected)>,
    }

    impl Ledger for Told {
        fn left(&mut self, symbol: usize, trade: &Trade) {
            self.trades.push((symbol, *trade));
        }

        fn rejected(&mut self, symbol: usize, why: Rejected) {
            self.rejected.push((symbol, why));
        }
    }

    fn bar(symbol: usize, open: f64, close: f64, weight: f64) -> SymbolBar {
        let bar = Bar { open, high: open.max(close), low: open.min(close), close, volume: f64::NAN };
        let order = Order { size: weight, ..Order::default() };
        SymbolBar { symbol, bar, order, rank: weight.abs(), funding: f64::NAN, is_last: false }
    }

    fn terms() -> Terms {
        Terms { cash: 1_000.0, slots: usize::MAX, ..Terms::default() }
    }

    #[test]
    fn proportions_are_restored_at_the_first_open_of_a_month() {
        let rules = Profile::Tallow.rules();
        let mut of = Weights::new(Arc::new(rules), terms(), Every::Month, Origin::UTC);
        let mut told = Told::default();
        // 1970-01-29 to 1970-02-02.
        let days = [
            (28, [bar(0, 10.0, 10.0, 0.5), bar(1, 10.0, 10.0, 0.5)]),
            (29, [bar(0, 10.0, 12.0, 0.5), bar(1, 10.0, 10.0, 0.5)]),
            (30, [bar(0, 12.0, 20.0, 0.5), bar(1, 10.0, 10.0, 0.5)]),
            (31, [bar(0, 20.0, 20.0, 0.5), bar(1, 10.0, 10.0, 0.5)]),
            (32, [bar(0, 20.0, 20.0, 0.5), bar(1, 10.0, 10.0, 0.5)]),
        ];
        let mut marks = vec![];
        for (at, (day, bars)) in days.iter().enumerate() {
            marks.push(of.step(day * DAY, bars, at == 4, &mut told));
        }
        // Fifty units of each are bought on the second day, and nothing until February, when 1,500 are halved: 37.5 of the first.
        assert_eq!(marks.iter().map(|mark| mark.equity).collect::<Vec<_>>(), [1000.0, 1100.0, 1500.0, 1500.0, 1500.0]);
        let (symbol, first) = told.trades[0];
        assert_eq!(
            (symbol, first.reason, first.quantity, first.entry_row, first.exit_row),
            (0, Reason::Rebalance, 12.5, 1, 3)
        );
        assert_eq!((first.pnl, first.gain), (125.0, 1.0));
        // At the end both are sold: 37.5 bought for 10 each, and 75, of which 25 came in February at 10.
        let ends: Vec<_> = told.trades[1..].iter().map(|(symbol, t)| (*symbol, t.quantity, t.pnl, t.reason)).collect();
        assert_eq!(ends, [(0, 37.5, 375.0, Reason::End), (1, 75.0, 0.0, Reason::End)]);
        let pnl: f64 = told.trades.iter().map(|(_, trade)| trade.pnl).sum();
        assert!((pnl - 500.0).abs() < 1e-9);
    }

    #[test]
    fn a_short_part_turns_into_a_long_one_and_costs_are_counted_once() {
        let rules = Profile::Tallow.rules();
        let costs = Costs { commission: 0.01, slippage: 0.001, ..Costs::default() };
        let mut of = Weights::new(Arc::new(rules), Terms { costs, ..terms() }, Every::Bars(1), Origin::UTC);
        let mut told = Told::default();
        let weights = [-0.5, 0.5, 0.25, 0.0, 0.0];
        let closes = [10.0, 11.0, 9.0, 12.0, 12.0];
        let mut last = Mark::default();
        for (at, (weight, close)) in weights.into_iter().zip(closes).enumerate() {
            let open = if at == 0 { close } else { closes[at - 1] };
            last = of.step(at as i64 * DAY, &[bar(0, open, close, weight)], at == 4, &mut told);
        }
        assert_eq!((last.positions, last.value), (0, 0.0));
        let pnl: f64 = told.trades.iter().map(|(_, trade)| trade.pnl).sum();
        assert!((1_000.0 + pnl - last.equity).abs() < 1e-9, "{pnl} {last:?}");
        let sides: Vec<Side> = told.trades.iter().map(|(_, trade)| trade.side).collect();
        assert_eq!(sides, [Side::Short, Side::Long, Side::Long]);
    }

    #[test]
    fn money_that_is_missing_is_missing_for_all_alike() {
        let rules = Profile::Tallow.rules();
        let mut of = Weights::new(Arc::new(rules), terms(), Every::Month, Origin::UTC);
        let mut told = Told::default();
        of.step(0, &[bar(0, 10.0, 10.0, 0.75), bar(1, 10.0, 10.0, 0.75)], false, &mut told);
        let mark = of.step(DAY, &[bar(0, 10.0, 10.0, 0.75), bar(1, 20.0, 20.0, 0.75)], false, &mut told);
        assert!(mark.cash.abs() < 1e-9 && (mark.exposure - 1.0).abs() < 1e-12, "{mark:?}");
        let held = |at: usize| of.symbols[at].held.unwrap().quantity;
        assert!((held(0) - 50.0).abs() < 1e-9 && (held(1) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn the_symbols_of_the_highest_rank_have_a_part() {
        let rules = Profile::Tallow.rules();
        let mut of = Weights::new(Arc::new(rules), Terms { slots: 1, ..terms() }, Every::Bars(1), Origin::UTC);
        let mut told = Told::default();
        let ranked = |symbol: usize, rank: f64| SymbolBar { rank, ..bar(symbol, 10.0, 10.0, 1.0) };
        of.step(0, &[ranked(0, 1.0), ranked(1, 2.0)], false, &mut told);
        let mark = of.step(DAY, &[ranked(0, 3.0), ranked(1, 2.0)], false, &mut told);
        assert_eq!((mark.positions, of.symbols[1].held.is_some()), (1, true));
        let mark = of.step(2 * DAY, &[ranked(0, 3.0), ranked(1, 2.0)], false, &mut told);
        assert_eq!((mark.positions, of.symbols[0].held.is_some()), (1, true));
        assert!(told.rejected.is_empty());
        // Without a rank there is no part.
        let mark = of.step(3 * DAY, &[ranked(0, f64::NAN), ranked(1, f64::NAN)], false, &mut told);
        assert_eq!(mark.positions, 1);
        assert_eq!(of.step(4 * DAY, &[ranked(0, f64::NAN), ranked(1, f64::NAN)], false, &mut told).positions, 0);
    }

    #[test]
    fn a_part_waits_for_its_symbol() {
        let rules = Rules { max_stale_bars: Some(1), ..Profile::Tallow.rules() };
        let mut of = Weights::new(Arc::new(rules), terms(), Every::Year, Origin::UTC);
        let mut told = Told::default();
        let halted =
            |weight: f64| SymbolBar { bar: Bar { open: 0.0, ..bar(0, 1.0, 1.0, 0.0).bar }, ..bar(0, 1.0, 1.0, weight) };
        of.step(0, &[bar(0, 10.0, 10.0, 1.0)], false, &mut told);
        assert_eq!(of.step(DAY, &[halted(1.0)], false, &mut told).positions, 0);
        assert_eq!(of.step(2 * DAY, &[bar(0, 10.0, 10.0, 1.0)], false, &mut told).positions, 1);
    }

    #[test]
    fn periods_begin_where_the_calendar_says() {
        assert_eq!(
            ["month_end", "Quarter", "20", "0", "fortnight"].map(Every::parse),
            [Some(Every::Month), Some(Every::Quarter), Some(Every::Bars(20)), None, None]
        );
        let begins = |every: Every, days: &[i64]| {
            let mut periods = Periods::new(every, Origin::UTC);
            days.iter().map(|day| periods.begins(day * DAY)).collect::<Vec<_>>()
        };
        // 1970-01-01 was a Thursday; the days of January, March, April and of the next January.
        assert_eq!(begins(Every::Quarter, &[0, 1, 2, 85, 95, 370]), [false, true, false, false, true, true]);
        assert_eq!(begins(Every::Year, &[0, 1, 2, 85, 95, 370]), [false, true, false, false, false, true]);
        assert_eq!(begins(Every::Week, &[0, 1, 2, 4, 5]), [false, true, false, true, false]);
        assert_eq!(begins(Every::Bars(2), &[0, 1, 2, 3, 4]), [false, true, false, true, false]);
    }
}
