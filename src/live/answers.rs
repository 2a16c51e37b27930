//! Where results go as they happen.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
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
}

/// Nobody waits for results: they are in the lake later.
pub struct Nobody;

impl Answers for Nobody {
    fn take(&mut self, _: &RecordBatch, _: &[u32]) -> std::io::Result<()> {
        Ok(())
    }
}

/// Results as lines of JSON, with a further column `revision`.
pub struct Ndjson<W>(pub W);

impl<W: Write + Send> Answers for Ndjson<W> {
    fn take(&mut self, rows: &RecordBatch, revisions: &[u32]) -> std::io::Result<()> {
        let mut fields = rows.schema().fields().to_vec();
        fields.push(Arc::new(Field::new("revision", DataType::UInt32, false)));
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(UInt32Array::from(revisions.to_vec())));
        let mut text = Vec::with_capacity(rows.num_rows() * 128);
        let mut writer = LineDelimitedWriter::new(&mut text);
        let written = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .and_then(|rows| writer.write(&rows))
            .and_then(|()| writer.finish());
        written.map_err(std::io::Error::other)?;
        self.0.write_all(&text)?;
        self.0.flush()
    }
}
