//! Puts the batches of a partition together to whole symbols.

use super::function::Accumulator;
use crate::cancellation::Cancellation;
use crate::observer::Observer;
use crate::series_exec::cut::Cutter;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::memory_pool::MemoryReservation;
use std::ops::Range;
use std::sync::Arc;
use tallow_common::time;

/// The rows of the symbol that is being read, and who looks at them.
pub(super) struct Gathering {
    accumulator: Box<dyn Accumulator>,
    symbol: usize,
    ts: usize,
    columns: Vec<usize>,
    cutter: Cutter,
    name: Option<String>,
    times: Vec<i64>,
    values: Vec<Vec<f64>>,
    /// Why they are no series.
    unfit: Option<String>,
    observer: Observer,
    /// Series that were looked at since the last batch.
    series: usize,
    cancellation: Cancellation,
    reservation: MemoryReservation,
}

impl Gathering {
    pub fn new(
        schema: &SchemaRef,
        columns: &[&str],
        accumulator: Box<dyn Accumulator>,
        observer: Observer,
        cancellation: Cancellation,
        reservation: MemoryReservation,
    ) -> Result<Gathering> {
        let columns = columns.iter().map(|c| schema.index_of(c)).collect::<Result<Vec<_>, _>>()?;
        Ok(Gathering {
            accumulator,
            observer,
            series: 0,
            symbol: schema.index_of("symbol")?,
            ts: schema.index_of("ts")?,
            values: vec![vec![]; columns.len()],
            columns,
            cutter: Cutter::default(),
            name: None,
            times: vec![],
            unfit: None,
            cancellation,
            reservation,
        })
    }

    /// Takes a batch; returns how many series ended in it.
    pub fn next(&mut self, batch: &RecordBatch) -> Result<usize> {
        if batch.num_rows() == 0 {
            return Ok(0);
        }
        let symbols = cast(batch.column(self.symbol), &DataType::Utf8View)?;
        let cut = self.cutter.next(&[Arc::clone(&symbols)], batch.num_rows())?;
        let times = cast(batch.column(self.ts), &time::timestamp_type())?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let numbers: Vec<ArrayRef> = self.columns.iter().map(|&c| computed(batch.column(c))).collect::<Result<_>>()?;
        let names = symbols.as_string_view();
        for (i, range) in cut.ranges.into_iter().enumerate() {
            if i > 0 || !cut.continues {
                self.finish()?;
                // Bars without a symbol are nobody's.
                self.name = names.is_valid(range.start).then(|| names.value(range.start).to_string());
            }
            if self.name.is_none() || self.unfit.is_some() {
                continue;
            }
            for row in range.clone() {
                let time = times.is_valid(row).then(|| times.value(row));
                match (time, self.times.last()) {
                    (Some(time), None) => self.times.push(time),
                    (Some(time), Some(&last)) if time > last => self.times.push(time),
                    (Some(time), Some(&last)) if time == last => {
                        self.unfit = Some(format!("two bars at {}", time::shown(time)));
                    }
                    (Some(time), Some(_)) => {
                        self.unfit = Some(format!("the bar at {} comes after a later one", time::shown(time)));
                    }
                    (None, _) => self.unfit = Some("a bar without a time".to_string()),
                }
            }
            if self.unfit.is_some() {
                continue;
            }
            for (values, array) in self.values.iter_mut().zip(&numbers) {
                extend(values, array, &range)?;
            }
            let per_bar = 8 * (1 + self.values.len()) + self.accumulator.bytes_per_bar();
            self.reservation.try_resize(self.accumulator.bytes() + self.times.len() * per_bar)?;
        }
        Ok(std::mem::take(&mut self.series))
    }

    fn finish(&mut self) -> Result<()> {
        match (self.name.take(), self.unfit.take()) {
            (Some(name), Some(reason)) => self.accumulator.unfit(&name, &reason),
            (Some(name), None) => {
                self.accumulator.series(&name, &self.times, &self.values)?;
                self.series += 1;
                self.observer.symbol();
            }
            (None, _) => {}
        }
        self.times.clear();
        self.values.iter_mut().for_each(Vec::clear);
        self.cancellation.check()
    }

    /// The state rows, and how many series ended last.
    pub fn end(mut self) -> Result<(RecordBatch, usize)> {
        self.finish()?;
        Ok((self.accumulator.state()?, self.series))
    }
}

/// A column of numbers, or of a condition.
fn computed(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Boolean => Ok(Arc::clone(column)),
        _ => Ok(cast(column, &DataType::Float64)?),
    }
}

/// Adds some rows of a column: of numbers, NaN where there is none; of a condition, 1 where it is true.
fn extend(values: &mut Vec<f64>, array: &ArrayRef, range: &Range<usize>) -> Result<()> {
    if let Some(condition) = array.as_boolean_opt() {
        let truth = match condition.nulls() {
            Some(nulls) => condition.values() & nulls.inner(),
            None => condition.values().clone(),
        };
        values.extend(truth.slice(range.start, range.len()).iter().map(|is| f64::from(u8::from(is))));
        return Ok(());
    }
    let numbers = array.as_primitive_opt::<Float64Type>();
    let numbers = numbers.ok_or_else(|| internal_datafusion_err!("numbers are float64"))?;
    let first = values.len();
    values.extend_from_slice(&numbers.values()[range.clone()]);
    if let Some(nulls) = numbers.nulls().filter(|nulls| nulls.null_count() > 0) {
        let missing = range.clone().zip(&mut values[first..]).filter(|(row, _)| nulls.is_null(*row));
        missing.for_each(|(_, value)| *value = f64::NAN);
    }
    Ok(())
}
