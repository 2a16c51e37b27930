//! Results bar by bar: of each symbol it is kept what the functions know at its end, and a few bars.
//!
//! What is kept stands at three places of a symbol: behind its newest bar, and at two bars before it that lie 32 to 64 bars back. A
//! bar that comes late, or again with other values, is computed from the nearest place before it, with the bars after that; of one
//! that is older still, all bars of its symbol are read again. A batch that fails leaves the places before the newest bar as they
//! were, and the newest is made anew of them.

use crate::candles::Columns;
use crate::core::{Bar, Batch, Symbol, Work};
use crate::series::Looks;
use crate::symbols::Names;
use crate::worker::{Answers, Computed, Emitted, Known};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::{Result, exec_datafusion_err, internal_datafusion_err};
use std::ops::Range;
use std::sync::Arc;
use tallow_common::time::timestamp_type;
use tallow_engine::standing::{Chain, ChainState};

/// Bars between two places that are kept.
const STRIDE: usize = 32;
/// Rows that are computed at a time.
const AT_A_TIME: usize = 1 << 15;

/// What is kept of symbols, and how results come of it.
pub(crate) struct Standing {
    chain: Arc<Chain>,
    looks: Looks,
    /// By the numbers of symbols.
    series: Vec<Option<Box<OfSymbol>>>,
}

/// What is kept of one symbol.
struct OfSymbol {
    /// The bars behind the first place, and whether there are others before it.
    bars: Bars,
    is_cut: bool,
    /// The first place: before these bars.
    first: ChainState,
    /// The second place, and how many of the bars are before it.
    second: ChainState,
    before: usize,
    /// Behind the newest bar; `None`: a batch failed.
    end: Option<ChainState>,
}

/// Bars in the order of their times.
#[derive(Debug, Clone, Default)]
struct Bars(Vec<Bar>);

impl Bars {
    /// How many are before a time.
    fn before(&self, ts: i64) -> usize {
        self.0.partition_point(|bar| bar.ts < ts)
    }

    /// Puts a bar among the others; whether there was none of its time.
    fn put(&mut self, bar: Bar) -> bool {
        if self.0.last().is_none_or(|last| last.ts < bar.ts) {
            self.0.push(bar);
            return true;
        }
        let at = self.before(bar.ts);
        let is_new = self.0.get(at).is_none_or(|known| known.ts != bar.ts);
        if is_new {
            self.0.insert(at, bar)
        } else {
            self.0[at] = bar
        }
        is_new
    }
}

/// The bars of one symbol in a batch.
type Run<'a> = &'a [Work];

/// What a symbol is after bars that did not come in order, and the rows that changed.
struct Corrected {
    of: Box<OfSymbol>,
    rows: RecordBatch,
    /// The times of the rows, and those that were computed.
    times: Vec<i64>,
    ranges: Vec<Range<i64>>,
}

impl Standing {
    /// Nothing is known yet.
    pub fn new(chain: Arc<Chain>, looks: Looks) -> Standing {
        Standing { chain, looks, series: vec![] }
    }

    pub fn newest(&self, symbol: Symbol) -> Option<i64> {
        Some(self.series.get(symbol.0 as usize)?.as_ref()?.bars.0.last()?.ts)
    }

    /// Takes bars that are known before the first candle.
    pub fn warm(&mut self, known: Known, name: &Arc<str>, emitted: &mut Emitted) -> Result<()> {
        let Known { symbol, bars, is_cut } = known;
        bars.back().into_iter().for_each(|last| emitted.through(symbol, last.ts));
        let bars: Vec<Bar> = bars.into();
        let from = bars.len().saturating_sub(STRIDE + STRIDE / 2);
        let of = self.begun(&bars, from, is_cut, name)?;
        self.put(symbol, Box::new(of));
        Ok(())
    }

    /// Takes all bars of a symbol; those from a time on change.
    pub fn rebuild(&mut self, symbol: Symbol, bars: &[Bar], from: i64, names: &Names) -> Result<()> {
        let mut whole = Bars::default();
        let kept = self.series.get(symbol.0 as usize).and_then(Option::as_ref);
        for bar in bars.iter().chain(kept.into_iter().flat_map(|of| &of.bars.0)) {
            whole.put(*bar);
        }
        let of = self.begun(&whole.0, whole.before(from), false, names.of(symbol))?;
        self.put(symbol, Box::new(of));
        Ok(())
    }

    /// What is kept of a symbol with these bars, the first place before one of them.
    fn begun(&self, bars: &[Bar], from: usize, is_cut: bool, name: &Arc<str>) -> Result<OfSymbol> {
        let mut first = self.chain.begin();
        self.push(&bars[..from], &mut first, name)?;
        let (second, mut end) = (first.fork(), first.fork());
        self.push(&bars[from..], &mut end, name)?;
        let kept = Bars(bars[from..].to_vec());
        Ok(OfSymbol { bars: kept, is_cut: is_cut || from > 0, first, second, before: 0, end: Some(end) })
    }

    /// Computes a batch. If that fails, everything is what it was.
    pub fn compute(&mut self, batch: &Batch, names: &Names, emitted: &mut Emitted) -> Computed {
        let (mut in_order, mut others, mut too_old) = (Vec::<Run<'_>>::new(), vec![], vec![]);
        for run in batch.chunk_by(|a, b| a.candle.symbol == b.candle.symbol) {
            let symbol = run[0].candle.symbol;
            let newest = self.newest(symbol).unwrap_or(i64::MIN);
            let times = || run.iter().map(|work| work.candle.bar.ts);
            if times().next().is_some_and(|ts| ts > newest) && times().is_sorted_by(|a, b| a < b) {
                in_order.push(run);
                continue;
            }
            let oldest = times().min().unwrap_or(i64::MAX);
            match self.series.get(symbol.0 as usize).and_then(Option::as_ref) {
                Some(of) if of.is_cut && of.bars.0.first().is_none_or(|first| oldest < first.ts) => {
                    too_old.push((symbol, oldest));
                }
                _ => others.push(run),
            }
        }
        if !too_old.is_empty() {
            return Computed::TooOld(too_old);
        }
        match self.answers(&in_order, &others, names, emitted) {
            Ok(answers) => Computed::Answers(answers),
            Err(error) => Computed::failed(&error),
        }
    }

    fn answers(
        &mut self,
        in_order: &[Run<'_>],
        others: &[Run<'_>],
        names: &Names,
        emitted: &mut Emitted,
    ) -> Result<Answers> {
        let mut corrected = vec![];
        for run in others {
            corrected.push((run[0].candle.symbol, self.corrected(run, names)?));
        }
        let mut batches = self.next(in_order, names)?;
        // From here on nothing fails.
        let mut revisions = vec![0; batches.iter().map(RecordBatch::num_rows).sum()];
        let mut ranges = Vec::with_capacity(in_order.len() + corrected.len());
        for run in in_order {
            let symbol = run[0].candle.symbol;
            let (first, last) = (run[0].candle.bar.ts, run[run.len() - 1].candle.bar.ts);
            ranges.push((symbol, first..last + 1));
            emitted.through(symbol, last);
        }
        for (symbol, Corrected { of, rows, times, ranges: changed }) in corrected {
            revisions.extend(times.into_iter().map(|ts| emitted.revision(symbol, ts)));
            batches.push(rows);
            of.bars.0.last().into_iter().for_each(|newest| emitted.through(symbol, newest.ts));
            ranges.extend(changed.into_iter().map(|times| (symbol, times)));
            self.put(symbol, of);
        }
        let rows = match batches.len() {
            1 => batches.swap_remove(0),
            _ => concat_batches(self.chain.output(), &batches)?,
        };
        let ranges = ranges.into_iter().map(|(symbol, range)| (Some(symbol), range)).collect();
        Ok(Answers { rows, revisions, partial: vec![], ranges, lines: None })
    }

    /// What bars would give that are not closed; nothing is kept of it.
    pub fn peek(&mut self, bars: &[(Symbol, Bar)], names: &Names) -> Result<RecordBatch> {
        let (mut columns, mut states) = (Columns::with_capacity(bars.len()), vec![]);
        for (symbol, bar) in bars {
            self.stand(*symbol, names)?;
            let end = self.of_mut(*symbol).and_then(|of| of.end.as_ref()).map(ChainState::fork);
            states.push(end.unwrap_or_else(|| self.chain.begin()));
            columns.push(bar);
            columns.end(names.of(*symbol));
        }
        let ranges = (0..bars.len()).map(|row| row..row + 1).collect();
        let mut borrowed: Vec<&mut ChainState> = states.iter_mut().collect();
        Ok(self.chain.push(columns.rows(self.chain.input())?, ranges, &mut borrowed)?.0)
    }

    /// The rows of bars that come in order.
    fn next(&mut self, runs: &[Run<'_>], names: &Names) -> Result<Vec<RecordBatch>> {
        for run in runs {
            self.stand(run[0].candle.symbol, names)?;
        }
        let mut pushed = vec![];
        let mut rest = runs;
        while !rest.is_empty() {
            let mut rows = 0;
            let fitting = rest.iter().take_while(|run| {
                rows += run.len();
                rows <= AT_A_TIME
            });
            let (some, more) = rest.split_at(fitting.count().max(1));
            rest = more;
            match self.push_runs(some, names) {
                Ok(rows) => pushed.push(rows),
                Err(error) => {
                    for run in runs {
                        if let Some(of) = self.of_mut(run[0].candle.symbol) {
                            of.end = None;
                        }
                    }
                    return Err(error);
                }
            }
        }
        for run in runs {
            if let Some(of) = self.of_mut(run[0].candle.symbol) {
                of.append(run);
            }
        }
        Ok(pushed)
    }

    fn push_runs(&mut self, runs: &[Run<'_>], names: &Names) -> Result<RecordBatch> {
        let mut columns = Columns::with_capacity(runs.iter().map(|run| run.len()).sum());
        let (mut ranges, mut states) = (Vec::with_capacity(runs.len()), vec![]);
        for run in runs {
            let (symbol, first) = (run[0].candle.symbol, columns.len());
            run.iter().for_each(|work| columns.push(&work.candle.bar));
            columns.end(names.of(symbol));
            ranges.push(first..columns.len());
            // Each symbol is there once.
            let end = self.of_mut(symbol).and_then(|of| of.end.take());
            states.push(end.ok_or_else(|| internal_datafusion_err!("{} is twice in a batch", names.of(symbol)))?);
        }
        let mut borrowed: Vec<&mut ChainState> = states.iter_mut().collect();
        let (rows, _) = self.chain.push(columns.rows(self.chain.input())?, ranges, &mut borrowed)?;
        for (run, state) in runs.iter().zip(states) {
            if let Some(of) = self.of_mut(run[0].candle.symbol) {
                of.end = Some(state);
            }
        }
        Ok(rows)
    }

    /// What a symbol is with bars that do not come in order.
    fn corrected(&self, run: Run<'_>, names: &Names) -> Result<Corrected> {
        let symbol = run[0].candle.symbol;
        let mut of = match self.series.get(symbol.0 as usize).and_then(Option::as_ref) {
            Some(of) => of.fork(),
            None => OfSymbol::new(&self.chain),
        };
        let mut times: Vec<i64> = run.iter().map(|work| work.candle.bar.ts).collect();
        times.sort_unstable();
        let oldest = times[0];
        let is_before = of.bars.0[..of.before].last().is_some_and(|last| oldest <= last.ts);
        for Work { candle, .. } in run {
            let at = of.bars.before(candle.bar.ts);
            if of.bars.put(candle.bar) && at < of.before {
                of.before += 1;
            }
        }
        let mut batches = vec![];
        let mut end = if is_before {
            let mut state = of.first.fork();
            batches.push(self.push(&of.bars.0[..of.before], &mut state, names.of(symbol))?);
            of.second = state.fork();
            state
        } else {
            of.second.fork()
        };
        batches.push(self.push(&of.bars.0[of.before..], &mut end, names.of(symbol))?);
        of.end = Some(end);
        let mut affected: Vec<Range<usize>> = vec![];
        for ts in times {
            let rows = self.looks.affected(of.bars.before(ts), of.bars.0.len());
            match affected.last_mut() {
                Some(last) if *rows.start() <= last.end => last.end = last.end.max(rows.end() + 1),
                _ => affected.push(*rows.start()..rows.end() + 1),
            }
        }
        let ranges: Vec<Range<i64>> =
            affected.iter().map(|rows| of.bars.0[rows.start].ts..of.bars.0[rows.end - 1].ts + 1).collect();
        let rows = concat_batches(self.chain.output(), &batches)?;
        let is_affected = |ts: &i64| ranges.iter().any(|times| times.contains(ts));
        let mut times = times_of(&rows)?;
        let rows = filter_record_batch(&rows, &times.iter().map(|ts| Some(is_affected(ts))).collect())?;
        times.retain(is_affected);
        of.trim();
        Ok(Corrected { of: Box::new(of), rows, times, ranges })
    }

    /// Makes what stands behind the newest bar of a symbol, if a batch failed or the symbol is new.
    fn stand(&mut self, symbol: Symbol, names: &Names) -> Result<()> {
        let at = symbol.0 as usize;
        match self.series.get(at).and_then(Option::as_ref) {
            None => self.put(symbol, Box::new(OfSymbol::new(&self.chain))),
            Some(of) if of.end.is_none() => {
                let mut end = of.second.fork();
                self.push(&of.bars.0[of.before..], &mut end, names.of(symbol))?;
                if let Some(of) = self.of_mut(symbol) {
                    of.end = Some(end);
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Pushes bars of one symbol.
    fn push(&self, bars: &[Bar], state: &mut ChainState, name: &Arc<str>) -> Result<RecordBatch> {
        let mut columns = Columns::with_capacity(bars.len());
        bars.iter().for_each(|bar| columns.push(bar));
        columns.end(name);
        let rows = 0..columns.len();
        Ok(self.chain.push(columns.rows(self.chain.input())?, vec![rows], &mut [state])?.0)
    }

    fn of_mut(&mut self, symbol: Symbol) -> Option<&mut OfSymbol> {
        self.series.get_mut(symbol.0 as usize)?.as_deref_mut()
    }

    fn put(&mut self, symbol: Symbol, of: Box<OfSymbol>) {
        let at = symbol.0 as usize;
        if self.series.len() <= at {
            self.series.resize_with(at + 1, || None);
        }
        self.series[at] = Some(of);
    }
}

impl OfSymbol {
    fn new(chain: &Chain) -> OfSymbol {
        let first = chain.begin();
        let (second, end) = (first.fork(), first.fork());
        OfSymbol { bars: Bars::default(), is_cut: false, first, second, before: 0, end: Some(end) }
    }

    fn fork(&self) -> OfSymbol {
        let (first, second) = (self.first.fork(), self.second.fork());
        OfSymbol { bars: self.bars.clone(), is_cut: self.is_cut, first, second, before: self.before, end: None }
    }

    /// Takes bars that the end is behind by now.
    fn append(&mut self, run: Run<'_>) {
        self.bars.0.extend(run.iter().map(|work| work.candle.bar));
        self.trim();
    }

    /// Moves the places on, once there are bars enough behind the second.
    fn trim(&mut self) {
        if self.bars.0.len() - self.before < STRIDE {
            return;
        }
        if let Some(end) = &self.end {
            self.first = std::mem::replace(&mut self.second, end.fork());
            self.is_cut |= self.before > 0;
            self.bars.0.drain(..self.before);
            self.before = self.bars.0.len();
        }
    }
}

/// The times of rows.
fn times_of(rows: &RecordBatch) -> Result<Vec<i64>> {
    let column = rows.column_by_name("ts").ok_or_else(|| exec_datafusion_err!("the result has no column ts"))?;
    let times = cast(column, &timestamp_type())?;
    Ok(times.as_primitive::<TimestampMicrosecondType>().values().to_vec())
}
