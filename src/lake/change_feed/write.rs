//! Writes the rows that a commit changes.

use super::{CHANGE_TYPE, ChangeType, FOLDER};
use crate::delta::Log;
use crate::uncommitted::UncommittedFiles;
use crate::writer::{Layout, TableWriter, conform};
use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use std::sync::Arc;

/// Writes rows that a commit changes to files of their own, which the commit has to name.
pub(crate) struct ChangeWriter<'a> {
    writer: TableWriter<'a>,
    /// The columns of the table.
    schema: SchemaRef,
    /// These and [`CHANGE_TYPE`].
    with_type: SchemaRef,
}

impl<'a> ChangeWriter<'a> {
    /// For a table of these columns, the first of which are symbol and time: changes come in their order.
    pub fn new(log: &'a Log, schema: &SchemaRef) -> Result<ChangeWriter<'a>> {
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8View, false)));
        let with_type = Arc::new(Schema::new(fields));
        let writer = TableWriter::new(log, Arc::clone(&with_type), Layout::Sorted)?.in_folder(FOLDER);
        Ok(ChangeWriter { writer, schema: Arc::clone(schema), with_type })
    }

    /// Takes rows that all changed in the same way.
    pub async fn push(&mut self, rows: &RecordBatch, change: ChangeType) -> Result<()> {
        let rows = conform(rows, &self.schema)?;
        let change = change.to_string();
        let types: ArrayRef = Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(change, rows.num_rows())));
        let columns = rows.columns().iter().cloned().chain([types]).collect();
        self.writer.push(RecordBatch::try_new(Arc::clone(&self.with_type), columns)?).await
    }

    /// The files, once all changes were pushed.
    pub async fn finish(self) -> Result<UncommittedFiles> {
        Ok(self.writer.finish(Ok(())).await?.0)
    }

    /// Gives up everything that was written.
    pub async fn abandon(self) {
        self.writer.abandon().await;
    }
}
