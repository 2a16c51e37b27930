//! What is looked at of each symbol, and what passes.

use super::findings::{Fault, Finding};
use super::node::SymbolGuard;
use crate::observer::Observer;
use crate::series_exec::cut::{Cutter, key_at, show_key};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput,
};
use std::collections::BTreeSet;
use std::ops::Range;
use tallow_common::time::shown;

/// What is counted of a partition.
pub(super) struct Counters {
    bars: Count,
    cut_short: Count,
    baseline: BaselineMetrics,
    metrics: ExecutionPlanMetricsSet,
    partition: usize,
}

impl Counters {
    pub fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Counters {
        let count = |name| MetricBuilder::new(metrics).counter(name, partition);
        let baseline = BaselineMetrics::new(metrics, partition);
        Counters { bars: count("bars"), cut_short: count("cut_short"), baseline, metrics: metrics.clone(), partition }
    }

    fn found(&self, finding: &Finding) {
        finding.record(&self.metrics, self.partition);
    }
}

/// The symbol whose rows are being read.
#[derive(Default)]
struct Current {
    name: Option<String>,
    /// It was not asked for.
    other: bool,
    rows: usize,
    last: Option<i64>,
    /// Why it cannot be used.
    unfit: Option<String>,
    /// Rows with a NaN, by column.
    nan: Vec<(usize, usize)>,
    /// Number columns that had a value.
    with_values: Vec<usize>,
}

impl Current {
    fn is_usable(&self) -> bool {
        !self.other && self.unfit.is_none()
    }
}

/// The rows of a partition.
pub(super) struct Guarding {
    beside: bool,
    symbols: Option<BTreeSet<String>>,
    schema: SchemaRef,
    symbol: usize,
    ts: usize,
    floats: Vec<usize>,
    /// Those that matter.
    numbers: Vec<usize>,
    cutter: Cutter,
    current: Current,
    /// Rows of the current symbol, which may go on.
    held: Vec<RecordBatch>,
    observer: Observer,
    counters: Counters,
    reservation: MemoryReservation,
}

impl Guarding {
    pub fn new(
        guard: &SymbolGuard,
        schema: &SchemaRef,
        observer: Observer,
        counters: Counters,
        reservation: MemoryReservation,
    ) -> Result<Guarding> {
        let matters = |column: &usize| guard.columns.contains(schema.field(*column).name());
        let of_type = |is: fn(&DataType) -> bool| {
            let fields = schema.fields().iter().enumerate();
            fields.filter(|(_, f)| is(f.data_type())).map(|(i, _)| i).collect::<Vec<_>>()
        };
        Ok(Guarding {
            beside: guard.beside,
            symbols: guard.symbols.clone(),
            symbol: schema.index_of("symbol")?,
            ts: schema.index_of("ts")?,
            floats: of_type(|t| *t == DataType::Float64),
            numbers: of_type(DataType::is_numeric).into_iter().filter(matters).collect(),
            schema: schema.clone(),
            cutter: Cutter::default(),
            current: Current::default(),
            held: vec![],
            observer,
            counters,
            reservation,
        })
    }

    /// Takes a batch, and passes on batches.
    pub fn next(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        if batch.num_rows() == 0 {
            return Ok(vec![]);
        }
        let compute = self.counters.baseline.elapsed_compute().clone();
        let _timer = compute.timer();
        let keys = [batch.column(self.symbol).clone()];
        let cut = self.cutter.next(&keys, batch.num_rows())?;
        let times = instants(batch.column(self.ts))?;
        let (batch, nans) = self.without_nan(batch)?;
        let mut passed = vec![];
        // Symbols that begin and end in this batch and lie next to each other are passed on in one piece.
        let mut piece: Option<Range<usize>> = None;
        for (i, range) in cut.ranges.iter().enumerate() {
            let goes_on = i == 0 && cut.continues;
            let is_last = i + 1 == cut.ranges.len();
            if !goes_on {
                if i == 0 {
                    passed.extend(self.end_symbol()?);
                }
                self.begin_symbol(show_key(&key_at(&keys, range.start)?));
            }
            if !self.current.other {
                self.look_at(&batch, times.as_primitive::<TimestampMicrosecondType>(), &nans, range);
            }
            let usable = self.current.is_usable();
            if goes_on || is_last {
                match usable {
                    true => self.held.push(batch.slice(range.start, range.len())),
                    false => self.held.clear(),
                }
                if !is_last {
                    passed.extend(self.end_symbol()?);
                }
            } else {
                self.end_symbol()?;
                match usable {
                    true => piece = Some(piece.map_or(range.start, |p| p.start)..range.end),
                    false => passed.extend(piece.take().map(|p| batch.slice(p.start, p.len()))),
                }
            }
        }
        passed.extend(piece.map(|p| batch.slice(p.start, p.len())));
        self.reserve()?;
        Ok(self.recorded(passed))
    }

    /// No batch follows.
    pub fn end(&mut self) -> Result<Vec<RecordBatch>> {
        let passed = if self.observer.stop().is_cancelled() && !self.beside {
            // The rest of the symbol may not have been read.
            self.counters.cut_short.add(1);
            self.held.clear();
            vec![]
        } else {
            self.end_symbol()?
        };
        self.reservation.free();
        Ok(self.recorded(passed))
    }

    fn recorded(&self, passed: Vec<RecordBatch>) -> Vec<RecordBatch> {
        passed.into_iter().map(|batch| batch.record_output(&self.counters.baseline)).collect()
    }

    fn begin_symbol(&mut self, name: String) {
        let other = self.symbols.as_ref().is_some_and(|all| !all.contains(&name));
        self.current = Current { name: Some(name), other, ..Current::default() };
    }

    /// Looks at some rows of the current symbol.
    fn look_at(
        &mut self,
        batch: &RecordBatch,
        times: &TimestampMicrosecondArray,
        nans: &[(usize, ArrayRef)],
        range: &Range<usize>,
    ) {
        let current = &mut self.current;
        current.rows += range.len();
        let values = &times.values()[range.clone()];
        let nulls = times.nulls().map_or(0, |n| n.slice(range.start, range.len()).null_count());
        if nulls > 0 {
            current.unfit.get_or_insert_with(|| "a bar without a time".to_string());
        }
        let wrong = |a: i64, b: i64| {
            if a == b { format!("two bars at {}", shown(b)) } else { format!("steps back in time to {}", shown(b)) }
        };
        let first = current.last.filter(|last| values.first().is_some_and(|first| first <= last));
        let inside = || values.windows(2).find(|w| w[0] >= w[1]).map(|w| (w[0], w[1]));
        if let Some((a, b)) = first.zip(values.first().copied()).or_else(inside) {
            current.unfit.get_or_insert_with(|| wrong(a, b));
        }
        current.last = values.last().copied();
        for (column, is_nan) in nans {
            let count = is_nan.slice(range.start, range.len()).as_boolean().true_count();
            match current.nan.iter_mut().find(|(known, _)| known == column) {
                _ if count == 0 => {}
                Some((_, so_far)) => *so_far += count,
                None => current.nan.push((*column, count)),
            }
        }
        if current.with_values.len() < self.numbers.len() {
            for &column in &self.numbers {
                let values = batch.column(column);
                let nulls = values.nulls().map_or(0, |n| n.slice(range.start, range.len()).null_count());
                if nulls < range.len() && !current.with_values.contains(&column) {
                    current.with_values.push(column);
                }
            }
        }
    }

    /// Ends the current symbol: passes on what is held of it, if it can be used, and finds what is wrong with it.
    fn end_symbol(&mut self) -> Result<Vec<RecordBatch>> {
        let (current, held) = (std::mem::take(&mut self.current), std::mem::take(&mut self.held));
        let Some(symbol) = current.name.as_ref().filter(|_| !current.other) else { return Ok(vec![]) };
        for reason in self.reasons(&current) {
            let reason = if self.beside { format!("in another timeframe: {reason}") } else { reason };
            self.counters.found(&Finding::Fault(Fault { symbol: symbol.clone(), reason }));
        }
        if !self.beside {
            self.counters.found(&Finding::Symbol(symbol.clone()));
            self.counters.bars.add(current.rows);
            self.observer.symbol();
        }
        Ok(if current.unfit.is_none() { held } else { vec![] })
    }

    /// What is wrong with a symbol.
    fn reasons(&self, current: &Current) -> Vec<String> {
        let field = |i: usize| self.schema.field(i).name();
        let mut reasons: Vec<String> = current.unfit.iter().cloned().collect();
        for (column, count) in current.nan.iter().filter(|(column, _)| self.numbers.contains(column)) {
            let bars = if *count == 1 { "1 bar" } else { &format!("{count} bars") };
            reasons.push(format!("{bars} with NaN in {}, passed over", field(*column)));
        }
        for column in &self.numbers {
            let all_nan = current.nan.iter().any(|(known, _)| known == column);
            if !current.with_values.contains(column) && !all_nan {
                reasons.push(format!("no {}", field(*column)));
            }
        }
        reasons
    }

    fn reserve(&mut self) -> Result<()> {
        let bytes = self.held.iter().map(RecordBatch::num_rows).sum::<usize>() * 8 * self.schema.fields().len();
        self.reservation.try_resize(bytes).map_err(|error| {
            let name = self.current.name.clone().unwrap_or_default();
            DataFusionError::ResourcesExhausted(format!("the bars of {name} do not fit into the memory limit: {error}"))
        })
    }

    /// The batch with null in the place of NaN, and where these were.
    fn without_nan(&self, batch: RecordBatch) -> Result<(RecordBatch, Vec<(usize, ArrayRef)>)> {
        let mut nans: Vec<(usize, ArrayRef)> = vec![];
        for &column in &self.floats {
            let values = batch.column(column).as_primitive::<Float64Type>();
            // Without an early exit the loop vectorises.
            if values.values().iter().fold(false, |any, v| any | v.is_nan()) {
                let is_nan = BooleanArray::from_unary(values, f64::is_nan);
                if is_nan.true_count() > 0 {
                    nans.push((column, std::sync::Arc::new(is_nan)));
                }
            }
        }
        if nans.is_empty() {
            return Ok((batch, nans));
        }
        let mut columns = batch.columns().to_vec();
        for (column, is_nan) in &nans {
            columns[*column] = nullif(&columns[*column], is_nan.as_boolean())?;
        }
        Ok((RecordBatch::try_new(batch.schema(), columns)?, nans))
    }
}

fn instants(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(column.clone()),
        _ => Ok(cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?),
    }
}
