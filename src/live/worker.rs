//! A worker: the bars of its symbols, a copy of the plan, and how a batch of candles becomes results.

use crate::core::{Bar, Batch, Failure, Symbol};
use crate::others::Kept;
use crate::plan::Copied;
use crate::series::{Before, Looks, Series};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
    UInt32Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, concat_batches, filter_record_batch, take};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::TryStreamExt;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use tallow_common::time::timestamp_type;
use tallow_common::{Code, Ranges, code_of, readable};

/// The columns of candles, beside symbol and ts.
pub(crate) const VALUES: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// A worker.
pub(crate) struct Worker {
    pub looks: Looks,
    pub series: HashMap<Symbol, Series>,
    pub copied: Copied,
    pub candles: SchemaRef,
    pub context: Arc<TaskContext>,
    /// Up to when rows of a symbol were emitted, and how often those that were corrected.
    pub emitted: HashMap<Symbol, i64>,
    pub revisions: HashMap<(Symbol, i64), u32>,
}

/// What a batch gave.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The rows that are new or changed.
    pub rows: RecordBatch,
    /// For each row, how often it was emitted before.
    pub revisions: Vec<u32>,
    /// The times whose rows were computed: what is not among the rows is not there any more.
    pub ranges: Vec<(Symbol, Range<i64>)>,
}

/// What came of a batch.
pub(crate) enum Computed {
    Answers(Answers),
    Failed(Failure),
    /// Symbols whose bars have to be looked up in the lake first.
    TooOld(Vec<Symbol>),
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

impl Worker {
    /// Computes a batch. If that fails, the worker is what it was.
    pub async fn compute(
        &mut self,
        batch: &Batch,
        names: &HashMap<Symbol, Arc<str>>,
        others: &[Arc<Kept>],
    ) -> Computed {
        let mut undo: Vec<(Symbol, Before)> = vec![];
        for work in batch {
            let series = self.series.entry(work.candle.symbol).or_default();
            undo.push((work.candle.symbol, series.put(&work.candle.bar)));
        }
        let computed = match self.parts(batch, names) {
            Ok(parts) => match self.results(&parts, others).await {
                Ok(answers) => Computed::Answers(answers),
                Err(error) => Computed::Failed(Failure {
                    is_transient: matches!(code_of(&error), Code::Resources | Code::Unavailable | Code::Timeout),
                    message: readable(&error),
                }),
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

    /// Symbols in the order of their names, with what has to be computed of each.
    fn parts(&self, batch: &Batch, names: &HashMap<Symbol, Arc<str>>) -> Result<Vec<Part>, Vec<Symbol>> {
        let mut changed: BTreeMap<Arc<str>, (Symbol, Vec<i64>)> = BTreeMap::new();
        for work in batch {
            let symbol = work.candle.symbol;
            let name = names.get(&symbol).cloned().unwrap_or_default();
            changed.entry(name).or_insert((symbol, vec![])).1.push(work.candle.bar.ts);
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
                None => too_old.push(symbol),
            }
        }
        if too_old.is_empty() { Ok(parts) } else { Err(too_old) }
    }

    async fn results(&mut self, parts: &[Part], others: &[Arc<Kept>]) -> Result<Answers, DataFusionError> {
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
            let plan = reset_plan_states(Arc::clone(&self.copied.plan))?;
            let mut rows = execute_stream(plan, Arc::clone(&self.context))?;
            while let Some(batch) = rows.try_next().await? {
                let (kept, of_batch) = wanted_rows(&batch, &wanted)?;
                batches.push(kept);
                keys.extend(of_batch);
            }
        }
        let rows = concat_batches(&self.copied.plan.schema(), &batches)?;
        // From here on nothing fails.
        let revisions = keys.into_iter().map(|(symbol, ts)| self.revision(symbol, ts)).collect();
        for (symbol, range) in &ranges {
            let last = self.emitted.entry(*symbol).or_insert(i64::MIN);
            *last = (*last).max(range.end - 1);
        }
        Ok(Answers { rows, revisions, ranges })
    }

    /// How often a row was emitted before, now that it is again.
    fn revision(&mut self, symbol: Symbol, ts: i64) -> u32 {
        if self.emitted.get(&symbol).is_none_or(|last| ts > *last) {
            return 0;
        }
        *self.revisions.entry((symbol, ts)).and_modify(|known| *known += 1).or_insert(1)
    }

    /// The bars that are needed, as rows of the table.
    fn rows(&self, parts: &[Part]) -> Result<RecordBatch, DataFusionError> {
        let all: Vec<(&Part, &Series)> =
            parts.iter().filter_map(|part| Some((part, self.series.get(&part.symbol)?))).collect();
        let count = all.iter().map(|(part, _)| part.needed.end() + 1 - part.needed.start()).sum();
        let (mut of_symbol, mut times) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (at, (part, series)) in all.iter().enumerate() {
            let rows = &series.times[part.needed.clone()];
            of_symbol.resize(of_symbol.len() + rows.len(), at as u32);
            times.extend_from_slice(rows);
        }
        let names = StringViewArray::from_iter_values(all.iter().map(|(part, _)| part.name.as_ref()));
        let mut columns: HashMap<&str, ArrayRef> = HashMap::new();
        columns.insert("symbol", take(&names, &UInt32Array::from(of_symbol), None)?);
        columns.insert("ts", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")));
        for (i, name) in VALUES.iter().enumerate() {
            let mut values = Vec::with_capacity(count);
            all.iter().for_each(|(part, series)| values.extend_from_slice(&series.values[i][part.needed.clone()]));
            let has_nulls = values.iter().any(|value| value.is_nan());
            let valid = has_nulls.then(|| values.iter().map(|value| !value.is_nan()).collect::<NullBuffer>());
            columns.insert(name, Arc::new(Float64Array::new(values.into(), valid)));
        }
        let column = |field: &Arc<arrow::datatypes::Field>| match columns.get(field.name().as_str()) {
            Some(column) => cast(column, field.data_type()),
            // Further columns of the table are not delivered.
            None => Ok(new_null_array(field.data_type(), count)),
        };
        let columns = self.candles.fields().iter().map(column).collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.candles), columns)?)
    }

    /// The whole bars of a symbol from the lake, in the place of those that are kept; the latter count where both are there.
    pub fn rebuild(&mut self, symbol: Symbol, bars: &[Bar]) {
        let kept = self.series.remove(&symbol).unwrap_or_default();
        let mut whole = Series::default();
        for bar in bars {
            whole.put(bar);
        }
        for (at, ts) in kept.times.iter().enumerate() {
            whole.put(&Bar { ts: *ts, values: std::array::from_fn(|i| kept.values[i][at]) });
        }
        self.series.insert(symbol, whole);
    }
}
