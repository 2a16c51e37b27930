//! Where results go as they happen.

mod elsewhere;

pub use elsewhere::{Tcp, Webhook};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Field, Schema};
use arrow::json::LineDelimitedWriter;
use std::io::Write;
use std::sync::Arc;

/// Takes results as they happen.
pub trait Answers: Send {
    /// Rows, and how often each was emitted before, with other values.
    ///
    /// # Errors
    /// They cannot be taken: the run ends.
    fn take(&mut self, rows: &RecordBatch, revisions: &[u32]) -> std::io::Result<()>;

    /// Rows of bars that are not closed yet: the next ones, or those of the closed bars, take their place.
    ///
    /// # Errors
    /// As [`Answers::take`].
    fn take_forming(&mut self, _rows: &RecordBatch) -> std::io::Result<()> {
        Ok(())
    }
}

/// Nobody waits for results: they are in the lake later.
pub struct Nobody;

impl Answers for Nobody {
    fn take(&mut self, _: &RecordBatch, _: &[u32]) -> std::io::Result<()> {
        Ok(())
    }
}

/// Several take the same results.
pub struct Several(pub Vec<Box<dyn Answers>>);

impl Answers for Several {
    fn take(&mut self, rows: &RecordBatch, revisions: &[u32]) -> std::io::Result<()> {
        self.0.iter_mut().try_for_each(|answers| answers.take(rows, revisions))
    }

    fn take_forming(&mut self, rows: &RecordBatch) -> std::io::Result<()> {
        self.0.iter_mut().try_for_each(|answers| answers.take_forming(rows))
    }
}

/// A function is called with them.
pub struct Callback<F>(pub F);

impl<F: FnMut(&RecordBatch, &[u32]) -> std::io::Result<()> + Send> Answers for Callback<F> {
    fn take(&mut self, rows: &RecordBatch, revisions: &[u32]) -> std::io::Result<()> {
        (self.0)(rows, revisions)
    }
}

/// Results as lines of JSON, with a further column `revision`; those of bars that are not closed have `complete` instead, which is
/// false.
pub struct Ndjson<W>(pub W);

impl<W: Write + Send> Answers for Ndjson<W> {
    fn take(&mut self, rows: &RecordBatch, revisions: &[u32]) -> std::io::Result<()> {
        self.0.write_all(&lines(rows, revisions)?)?;
        self.0.flush()
    }

    fn take_forming(&mut self, rows: &RecordBatch) -> std::io::Result<()> {
        self.0.write_all(&forming_lines(rows)?)?;
        self.0.flush()
    }
}

/// Rows as lines of JSON.
fn lines(rows: &RecordBatch, revisions: &[u32]) -> std::io::Result<Vec<u8>> {
    lines_with(rows, "revision", Arc::new(UInt32Array::from(revisions.to_vec())))
}

/// The same of bars that are not closed.
fn forming_lines(rows: &RecordBatch) -> std::io::Result<Vec<u8>> {
    lines_with(rows, "complete", Arc::new(BooleanArray::from(vec![false; rows.num_rows()])))
}

fn lines_with(rows: &RecordBatch, name: &str, column: ArrayRef) -> std::io::Result<Vec<u8>> {
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(name, column.data_type().clone(), false)));
    let mut columns = rows.columns().to_vec();
    columns.push(column);
    let mut text = Vec::with_capacity(rows.num_rows() * 128);
    let mut writer = LineDelimitedWriter::new(&mut text);
    let written = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .and_then(|rows| writer.write(&rows))
        .and_then(|()| writer.finish());
    written.map_err(std::io::Error::other)?;
    Ok(text)
}
