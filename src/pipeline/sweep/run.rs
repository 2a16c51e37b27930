//! A sweep, some variants at a time, and what is made of all.

use super::Sweep;
use super::aggregate::{At, SweepAggregate, Variant, blocks_of, folds_of};
use super::luck::Luck;
use super::overfitting::{Block, WalkForward, cross_validation, pbo};
use crate::Session;
use crate::backtest::{Backtest, Distance, Permutation, Shuffles, Size, a_year, bound, looks_ahead};
use crate::bounds::{Range, bounded};
use crate::control::{Control, Progress, Unit};
use crate::over_rows::over_rows;
use crate::quoting::quoted;
use crate::random::Random;
use crate::relation::{Relation, one};
use crate::rows::{column, numbers, times};
use crate::scan::typed;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::prelude::DataFrame;
use std::collections::HashMap;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{Formula, FormulaKind, Params};
use tallow_engine::series_aggregate::aggregated;
use tallow_udfs::series::Bars;
use tallow_udfs::trade::backtest::simulate::Terms;
use tallow_udfs::trade::metrics::{deflated_sharpe, effective_trials, expected_max_sharpe};

/// Variants that one pass over the bars tries at most.
const TOGETHER: usize = 128;

/// What formulas are for, in messages.
const SIGNALS: [&str; 4] = ["entry", "exit", "short entry", "short exit"];
const LEVELS: [&str; 5] = ["stop", "target", "trail", "entry limit", "entry stop"];

/// What a sweep found.
#[derive(Debug, Clone)]
pub struct Swept {
    /// One row a variant, the best Sharpe ratio first: its parameters, trades and figures.
    pub variants: RecordBatch,
    /// Whether the best is more than luck.
    pub luck: Luck,
    /// The parameters of all variants, names and values, in the order in which they were tried.
    pub tried: Vec<Values>,
}

/// A variant's parameters, by name.
pub type Values = Vec<(String, String)>;

impl Sweep {
    /// How many variants there would be.
    pub fn len(&self) -> usize {
        self.sample.map_or(self.grid.len(), |sample| sample.min(self.grid.len()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tries all variants.
    ///
    /// # Errors
    /// As [`Backtest::run`](crate::backtest::Backtest::run); a strategy that needs shared money, or more bars than there are.
    pub async fn run(&self, session: &Session, control: &Control) -> Result<Swept> {
        let clock = session.engine().clock()?;
        control.limit(&clock, self.swept(session, control)).await
    }

    fn check(&self) -> Result<()> {
        let of = &self.strategy;
        of.check()?;
        let shared = [
            ("rank", of.rank.is_some()),
            ("size", matches!(of.size, Some(Size::Formula(_) | Size::Value(_) | Size::Risk(_)))),
            ("funding", of.funding.is_some()),
            ("benchmark", of.benchmark.is_some()),
        ];
        let wrong = shared.into_iter().find(|(option, given)| *given && (!self.is_shared || *option == "benchmark"));
        if let Some((option, _)) = wrong {
            let said = match self.is_shared {
                true => ": a sweep has none",
                false => {
                    ": in a sweep each symbol has money of its own, which is entered whole, unless `slots` are given"
                }
            };
            return Err(Error::Argument(option, said.to_string()));
        }
        let alone = [("weight", of.weight.is_some()), ("detail", of.detail.is_some())];
        if let Some((option, _)) = alone.into_iter().find(|(_, given)| *given && !self.is_shared) {
            let said = ": in a sweep it takes money that all symbols share: add the option `slots`";
            return Err(Error::Argument(option, said.to_string()));
        }
        match self.cuts.blocks {
            blocks if blocks < 2 || blocks % 2 == 1 || blocks > 20 => {
                Err(Error::Argument("blocks", format!(" {blocks}: expected an even number from 2 to 20")))
            }
            _ => Ok(()),
        }
    }

    async fn swept(&self, session: &Session, control: &Control) -> Result<Swept> {
        self.check()?;
        let (strategy, from) = self.strategy.with_query(session).await?;
        let all = self.combinations(session).await?;
        let (mut results, mut standardised): (Vec<RecordBatch>, Vec<f64>) = (vec![], vec![]);
        let (mut bars, mut periods) = (0, 0.0);
        let together = if self.is_shared { 1 } else { TOGETHER };
        for (chunk, values) in all.chunks(together).enumerate() {
            let rows = match self.is_shared {
                true => self.accounts(session, values, control).await?,
                false => self.chunk(session, (&strategy, &from), values).await?,
            };
            let variants = column(&rows, "variant")?.as_primitive::<Int64Type>();
            let Some(whole) = variants.values().iter().position(|variant| *variant == -1) else { continue };
            let sums = column(&rows, "blocks")?.as_list::<i32>().value(whole);
            let sums = sums.as_primitive::<Float64Type>();
            standardised.resize(sums.len(), 0.0);
            standardised.iter_mut().zip(sums.values()).for_each(|(all, sum)| *all += sum);
            bars = sums.len();
            periods = numbers(column(&rows, "total_return")?)?[whole];
            results.push(rows.slice(0, whole));
            let done = ((chunk + 1) * together).min(all.len()) as u64;
            (control.progress)(Progress { unit: Unit::Rows, done, total: Some(all.len() as u64), rows: done });
        }
        let Some(first) = results.first() else { return Err(Error::invalid("no combination is left to try")) };
        if bars < 2 * self.cuts.blocks {
            let said = format!("{bars} bars are too few for {} blocks of time", self.cuts.blocks);
            return Err(Error::invalid(said));
        }
        let rows = concat_batches(&first.schema(), &results)?;
        let mut luck = self.luck(&rows, &all, bars, periods, &standardised)?;
        if let Some(walk) = luck.walk_forward.as_mut().filter(|_| self.is_flat) {
            self.run_flat(session, (&strategy, &from), &all, walk).await?;
        }
        Ok(Swept { variants: self.shown(&rows, &all)?, luck, tried: all })
    }

    /// Runs the winner of each fold in the fold alone.
    async fn run_flat(
        &self,
        session: &Session,
        (of, from): (&Backtest, &Relation),
        all: &[Values],
        walk: &mut WalkForward,
    ) -> Result<()> {
        let instants = of.instants(session, from).await?;
        for winner in &mut walk.winners {
            let (_, fold) = self.cuts.fold(winner.fold, instants.len());
            let (begin, end) = (instants.get(fold.start).copied(), instants.get(fold.end).copied());
            let range = Range { from: begin, to: end.or(of.range.to) };
            let values = std::slice::from_ref(&all[winner.variant]);
            let alone = Sweep { strategy: Backtest { range, ..self.strategy.clone() }, ..self.clone() };
            let rows = match self.is_shared {
                true => alone.accounts(session, values, &Control::default()).await?,
                false => alone.chunk(session, (&Backtest { range, ..of.clone() }, from), values).await?,
            };
            let sums = column(&rows, "blocks")?.as_list::<i32>().value(0);
            let blocks = blocks_of(sums.as_primitive::<Float64Type>().values());
            winner.after = blocks.into_iter().fold(Block::default(), Block::and).sharpe().unwrap_or(0.0);
        }
        walk.is_flat = true;
        Ok(())
    }

    /// The Sharpe ratio of the best variant on bars in so many other orders, as [`Backtest::permuted`] makes them. `sharpe` is that of the
    /// best on the bars as they are.
    ///
    /// # Errors
    /// As [`Sweep::run`] and [`Backtest::permuted`].
    pub async fn permuted(
        &self,
        session: &Session,
        sharpe: f64,
        shuffles: Shuffles,
        control: &Control,
    ) -> Result<Permutation> {
        let best = async |strategy: Backtest| {
            let sweep = Sweep { strategy, is_flat: false, ..self.clone() };
            let own = Control { cancel: control.cancel.clone(), ..Control::default() };
            Ok(sweep.run(session, &own).await?.luck.best_sharpe.unwrap_or(0.0))
        };
        self.strategy.on_shuffled(session, sharpe, shuffles, control, best).await
    }

    /// The combinations that are tried.
    async fn combinations(&self, session: &Session) -> Result<Vec<Values>> {
        let names = self.grid.names();
        let all = self.grid.combinations();
        let mut keep = vec![true; all.len()];
        if let Some(only) = &self.only {
            let columns = names.iter().enumerate().map(|(at, name)| {
                let values: Vec<&str> = all.iter().map(|values| values[at]).collect();
                (*name, typed(&values))
            });
            let number: ArrayRef = Arc::new(Int64Array::from_iter_values(0..all.len() as i64));
            let rows = RecordBatch::try_from_iter(columns.chain([("(number)", number)]))?;
            keep = fulfilled(session, &rows, only, all.len()).await?;
        }
        let mut chosen: Vec<usize> = (0..all.len()).filter(|at| keep[*at]).collect();
        if let Some(sample) = self.sample.filter(|sample| *sample < chosen.len()) {
            let mut random = Random(self.seed);
            for place in 0..sample {
                let other = place + random.below(chosen.len() - place);
                chosen.swap(place, other);
            }
            chosen.truncate(sample);
            chosen.sort_unstable();
        }
        let values =
            |at: usize| names.iter().zip(&all[at]).map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect();
        Ok(chosen.into_iter().map(values).collect())
    }

    /// Tries some variants in one pass.
    async fn chunk(
        &self,
        session: &Session,
        (of, from): (&Backtest, &Relation),
        values: &[Values],
    ) -> Result<RecordBatch> {
        let mut columns = Columns { session, from, items: vec![], known: HashMap::new() };
        let mut variants = vec![];
        for values in values {
            let mut params = of.params.clone();
            values.iter().for_each(|(name, value)| params.set(name, value));
            let formulas = [&of.entry, &of.exit, &of.short_entry, &of.short_exit];
            let mut signals = [None; 4];
            for ((signal, formula), what) in signals.iter_mut().zip(formulas).zip(SIGNALS) {
                if let Some(formula) = formula {
                    *signal = Some(columns.column(what, (formula, FormulaKind::Condition), &params)?);
                }
            }
            let mut levels = [At::Nowhere; 5];
            let distances = [&of.stop, &of.target, &of.trail, &of.entry_limit, &of.entry_stop];
            for ((level, distance), what) in levels.iter_mut().zip(distances).zip(LEVELS) {
                let mut column = |formula| columns.column(what, (formula, FormulaKind::Number), &params);
                *level = match distance {
                    None => At::Nowhere,
                    Some(Distance::Fraction(fraction)) => At::Fraction((*fraction).into()),
                    Some(Distance::Price(formula)) => At::Distance(column(formula)?),
                    Some(Distance::Level(formula)) => At::Price(column(formula)?),
                };
            }
            variants.push(Variant { signals, levels });
        }
        let items: Vec<String> = columns.items.iter().map(|(name, sql)| format!("{sql} as {}", quoted(name))).collect();
        let prices = "symbol, ts, open, high, low, close";
        let sql = format!("select {prices}, {} from {} as candles{}", items.join(", "), from.sql, of.among());
        let (state, plan) = one(session, &sql).await?.into_parts();
        let reach = from.reach(&session.optimized(&plan).await?);
        for (name, sql) in &columns.items {
            let sources = reach.columns.iter().find(|(column, _)| column == name);
            let ahead = sources.map_or(Bars::Count(0), |(_, sources)| sources.furthest().ahead);
            if ahead != Bars::Count(0) {
                return Err(looks_ahead("formula", sql, ahead));
            }
        }
        let frame = bounded(session, DataFrame::new(state, plan), of.range).await?;
        let (state, plan) = frame.into_parts();
        let aggregate = SweepAggregate {
            columns: columns.items.into_iter().map(|(name, _)| name).collect(),
            variants: Arc::new(variants),
            rules: Arc::new(of.rules.clone()),
            terms: Terms { cash: 1.0, leverage: of.terms.leverage, costs: of.terms.costs, lots: of.terms.lots },
            cuts: self.cuts,
            periods: of.periods,
        };
        let plan = aggregated(plan, Arc::new(aggregate))?;
        let batches = session.collect(DataFrame::new(state, plan)).await?;
        Ok(concat_batches(&super::aggregate::result_schema(), &batches)?)
    }

    /// Runs variants as back-tests with money that all symbols share.
    async fn accounts(&self, session: &Session, variants: &[Values], control: &Control) -> Result<RecordBatch> {
        let (mut returns, mut instants) = (vec![], vec![]);
        for values in variants {
            let mut strategy = self.strategy.clone();
            values.iter().for_each(|(name, value)| strategy.params.set(name, value));
            let own = Control { cancel: control.cancel.clone(), ..Control::default() };
            let results = strategy.run(session, &own).await?;
            instants = times(column(&results.equity, "ts")?)?;
            returns.push((numbers(column(&results.equity, "return")?)?, results.trades.num_rows() as i64));
        }
        let periods = self.strategy.periods.unwrap_or_else(|| a_year(&instants));
        Ok(self.cuts.result(instants.len(), periods, returns.into_iter())?)
    }

    /// What all variants together say.
    fn luck(
        &self,
        rows: &RecordBatch,
        all: &[Values],
        bars: usize,
        periods: f64,
        standardised: &[f64],
    ) -> Result<Luck> {
        let sharpes = numbers(column(rows, "sharpe")?)?;
        let best = (0..sharpes.len()).filter(|at| sharpes[*at].is_finite());
        let best = best.reduce(|best, other| if sharpes[other] > sharpes[best] { other } else { best });
        let lists = |name: &str| -> Result<Vec<Vec<f64>>> {
            let lists = column(rows, name)?.as_list::<i32>();
            Ok((0..lists.len()).map(|row| lists.value(row).as_primitive::<Float64Type>().values().to_vec()).collect())
        };
        let blocks: Vec<_> = lists("blocks")?.iter().map(|list| blocks_of(list)).collect();
        let folds: Vec<_> = lists("folds")?.iter().map(|list| folds_of(list)).collect();
        let moving: Vec<f64> = sharpes.iter().filter(|s| s.is_finite()).map(|s| s / periods.sqrt()).collect();
        let trials = moving.len() as f64;
        let mean = moving.iter().sum::<f64>() / trials.max(1.0);
        let variance = moving.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (trials - 1.0).max(1.0);
        // Of standardised returns, the variance of their sum tells how much they move together.
        let together = standardised.iter().map(|z| z * z).sum::<f64>() / (standardised.len() as f64 - 1.0).max(1.0);
        let correlation = if trials > 1.0 { ((together / trials - 1.0) / (trials - 1.0)).clamp(0.0, 1.0) } else { 0.0 };
        let effective = effective_trials(trials.max(1.0), correlation);
        let moments = |name: &str| -> Result<Vec<f64>> { numbers(column(rows, name)?) };
        let (skewness, kurtosis) = (moments("skewness")?, moments("kurtosis")?);
        let deflated = best.zip(effective).and_then(|(best, effective)| {
            let sharpe = sharpes[best] / periods.sqrt();
            deflated_sharpe(sharpe, bars as f64, skewness[best], kurtosis[best], effective.max(1.0), variance)
        });
        let walk_forward = (self.cuts.folds > 0).then(|| WalkForward::of(&folds));
        let most_frequent = walk_forward.as_ref().and_then(WalkForward::most_frequent).map(|(variant, _)| {
            all[variant].iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        });
        Ok(Luck {
            is_shared: self.is_shared,
            bars,
            periods,
            trials: all.len(),
            effective_trials: effective,
            best_sharpe: best.map(|best| sharpes[best]),
            expected_sharpe: effective
                .and_then(|effective| expected_max_sharpe(effective.max(1.0), variance))
                .map(|most| most * periods.sqrt()),
            deflated_sharpe: deflated,
            pbo: pbo(&blocks),
            cross_validation: cross_validation(&blocks),
            walk_forward,
            permutation: None,
            most_frequent,
        })
    }

    /// The variants with their parameters, the best first.
    fn shown(&self, rows: &RecordBatch, all: &[Values]) -> Result<RecordBatch> {
        let sharpes = numbers(column(rows, "sharpe")?)?;
        let mut order: Vec<usize> = (0..sharpes.len()).collect();
        order.sort_by(|a, b| {
            let of = |at: usize| sharpes[at];
            of(*a).is_nan().cmp(&of(*b).is_nan()).then(of(*b).total_cmp(&of(*a)))
        });
        let order = Int64Array::from_iter_values(order.into_iter().map(|at| at as i64));
        let mut columns: Vec<(String, ArrayRef)> = vec![];
        for (at, name) in self.grid.names().into_iter().enumerate() {
            let values: Vec<&str> = all.iter().map(|values| values[at].1.as_str()).collect();
            columns.push((name.to_string(), typed(&values)));
        }
        for name in ["sharpe", "total_return", "cagr", "volatility", "sortino", "max_drawdown", "trades"] {
            columns.push((name.to_string(), Arc::clone(column(rows, name)?)));
        }
        let columns = columns.into_iter().map(|(name, values)| Ok((name, take(&values, &order, None)?)));
        Ok(RecordBatch::try_from_iter(columns.collect::<Result<Vec<_>>>()?)?)
    }
}

/// The columns that formulas become: one for each text, whichever variants have it.
struct Columns<'a> {
    session: &'a Session,
    from: &'a Relation,
    /// Names and SQL.
    items: Vec<(String, String)>,
    known: HashMap<String, usize>,
}

impl Columns<'_> {
    fn column(&mut self, what: &str, of: (&Formula, FormulaKind), params: &Params) -> Result<usize> {
        let text = bound(self.session, self.from, what, of, params)?.to_string();
        if let Some(known) = self.known.get(&text) {
            return Ok(*known);
        }
        let sql = match of.1 {
            FormulaKind::Condition => format!("({text})"),
            FormulaKind::Number => format!("cast(({text}) as double)"),
        };
        let at = self.items.len();
        self.items.push((format!("({at})"), sql));
        self.known.insert(text, at);
        Ok(at)
    }
}

/// For which rows a condition is true.
async fn fulfilled(session: &Session, rows: &RecordBatch, condition: &str, count: usize) -> Result<Vec<bool>> {
    let sql = |[rows]: [String; 1]| format!("select \"(number)\" as number, ({condition}) as fits from {rows}");
    let found = over_rows(session, [rows], sql).await;
    let batch = found.map_err(|error| Error::invalid(format!("the condition `{condition}`: {error}")))?;
    if *batch.column(1).data_type() != DataType::Boolean {
        return Err(Error::invalid(format!("`{condition}` is no condition over the parameters")));
    }
    let mut keep = vec![false; count];
    let fits: &BooleanArray = batch.column(1).as_boolean();
    let which = batch.column(0).as_primitive::<Int64Type>();
    (0..batch.num_rows()).for_each(|row| keep[which.value(row) as usize] = fits.is_valid(row) && fits.value(row));
    Ok(keep)
}
