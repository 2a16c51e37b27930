//! Where results go as they happen.

mod elsewhere;
mod once;

pub use elsewhere::Elsewhere;
pub use once::Once;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::LineDelimitedWriter;
use std::borrow::Cow;
use std::io::{Result, Write};
use std::sync::Arc;

/// Results.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// The rows.
    pub rows: &'a RecordBatch,
    /// How often each was emitted before, with other values; `None`: they are of bars that are not closed yet, and the next ones, or
    /// those of the closed bars, take their place.
    pub revisions: Option<&'a [u32]>,
    /// Whether they are of closed bars, and, where they compare symbols, the bars of all symbols had come that were waited for.
    pub complete: bool,
    /// The same as lines of JSON, if they were made already.
    pub lines: Option<&'a [u8]>,
}

/// Takes results as they happen.
pub trait Answers: Send {
    /// Takes some.
    ///
    /// # Errors
    /// They cannot be taken: the run ends.
    fn take(&mut self, results: Results<'_>) -> Result<()>;

    /// Whether it wants results as lines of JSON, which are then made where they were computed.
    fn wants_lines(&self) -> bool {
        false
    }
}

/// Nobody waits for results: they are in the lake later.
pub struct Nobody;

impl Answers for Nobody {
    fn take(&mut self, _: Results<'_>) -> Result<()> {
        Ok(())
    }
}

/// Several take the same results.
pub struct Several(pub Vec<Box<dyn Answers>>);

impl Answers for Several {
    fn take(&mut self, results: Results<'_>) -> Result<()> {
        self.0.iter_mut().try_for_each(|answers| answers.take(results))
    }

    fn wants_lines(&self) -> bool {
        self.0.iter().any(|answers| answers.wants_lines())
    }
}

/// A function is called with them.
pub struct Callback<F>(pub F);

impl<F: FnMut(Results<'_>) -> Result<()> + Send> Answers for Callback<F> {
    fn take(&mut self, results: Results<'_>) -> Result<()> {
        (self.0)(results)
    }
}

/// Results as lines of JSON, with a further column `revision`; those that are not complete have `complete`, which is false.
pub struct Ndjson<W>(pub W);

impl<W: Write + Send> Answers for Ndjson<W> {
    fn take(&mut self, results: Results<'_>) -> Result<()> {
        self.0.write_all(&lines(results)?)?;
        self.0.flush()
    }

    fn wants_lines(&self) -> bool {
        true
    }
}

/// Results as lines of JSON.
pub(crate) fn lines(Results { rows, revisions, complete, lines }: Results<'_>) -> Result<Cow<'_, [u8]>> {
    if let Some(lines) = lines {
        return Ok(Cow::Borrowed(lines));
    }
    let (mut fields, mut columns) = (rows.schema().fields().to_vec(), rows.columns().to_vec());
    let mut add = |name: &str, of: DataType, column: ArrayRef| {
        fields.push(Arc::new(Field::new(name, of, false)));
        columns.push(column);
    };
    if let Some(revisions) = revisions {
        add("revision", DataType::UInt32, Arc::new(UInt32Array::from(revisions.to_vec())));
    }
    if !complete {
        add("complete", DataType::Boolean, Arc::new(BooleanArray::from(vec![false; rows.num_rows()])));
    }
    let mut text = Vec::with_capacity(rows.num_rows() * 128);
    let mut writer = LineDelimitedWriter::new(&mut text);
    let written = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .and_then(|rows| writer.write(&rows))
        .and_then(|()| writer.finish());
    written.map_err(std::io::Error::other)?;
    Ok(Cow::Owned(text))
}
