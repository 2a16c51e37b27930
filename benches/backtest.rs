//! The kernel of a back-test: bars a second of one account, and what comes out of it the sum of its returns.
#![allow(missing_docs, reason = "a bench")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tallow_udfs::trade::backtest::account::{Costs, Lots, Rejected};
use tallow_udfs::trade::backtest::rules::Profile;
use tallow_udfs::trade::backtest::simulate::{Bars, Record, Simulation, Terms, Trade};
use tallow_udfs::trade::backtest::{Bracket, Filled, Level, Order, Side, Signals};

const BARS: usize = 1_000_000;

/// Open, high, low, close of a random walk.
fn walk() -> [Vec<f64>; 4] {
    let mut state = 42u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut close = 100.0;
    let mut columns: [Vec<f64>; 4] = Default::default();
    for _ in 0..BARS {
        let open = close * (1.0 + 0.002 * random());
        close = f64::clamp(open * (1.0 + 0.02 * random()), 20.0, 500.0);
        let (high, low) = (f64::max(open, close) * 1.002, f64::min(open, close) * 0.998);
        columns.iter_mut().zip([open, high, low, close]).for_each(|(column, value)| column.push(value));
    }
    columns
}

/// Where a fast average crosses a slow one: above it, and below.
fn crossings(close: &[f64]) -> [Vec<bool>; 2] {
    let mean = |at: usize, n: usize| close[at + 1 - n..=at].iter().sum::<f64>() / n as f64;
    let above: Vec<bool> = (0..close.len()).map(|at| at >= 50 && mean(at, 10) > mean(at, 50)).collect();
    let crosses = |up: bool| (0..above.len()).map(|at| at > 50 && above[at] == up && above[at - 1] != up).collect();
    [crosses(true), crosses(false)]
}

#[derive(Default)]
struct Summary {
    equity: f64,
    returns: f64,
    trades: usize,
}

impl Record for Summary {
    fn entered(&mut self, _: usize, _: Side, _: &Filled) {}

    fn left(&mut self, _: &Trade) {
        self.trades += 1;
    }

    fn rejected(&mut self, _: usize, _: Rejected) {}

    fn closed(&mut self, _: usize, equity: f64, _: f64) {
        self.returns += equity / self.equity - 1.0;
        self.equity = equity;
    }
}

fn kernel(c: &mut Criterion) {
    let [open, high, low, close] = walk();
    let [enter, exit] = crossings(&close);
    let bars = Bars { open: &open, high: &high, low: &low, close: &close, volume: None, ts: None, funding: None };
    let rules = Profile::Tallow.rules();
    let costs = Costs { commission: 0.001, slippage: 0.0005, ..Costs::default() };
    let terms = Terms { cash: 1e6, leverage: 1.0, costs, lots: Lots::default() };
    let levels = Bracket { stop: Level::Fraction(0.05), target: Level::Fraction(0.1), trail: Level::Fraction(0.08) };
    let mut group = c.benchmark_group("backtest");
    group.throughput(Throughput::Elements(BARS as u64));
    for (name, bracket) in [("signals alone", Bracket::default()), ("stop, target, trailing stop", levels)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut summary = Summary { equity: terms.cash, ..Summary::default() };
                let order = |row: usize| {
                    let signals = Signals { enter_long: enter[row], exit_long: exit[row], ..Signals::default() };
                    Order { signals, bracket, size: 1.0, ..Order::default() }
                };
                Simulation::new(&rules, terms).run(black_box(&bars), order, &mut summary);
                (summary.returns, summary.trades)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kernel);
criterion_main!(benches);
