//! Results that compare symbols, by running the whole plan over the bars of all of them.
//!
//! The candles of one time come together. Their rows are computed of all bars that these look at, and so are those of later times
//! where a bar was corrected.

use crate::candles::Columns;
use crate::core::{Bar, Batch, Symbol};
use crate::oracle::run;
use crate::others::Kept;
use crate::plan::Copied;
use crate::series::{Before, Looks, Series};
use crate::symbols::Names;
use crate::worker::{Answers, Computed, Emitted, Known};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tallow_common::Times;
use tallow_common::time::timestamp_type;

/// The bars of all symbols, and a copy of the plan.
pub(crate) struct Market {
    pub looks: Looks,
    /// Whether the plan gives rows of the newest bars alone, so that it is run for each time.
    pub of_newest: bool,
    /// In the order of names, which is that of the table.
    pub series: BTreeMap<Arc<str>, Series>,
    pub names: HashMap<Symbol, Arc<str>>,
    pub copied: Copied,
    pub candles: SchemaRef,
    pub context: Arc<TaskContext>,
}

/// Rows of all symbols are emitted together, so that their times alone say which were.
const ALL: Symbol = Symbol(0);

impl Market {
    pub fn warm(&mut self, Known { symbol, bars, is_cut }: Known, name: &Arc<str>, emitted: &mut Emitted) {
        let mut series = Series { is_cut, ..Series::default() };
        series.extend(bars);
        if let Some(last) = series.times.last() {
            emitted.through(ALL, *last);
        }
        self.names.insert(symbol, Arc::clone(name));
        self.series.insert(Arc::clone(name), series);
    }

    pub async fn compute(
        &mut self,
        batch: &Batch,
        names: &Names,
        others: &[Arc<Kept>],
        emitted: &mut Emitted,
    ) -> Computed {
        let bars = batch.iter().map(|work| (work.candle.symbol, work.candle.bar));
        let undo = self.put(bars, names);
        let affected = self.affected(batch.iter().map(|work| (work.candle.symbol, work.candle.bar.ts)));
        let computed = match self.too_old(&affected) {
            symbols if !symbols.is_empty() => Computed::TooOld(symbols),
            _ => match self.results(&affected, others).await {
                Ok(rows) => Computed::Answers(answers(rows, batch, &affected, emitted)),
                Err(error) => Computed::failed(&error),
            },
        };
        match computed {
            Computed::Answers(_) => self.series.values_mut().for_each(|series| series.trim(self.looks.kept())),
            _ => self.undo(undo),
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
        let undo = self.put(bars.iter().copied(), names);
        let times = Times::of_instants(bars.iter().map(|(_, bar)| bar.ts));
        let rows = self.results(&times, others).await;
        self.undo(undo);
        Ok(rows?.0)
    }

    pub fn newest(&self, symbol: Symbol) -> Option<i64> {
        self.series.get(self.names.get(&symbol)?)?.times.last().copied()
    }

    /// Takes all bars of a symbol in the place of those that are kept; the latter count where both are there.
    pub fn rebuild(&mut self, symbol: Symbol, bars: &[Bar], names: &Names) {
        let name = names.of(symbol);
        let kept = self.series.remove(name).unwrap_or_default();
        self.series.insert(Arc::clone(name), kept.within(bars));
    }

    fn put(&mut self, bars: impl Iterator<Item = (Symbol, Bar)>, names: &Names) -> Vec<(Arc<str>, Before)> {
        let mut undo = vec![];
        for (symbol, bar) in bars {
            let name = self.names.entry(symbol).or_insert_with(|| Arc::clone(names.of(symbol)));
            let before = self.series.entry(Arc::clone(name)).or_default().put(&bar);
            undo.push((Arc::clone(name), before));
        }
        undo
    }

    fn undo(&mut self, undo: Vec<(Arc<str>, Before)>) {
        for (name, before) in undo.into_iter().rev() {
            if let Some(series) = self.series.get_mut(&name) {
                series.undo(before);
            }
        }
    }

    /// The times whose rows change with bars. A row looks back over so many bars of a symbol, and over no more times than these are.
    fn affected(&self, bars: impl Iterator<Item = (Symbol, i64)>) -> Times {
        let newest = self.series.values().filter_map(|series| series.times.last()).max().copied().unwrap_or(i64::MIN);
        let affected = bars.map(|(symbol, ts)| {
            let series = self.names.get(&symbol).and_then(|name| self.series.get(name));
            let until = series.zip(self.looks.back).and_then(|(series, back)| {
                let at = series.times.partition_point(|known| *known < ts);
                series.times.get(at.saturating_add(back))
            });
            ts..until.map_or(newest, |until| (*until).min(newest)) + 1
        });
        affected.collect()
    }

    /// Symbols of which bars are needed that are not kept any more, and from when on they are.
    fn too_old(&self, affected: &Times) -> Vec<(Symbol, i64)> {
        let Some(times) = affected.hull() else { return vec![] };
        let is_cut = |name: &Arc<str>| {
            let needed = self.series.get(name).map(|series| (series, self.first(series, times.start)));
            needed.is_some_and(|(series, first)| series.is_cut && first.is_none())
        };
        self.names.iter().filter(|(_, name)| is_cut(name)).map(|(symbol, _)| (*symbol, times.start)).collect()
    }

    /// The first row of a symbol that results from a time on look at; `None`: they look at all that there ever were.
    fn first(&self, series: &Series, from: i64) -> Option<usize> {
        let at = series.times.partition_point(|known| *known < from);
        self.looks.back.and_then(|back| at.checked_sub(back))
    }

    /// The rows of some times, and the time of each.
    async fn results(&self, times: &Times, others: &[Arc<Kept>]) -> Result<(RecordBatch, Vec<i64>), DataFusionError> {
        let (mut batches, mut found) = (vec![], vec![]);
        if self.of_newest {
            let known = self.series.values().flat_map(|series| &series.times).filter(|ts| times.contains(**ts));
            for ts in known.copied().collect::<BTreeSet<_>>() {
                self.run(&Times::of_instants([ts]), others, &mut batches, &mut found).await?;
            }
        } else {
            self.run(times, others, &mut batches, &mut found).await?;
        }
        Ok((concat_batches(&self.copied.plan.schema(), &batches)?, found))
    }

    /// Runs the plan over what the rows of some times look at.
    async fn run(
        &self,
        times: &Times,
        others: &[Arc<Kept>],
        batches: &mut Vec<RecordBatch>,
        found: &mut Vec<i64>,
    ) -> Result<(), DataFusionError> {
        let Some(hull) = times.hull() else { return Ok(()) };
        let mut columns = Columns::default();
        for (name, series) in &self.series {
            let first = self.first(series, hull.start).unwrap_or(0);
            let end = series.times.partition_point(|known| *known < hull.end);
            let values = series.values.each_ref().map(|values| &values[first..end]);
            columns.extend(&series.times[first..end], values);
            columns.end(name);
        }
        self.copied.slot.put(columns.rows(&self.candles)?);
        for (kept, slot) in others.iter().zip(&self.copied.others) {
            kept.put_all(slot)?;
        }
        for rows in run(&self.copied, &self.context).await? {
            let column = rows.column_by_name("ts");
            let column = column.ok_or_else(|| DataFusionError::Plan("the result has no column ts".to_string()))?;
            let of_rows = cast(column, &timestamp_type())?;
            let of_rows = of_rows.as_primitive::<TimestampMicrosecondType>().values();
            let keep: Vec<bool> = of_rows.iter().map(|ts| times.contains(*ts)).collect();
            found.extend(of_rows.iter().filter(|ts| times.contains(**ts)));
            batches.push(filter_record_batch(&rows, &BooleanArray::from(keep))?);
        }
        Ok(())
    }
}

/// Rows as answers: how often those of their time were emitted, and whether bars of some symbols may be missing.
fn answers((rows, times): (RecordBatch, Vec<i64>), batch: &Batch, affected: &Times, emitted: &mut Emitted) -> Answers {
    let mut revisions: HashMap<i64, u32> = HashMap::new();
    let revisions =
        times.iter().map(|ts| *revisions.entry(*ts).or_insert_with(|| emitted.revision(ALL, *ts))).collect();
    let mut partial: Vec<i64> = batch.iter().filter(|work| work.is_partial).map(|work| work.candle.bar.ts).collect();
    partial.dedup();
    let partial = times.iter().map(|ts| partial.contains(ts)).collect();
    affected.iter().for_each(|range| emitted.through(ALL, range.end - 1));
    let ranges = affected.iter().map(|range| (None, range.clone())).collect();
    Answers { rows, revisions, partial, ranges, lines: None }
}
