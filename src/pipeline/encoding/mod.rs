//! Results as bytes that other programs read.

mod portable;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
pub use portable::{portable, ported};
use std::io::Write;
use tallow_common::{Error, Result};

/// A row group of a result file is encoded in memory and ends when it takes this much.
const ROW_GROUP_BYTES: usize = 8 << 20;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Values with commas between them, below a line of names.
    Csv,
    /// The same with tabs.
    Tsv,
    /// An array of objects.
    Json,
    /// An object on each line.
    Ndjson,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
    /// An Arrow IPC file, which ends with an index of its batches: of use to who can go back and forth in it.
    ArrowFile,
}

/// Writes the batches of one result.
pub struct Encoder<W: Write + Send>(Sink<W>);

enum Sink<W: Write + Send> {
    Csv(Box<arrow::csv::Writer<W>>),
    Json(Box<arrow::json::ArrayWriter<W>>),
    Ndjson(Box<arrow::json::LineDelimitedWriter<W>>),
    Parquet(Box<ArrowWriter<W>>, SchemaRef),
    ArrowFile(Box<FileWriter<W>>, SchemaRef),
    Arrow(Box<StreamWriter<W>>, SchemaRef),
}

impl<W: Write + Send> Encoder<W> {
    /// Begins: what comes before the first row is written.
    ///
    /// # Errors
    /// It cannot be written, or the encoding has no such columns.
    pub fn new(encoding: Encoding, schema: &SchemaRef, to: W) -> Result<Encoder<W>> {
        Ok(Encoder(match encoding {
            Encoding::Csv | Encoding::Tsv => {
                let delimiter = if encoding == Encoding::Tsv { b'\t' } else { b',' };
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).with_delimiter(delimiter).build(to);
                // The header stands even where no row follows.
                writer.write(&RecordBatch::new_empty(flat_schema(schema)))?;
                Sink::Csv(Box::new(writer))
            }
            Encoding::Json => Sink::Json(Box::new(arrow::json::ArrayWriter::new(to))),
            Encoding::Ndjson => Sink::Ndjson(Box::new(arrow::json::LineDelimitedWriter::new(to))),
            Encoding::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
                let schema = portable(schema);
                let writer = ArrowWriter::try_new(to, SchemaRef::clone(&schema), Some(properties.build()));
                Sink::Parquet(Box::new(writer.map_err(of_parquet)?), schema)
            }
            Encoding::ArrowFile => {
                let schema = portable(schema);
                Sink::ArrowFile(Box::new(FileWriter::try_new(to, &schema)?), schema)
            }
            Encoding::Arrow => {
                let schema = portable(schema);
                Sink::Arrow(Box::new(StreamWriter::try_new(to, &schema)?), schema)
            }
        }))
    }

    /// Writes some rows.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.0 {
            Sink::Csv(writer) => Ok(writer.write(&flatten(batch)?)?),
            Sink::Json(writer) => Ok(writer.write(batch)?),
            Sink::Ndjson(writer) => Ok(writer.write(batch)?),
            Sink::Parquet(writer, schema) => {
                writer.write(&ported(batch, schema)?).map_err(of_parquet)?;
                match writer.memory_size() > ROW_GROUP_BYTES {
                    true => writer.flush().map_err(of_parquet),
                    false => Ok(()),
                }
            }
            Sink::ArrowFile(writer, schema) => Ok(writer.write(&ported(batch, schema)?)?),
            Sink::Arrow(writer, schema) => Ok(writer.write(&ported(batch, schema)?)?),
        }
    }

    /// Writes what comes after the last row.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> Result<W> {
        Ok(match self.0 {
            Sink::Csv(writer) => writer.into_inner(),
            Sink::Json(mut writer) => {
                writer.finish()?;
                let mut to = writer.into_inner();
                writeln!(to).map_err(|error| Error::File("the result".to_string(), error))?;
                to
            }
            Sink::Ndjson(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
            Sink::Parquet(writer, _) => writer.into_inner().map_err(of_parquet)?,
            Sink::ArrowFile(writer, _) => writer.into_inner()?,
            Sink::Arrow(writer, _) => writer.into_inner()?,
        })
    }
}

fn of_parquet(error: datafusion::parquet::errors::ParquetError) -> Error {
    datafusion::common::DataFusionError::from(error).into()
}

fn flat_schema(schema: &SchemaRef) -> SchemaRef {
    let empty = RecordBatch::new_empty(SchemaRef::clone(schema));
    flatten(&empty).map_or_else(|_| SchemaRef::clone(schema), |b| b.schema())
}

/// CSV has no structs: their fields become columns `name.field`.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut columns: Vec<(String, ArrayRef)> = vec![];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match column.as_struct_opt() {
            Some(nested) => columns.extend(
                nested
                    .fields()
                    .iter()
                    .zip(nested.columns())
                    .map(|(f, c)| (format!("{}.{}", field.name(), f.name()), c.clone())),
            ),
            None => columns.push((field.name().clone(), column.clone())),
        }
    }
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?)
}
