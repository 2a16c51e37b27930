//! The rules of fills once more, slowly and plainly: a short position is a long one in mirrored prices. Both simulators have to
//! agree on random bars, with gaps, ties, halts and bars without prices.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use proptest::prelude::*;
use tallow_udfs::trade::backtest::account::{Costs, Lots, Rejected};
use tallow_udfs::trade::backtest::rules::{Both, End, Fill, LimitFill, Profile, Rules, Trail, TrailOn};
use tallow_udfs::trade::backtest::simulate::{Bars, Record, Simulation, Terms, Trade};
use tallow_udfs::trade::backtest::{Bracket, Entry, Filled, Level, Order, Reason, Side, Signals};

/// What a simulation tells: trades, what the account is worth at each bar, and what it holds.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// Side, rows and prices of entry and exit, reason.
    trades: Vec<(i8, usize, f64, usize, f64, Reason)>,
    equity: Vec<f64>,
    units: Vec<f64>,
    gained: f64,
    /// Entries whose price did not come in time.
    expired: usize,
}

impl Record for Told {
    fn entered(&mut self, _: usize, _: Side, _: &Filled) {}

    fn left(&mut self, trade: &Trade) {
        let side = if trade.side == Side::Long { 1 } else { -1 };
        self.trades.push((side, trade.entry_row, trade.entry_price, trade.exit_row, trade.exit_price, trade.reason));
        self.gained += trade.pnl;
    }

    fn rejected(&mut self, _: usize, why: Rejected) {
        self.expired += usize::from(why == Rejected::Expired);
    }

    fn closed(&mut self, _: usize, equity: f64, units: f64) {
        self.equity.push(equity);
        self.units.push(units);
    }
}

/// A bar and what is wanted at its close: open, high, low, close, volume; buy, sell, sell short, buy back.
type Row = ([f64; 5], [bool; 4]);

/// A position in mirrored prices, where all positions are long.
#[derive(Clone, Copy)]
struct Held {
    sign: f64,
    paid: f64,
    units: f64,
    row: usize,
    age: u32,
    stop: Option<f64>,
    target: Option<f64>,
    best: f64,
    trailing: Option<f64>,
}

struct Slow<'a> {
    rules: &'a Rules,
    bracket: Bracket,
    costs: Costs,
    cash: f64,
    told: Told,
    held: Option<Held>,
    rest: Option<Rest>,
}

/// An entry that waits, in mirrored prices: a limit is filled at or below its price, a stop at or above.
#[derive(Clone, Copy)]
struct Rest {
    sign: f64,
    price: f64,
    is_stop: bool,
    left: u32,
}

impl Slow<'_> {
    fn sell(&mut self, row: usize, price: f64, reason: Reason) {
        let Some(held) = self.held.take() else { return };
        let market = held.sign * price;
        let slip = if reason == Reason::Target { 0.0 } else { self.costs.slippage };
        let got = market * (1.0 - held.sign * slip);
        self.cash += held.sign * got * held.units - self.costs.commission * got * held.units;
        let side = held.sign as i8;
        self.told.trades.push((side, held.row, held.sign * held.paid, row, got, reason));
    }

    fn buy(&mut self, row: usize, sign: f64, market: f64, equity: f64, is_limit: bool) {
        let slip = if is_limit { 0.0 } else { self.costs.slippage };
        let paid = market * (1.0 + sign * slip);
        let mut units = equity / paid;
        if sign > 0.0 {
            units = units.min(self.cash / (paid * (1.0 + self.costs.commission)));
        }
        if units.is_nan() || units <= 0.0 {
            return;
        }
        self.cash -= sign * paid * units + self.costs.commission * paid * units;
        let paid = sign * paid;
        let away = |level: Level, way: f64| match level {
            Level::Fraction(x) => Some(moved(paid, way * x)),
            Level::Distance(x) => Some(paid + way * x),
            Level::Price(x) => Some(sign * x),
            Level::None => None,
        };
        let (stop, target) = (away(self.bracket.stop, -1.0), away(self.bracket.target, 1.0));
        let mut held = Held { sign, paid, units, row, age: 0, stop, target, best: paid, trailing: None };
        raise(&mut held, paid, self.bracket.trail, self.rules);
        self.held = Some(held);
    }
}

/// A mirrored price, a fraction of it further up.
fn moved(price: f64, fraction: f64) -> f64 {
    price * (1.0 + price.signum() * fraction)
}

/// Raises a trailing stop.
fn raise(held: &mut Held, price: f64, trail: Level, rules: &Rules) {
    held.best = held.best.max(price);
    let level = match trail {
        Level::Fraction(x) => moved(held.best, -x),
        Level::Distance(x) => held.best - x,
        _ => return,
    };
    if rules.trail_after <= 0.0 || held.best >= moved(held.paid, rules.trail_after) {
        held.trailing = Some(held.trailing.map_or(level, |before| before.max(level)));
    }
}

fn slow(rows: &[Row], rules: &Rules, (entry, bracket): (Entry, Bracket), costs: Costs, cash: f64) -> Told {
    let mut sim = Slow { rules, bracket, costs, cash, told: Told::default(), held: None, rest: None };
    let (mut waiting, mut stale, mut equity, mut last, mut ruined) = ([false; 4], 0, cash, 0.0, false);
    for (i, ([o, h, l, c, volume], signals)) in rows.iter().copied().enumerate() {
        let is_last = i + 1 == rows.len();
        let has_prices = [o, h, l, c].iter().all(|p| *p > 0.0);
        let trades = has_prices && !(rules.needs_volume && volume <= 0.0);
        let mut hit = false;
        if ruined {
        } else if !trades {
            // Bars that an order has waited in vain.
            stale += i32::from(waiting.contains(&true));
            if rules.max_stale_bars.is_some_and(|most| stale > most as i32) {
                (waiting, stale) = ([false; 4], 0);
            }
            if has_prices {
                last = c;
                if signals.contains(&true) {
                    (waiting, stale) = (signals, 0);
                    let [buy, sell, short, cover] = signals;
                    let sign = if buy && !short && !sell {
                        1.0
                    } else if short && !buy && !cover {
                        -1.0
                    } else {
                        0.0
                    };
                    if sign != 0.0 && sim.held.is_none_or(|held| held.sign == -sign && rules.reverse) {
                        rest_at(&mut sim, entry, sign, c);
                    }
                }
            }
        } else {
            stale = 0;
            if let Some(held) = &mut sim.held {
                held.age += 1;
            }
            // What the orders that wait mean.
            let wanted = |of: [bool; 4]| -> f64 {
                let [buy, sell, short, cover] = of;
                if buy && !short && !sell {
                    1.0
                } else if short && !buy && !cover {
                    -1.0
                } else {
                    0.0
                }
            };
            let leaves = |of: [bool; 4], sign: f64| {
                let [buy, sell, short, cover] = of;
                let told = if sign > 0.0 { sell && !buy } else { cover && !short };
                told || (rules.reverse && wanted(of) == -sign)
            };
            // 1a, 1b
            if let Some(held) = sim.held {
                let open = held.sign * o;
                let stop = [held.stop, held.trailing].into_iter().flatten().reduce(f64::max);
                let is_trailing = held.trailing.is_some_and(|t| held.stop.is_none_or(|s| t >= s));
                let target = target_of(&held, rules);
                if rules.fill == Fill::Open && leaves(waiting, held.sign) {
                    sim.sell(i, open, Reason::Signal);
                } else if rules.fill == Fill::Open && rules.max_bars.is_some_and(|most| held.age >= most) {
                    sim.sell(i, open, Reason::Time);
                } else if stop.is_some_and(|stop| open <= stop) {
                    sim.sell(i, open, if is_trailing { Reason::Trailing } else { Reason::Stop });
                    hit = true;
                } else if target.is_some_and(|t| reached(open, t, rules)) {
                    sim.sell(i, open, Reason::Target);
                    hit = true;
                }
            }
            // 1c
            let at_market = entry == Entry::Market;
            if at_market && rules.fill == Fill::Open && sim.held.is_none() && !hit && wanted(waiting) != 0.0 {
                sim.buy(i, wanted(waiting), o, equity, false);
            }
            // An entry that waits: at the open, or else in the bar, of which it then saw a part.
            let mut part: Option<(f64, f64, f64)> = None;
            if let Some(rest) = sim.rest
                && sim.held.is_none()
                && !hit
            {
                let (open, high, low) = if rest.sign > 0.0 { (o, h, l) } else { (-o, -l, -h) };
                let fills = |price: f64| match (rest.is_stop, rules.limit_fill) {
                    (true, _) => price >= rest.price,
                    (false, LimitFill::Touch) => price <= rest.price,
                    (false, LimitFill::Through) => price < rest.price,
                };
                if fills(open) {
                    sim.buy(i, rest.sign, o, equity, !rest.is_stop);
                    sim.rest = None;
                } else if fills(if rest.is_stop { high } else { low }) {
                    let close = rest.sign * c;
                    let low_first = open - low <= high - open;
                    let (mut seen_high, mut seen_low) = (high, low);
                    if rest.is_stop {
                        let low_after = match rules.both {
                            Both::Stop => true,
                            Both::Target => false,
                            Both::Near => !low_first,
                        };
                        if !low_after {
                            seen_low = close.min(rest.price);
                        }
                    } else {
                        let high_after = match rules.both {
                            Both::Stop => false,
                            Both::Target => true,
                            Both::Near => low_first,
                        };
                        if !high_after {
                            seen_high = close.max(rest.price);
                        }
                    }
                    sim.buy(i, rest.sign, rest.sign * rest.price, equity, !rest.is_stop);
                    sim.rest = None;
                    part = Some((rest.price, seen_high, seen_low)).filter(|_| sim.held.is_some());
                }
            }
            // 2
            if let Some(mut held) = sim.held {
                let (open, high, low) = if held.sign > 0.0 { (o, h, l) } else { (-o, -l, -h) };
                let (open, high, low) = part.unwrap_or((open, high, low));
                let before = held.trailing;
                if rules.trail == Trail::HighFirst {
                    raise(&mut held, high, bracket.trail, rules);
                    sim.held = Some(held);
                }
                let stop = [held.stop, held.trailing].into_iter().flatten().reduce(f64::max);
                let is_trailing = held.trailing.is_some_and(|t| held.stop.is_none_or(|s| t >= s));
                let target = target_of(&held, rules);
                let stopped = stop.is_some_and(|stop| low <= stop);
                let taken = target.is_some_and(|t| reached(high, t, rules));
                let stop_first = match rules.both {
                    Both::Stop => true,
                    Both::Target => false,
                    Both::Near => open - low <= high - open,
                };
                let given_up = stop.filter(|_| stopped && (!taken || stop_first));
                if let Some(stop) = given_up {
                    let raised = is_trailing && before != Some(stop);
                    let price = if raised && held.age == 0 {
                        // The entry's own trailing stop, or the low.
                        let own = match bracket.trail {
                            Level::Fraction(x) => moved(held.paid, -x),
                            Level::Distance(x) => held.paid - x,
                            _ => unreachable!(),
                        };
                        own.max(low)
                    } else if raised && high > stop {
                        stop
                    } else {
                        stop.min(open)
                    };
                    sim.sell(i, price, if is_trailing { Reason::Trailing } else { Reason::Stop });
                    hit = true;
                } else if let Some(target) = target.filter(|_| taken) {
                    sim.sell(i, target.max(open), Reason::Target);
                    hit = true;
                }
            }
            // 3
            waiting = signals;
            if let Some(rest) = &mut sim.rest {
                rest.left -= 1;
                let [buy, sell, short, cover] = signals;
                let told = if rest.sign > 0.0 { sell && !buy } else { cover && !short };
                if told || rest.left == 0 {
                    sim.rest = None;
                    sim.told.expired += 1;
                }
            }
            let sign = wanted(signals);
            if sign != 0.0 && sim.held.is_none_or(|held| held.sign == -sign && rules.reverse) {
                rest_at(&mut sim, entry, sign, c);
            }
            if let Some(held) = &mut sim.held {
                let (high, close) = (if held.sign > 0.0 { h } else { -l }, held.sign * c);
                let high = part.map_or(high, |(_, high, _)| high);
                raise(held, if rules.trail_on == TrailOn::High { high } else { close }, bracket.trail, rules);
            }
            // 4
            if rules.fill == Fill::Close {
                if let Some(held) = sim.held {
                    if leaves(waiting, held.sign) {
                        sim.sell(i, held.sign * c, Reason::Signal);
                    } else if rules.max_bars.is_some_and(|most| held.age >= most) {
                        sim.sell(i, held.sign * c, Reason::Time);
                    }
                }
                if at_market && sim.held.is_none() && !hit && wanted(waiting) != 0.0 && !is_last {
                    sim.buy(i, wanted(waiting), c, equity, false);
                }
            }
            last = c;
        }
        let value = |sim: &Slow<'_>| sim.cash + sim.held.map_or(0.0, |held| held.sign * held.units * last);
        if !ruined && value(&sim) <= 0.0 {
            if let Some(held) = sim.held {
                sim.sell(i, held.sign * last, Reason::Ruin);
            }
            ruined = true;
        }
        if is_last && let Some(held) = sim.held {
            match rules.end {
                End::Close => sim.sell(i, held.sign * if has_prices { c } else { last }, Reason::End),
                End::LastOpen => sim.sell(i, held.sign * if has_prices { o } else { last }, Reason::End),
                End::Open => {}
            }
        }
        equity = value(&sim);
        sim.told.equity.push(equity);
        sim.told.units.push(sim.held.map_or(0.0, |held| held.sign * held.units));
    }
    sim.told
}

/// An entry of a side waits, whose bar closed at a price.
fn rest_at(sim: &mut Slow<'_>, entry: Entry, sign: f64, close: f64) {
    let level = |level: Level, way: f64| match level {
        Level::Fraction(x) => sign * close * (1.0 + sign * way * x),
        Level::Distance(x) => sign * close + way * x,
        Level::Price(x) => sign * x,
        Level::None => unreachable!(),
    };
    let (price, is_stop) = match entry {
        Entry::Market => return,
        Entry::Limit(of) => (level(of, -1.0), false),
        Entry::Stop(of) => (level(of, 1.0), true),
    };
    sim.rest = Some(Rest { sign, price, is_stop, left: sim.rules.valid_bars });
}

fn target_of(held: &Held, rules: &Rules) -> Option<f64> {
    let mut found = held.target;
    for (bars, fraction) in &rules.target_steps {
        if held.age >= *bars {
            found = Some(moved(held.paid, *fraction));
        }
    }
    found
}

fn reached(price: f64, target: f64, rules: &Rules) -> bool {
    if rules.limit_fill == LimitFill::Touch { price >= target } else { price > target }
}

/// Bars in whole prices, so that levels are often touched exactly.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let bar = (-6i32..=6, -6i32..=6, 0i32..=5, 0i32..=5, 0u8..20, proptest::array::uniform4(0u8..4));
    proptest::collection::vec(bar, 1..60).prop_map(|steps| {
        let mut price: f64 = 40.0;
        let step = |(gap, move_, up, down, kind, signals): (i32, i32, i32, i32, u8, [u8; 4])| {
            let open = (price + f64::from(gap)).max(1.0);
            let close = (open + f64::from(move_)).max(1.0);
            let (high, low) = (open.max(close) + f64::from(up), (open.min(close) - f64::from(down)).max(0.5));
            price = close;
            let bar = match kind {
                0 => [0.0, high, low, close, 1.0],
                1 => [open, high, low, close, 0.0],
                _ => [open, high, low, close, 1.0],
            };
            (bar, signals.map(|s| s == 0))
        };
        steps.into_iter().map(step).collect()
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let choices = (0u8..2, 0u8..3, 0u8..2, 0u8..2, 0u8..2, 0u8..3);
    let numbers = (0u32..8, 0u32..4, prop::sample::select(vec![0.0, 0.05, 0.1]), 0u8..3, 1u32..5);
    (choices, numbers, any::<bool>(), any::<bool>()).prop_map(|(choices, numbers, reverse, needs_volume)| {
        let (fill, both, trail, trail_on, limit_fill, end) = choices;
        let (max_bars, stale, trail_after, steps, valid_bars) = numbers;
        Rules {
            fill: [Fill::Open, Fill::Close][usize::from(fill)],
            both: [Both::Stop, Both::Target, Both::Near][usize::from(both)],
            trail: [Trail::Lagged, Trail::HighFirst][usize::from(trail)],
            trail_on: [TrailOn::High, TrailOn::Close][usize::from(trail_on)],
            limit_fill: [LimitFill::Touch, LimitFill::Through][usize::from(limit_fill)],
            end: [End::Close, End::LastOpen, End::Open][usize::from(end)],
            reverse,
            needs_volume,
            trail_after,
            valid_bars,
            max_bars: Some(max_bars).filter(|bars| *bars > 0),
            max_stale_bars: Some(stale).filter(|bars| *bars > 0),
            target_steps: if steps == 0 { vec![(1, 0.2), (4, 0.05)] } else { vec![] },
            ..Profile::Tallow.rules()
        }
    })
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![
        2 => Just(Level::None),
        1 => prop::sample::select(vec![0.05, 0.1, 0.25]).prop_map(Level::Fraction),
        1 => (1u8..8).prop_map(|x| Level::Distance(f64::from(x))),
        1 => (25u8..55).prop_map(|x| Level::Price(f64::from(x))),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let away = || {
        prop_oneof![
            1 => prop::sample::select(vec![0.0, 0.05, 0.1]).prop_map(Level::Fraction),
            1 => (0u8..8).prop_map(|x| Level::Distance(f64::from(x))),
            1 => (25u8..55).prop_map(|x| Level::Price(f64::from(x))),
        ]
    };
    prop_oneof![2 => Just(Entry::Market), 1 => away().prop_map(Entry::Limit), 1 => away().prop_map(Entry::Stop)]
}

fn trail() -> impl Strategy<Value = Level> {
    prop_oneof![
        2 => Just(Level::None),
        1 => prop::sample::select(vec![0.05, 0.1]).prop_map(Level::Fraction),
        1 => (1u8..6).prop_map(|x| Level::Distance(f64::from(x))),
    ]
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("TALLOW_LONG").is_some() { 2_000_000 } else { 50_000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_slow_simulator_agrees(
        rows in rows(),
        rules in rules(),
        (entry, stop, target, trail) in (entry(), level(), level(), trail()),
        (slippage, commission) in (prop::sample::select(vec![0.0, 0.001]), prop::sample::select(vec![0.0, 0.002])),
    ) {
        let bracket = Bracket { stop, target, trail };
        let costs = Costs { slippage, commission, ..Costs::default() };
        let want = slow(&rows, &rules, (entry, bracket), costs, 1_000.0);
        let column = |i: usize| rows.iter().map(|(bar, _)| bar[i]).collect::<Vec<_>>();
        let [open, high, low, close, volume] = [0, 1, 2, 3, 4].map(column);
        let bars = Bars {
            open: &open, high: &high, low: &low, close: &close, volume: Some(&volume), ts: None, funding: None,
        };
        let order = |row: usize| {
            let [enter_long, exit_long, enter_short, exit_short] = rows[row].1;
            Order { signals: Signals { enter_long, exit_long, enter_short, exit_short }, entry, bracket, size: 1.0 }
        };
        let terms = Terms { cash: 1_000.0, leverage: 1.0, costs, lots: Lots::default() };
        let mut got = Told::default();
        Simulation::new(&rules, terms).run(&bars, order, &mut got);
        prop_assert_eq!(got.trades.len(), want.trades.len(), "{:?}\n{:?}", got.trades, want.trades);
        for (a, b) in got.trades.iter().zip(&want.trades) {
            prop_assert!(
                (a.0, a.1, a.3, a.5) == (b.0, b.1, b.3, b.5) && near(a.2, b.2) && near(a.4, b.4), "{:?}\n{:?}", a, b
            );
        }
        prop_assert_eq!(got.expired, want.expired);
        for row in 0..rows.len() {
            prop_assert!(near(got.equity[row], want.equity[row]), "{row}: {} {}", got.equity[row], want.equity[row]);
            prop_assert!(near(got.units[row], want.units[row]), "{row}: {} {}", got.units[row], want.units[row]);
        }
        // What was gained is what the account grew by, once nothing is held.
        if got.units.last() == Some(&0.0) {
            prop_assert!(near(1_000.0 + got.gained, *got.equity.last().unwrap()));
        }
    }
}
