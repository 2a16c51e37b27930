//! A result in memory, to be compared.

use crate::Session;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::Result;
use tallow_udfs::series::InputKind;

/// A result in memory: rows by symbol and time, columns flattened.
pub(super) struct Rows {
    pub names: Vec<String>,
    pub columns: Vec<Cells>,
    pub keys: Vec<(String, i64)>,
    /// The symbols that the result was restricted to.
    pub symbols: Option<BTreeSet<String>>,
}

pub(super) enum Cells {
    Number(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

impl Rows {
    /// Runs a frame; `symbols` are those that it was restricted to.
    pub(super) async fn collect(
        session: &Session,
        frame: DataFrame,
        symbols: Option<BTreeSet<String>>,
    ) -> Result<Rows> {
        let plan = session.plan(frame).await?;
        let mut stream = session.execute(plan)?;
        let mut rows = Rows { names: vec![], columns: vec![], keys: vec![], symbols };
        while let Some(batch) = stream.next().await {
            rows.take(&flat(batch?)?)?;
        }
        Ok(rows)
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(ts) = batch.column_by_name("ts") else { return Ok(()) };
        let ts = cast(ts, &InputKind::Time.data_type())?;
        let ts = ts.as_primitive::<TimestampMicrosecondType>();
        let symbol = batch.column_by_name("symbol").map(|s| cast(s, &DataType::Utf8)).transpose()?;
        let symbol: Option<&StringArray> = symbol.as_ref().map(|s| s.as_string::<i32>());
        let values: Vec<(String, ArrayRef)> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .filter(|(f, _)| f.name() != "ts" && f.name() != "symbol")
            .map(|(f, c)| (f.name().clone(), Arc::clone(c)))
            .collect();
        if self.names.is_empty() {
            for (name, column) in &values {
                self.names.push(name.clone());
                let number = column.data_type().is_numeric();
                self.columns.push(if number { Cells::Number(vec![]) } else { Cells::Text(vec![]) });
            }
        }
        let mut kept = vec![];
        for row in 0..batch.num_rows() {
            if ts.is_null(row) {
                continue;
            }
            let name = symbol.map(|s| if s.is_valid(row) { s.value(row) } else { "" }).unwrap_or_default();
            kept.push(row);
            self.keys.push((name.to_string(), ts.value(row)));
        }
        for ((_, column), cells) in values.iter().zip(&mut self.columns) {
            match cells {
                Cells::Number(all) => {
                    let numbers = cast(column, &DataType::Float64)?;
                    let numbers: &Float64Array = numbers.as_primitive::<Float64Type>();
                    all.extend(kept.iter().map(|&r| numbers.is_valid(r).then(|| numbers.value(r))));
                }
                Cells::Text(all) => {
                    let options = FormatOptions::default();
                    let shown = ArrayFormatter::try_new(column, &options)?;
                    all.extend(kept.iter().map(|&r| column.is_valid(r).then(|| shown.value(r).to_string())));
                }
            }
        }
        Ok(())
    }

    /// Orders rows by their values.
    pub(super) fn sort(&self, rows: &mut [usize]) {
        rows.sort_by(|a, b| {
            let each = self.columns.iter().map(|cells| match cells {
                Cells::Number(v) => v[*a].unwrap_or(f64::NAN).total_cmp(&v[*b].unwrap_or(f64::NAN)),
                Cells::Text(v) => v[*a].cmp(&v[*b]),
            });
            each.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
    }
}

/// Struct columns as one column a field.
fn flat(batch: RecordBatch) -> Result<RecordBatch> {
    let nested = batch.schema().fields().iter().any(|f| matches!(f.data_type(), DataType::Struct(_)));
    Ok(if nested { batch.normalize(".", None)? } else { batch })
}
