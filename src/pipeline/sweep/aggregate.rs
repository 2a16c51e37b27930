//! Back-tests of many variants of a strategy in one pass: an aggregate over the series of all symbols.
//!
//! Each symbol has money of its own. The return of a variant at an instant is the mean of the returns of all symbols that have a bar
//! then, as if the same money were in each.

use super::overfitting::{Block, Fold};
use super::spec::{RulesSpec, TermsSpec};
use crate::backtest::a_year;
use arrow::array::{
    ArrayRef, AsArray, Float64Array, Float64Builder, Int64Array, Int64Builder, ListArray, ListBuilder, RecordBatch,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use datafusion::common::{Result, exec_err, internal_datafusion_err};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use tallow_engine::cancellation::Cancellation;
use tallow_engine::node::{Exact, NodeKind, from_spec, to_spec};
use tallow_engine::series_aggregate::{Accumulator, Execution, Partitions, SeriesAggregate, node};
use tallow_udfs::trade::backtest::account::Rejected;
use tallow_udfs::trade::backtest::rules::Rules;
use tallow_udfs::trade::backtest::simulate::{Bars, Record, Simulation, Terms, Trade};
use tallow_udfs::trade::backtest::{Bracket, Entry, Filled, Level, Order, Side, Signals};
use tallow_udfs::trade::metrics::Figures;

/// The columns with prices, which come first.
const PRICES: [&str; 4] = ["open", "high", "low", "close"];

/// Where a variant leaves a position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum At {
    /// Nowhere.
    Nowhere,
    /// A fraction of the entry away.
    Fraction(Exact),
    /// As far away as a column says.
    Distance(usize),
    /// At the price of a column.
    Price(usize),
}

/// A variant: which columns hold its signals and levels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Entry and exit, and those of short positions.
    pub signals: [Option<usize>; 4],
    /// Stop, target, trailing stop, and the limit and the stop of an entry.
    pub levels: [At; 5],
}

/// How time is cut for tests of luck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    /// Blocks of time, an even number.
    pub blocks: usize,
    /// Folds of a walk-forward test; 0: none.
    pub folds: usize,
    /// How many times as long as a fold the bars are that a variant is chosen by; 0: all before it.
    pub train: usize,
    /// Bars between these and the fold.
    pub embargo: usize,
}

/// Tries many variants.
#[derive(Debug)]
pub struct SweepAggregate {
    pub columns: Vec<String>,
    pub variants: Arc<Vec<Variant>>,
    pub rules: Arc<Rules>,
    pub terms: Terms,
    pub cuts: Cuts,
    /// Bars a year; `None`: as many as there are.
    pub periods: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct Spec {
    columns: Vec<String>,
    variants: Vec<Variant>,
    rules: RulesSpec,
    terms: TermsSpec,
    cuts: Cuts,
    periods: Option<Exact>,
}

impl SweepAggregate {
    pub const KIND: NodeKind = NodeKind {
        name: "SweepAggregate",
        decode: |spec| {
            let Spec { columns, variants, rules, terms, cuts, periods } = from_spec(spec)?;
            Ok(node(Arc::new(SweepAggregate {
                columns,
                variants: Arc::new(variants),
                rules: Arc::new(rules.value()?),
                terms: terms.value(),
                cuts,
                periods: periods.map(f64::from),
            })))
        },
    };
}

fn numbers_list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
}

/// The figures of a variant.
const FIGURES: [&str; 8] =
    ["total_return", "cagr", "volatility", "sharpe", "sortino", "max_drawdown", "skewness", "kurtosis"];

/// The columns of the result: one row a variant, and one of number -1, whose `trades` are the instants, whose `total_return` are the
/// bars a year, and whose `blocks` are the sums of the standardised returns of all variants.
pub fn result_schema() -> SchemaRef {
    let whole = ["variant", "trades"].map(|name| Field::new(name, DataType::Int64, false));
    let figures = FIGURES.map(|name| Field::new(name, DataType::Float64, true));
    let lists = ["blocks", "folds"].map(|name| Field::new(name, numbers_list(), true));
    Arc::new(Schema::new(whole.into_iter().chain(figures).chain(lists).collect::<Vec<_>>()))
}

impl SeriesAggregate for SweepAggregate {
    fn name(&self) -> &'static str {
        Self::KIND.name
    }

    fn describe(&self) -> String {
        format!("back-tests of {} variants", self.variants.len())
    }

    fn columns(&self) -> Vec<&str> {
        PRICES.into_iter().chain(self.columns.iter().map(String::as_str)).collect()
    }

    fn state_schema(&self) -> SchemaRef {
        let times = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        Arc::new(Schema::new(vec![
            Field::new("variant", DataType::Int64, false),
            Field::new("trades", DataType::Int64, false),
            Field::new("times", times, true),
            Field::new("values", numbers_list(), true),
        ]))
    }

    fn schema(&self) -> SchemaRef {
        result_schema()
    }

    fn begin(&self) -> Arc<dyn Partitions> {
        Arc::new(Trying {
            variants: Arc::clone(&self.variants),
            rules: Arc::clone(&self.rules),
            terms: self.terms,
            schema: self.state_schema(),
        })
    }

    fn finish(&self, states: &[RecordBatch], execution: &Execution<'_>) -> Result<RecordBatch> {
        let wrong = || internal_datafusion_err!("state rows of another aggregate");
        let mut merged = Merged::default();
        merged.sums.resize(self.variants.len(), vec![]);
        merged.trades.resize(self.variants.len(), 0);
        for state in states {
            merged.add(state).ok_or_else(wrong)?;
        }
        execution.cancellation.check()?;
        let instants: Vec<i64> = merged.instants.keys().copied().collect();
        let periods = self.periods.unwrap_or_else(|| a_year(&instants));
        // Instants in the order in which they came, by time.
        let order: Vec<usize> = merged.instants.values().copied().collect();
        let returns = merged.sums.iter().zip(&merged.trades).map(|(sums, trades)| {
            let mean = |at: &usize| sums.get(*at).copied().unwrap_or_default() / merged.counts[*at].max(1.0);
            (order.iter().map(mean).collect(), *trades)
        });
        self.cuts.result(order.len(), periods, returns)
    }

    fn spec(&self) -> Result<Vec<u8>> {
        to_spec(&Spec {
            columns: self.columns.clone(),
            variants: self.variants.to_vec(),
            rules: RulesSpec::of(&self.rules),
            terms: TermsSpec::of(&self.terms),
            cuts: self.cuts,
            periods: self.periods.map(Exact::from),
        })
    }
}

impl Cuts {
    /// The rows of [`result_schema`] for variants with these returns at each instant and so many trades.
    pub(super) fn result(
        &self,
        instants: usize,
        periods: f64,
        variants: impl Iterator<Item = (Vec<f64>, i64)>,
    ) -> Result<RecordBatch> {
        let mut rows = ResultRows::new(variants.size_hint().0 + 1);
        let mut standardised = vec![0.0; instants];
        for (variant, (r, trades)) in variants.enumerate() {
            let figures = Figures::of(&r, periods);
            if let Some(spread) = figures.volatility.map(|v| v / periods.sqrt()).filter(|spread| *spread > 0.0) {
                let mean = r.iter().sum::<f64>() / r.len() as f64;
                standardised.iter_mut().zip(&r).for_each(|(sum, r)| *sum += (r - mean) / spread);
            }
            rows.variant(variant, trades, &figures, &self.blocks(&r), &self.folds(&r));
        }
        rows.all(instants, periods, &standardised);
        rows.finish()
    }

    fn blocks(&self, r: &[f64]) -> Vec<f64> {
        let cut = |block: usize| block * r.len() / self.blocks.max(1);
        (0..self.blocks).flat_map(|block| flat(Block::of(&r[cut(block)..cut(block + 1)]))).collect()
    }

    fn folds(&self, r: &[f64]) -> Vec<f64> {
        let fold = |fold: usize| {
            let (before, own) = self.fold(fold, r.len());
            [Block::of(&r[before]), Block::of(&r[own])]
        };
        (0..self.folds).flat_map(fold).flat_map(flat).collect()
    }

    /// Of so many instants, those that a variant is chosen by before a fold, and those of the fold.
    pub(super) fn fold(&self, fold: usize, instants: usize) -> (Range<usize>, Range<usize>) {
        // The first fold has as much before it as any, or as a fold is long.
        let parts = self.folds + self.train.max(1);
        let cut = |part: usize| part * instants / parts;
        let begin = fold + self.train.max(1);
        let first = if self.train == 0 { 0 } else { cut(fold) };
        let last = cut(begin).saturating_sub(self.embargo).max(first);
        (first..last, cut(begin)..cut(begin + 1))
    }
}

fn flat(block: Block) -> [f64; 3] {
    [block.n, block.sum, block.squares]
}

/// The blocks of a list of numbers.
pub fn blocks_of(numbers: &[f64]) -> Vec<Block> {
    numbers.chunks_exact(3).map(|of| Block { n: of[0], sum: of[1], squares: of[2] }).collect()
}

/// The folds of a list of numbers.
pub fn folds_of(numbers: &[f64]) -> Vec<Fold> {
    blocks_of(numbers).chunks_exact(2).map(|of| Fold { before: of[0], after: of[1] }).collect()
}

/// What partitions of one process share.
struct Trying {
    variants: Arc<Vec<Variant>>,
    rules: Arc<Rules>,
    terms: Terms,
    schema: SchemaRef,
}

impl Partitions for Trying {
    fn partition(&self, cancellation: &Cancellation) -> Box<dyn Accumulator> {
        Box::new(Tried {
            variants: Arc::clone(&self.variants),
            rules: Arc::clone(&self.rules),
            terms: self.terms,
            schema: Arc::clone(&self.schema),
            cancellation: cancellation.clone(),
            instants: HashMap::new(),
            counts: vec![],
            sums: vec![vec![]; self.variants.len()],
            trades: vec![0; self.variants.len()],
            unfit: None,
        })
    }
}

/// The returns of all variants, summed over the symbols of a partition.
struct Tried {
    variants: Arc<Vec<Variant>>,
    rules: Arc<Rules>,
    terms: Terms,
    schema: SchemaRef,
    cancellation: Cancellation,
    /// The place of each instant.
    instants: HashMap<i64, usize>,
    /// Symbols that have a bar at each.
    counts: Vec<f64>,
    /// By variant and place.
    sums: Vec<Vec<f64>>,
    trades: Vec<i64>,
    unfit: Option<(String, String)>,
}

/// Adds the returns of a simulation.
struct Returns<'a> {
    sums: &'a mut [f64],
    places: &'a [usize],
    trades: i64,
    before: f64,
}

impl Record for Returns<'_> {
    fn entered(&mut self, _: usize, _: Side, _: &Filled) {}

    fn left(&mut self, _: &Trade) {
        self.trades += 1;
    }

    fn rejected(&mut self, _: usize, _: Rejected) {}

    #[inline]
    fn closed(&mut self, row: usize, equity: f64, _: f64) {
        if equity != self.before && self.before > 0.0 {
            self.sums[self.places[row]] += equity / self.before - 1.0;
            self.before = equity;
        }
    }
}

impl Accumulator for Tried {
    fn series(&mut self, _: &str, ts: &[i64], columns: &[Vec<f64>]) -> Result<()> {
        let mut places = Vec::with_capacity(ts.len());
        for time in ts {
            let next = self.instants.len();
            let place = *self.instants.entry(*time).or_insert(next);
            if place == self.counts.len() {
                self.counts.push(0.0);
            }
            self.counts[place] += 1.0;
            places.push(place);
        }
        let (prices, others) = columns.split_at(PRICES.len());
        let bars = Bars {
            open: &prices[0],
            high: &prices[1],
            low: &prices[2],
            close: &prices[3],
            volume: None,
            ts: Some(ts),
            funding: None,
        };
        for (number, variant) in self.variants.iter().enumerate() {
            self.cancellation.check()?;
            let signal = |at: usize| variant.signals[at].map(|column| others[column].as_slice());
            let [entry, exit, short_entry, short_exit] = [0, 1, 2, 3].map(signal);
            let is = |column: Option<&[f64]>, row: usize| column.is_some_and(|column| column[row] > 0.0);
            let level = |at: usize, row: usize| match variant.levels[at] {
                At::Nowhere => Level::None,
                At::Fraction(fraction) => Level::Fraction(fraction.into()),
                At::Distance(column) => Level::Distance(others[column][row]),
                At::Price(column) => Level::Price(others[column][row]),
            };
            let order = |row: usize| {
                let signals = Signals {
                    enter_long: is(entry, row),
                    exit_long: is(exit, row),
                    enter_short: is(short_entry, row),
                    exit_short: is(short_exit, row),
                };
                if !(signals.enter_long || signals.enter_short) {
                    return Order { signals, ..Order::default() };
                }
                let bracket = Bracket { stop: level(0, row), target: level(1, row), trail: level(2, row) };
                let entry = match (level(3, row), level(4, row)) {
                    (Level::None, Level::None) => Entry::Market,
                    (Level::None, stop) => Entry::Stop(stop),
                    (limit, _) => Entry::Limit(limit),
                };
                Order { signals, entry, bracket, size: 1.0 }
            };
            let sums = &mut self.sums[number];
            sums.resize(self.counts.len(), 0.0);
            let mut returns = Returns { sums, places: &places, trades: 0, before: self.terms.cash };
            Simulation::new(&self.rules, self.terms).run(&bars, order, &mut returns);
            self.trades[number] += returns.trades;
        }
        Ok(())
    }

    fn unfit(&mut self, symbol: &str, reason: &str) {
        self.unfit.get_or_insert_with(|| (symbol.to_string(), reason.to_string()));
    }

    fn bytes(&self) -> usize {
        self.instants.len() * (32 + 8 * self.variants.len())
    }

    fn bytes_per_bar(&self) -> usize {
        8
    }

    fn state(self: Box<Self>) -> Result<RecordBatch> {
        if let Some((symbol, reason)) = self.unfit {
            return exec_err!("{symbol}: {reason}; the operation `validate` shows where");
        }
        let mut places: Vec<(usize, i64)> = self.instants.iter().map(|(time, place)| (*place, *time)).collect();
        places.sort_unstable();
        let (mut times, mut values) = (ListBuilder::new(Int64Builder::new()), ListBuilder::new(Float64Builder::new()));
        places.iter().for_each(|(_, time)| times.values().append_value(*time));
        times.append(true);
        values.values().append_slice(&self.counts);
        values.append(true);
        for sums in &self.sums {
            times.append_null();
            values.values().append_slice(sums);
            values.append(true);
        }
        let variants = std::iter::once(-1).chain(0..self.sums.len() as i64);
        let trades = std::iter::once(0).chain(self.trades.iter().copied());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(variants.collect::<Int64Array>()),
            Arc::new(trades.collect::<Int64Array>()),
            Arc::new(times.finish()),
            Arc::new(values.finish()),
        ];
        Ok(RecordBatch::try_new(self.schema, columns)?)
    }
}

/// The states of all partitions.
#[derive(Default)]
struct Merged {
    /// The place of each instant, by time.
    instants: BTreeMap<i64, usize>,
    counts: Vec<f64>,
    sums: Vec<Vec<f64>>,
    trades: Vec<i64>,
}

impl Merged {
    /// `None`: it is no state of a sweep.
    fn add(&mut self, state: &RecordBatch) -> Option<()> {
        let variants = state.column(0).as_primitive_opt::<Int64Type>()?;
        let trades = state.column(1).as_primitive_opt::<Int64Type>()?;
        let (times, values) = (state.column(2).as_list_opt::<i32>()?, state.column(3).as_list_opt::<i32>()?);
        let mut places = vec![];
        for row in 0..state.num_rows() {
            let numbers = values.value(row);
            let numbers = numbers.as_primitive_opt::<Float64Type>()?.values();
            let Ok(variant) = usize::try_from(variants.value(row)) else {
                let of_partition = times.value(row);
                for (time, count) in of_partition.as_primitive_opt::<Int64Type>()?.values().iter().zip(numbers) {
                    let next = self.instants.len();
                    let place = *self.instants.entry(*time).or_insert(next);
                    self.counts.resize(self.instants.len(), 0.0);
                    self.counts[place] += count;
                    places.push(place);
                }
                continue;
            };
            *self.trades.get_mut(variant)? += trades.value(row);
            let sums = self.sums.get_mut(variant)?;
            sums.resize(self.instants.len(), 0.0);
            places.iter().zip(numbers).for_each(|(place, sum)| sums[*place] += sum);
        }
        Some(())
    }
}

/// The rows of the result.
struct ResultRows {
    variants: Vec<i64>,
    trades: Vec<i64>,
    figures: [Vec<Option<f64>>; 8],
    blocks: ListBuilder<Float64Builder>,
    folds: ListBuilder<Float64Builder>,
}

impl ResultRows {
    fn new(rows: usize) -> ResultRows {
        let list = || ListBuilder::with_capacity(Float64Builder::new(), rows);
        let figures = std::array::from_fn(|_| Vec::with_capacity(rows));
        ResultRows { variants: vec![], trades: vec![], figures, blocks: list(), folds: list() }
    }

    fn variant(&mut self, variant: usize, trades: i64, figures: &Figures, blocks: &[f64], folds: &[f64]) {
        let Figures { total_return, cagr, volatility, sharpe, sortino, max_drawdown, skewness, kurtosis } = *figures;
        let figures = [total_return, cagr, volatility, sharpe, sortino, max_drawdown, skewness, kurtosis];
        self.row(variant as i64, trades, figures, blocks, folds);
    }

    fn all(&mut self, instants: usize, periods: f64, standardised: &[f64]) {
        let mut figures = [None; 8];
        figures[0] = Some(periods);
        self.row(-1, instants as i64, figures, standardised, &[]);
    }

    fn row(&mut self, variant: i64, trades: i64, figures: [Option<f64>; 8], blocks: &[f64], folds: &[f64]) {
        self.variants.push(variant);
        self.trades.push(trades);
        self.figures.iter_mut().zip(figures).for_each(|(column, figure)| column.push(figure));
        self.blocks.values().append_slice(blocks);
        self.blocks.append(true);
        self.folds.values().append_slice(folds);
        self.folds.append(true);
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let figures = self.figures.into_iter().map(|column| Arc::new(Float64Array::from(column)) as ArrayRef);
        let lists: [ListArray; 2] = [self.blocks.finish(), self.folds.finish()];
        let columns = [Arc::new(Int64Array::from(self.variants)) as ArrayRef, Arc::new(Int64Array::from(self.trades))]
            .into_iter()
            .chain(figures)
            .chain(lists.into_iter().map(|list| Arc::new(list) as ArrayRef));
        Ok(RecordBatch::try_new(result_schema(), columns.collect())?)
    }
}
