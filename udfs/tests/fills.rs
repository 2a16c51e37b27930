//! Fills on candles where engines disagree: those of the rules, and those of other engines by their profiles.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use tallow_udfs::series::Choice;
use tallow_udfs::trade::backtest::account::{Costs, Lots, Rejected};
use tallow_udfs::trade::backtest::rules::{Profile, Rules};
use tallow_udfs::trade::backtest::simulate::{Bars, Record, Simulation, Terms, Trade};
use tallow_udfs::trade::backtest::{Bracket, Filled, Level, Order, Reason, Side, Signals};

/// What a case says, by the first word of its lines.
struct Case<'a>(&'a str);

impl<'a> Case<'a> {
    fn lines(&self, key: &str) -> Vec<&'a str> {
        self.0
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(' ').or(Some("").filter(|_| line == key)))
            .collect()
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        self.lines(key).first().map_or(vec![], |text| text.split_whitespace().map(|n| n.parse().unwrap()).collect())
    }

    fn level(&self, key: &str) -> Level {
        self.numbers(key).first().map_or(Level::None, |fraction| Level::Fraction(*fraction))
    }

    fn rows(&self, key: &str) -> Vec<usize> {
        self.numbers(key).into_iter().map(|row| row as usize).collect()
    }

    fn name(&self) -> &'a str {
        self.lines("case").first().copied().unwrap_or_default()
    }
}

/// Trades, and what is open at the end.
#[derive(Default)]
struct Trades {
    entered: Option<(usize, f64)>,
    fills: Vec<(String, String)>,
}

impl Record for Trades {
    fn entered(&mut self, row: usize, _: Side, filled: &Filled) {
        self.entered = Some((row, filled.price));
    }

    fn left(&mut self, trade: &Trade) {
        let Trade { entry_row, entry_price, exit_row, exit_price, reason, .. } = trade;
        self.entered = None;
        self.fills.push((
            format!("{entry_row} {} {exit_row} {}", rounded(*entry_price), rounded(*exit_price)),
            Reason::NAMES[*reason as usize].to_string(),
        ));
    }

    fn rejected(&mut self, _: usize, _: Rejected) {}

    fn closed(&mut self, _: usize, _: f64, _: f64) {}
}

fn rounded(price: f64) -> f64 {
    (price * 1e9).round() / 1e9
}

fn run(case: &Case<'_>, rules: &Rules) -> Trades {
    let bars: Vec<Vec<f64>> =
        case.lines("bar").iter().map(|bar| bar.split_whitespace().map(|x| x.parse().unwrap()).collect()).collect();
    let column = |i: usize| bars.iter().map(|bar| bar[i]).collect::<Vec<_>>();
    let [open, high, low, close] = [0, 1, 2, 3].map(column);
    let bars = Bars { open: &open, high: &high, low: &low, close: &close, volume: None, ts: None, funding: None };
    let (entries, exits, is_short) = (case.rows("entries"), case.rows("exits"), case.lines("side") == ["short"]);
    let bracket = Bracket { stop: case.level("stop"), target: case.level("target"), trail: case.level("trail") };
    let order = |row: usize| {
        let (enter, exit) = (entries.contains(&row), exits.contains(&row));
        let signals = match is_short {
            true => Signals { enter_short: enter, exit_short: exit, ..Signals::default() },
            false => Signals { enter_long: enter, exit_long: exit, ..Signals::default() },
        };
        Order { signals, bracket, size: 1.0, ..Order::default() }
    };
    let terms = Terms { cash: 1_000.0, leverage: 1.0, costs: Costs::default(), lots: Lots::default() };
    let mut trades = Trades::default();
    Simulation::new(rules, terms).run(&bars, order, &mut trades);
    if let Some((row, price)) = trades.entered {
        let last = close.last().unwrap();
        trades.fills.push((format!("{row} {} open {}", rounded(price), rounded(*last)), String::new()));
    }
    trades
}

#[test]
fn fills_are_those_of_the_rules_and_of_other_engines_by_their_profiles() {
    let text = include_str!("fills.txt");
    let cases: Vec<Case<'_>> =
        text.split("\n\n").filter(|block| block.trim_start().starts_with("case ")).map(Case).collect();
    assert_eq!(cases.len(), 29);
    let (mut compared, mut wrong) = (0, vec![]);
    for case in &cases {
        for (profile, name) in Profile::NAMES {
            let Some(expected) = case.lines(name).first().copied() else { continue };
            compared += 1;
            let want: Vec<Vec<&str>> = expected
                .split(';')
                .map(|fill| fill.split_whitespace().collect::<Vec<_>>())
                .filter(|fill| !fill.is_empty())
                .collect();
            let got = run(case, &profile.rules()).fills;
            let same = got.len() == want.len()
                && got.iter().zip(&want).all(|((fill, reason), want)| {
                    let fill: Vec<&str> = fill.split(' ').collect();
                    let numbers = fill.iter().zip(want).all(|(a, b)| {
                        a == b || matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if (a - b).abs() < 1e-9)
                    });
                    numbers && want.get(4).is_none_or(|want| want == reason)
                });
            if !same {
                wrong.push(format!("{name}, {}: {got:?}, expected {expected}", case.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(compared, 29 + 25 + 29 + 29);
}
