//! Which values of indicators were followed by gains more often than bars are: thresholds, alone and together, each tried one a trial.

mod events;
mod rules;

use super::Backtest;
use super::bars::{Batch, Symbols};
use super::plan::FEATURES;
use crate::Session;
use crate::control::{Control, Progress, Unit};
use crate::relation::{one, relation};
use crate::rows::{column, numbers, times};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::col;
use events::{Events, outcomes};
use futures::StreamExt;
use rules::{Condition, Outcomes, Period, Scratch, false_discovery_rates};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tallow_common::{Error, Result};
use tallow_engine::dialect::Formula;
use tallow_udfs::trade::backtest::{Bar, Order, Side};

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// How positions are left, what they cost, and which bars there are; entries, money and ranks do not count.
    pub exits: Backtest,
    /// Buy or sell short.
    pub side: Side,
    /// Indicators whose values are looked at.
    pub features: Vec<Formula>,
    /// How many conditions a rule has at most, from 1 to 3.
    pub depth: usize,
    /// Into so many parts of equal size the values of a feature are cut.
    pub parts: usize,
    /// Independent samples that a rule needs.
    pub min_samples: f64,
    /// The share of the time, at its end, that rules are tried on and not found in.
    pub test: f64,
    /// Bars between both.
    pub embargo: usize,
    /// Rules with a higher rate of false discoveries are left out.
    pub max_false: f64,
    /// At most so many rules.
    pub top: usize,
}

/// Features that are looked at unless others are given.
pub const USUAL_FEATURES: [&str; 8] = [
    "rsi(14)",
    "close / sma(50)",
    "close / sma(200)",
    "close / lag(close, 20)",
    "atr(14) / close",
    "volume / sma(volume, 50)",
    "(close - lowest(low, 20)) / (highest(high, 20) - lowest(low, 20))",
    "adx(14)",
];

/// What was found.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// One row a rule, the least likely to be luck first: the formula, and what came of the bars that it chooses, in the time in which it
    /// was found and in the time after.
    pub rules: RecordBatch,
    /// How often a bar is followed by a gain, in the time in which rules were found, and after.
    pub base: [f64; 2],
    /// Rules that were tried.
    pub trials: usize,
    /// When the time of the test begins, in microseconds.
    pub test_from: i64,
}

/// How many rules of one size are joined with others.
const JOINED: usize = 40;

impl Discovery {
    /// Gains more often after an entry of one side, in deciles of the usual features, two together, a third of the time kept for the test.
    ///
    /// # Errors
    /// None, but that a feature is no formula.
    pub fn of(exits: Backtest, side: Side) -> Result<Discovery> {
        let features = USUAL_FEATURES.iter().map(|text| Formula::parse(text)).collect::<Result<_>>()?;
        Ok(Discovery {
            exits,
            side,
            features,
            depth: 2,
            parts: 10,
            min_samples: 30.0,
            test: 0.3,
            embargo: 0,
            max_false: 0.05,
            top: 20,
        })
    }

    fn check(&self) -> Result<()> {
        let of = &self.exits;
        let leaves = of.exit.is_some() || of.short_exit.is_some() || of.stop.is_some() || of.target.is_some();
        if !leaves && of.trail.is_none() && of.rules.max_bars.is_none() {
            let said = ": how a position is left, decides what an entry is worth; or one of the options `stop`, `target`, `max_bars`";
            return Err(Error::Argument("exit", said.to_string()));
        }
        let within = |name: &'static str, is_right: bool, value: String, expected: &str| match is_right {
            true => Ok(()),
            false => Err(Error::Argument(name, format!(" {value}: expected {expected}"))),
        };
        within("depth", (1..=3).contains(&self.depth), self.depth.to_string(), "1, 2 or 3")?;
        within("parts", (2..=50).contains(&self.parts), self.parts.to_string(), "a number from 2 to 50")?;
        within(
            "test",
            self.test > 0.0 && self.test < 1.0,
            format!("{}%", self.test * 100.0),
            "a part of the time, such as 30%",
        )?;
        within("feature", !self.features.is_empty(), String::new(), "at least one")
    }

    /// The strategy that enters at each bar.
    fn entering(&self) -> Result<Backtest> {
        let always = Formula::parse("close > 0")?;
        let (entry, short_entry) = match self.side {
            Side::Long => (Some(always), None),
            Side::Short => (None, Some(always)),
        };
        Ok(Backtest { entry, short_entry, rank: None, size: None, funding: None, ..self.exits.clone() })
    }

    /// Looks for rules.
    ///
    /// # Errors
    /// As [`Backtest::run`]; a feature that looks ahead; too few bars.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<Discovered> {
        self.check()?;
        let clock = session.engine().clock()?;
        control.limit(&clock, self.found(session, control)).await
    }

    async fn found(&self, session: &Session, control: &Control) -> Result<Discovered> {
        let strategy = self.entering()?;
        let (of, from) = strategy.with_query(session).await?;
        let frame = of.bars_with(session, &from, &self.features).await?;
        let symbols = Symbols::of(of.lasts(session, &relation(session, &of.table).await?).await?);
        let instants = self.instants(session, &of).await?;
        let test_at = ((instants.len() as f64) * (1.0 - self.test)) as usize;
        let too_few = || Error::invalid(format!("{} bars in time are too few to be parted for a test", instants.len()));
        let test_from = *instants.get(test_at).ok_or_else(too_few)?;
        let train_to = *test_at.checked_sub(self.embargo).and_then(|at| instants.get(at)).ok_or_else(too_few)?;
        let pool = Arc::clone(session.context().task_ctx().memory_pool());
        let reservation = MemoryConsumer::new("bars of a discovery").register(&pool);
        // By symbol: each is complete before the next one comes.
        let sorted = frame.sort(vec![col("symbol").sort(true, false), col("ts").sort(true, false)])?;
        let mut batches = session.execute(session.plan(sorted).await?)?;
        let mut all: Vec<Events> = vec![];
        let mut open = Open::default();
        let (mut done, total) = (0, Some(symbols.bars() as u64));
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            reservation.try_grow(batch.num_rows() * (16 + 8 * self.features.len()))?;
            let rows = Batch::of(&batch, &symbols)?;
            let features = (0..self.features.len()).map(|at| numbers(column(&batch, &feature(at))?));
            let features = features.collect::<Result<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                let bar = rows.bar(row, &of, 1.0, &symbols);
                if open.symbol != Some(bar.symbol) {
                    all.extend(std::mem::take(&mut open).complete(&of));
                    open.symbol = Some(bar.symbol);
                    open.values = vec![vec![]; self.features.len()];
                }
                open.ts.push(rows.ts[row]);
                open.bars.push((bar.bar, bar.order));
                open.values.iter_mut().zip(&features).for_each(|(all, values)| all.push(values[row]));
            }
            done += batch.num_rows() as u64;
            (control.progress)(Progress { unit: Unit::Rows, done, total, rows: done });
        }
        all.extend(open.complete(&of));
        let thresholds: Vec<Vec<f64>> =
            (0..self.features.len()).map(|at| self.thresholds(&all, at, train_to)).collect();
        all.iter_mut().for_each(|symbol| symbol.reach(&thresholds));
        let threads = session.context().copied_config().target_partitions();
        self.rules(&all, &thresholds, (train_to, test_from), threads, control)
    }

    /// The times of all bars.
    async fn instants(&self, session: &Session, of: &Backtest) -> Result<Vec<i64>> {
        let from = relation(session, &of.table).await?;
        let bounds = of.bounds();
        let sql = format!(
            "select distinct ts from (select symbol, ts from {} as candles{}) where true{bounds} order by ts",
            from.sql,
            of.among()
        );
        let mut instants = vec![];
        for batch in session.collect(one(session, &sql).await?).await? {
            instants.extend(times(batch.column(0))?);
        }
        Ok(instants)
    }

    /// The values that part a feature into equal parts, of the time in which rules are found; in few digits, as they stand in formulas.
    fn thresholds(&self, all: &[Events], feature: usize, train_to: i64) -> Vec<f64> {
        let known = all.iter().flat_map(|symbol| symbol.ts.iter().zip(&symbol.values[feature]));
        let known = known.filter(|(ts, value)| **ts < train_to && value.is_finite());
        let mut values: Vec<f64> = known.map(|(_, value)| *value).collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| values.get(values.len() * part / self.parts).copied();
        let mut thresholds: Vec<f64> = (1..self.parts).filter_map(at).map(rounded).collect();
        thresholds.dedup();
        thresholds
    }

    /// Tries rules, and chooses the best.
    fn rules(
        &self,
        all: &[Events],
        thresholds: &[Vec<f64>],
        (train_to, test_from): (i64, i64),
        threads: usize,
        control: &Control,
    ) -> Result<Discovered> {
        let (train, test) = (Period::Before(train_to), Period::From(test_from));
        let mut scratch = Scratch::default();
        let base = [train, test].map(|period| Outcomes::of(&[], all, period, &mut scratch));
        if base[0].samples == 0 {
            return Err(Error::invalid("no entry has an outcome in the time in which rules are found"));
        }
        let single = thresholds.iter().enumerate().flat_map(|(feature, own)| {
            let sides = (0..own.len()).flat_map(move |at| [false, true].map(|is_above| (at as u8, is_above)));
            sides.map(move |(threshold, is_above)| Condition { feature, threshold, is_above })
        });
        let single: Vec<Condition> = single.collect();
        let mut tried: BTreeMap<Vec<Condition>, (Outcomes, f64)> = BTreeMap::new();
        let mut last: Vec<Vec<Condition>> = vec![vec![]];
        for _ in 0..self.depth {
            let mut rules: BTreeSet<Vec<Condition>> = BTreeSet::new();
            for (rule, other) in last.iter().flat_map(|rule| single.iter().map(move |other| (rule, *other))) {
                let mut joined = rule.clone();
                joined.push(other);
                joined.sort();
                if !rule.iter().any(|known| known.feature == other.feature) && !tried.contains_key(&joined) {
                    rules.insert(joined);
                }
            }
            let mut next: Vec<(Vec<Condition>, f64)> = vec![];
            for (rule, outcomes) in outcomes_of(rules.into_iter().collect(), all, train, threads, control)? {
                if outcomes.effective >= self.min_samples {
                    let p = outcomes.p_value(base[0].win_rate);
                    next.push((rule.clone(), p));
                    tried.insert(rule, (outcomes, p));
                }
            }
            next.sort_by(|a, b| a.1.total_cmp(&b.1));
            last = next.into_iter().take(JOINED).map(|(rule, _)| rule).collect();
        }
        let p_values: Vec<f64> = tried.values().map(|(_, p)| *p).collect();
        let rates = false_discovery_rates(&p_values);
        let mut best: Vec<_> = tried.iter().zip(rates).filter(|(_, rate)| *rate <= self.max_false).collect();
        best.sort_by(|a, b| a.0.1.1.total_cmp(&b.0.1.1).then(a.0.0.len().cmp(&b.0.0.len())));
        // Of rules that differ in their thresholds alone, the best.
        let mut kinds = BTreeSet::new();
        best.retain(|((rule, _), _)| {
            kinds.insert(rule.iter().map(|own| (own.feature, own.is_above)).collect::<Vec<_>>())
        });
        best.truncate(self.top);
        let after: Vec<Outcomes> =
            best.iter().map(|((rule, _), _)| Outcomes::of(rule, all, test, &mut scratch)).collect();
        let texts = best.iter().map(|((rule, _), _)| self.formula(rule, thresholds));
        let number = |of: &dyn Fn(usize) -> f64| -> ArrayRef {
            let values = (0..best.len()).map(of).map(|value| value.is_finite().then_some(value));
            Arc::new(values.collect::<Float64Array>())
        };
        let count = |of: &dyn Fn(usize) -> usize| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values((0..best.len()).map(|at| of(at) as i64)))
        };
        let found = |at: usize| best[at].0.1.0;
        let holds: BooleanArray =
            after.iter().map(|of| (of.effective > 0.0).then(|| of.win_rate > base[1].win_rate)).collect();
        let rules = RecordBatch::try_from_iter([
            ("formula", Arc::new(texts.map(Some).collect::<StringArray>()) as ArrayRef),
            ("samples", count(&|at| found(at).samples)),
            ("independent", number(&|at| found(at).effective)),
            ("win_rate", number(&|at| found(at).win_rate)),
            ("lift", number(&|at| found(at).win_rate / base[0].win_rate)),
            ("lift_low", number(&|at| found(at).interval().0 / base[0].win_rate)),
            ("lift_high", number(&|at| found(at).interval().1 / base[0].win_rate)),
            ("mean_return", number(&|at| found(at).mean_return)),
            ("false_rate", number(&|at| best[at].1)),
            ("test_samples", count(&|at| after[at].samples)),
            ("test_win_rate", number(&|at| if after[at].samples > 0 { after[at].win_rate } else { f64::NAN })),
            (
                "test_lift",
                number(&|at| if after[at].samples > 0 { after[at].win_rate / base[1].win_rate } else { f64::NAN }),
            ),
            ("test_mean_return", number(&|at| if after[at].samples > 0 { after[at].mean_return } else { f64::NAN })),
            ("holds", Arc::new(holds)),
        ])?;
        Ok(Discovered { rules, base: base.map(|of| of.win_rate), trials: p_values.len(), test_from })
    }

    /// A rule as a formula.
    fn formula(&self, rule: &[Condition], thresholds: &[Vec<f64>]) -> String {
        let text = |own: &Condition| {
            let value = thresholds[own.feature][own.threshold as usize];
            format!("{} {} {value}", self.features[own.feature], if own.is_above { ">=" } else { "<" })
        };
        rule.iter().map(text).collect::<Vec<_>>().join(" and ")
    }
}

/// What comes of many rules, on so many threads.
fn outcomes_of(
    rules: Vec<Vec<Condition>>,
    all: &[Events],
    period: Period,
    threads: usize,
    control: &Control,
) -> Result<Vec<(Vec<Condition>, Outcomes)>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut scratch, mut own) = (Scratch::default(), vec![]);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            match rules.get(at) {
                Some(rule) if !control.cancel.is_cancelled() => {
                    own.push((at, Outcomes::of(rule, all, period, &mut scratch)));
                }
                _ => return own,
            }
        }
    };
    let mut found = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        for other in others {
            match other.join() {
                Ok(own) => found.extend(own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        found
    });
    if control.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    found.sort_by_key(|(at, _)| *at);
    Ok(rules.into_iter().zip(found).map(|(rule, (_, outcomes))| (rule, outcomes)).collect())
}

/// The column of a feature.
fn feature(at: usize) -> String {
    format!("{FEATURES}{at})")
}

/// A number in four digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(f64::NAN)
}

/// The symbol whose bars are coming in.
#[derive(Default)]
struct Open {
    symbol: Option<usize>,
    ts: Vec<i64>,
    bars: Vec<(Bar, Order)>,
    values: Vec<Vec<f64>>,
}

impl Open {
    fn complete(self, of: &Backtest) -> Option<Events> {
        self.symbol.map(|_| outcomes(of, self.ts, &self.bars, self.values))
    }
}
