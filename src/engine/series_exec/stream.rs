//! The poll loop, memory reservation and metrics of [`SeriesExec`](super::SeriesExec).

use super::cut::{Cutter, key_at, show_key};
use super::kept::{Kept, around, parts};
use super::node::Computation;
use super::reads::KeptRows;
use crate::cancellation::{Cancellation, Turns};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, RecordOutput,
};
use futures::{Stream, StreamExt};
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tallow_udfs::series::{OutputBuilder, SeriesCall};

/// Rows of an unfinished series, with the arguments of all calls already evaluated.
pub(super) struct Piece {
    pub batch: RecordBatch,
    pub args: Vec<ArrayRef>,
}

impl Piece {
    fn slice(&self, range: &Range<usize>) -> Piece {
        Piece {
            batch: self.batch.slice(range.start, range.len()),
            args: self.args.iter().map(|a| a.slice(range.start, range.len())).collect(),
        }
    }
}

/// One call with its arguments as positions in [`Piece::args`].
pub(super) struct Bound {
    pub computation: Computation,
    args: Vec<usize>,
}

pub(super) struct SeriesStream {
    input: SendableRecordBatchStream,
    schema: SchemaRef,
    bound: Vec<Bound>,
    /// Distinct argument expressions of all calls: each is evaluated, and concatenated, once.
    args: Vec<Arc<dyn PhysicalExpr>>,
    /// The rows that the plan above keeps.
    kept: Option<Kept>,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    order_by: Vec<PhysicalSortExpr>,
    strict: bool,
    source: Option<String>,
    cutter: Cutter,
    /// Time of the last row seen, while its series goes on.
    last_time: Option<i64>,
    rows_read: usize,
    pending: Vec<Piece>,
    pending_rows: usize,
    ready: VecDeque<RecordBatch>,
    ready_rows: usize,
    /// Rows in `ready` that had been pending; the others have only just come in.
    ready_held: usize,
    finished: bool,
    cancellation: Cancellation,
    turns: Turns,
    /// Estimated bytes of an input row, and of its outputs.
    row_bytes: usize,
    output_bytes: usize,
    reservation: MemoryReservation,
    limit: Option<usize>,
    metrics: BaselineMetrics,
    series: Count,
    peak: Gauge,
}

impl SeriesStream {
    #[allow(clippy::too_many_arguments, reason = "one caller, which has them all at hand")]
    pub(super) fn new(
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        computations: Vec<Computation>,
        rows: Option<KeptRows>,
        partition_by: Vec<Arc<dyn PhysicalExpr>>,
        order_by: Vec<PhysicalSortExpr>,
        source: Option<String>,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
        context: &TaskContext,
    ) -> Self {
        let mut args: Vec<Arc<dyn PhysicalExpr>> = vec![];
        let bound = computations
            .into_iter()
            .map(|computation| {
                let exprs = match &computation {
                    Computation::Series { args, .. } => args.as_slice(),
                    Computation::Window(_) => &[],
                };
                let positions = exprs
                    .iter()
                    .map(|expr| {
                        args.iter().position(|known| known == expr).unwrap_or_else(|| {
                            args.push(Arc::clone(expr));
                            args.len() - 1
                        })
                    })
                    .collect();
                Bound { computation, args: positions }
            })
            .collect::<Vec<_>>();
        let kept = rows.map(|rows| {
            args.push(rows.condition);
            Kept { arg: args.len() - 1, only: rows.only, around: around(&bound) }
        });
        let pool = context.memory_pool();
        let limit = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => Some(bytes),
            _ => None,
        };
        let cancellation = Cancellation::of(context);
        let widths: Vec<usize> = schema.fields().iter().map(|f| width(f.data_type())).collect();
        let inputs = input.schema().fields().len();
        Self {
            // A gap or a repetition in time is an error for series functions; for other window functions only a step
            // backwards is.
            strict: bound.iter().any(|b| matches!(b.computation, Computation::Series { .. })),
            input,
            bound,
            row_bytes: widths[..inputs].iter().sum::<usize>() + 8 * args.len(),
            output_bytes: widths[inputs..].iter().sum(),
            schema,
            args,
            kept,
            partition_by,
            order_by,
            source,
            cutter: Cutter::default(),
            last_time: None,
            rows_read: 0,
            pending: vec![],
            pending_rows: 0,
            ready: VecDeque::new(),
            ready_rows: 0,
            ready_held: 0,
            finished: false,
            turns: Turns::new(cancellation.clone()),
            cancellation,
            reservation: MemoryConsumer::new(format!("SeriesExec[{partition}]")).register(pool),
            limit,
            metrics: BaselineMetrics::new(metrics, partition),
            series: MetricBuilder::new(metrics).counter("series", partition),
            peak: MetricBuilder::new(metrics).gauge("peak_mem_used", partition),
        }
    }

    /// Takes a batch of the input in: finished series go to `ready`, the last one stays pending.
    fn accept(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let keys = evaluate(&self.partition_by, &batch)?;
        let cut = self.cutter.next(&keys, rows).map_err(|e| self.located(e))?;
        self.check_time(&batch, &keys, &cut.ranges, cut.continues)?;
        self.rows_read += rows;
        let piece = Piece { args: evaluate(&self.args, &batch)?, batch };

        let mut ranges = cut.ranges;
        let Some(last) = ranges.pop() else { return Ok(()) };
        if ranges.is_empty() && cut.continues {
            return self.keep(piece);
        }
        let mut rows: Vec<RecordBatch> = self.pending.iter().map(|p| p.batch.clone()).collect();
        rows.push(piece.batch.slice(0, last.start));
        // The first range ends the pending series, or the pending series ended with the batch before.
        let mut done: Vec<Vec<Piece>> = vec![];
        let mut pending = std::mem::take(&mut self.pending);
        let mut ranges = ranges.into_iter();
        if cut.continues
            && let Some(first) = ranges.next()
        {
            pending.push(piece.slice(&first));
        }
        if !pending.is_empty() {
            done.push(pending);
        }
        done.extend(ranges.map(|range| vec![piece.slice(&range)]));
        self.emit(&done, rows)?;
        self.keep(piece.slice(&last))
    }

    fn keep(&mut self, piece: Piece) -> Result<()> {
        self.pending_rows += piece.batch.num_rows();
        self.reserve(self.held_bytes(), self.pending_rows, &piece.batch)?;
        self.pending.push(piece);
        Ok(())
    }

    /// Bytes of the series that goes on, and of finished ones that nobody has fetched yet.
    fn held_bytes(&self) -> usize {
        (self.pending_rows + self.ready_held) * self.row_bytes + self.ready_rows * self.output_bytes
    }

    /// Accounts for `bytes`, or says that the series which `sample` belongs to does not fit.
    fn reserve(&mut self, bytes: usize, rows: usize, sample: &RecordBatch) -> Result<()> {
        self.peak.set_max(bytes);
        if self.reservation.try_resize(bytes).is_ok() {
            return Ok(());
        }
        let name = show_key(&key_at(&evaluate(&self.partition_by, &sample.slice(0, 1))?, 0)?);
        let limit =
            self.limit.map_or("the memory limit".to_string(), |l| format!("the memory limit of {} MiB", l >> 20));
        Err(DataFusionError::ResourcesExhausted(format!(
            "series {name} has at least {rows} rows, which need {} MiB together with their results: more than {limit} \
             leaves. Raise the option `memory`, select fewer columns or a shorter range",
            bytes.div_ceil(1 << 20)
        )))
    }

    /// Evaluates finished series, whose rows are those of `batches`, and cuts the result at the borders of these
    /// batches, so that no input column is copied.
    fn emit(&mut self, done: &[Vec<Piece>], batches: Vec<RecordBatch>) -> Result<()> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let Some(first) = batches.first().filter(|_| rows > 0) else { return Ok(()) };
        self.ready_held += std::mem::take(&mut self.pending_rows);
        self.ready_rows += rows;
        self.reserve(self.held_bytes(), rows, first)?;
        self.series.add(done.len());
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.only) {
            let read: Vec<Range<usize>> = done.iter().map(|pieces| kept.hull(pieces)).collect();
            let batch = self.evaluate_only(done, &read, first)?;
            self.ready_held = 0;
            self.ready_rows = self.ready_rows - rows + batch.num_rows();
            self.ready.extend((batch.num_rows() > 0).then_some(batch));
            return Ok(());
        }
        let results = self.evaluate(done, rows)?;
        let mut from = 0;
        for batch in batches.into_iter().filter(|b| b.num_rows() > 0) {
            let length = batch.num_rows();
            let mut all = batch.columns().to_vec();
            all.extend(results.iter().map(|r| r.slice(from, length)));
            self.ready.push_back(RecordBatch::try_new(Arc::clone(&self.schema), all)?);
            from += length;
        }
        Ok(())
    }

    /// The results of all rows of some series; what is read in some rows only is null in others.
    fn evaluate(&self, done: &[Vec<Piece>], rows: usize) -> Result<Vec<ArrayRef>> {
        let mut results = self.results(rows);
        for pieces in done {
            let length: usize = pieces.iter().map(|p| p.batch.num_rows()).sum();
            let read = self.kept.as_ref().map_or(0..length, |kept| kept.hull(pieces));
            let call = |call: &SeriesCall, args: &[ArrayRef], out: &mut _| call.append_read(args, length, &read, out);
            self.append(pieces, &whole_args(pieces)?, call, &(0..length), &mut results)?;
        }
        results.into_iter().map(Results::finish).collect()
    }

    /// The rows of some series that the plan above keeps, as one batch.
    fn evaluate_only(&self, done: &[Vec<Piece>], read: &[Range<usize>], sample: &RecordBatch) -> Result<RecordBatch> {
        let mut results = self.results(read.iter().map(Range::len).sum());
        let mut rows = vec![];
        for (pieces, read) in done.iter().zip(read).filter(|(_, read)| !read.is_empty()) {
            rows.extend(parts(pieces, read).map(|(piece, part)| piece.batch.slice(part.start, part.len())));
            let (args, first) = match self.near_args(pieces, read)? {
                Some((args, first)) => (args, first),
                None => (whole_args(pieces)?, 0),
            };
            let length = args.first().map_or(0, |array| array.len());
            let read = read.start - first..read.end - first;
            let call = |call: &SeriesCall, args: &[ArrayRef], out: &mut _| call.append_only(args, length, &read, out);
            self.append(pieces, &args, call, &read, &mut results)?;
        }
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let results = results.into_iter().map(Results::finish).collect::<Result<Vec<_>>>()?;
        let mut all = concat_batches(&sample.schema(), &rows)?.columns().to_vec();
        all.extend(results);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), all)?)
    }

    /// The arguments in the rows that are looked at to compute those of `read`, and the first of these rows; `None`: it is not
    /// known which they are.
    fn near_args(&self, pieces: &[Piece], read: &Range<usize>) -> Result<Option<(Vec<ArrayRef>, usize)>> {
        let Some((back, ahead)) = self.kept.as_ref().and_then(|kept| kept.around) else { return Ok(None) };
        let near = read.start.saturating_sub(back)..read.end.saturating_add(ahead);
        let of = |arg: usize| {
            let parts = parts(pieces, &near).map(|(piece, part)| piece.args[arg].slice(part.start, part.len()));
            joined(&parts.collect::<Vec<_>>())
        };
        let args = (0..self.args.len()).map(of).collect::<Result<Vec<_>>>()?;
        // Only valid rows are counted: where one is missing, there are others further away.
        let is_complete = self.bound.iter().all(|bound| match &bound.computation {
            Computation::Series { call, .. } => {
                let required = call.function().signature().inputs.len();
                bound.args.iter().take(required).all(|&arg| is_complete(&args[arg]))
            }
            Computation::Window(_) => false,
        });
        Ok(is_complete.then_some((args, near.start)))
    }

    fn results(&self, rows: usize) -> Vec<Results> {
        let of = |bound: &Bound| match &bound.computation {
            Computation::Series { call, .. } => Results::Series(Box::new(OutputBuilder::with_capacity(call, rows))),
            Computation::Window(_) => Results::Window(vec![]),
        };
        self.bound.iter().map(of).collect()
    }

    /// Appends the results of one series: those of its functions as `call` does it, of other window functions the rows of `read`.
    fn append(
        &self,
        pieces: &[Piece],
        args: &[ArrayRef],
        call: impl Fn(&SeriesCall, &[ArrayRef], &mut OutputBuilder) -> Result<()>,
        read: &Range<usize>,
        results: &mut [Results],
    ) -> Result<()> {
        let mut batch = None;
        for (bound, results) in self.bound.iter().zip(results) {
            self.cancellation.check()?;
            match (&bound.computation, results) {
                (Computation::Series { call: function, .. }, Results::Series(out)) => {
                    let args: Vec<_> = bound.args.iter().map(|&a| Arc::clone(&args[a])).collect();
                    call(function, &args, out)?;
                }
                (Computation::Window(expr), Results::Window(columns)) => {
                    let batch = match &batch {
                        Some(batch) => batch,
                        None => batch.insert(whole_batch(pieces)?),
                    };
                    columns.push(expr.evaluate(batch)?.slice(read.start, read.len()));
                }
                _ => return internal_err!("results of another computation"),
            }
        }
        Ok(())
    }

    /// Time must go forward within a series.
    fn check_time(
        &mut self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        ranges: &[Range<usize>],
        continues: bool,
    ) -> Result<()> {
        let [order] = self.order_by.as_slice() else { return Ok(()) };
        if order.options.descending {
            return Ok(());
        }
        let column = order.expr.evaluate(batch)?.into_array(batch.num_rows())?;
        let Some(times) = as_i64(&column)? else { return Ok(()) };
        let times = times.as_primitive::<Int64Type>();
        if times.null_count() > 0 {
            if !self.strict {
                self.last_time = None;
                return Ok(());
            }
            let row = (0..times.len()).find(|&i| times.is_null(i)).unwrap_or_default();
            let name = show_key(&key_at(keys, row)?);
            return self.fail(row, format!("series {name} has a bar without a time"));
        }
        let values = times.values();
        for (i, range) in ranges.iter().enumerate() {
            let before = self.last_time.filter(|_| i == 0 && continues);
            let series = &values[range.clone()];
            let forward = |a: i64, b: i64| if self.strict { a < b } else { a <= b };
            let joined = before.is_none_or(|b| forward(b, series[0]));
            if joined && series.windows(2).all(|w| forward(w[0], w[1])) {
                continue;
            }
            let bad =
                if joined { series.windows(2).position(|w| !forward(w[0], w[1])).unwrap_or_default() + 1 } else { 0 };
            let row = range.start + bad;
            let name = show_key(&key_at(keys, row)?);
            let at = show_key(&key_at(std::slice::from_ref(&column), row)?);
            let same = if bad > 0 { series[bad - 1] == series[bad] } else { before == Some(series[0]) };
            let problem = if same {
                format!("series {name} has two bars at {at}")
            } else {
                format!("series {name} steps back in time to {at}: the input is not sorted as it was declared")
            };
            return self.fail(row, problem);
        }
        self.last_time = values.last().copied();
        Ok(())
    }

    fn fail<T>(&self, row: usize, problem: String) -> Result<T> {
        match &self.source {
            Some(file) => exec_err!("{problem} (row {} of this part of {file})", self.rows_read + row + 1),
            None => exec_err!("{problem}"),
        }
    }

    fn located(&self, error: DataFusionError) -> DataFusionError {
        match &self.source {
            Some(file) => error.context(format!("reading {file}")),
            None => error,
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.ready_rows -= batch.num_rows();
                self.ready_held = self.ready_held.saturating_sub(batch.num_rows());
                let bytes = self.held_bytes().min(self.reservation.size());
                self.reservation.resize(bytes);
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.finished {
                self.reservation.free();
                return Poll::Ready(None);
            }
            ready!(self.turns.poll(cx))?;
            let next = ready!(self.input.poll_next_unpin(cx));
            let elapsed = self.metrics.elapsed_compute().clone();
            let _timer = elapsed.timer();
            match next {
                Some(Ok(batch)) => self.accept(batch)?,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.finished = true;
                    let last = std::mem::take(&mut self.pending);
                    let rows = last.iter().map(|p| p.batch.clone()).collect();
                    self.emit(&[last], rows)?;
                }
            }
        }
    }
}

impl Stream for SeriesStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let poll = self.poll_inner(cx);
        if let Poll::Ready(Some(Err(_))) = &poll {
            self.finished = true;
        }
        if let Poll::Ready(Some(Ok(batch))) = &poll {
            batch.record_output(&self.metrics);
        }
        poll
    }
}

impl RecordBatchStream for SeriesStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|e| e.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

fn whole_args(pieces: &[Piece]) -> Result<Vec<ArrayRef>> {
    let of = |arg: usize| joined(&pieces.iter().map(|piece| Arc::clone(&piece.args[arg])).collect::<Vec<_>>());
    (0..pieces.first().map_or(0, |piece| piece.args.len())).map(of).collect()
}

fn joined(parts: &[ArrayRef]) -> Result<ArrayRef> {
    match parts {
        [only] => Ok(Arc::clone(only)),
        several => Ok(concat(&several.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
    }
}

/// Whether no value is missing.
fn is_complete(array: &ArrayRef) -> bool {
    let numbers = array.as_primitive_opt::<Float64Type>();
    array.null_count() == 0 && numbers.is_none_or(|numbers| numbers.values().iter().all(|v| v.is_finite()))
}

/// The results of one computation, series by series.
enum Results {
    Series(Box<OutputBuilder>),
    Window(Vec<ArrayRef>),
}

impl Results {
    fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Results::Series(builder) => builder.finish(),
            Results::Window(mut columns) if columns.len() == 1 => columns.swap_remove(0),
            Results::Window(columns) => concat(&columns.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
        })
    }
}

fn whole_batch(pieces: &[Piece]) -> Result<RecordBatch> {
    match pieces {
        [only] => Ok(only.batch.clone()),
        several => Ok(concat_batches(&several[0].batch.schema(), several.iter().map(|p| &p.batch))?),
    }
}

/// Times and whole numbers as int64; other order keys are not checked.
fn as_i64(column: &ArrayRef) -> Result<Option<ArrayRef>> {
    Ok(match column.data_type() {
        DataType::Timestamp(_, _) | DataType::Date64 | DataType::Int64 => {
            let data = column.to_data().into_builder().data_type(DataType::Int64).build()?;
            Some(arrow::array::make_array(data))
        }
        DataType::Date32 => {
            let days = arrow::compute::cast(column, &DataType::Int32)?;
            Some(arrow::compute::cast(&days, &DataType::Int64)?)
        }
        _ => None,
    })
}

/// Bytes of a value, roughly: what is reserved in the memory pool.
pub(crate) fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean => 1,
        DataType::Struct(fields) => fields.iter().map(|f| width(f.data_type())).sum(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => 8,
        other => other.primitive_width().unwrap_or(16),
    }
}
