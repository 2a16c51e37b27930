//! Results by running the whole plan over all the bars that they look at.
//!
//! That is slower than to go on from what is kept of the functions, and is how every plan can be computed that runs live at all: it
//! is what the faster ways are compared with.

use crate::candles::Columns;
use crate::core::{Bar, Batch, Symbol};
use crate::others::Kept;
use crate::plan::Copied;
use crate::series::{Before, Looks, Series};
use crate::symbols::Names;
use crate::worker::{Answers, Computed, Emitted, Known};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::TryStreamExt;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use tallow_common::Ranges;
use tallow_common::time::timestamp_type;

/// The bars of symbols, and a copy of the plan.
pub(crate) struct Oracle {
    pub looks: Looks,
    pub series: HashMap<Symbol, Series>,
    pub copied: Copied,
    pub candles: SchemaRef,
    pub context: Arc<TaskContext>,
}

/// Rows that a plan is run over at a time: what it makes of them stays in the processor's caches.
const AT_A_TIME: usize = 1 << 15;

/// Parts that are computed together.
fn pieces(parts: &[Part]) -> impl Iterator<Item = &[Part]> {
    let mut rest = parts;
    std::iter::from_fn(move || {
        let mut rows = 0;
        let is_over = |part: &Part| {
            rows += part.needed.end() + 1 - part.needed.start();
            rows > AT_A_TIME
        };
        let count = rest.iter().position(is_over).unwrap_or(rest.len()).max(1).min(rest.len());
        let (some, others) = rest.split_at(count);
        rest = others;
        (!some.is_empty()).then_some(some)
    })
}

/// The rows that are wanted of some symbols.
fn ranges_of(parts: &[Part], wanted: &HashMap<&str, (Symbol, Vec<RangeInclusive<i64>>)>) -> Ranges {
    let mut ranges = Ranges::default();
    for part in parts {
        if let Some((_, times)) = wanted.get(part.name.as_ref()) {
            ranges.add(&part.name, &times.iter().map(|times| *times.start()..times.end() + 1).collect());
        }
    }
    ranges
}

/// The rows of a result that are wanted, with their symbols and times.
fn wanted_rows(
    rows: &RecordBatch,
    wanted: &HashMap<&str, (Symbol, Vec<RangeInclusive<i64>>)>,
) -> Result<(RecordBatch, Vec<(Symbol, i64)>), DataFusionError> {
    let column = |name: &str| {
        rows.column_by_name(name).ok_or_else(|| DataFusionError::Plan(format!("the result has no column {name}")))
    };
    let symbols = cast(column("symbol")?, &DataType::Utf8View)?;
    let times = cast(column("ts")?, &timestamp_type())?;
    let (symbols, times) = (symbols.as_string_view(), times.as_primitive::<TimestampMicrosecondType>());
    let (mut keep, mut keys) = (Vec::with_capacity(rows.num_rows()), vec![]);
    for (symbol, ts) in symbols.iter().zip(times.values()) {
        let of = symbol.and_then(|symbol| wanted.get(symbol));
        let of = of.filter(|(_, ranges)| ranges.iter().any(|range| range.contains(ts)));
        keep.push(of.is_some());
        keys.extend(of.map(|(symbol, _)| (*symbol, *ts)));
    }
    Ok((filter_record_batch(rows, &BooleanArray::from(keep))?, keys))
}

/// The rows of a symbol that a batch changes, and those that are needed for them.
struct Part {
    symbol: Symbol,
    name: Arc<str>,
    needed: RangeInclusive<usize>,
    settled: Vec<RangeInclusive<usize>>,
}

/// Runs a plan over what is in its slots.
pub(crate) async fn run(copied: &Copied, context: &Arc<TaskContext>) -> Result<Vec<RecordBatch>, DataFusionError> {
    let plan = reset_plan_states(Arc::clone(&copied.plan))?;
    execute_stream(plan, Arc::clone(context))?.try_collect().await
}

impl Oracle {
    pub fn warm(&mut self, Known { symbol, bars, is_cut }: Known, emitted: &mut Emitted) {
        let mut series = Series { is_cut, ..Series::default() };
        series.extend(bars);
        if let Some(last) = series.times.len().checked_sub(self.looks.ahead + 1) {
            emitted.through(symbol, series.times[last]);
        }
        self.series.insert(symbol, series);
    }

    pub async fn compute(
        &mut self,
        batch: &Batch,
        names: &Names,
        others: &[Arc<Kept>],
        emitted: &mut Emitted,
    ) -> Computed {
        let mut undo: Vec<(Symbol, Before)> = vec![];
        for work in batch {
            let series = self.series.entry(work.candle.symbol).or_default();
            undo.push((work.candle.symbol, series.put(&work.candle.bar)));
        }
        let computed = match self.parts(batch, names) {
            Ok(parts) => match self.results(&parts, others, emitted).await {
                Ok(answers) => Computed::Answers(answers),
                Err(error) => Computed::failed(&error),
            },
            Err(too_old) => Computed::TooOld(too_old),
        };
        if matches!(computed, Computed::Answers(_)) {
            let kept = self.looks.kept();
            for work in batch {
                if let Some(series) = self.series.get_mut(&work.candle.symbol) {
                    series.trim(kept);
                }
            }
        } else {
            for (symbol, before) in undo.into_iter().rev() {
                if let Some(series) = self.series.get_mut(&symbol) {
                    series.undo(before);
                }
            }
        }
        computed
    }

    /// What bars would give that are not closed; nothing is kept of it.
    pub async fn peek(
        &mut self,
        bars: &[(Symbol, Bar)],
        names: &Names,
        others: &[Arc<Kept>],
    ) -> Result<RecordBatch, DataFusionError> {
        let mut parts = vec![];
        let mut undo = vec![];
        for (symbol, bar) in bars {
            let series = self.series.entry(*symbol).or_default();
            undo.push((*symbol, series.put(bar)));
            let last = series.times.len() - 1..=series.times.len() - 1;
            if let Some(needed) = series.needed(&last, self.looks) {
                parts.push(Part { symbol: *symbol, name: Arc::clone(names.of(*symbol)), needed, settled: vec![last] });
            }
        }
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        let answers = self.results(&parts, others, &mut Emitted::default()).await;
        for (symbol, before) in undo.into_iter().rev() {
            if let Some(series) = self.series.get_mut(&symbol) {
                series.undo(before);
            }
        }
        Ok(answers?.rows)
    }

    pub fn newest(&self, symbol: Symbol) -> Option<i64> {
        self.series.get(&symbol)?.times.last().copied()
    }

    /// Symbols in the order of their names, with what has to be computed of each.
    fn parts(&self, batch: &Batch, names: &Names) -> Result<Vec<Part>, Vec<(Symbol, i64)>> {
        let mut changed: BTreeMap<Arc<str>, (Symbol, Vec<i64>)> = BTreeMap::new();
        for work in batch {
            let symbol = work.candle.symbol;
            changed.entry(Arc::clone(names.of(symbol))).or_insert((symbol, vec![])).1.push(work.candle.bar.ts);
        }
        let (mut parts, mut too_old) = (vec![], vec![]);
        for (name, (symbol, mut times)) in changed {
            let Some(series) = self.series.get(&symbol) else { continue };
            times.sort_unstable();
            let mut affected: Vec<RangeInclusive<usize>> = vec![];
            for ts in times {
                let rows = series.affected(ts, self.looks);
                match affected.last_mut() {
                    Some(last) if *rows.start() <= last.end() + 1 => {
                        *last = *last.start()..=*last.end().max(rows.end())
                    }
                    _ => affected.push(rows),
                }
            }
            let settled: Vec<_> = affected.iter().filter_map(|rows| series.settled(rows, self.looks)).collect();
            let (Some(first), Some(last)) = (settled.first(), settled.last()) else { continue };
            match series.needed(&(*first.start()..=*last.end()), self.looks) {
                Some(needed) => parts.push(Part { symbol, name, needed, settled }),
                None => too_old.push((symbol, series.times[*first.start()])),
            }
        }
        if too_old.is_empty() { Ok(parts) } else { Err(too_old) }
    }

    async fn results(
        &mut self,
        parts: &[Part],
        others: &[Arc<Kept>],
        emitted: &mut Emitted,
    ) -> Result<Answers, DataFusionError> {
        let mut ranges = vec![];
        let mut wanted: HashMap<&str, (Symbol, Vec<RangeInclusive<i64>>)> = HashMap::new();
        for part in parts {
            let Some(series) = self.series.get(&part.symbol) else { continue };
            let times = part.settled.iter().map(|rows| series.times[*rows.start()]..=series.times[*rows.end()]);
            let times: Vec<_> = times.collect();
            ranges.extend(times.iter().map(|times| (part.symbol, *times.start()..times.end() + 1)));
            wanted.insert(part.name.as_ref(), (part.symbol, times));
        }
        let (mut batches, mut keys) = (vec![], vec![]);
        for some in pieces(parts) {
            self.copied.slot.put(self.rows(some)?);
            self.copied.kept.set(ranges_of(some, &wanted));
            for (kept, slot) in others.iter().zip(&self.copied.others) {
                kept.put(some.iter().map(|part| part.name.as_ref()), slot)?;
            }
            for batch in run(&self.copied, &self.context).await? {
                let (kept, of_batch) = wanted_rows(&batch, &wanted)?;
                batches.push(kept);
                keys.extend(of_batch);
            }
        }
        let rows = concat_batches(&self.copied.plan.schema(), &batches)?;
        // From here on nothing fails.
        let revisions = keys.into_iter().map(|(symbol, ts)| emitted.revision(symbol, ts)).collect();
        ranges.iter().for_each(|(symbol, range)| emitted.through(*symbol, range.end - 1));
        let ranges = ranges.into_iter().map(|(symbol, range)| (Some(symbol), range)).collect();
        Ok(Answers { rows, revisions, partial: vec![], ranges, lines: None })
    }

    /// The bars that are needed, as rows of the table.
    fn rows(&self, parts: &[Part]) -> Result<RecordBatch, DataFusionError> {
        let count = parts.iter().map(|part| part.needed.end() + 1 - part.needed.start()).sum();
        let mut columns = Columns::with_capacity(count);
        for part in parts {
            let Some(series) = self.series.get(&part.symbol) else { continue };
            let values = series.values.each_ref().map(|values| &values[part.needed.clone()]);
            columns.extend(&series.times[part.needed.clone()], values);
            columns.end(&part.name);
        }
        columns.rows(&self.candles)
    }

    /// Takes all bars of a symbol in the place of those that are kept; the latter count where both are there.
    pub fn rebuild(&mut self, symbol: Symbol, bars: &[Bar]) {
        let kept = self.series.remove(&symbol).unwrap_or_default();
        self.series.insert(symbol, kept.within(bars));
    }
}
