//! What stands between a scan and its table: symbols that cannot be used are left out and named, progress is told, and a
//! cancelled scan ends at a symbol's border.

use super::Failure;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{BTreeSet, HashSet};
use std::fmt::{Debug, Formatter};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tallow_engine::series_exec::cut::{Cutter, key_at, show_key};
use tallow_engine::tap::{Tap, TapStream};
use tokio_util::sync::CancellationToken;

/// Called with the number of symbols that are done.
pub type OnProgress = dyn Fn(u64) + Send + Sync;

/// What all partitions of a scan share.
pub(super) struct Guard {
    cancel: CancellationToken,
    progress: Arc<OnProgress>,
    completed: AtomicU64,
    cut_short: AtomicBool,
    any_unfit: AtomicBool,
    rows: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    symbols: Vec<String>,
    failures: Vec<Failure>,
    unfit: HashSet<String>,
}

/// What a guard has seen.
#[derive(Debug)]
pub(super) struct Guarded {
    pub symbols: Vec<String>,
    pub failures: Vec<Failure>,
    pub bars: u64,
    /// Whether a partition ended before its input did.
    pub cut_short: bool,
}

impl Guard {
    pub fn new(cancel: CancellationToken, progress: Arc<OnProgress>) -> Guard {
        let (completed, rows) = (AtomicU64::new(0), AtomicU64::new(0));
        Guard {
            cancel,
            progress,
            completed,
            cut_short: AtomicBool::default(),
            any_unfit: AtomicBool::default(),
            rows,
            seen: Mutex::default(),
        }
    }

    /// Leaves out a symbol of which rows may have been passed on.
    fn leave_out(&self, symbol: String) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.unfit.insert(symbol);
        self.any_unfit.store(true, Ordering::Release);
    }

    /// Whether a symbol, all of whose rows have passed, is to be left out.
    pub fn is_unfit(&self, symbol: &ScalarValue) -> bool {
        self.any_unfit.load(Ordering::Acquire) && {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.unfit.contains(&show_key(std::slice::from_ref(symbol)))
        }
    }

    pub fn seen(&self) -> Guarded {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let bars = self.rows.load(Ordering::Relaxed);
        let cut_short = self.cut_short.load(Ordering::Relaxed);
        Guarded { symbols: seen.symbols.clone(), failures: seen.failures.clone(), bars, cut_short }
    }
}

impl Debug for Guard {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard")
    }
}

/// The guard as a tap.
#[derive(Debug)]
pub(super) struct GuardTap {
    pub guard: Arc<Guard>,
    /// Only these symbols; `None`: all.
    pub symbols: Option<Arc<BTreeSet<String>>>,
    /// What the formula reads: what is wrong with other columns, which are only shown, does not matter.
    pub columns: Arc<BTreeSet<String>>,
    /// Another timeframe beside the bars that the scan is about: what is wrong there is told, but it counts no symbols, and
    /// it goes on until these bars have ended.
    pub beside: bool,
}

impl Tap for GuardTap {
    fn name(&self) -> &'static str {
        "symbols that can be used"
    }

    fn open(&self, schema: &SchemaRef, context: &TaskContext, partition: usize) -> Result<Box<dyn TapStream>> {
        let is_read = |column: &usize| self.columns.contains(schema.field(*column).name());
        let of_type = |wanted: fn(&DataType) -> bool| {
            let fields = schema.fields().iter().enumerate();
            fields.filter(|(_, f)| wanted(f.data_type())).map(|(i, _)| i).collect::<Vec<_>>()
        };
        Ok(Box::new(GuardStream {
            guard: Arc::clone(&self.guard),
            beside: self.beside,
            symbols: self.symbols.clone(),
            schema: Arc::clone(schema),
            symbol: schema.index_of("symbol")?,
            ts: schema.index_of("ts")?,
            floats: of_type(|t| *t == DataType::Float64),
            numbers: of_type(DataType::is_numeric).into_iter().filter(is_read).collect(),
            cutter: Cutter::default(),
            current: Current::default(),
            pending: vec![],
            reservation: MemoryConsumer::new(format!("scan[{partition}]")).register(context.memory_pool()),
        }))
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        match self.beside {
            true => futures::future::pending().boxed(),
            false => self.guard.cancel.clone().cancelled_owned().boxed(),
        }
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

struct GuardStream {
    guard: Arc<Guard>,
    beside: bool,
    symbols: Option<Arc<BTreeSet<String>>>,
    schema: SchemaRef,
    symbol: usize,
    ts: usize,
    floats: Vec<usize>,
    /// Those that the formula reads.
    numbers: Vec<usize>,
    cutter: Cutter,
    current: Current,
    /// Beside the bars that the scan is about, rows of the current symbol that were not passed on: nothing above can leave
    /// them out once they have been joined.
    pending: Vec<RecordBatch>,
    reservation: MemoryReservation,
}

impl TapStream for GuardStream {
    fn next(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        if batch.num_rows() == 0 {
            return Ok(vec![]);
        }
        let keys = [Arc::clone(batch.column(self.symbol))];
        let cut = self.cutter.next(&keys, batch.num_rows())?;
        let times = instants(batch.column(self.ts))?;
        let (batch, nans) = self.without_nan(batch)?;
        let mut passed = vec![];
        // Rows that lie next to each other are passed on in one piece, mostly the whole batch.
        let mut piece: Option<Range<usize>> = None;
        for (i, range) in cut.ranges.iter().enumerate() {
            if i > 0 || !cut.continues {
                self.end_symbol(&mut passed);
                let name = show_key(&key_at(&keys, range.start)?);
                let other = self.symbols.as_ref().is_some_and(|wanted| !wanted.contains(&name));
                self.current = Current { name: Some(name), other, ..Current::default() };
            }
            if !self.current.other {
                self.look_at(&batch, times.as_primitive::<TimestampMicrosecondType>(), &nans, range);
            }
            let usable = !self.current.other && self.current.unfit.is_none();
            if usable && self.beside {
                self.pending.push(batch.slice(range.start, range.len()));
            } else if usable {
                piece = Some(piece.map_or(range.start, |p| p.start)..range.end);
            } else {
                passed.extend(piece.take().map(|p| batch.slice(p.start, p.len())));
            }
        }
        passed.extend(piece.map(|p| batch.slice(p.start, p.len())));
        self.reserve()?;
        Ok(passed)
    }

    fn end(&mut self) -> Result<Vec<RecordBatch>> {
        let mut passed = vec![];
        if self.guard.cancel.is_cancelled() && !self.beside {
            // The rest of the symbol may not have been read.
            self.guard.cut_short.store(true, Ordering::Relaxed);
            if let Some(name) = self.current.name.take() {
                self.guard.leave_out(name);
            }
        } else {
            self.end_symbol(&mut passed);
        }
        self.reservation.free();
        Ok(passed)
    }
}

impl GuardStream {
    /// Looks at some rows of the current symbol.
    fn look_at(
        &mut self,
        batch: &RecordBatch,
        times: &arrow::array::TimestampMicrosecondArray,
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
            let at = |t: i64| chrono::DateTime::from_timestamp_micros(t).map_or(String::new(), |t| t.to_string());
            if a == b { format!("two bars at {}", at(b)) } else { format!("steps back in time to {}", at(b)) }
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

    /// Ends the current symbol: passes on what is pending of it, and tells what is wrong with it.
    fn end_symbol(&mut self, passed: &mut Vec<RecordBatch>) {
        let (current, pending) = (std::mem::take(&mut self.current), std::mem::take(&mut self.pending));
        let Some(symbol) = current.name.filter(|_| !current.other) else { return };
        match current.unfit.is_none() {
            true => passed.extend(pending),
            false if !self.beside => self.guard.leave_out(symbol.clone()),
            false => {}
        }
        let field = |i: usize| self.schema.field(i).name();
        let mut reasons: Vec<String> = current.unfit.into_iter().collect();
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
        let mut seen = self.guard.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for reason in reasons {
            let reason = if self.beside { format!("in another timeframe: {reason}") } else { reason };
            let failure = Failure { symbol: symbol.clone(), reason };
            if !seen.failures.contains(&failure) {
                seen.failures.push(failure);
            }
        }
        if self.beside {
            return;
        }
        seen.symbols.push(symbol);
        drop(seen);
        self.guard.rows.fetch_add(current.rows as u64, Ordering::Relaxed);
        let done = self.guard.completed.fetch_add(1, Ordering::Relaxed) + 1;
        (self.guard.progress)(done);
    }

    fn reserve(&mut self) -> Result<()> {
        let bytes = self.pending.iter().map(RecordBatch::num_rows).sum::<usize>() * 8 * self.schema.fields().len();
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
            if values.values().iter().any(|v| v.is_nan()) {
                let is_nan = BooleanArray::from_unary(values, f64::is_nan);
                if is_nan.true_count() > 0 {
                    nans.push((column, Arc::new(is_nan)));
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

pub(super) fn instants(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(Arc::clone(column)),
        _ => Ok(cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?),
    }
}
