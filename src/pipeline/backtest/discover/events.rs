//! What would have come of an entry at each bar.

use crate::backtest::Backtest;
use tallow_udfs::trade::backtest::account::Rejected;
use tallow_udfs::trade::backtest::simulate::{Record, Simulation, Terms, Trade};
use tallow_udfs::trade::backtest::{Bar, Filled, Order, Side, Signals};

/// The bars of a symbol, each as an entry.
#[derive(Debug, Default)]
pub struct Events {
    /// Times in microseconds.
    pub ts: Vec<i64>,
    /// The bar in which the position would be left; [`Events::OPEN`]: it would not be.
    pub exits: Vec<u32>,
    /// What it would gain.
    pub gains: Vec<f32>,
    /// Of each feature, how many of its thresholds each bar reaches; [`Events::UNKNOWN`]: the feature has no value. Empty until these are
    /// known.
    pub reached: Vec<Vec<u8>>,
    /// The values of each feature, until then.
    pub values: Vec<Vec<f64>>,
}

impl Events {
    /// Nothing came of it, or what came is not known yet.
    pub const OPEN: u32 = u32::MAX;
    /// A feature without a value.
    pub const UNKNOWN: u8 = u8::MAX;

    /// Sees of each value which of its feature's thresholds, ascending, it reaches.
    pub fn reach(&mut self, thresholds: &[Vec<f64>]) {
        let reached = |value: &f64, own: &[f64]| match value.is_finite() {
            true => own.partition_point(|threshold| threshold <= value) as u8,
            false => Self::UNKNOWN,
        };
        let values = std::mem::take(&mut self.values);
        let all = values.iter().zip(thresholds);
        self.reached = all.map(|(values, own)| values.iter().map(|value| reached(value, own)).collect()).collect();
    }

    /// Whether a bar has an outcome.
    pub fn is_known(&self, bar: usize) -> bool {
        self.exits[bar] != Self::OPEN
    }

    /// When the position of a bar is left.
    pub fn left_at(&self, bar: usize) -> i64 {
        self.ts.get(self.exits[bar] as usize).copied().unwrap_or(i64::MAX)
    }
}

/// Keeps the first trade.
#[derive(Default)]
struct First(Option<Trade>);

impl Record for First {
    fn entered(&mut self, _: usize, _: Side, _: &Filled) {}

    fn left(&mut self, trade: &Trade) {
        self.0.get_or_insert(*trade);
    }

    fn rejected(&mut self, _: usize, _: Rejected) {}

    fn closed(&mut self, _: usize, _: f64, _: f64) {}
}

/// An entry at each bar of a symbol by the rules of a strategy: where it is left, and what it gains. `bars` have an entry each, and exits
/// where the strategy has them.
pub fn outcomes(of: &Backtest, ts: Vec<i64>, bars: &[(Bar, Order)], values: Vec<Vec<f64>>) -> Events {
    let terms = Terms { cash: 1.0, leverage: 1.0, costs: of.terms.costs, lots: of.terms.lots };
    let (mut exits, mut gains) = (Vec::with_capacity(bars.len()), Vec::with_capacity(bars.len()));
    for from in 0..bars.len() {
        let mut simulation = Simulation::new(&of.rules, terms);
        let mut first = First::default();
        for (row, (bar, order)) in bars.iter().enumerate().skip(from) {
            // After the entry, exits alone count.
            let Signals { exit_long, exit_short, .. } = order.signals;
            let signals = Signals { exit_long, exit_short, ..Signals::default() };
            let order = if row == from { Order { size: 1.0, ..*order } } else { Order { signals, ..*order } };
            simulation.step(row, bar, (Some(ts[row]), 0.0), &order, false, &mut first);
            if first.0.is_some() || simulation.is_idle() && row > from {
                break;
            }
        }
        let (exit, gain) = first.0.map_or((Events::OPEN, 0.0), |trade| (trade.exit_row as u32, trade.gain as f32));
        exits.push(exit);
        gains.push(gain);
    }
    Events { ts, exits, gains, reached: vec![], values }
}
