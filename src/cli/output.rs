//! Results in the format that was asked for.

use super::Failure;
use super::args::{Format, OutputArgs};
use crate::error::Error;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, Table};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Where results go. A file appears under its name only when it is complete.
pub(super) enum Target {
    Stdout,
    /// A device or a pipe.
    Stream,
    File {
        beside: tempfile::NamedTempFile,
        path: PathBuf,
    },
}

/// Writes the batches of one result.
pub(super) struct Writer {
    target: Target,
    sink: Sink,
    rows: usize,
}

type Stream = BufWriter<Box<dyn Write + Send>>;

enum Sink {
    Table { stream: Stream, shown: Vec<RecordBatch>, schema: SchemaRef, limit: usize, markdown: bool },
    Csv(Box<arrow::csv::Writer<Stream>>),
    Json(Box<arrow::json::ArrayWriter<Stream>>),
    Ndjson(Box<arrow::json::LineDelimitedWriter<Stream>>),
    Parquet(Box<ArrowWriter<Stream>>),
    Arrow(Box<arrow::ipc::writer::FileWriter<Stream>>),
}

impl Target {
    /// Begins a file. A plain one comes into its place when it is complete; a device or a pipe takes what comes as it comes.
    pub fn create(path: &Path) -> Result<(Target, File), Failure> {
        let failed = |e| Error::File(path.display().to_string(), e);
        if path.exists() && !path.is_file() {
            let stream = File::options().write(true).open(path).map_err(failed)?;
            return Ok((Target::Stream, stream));
        }
        // Where a link leads to, the link stays.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let beside = new_file(folder_of(&path)).map_err(failed)?;
        let file = beside.reopen().map_err(failed)?;
        Ok((Target::File { beside, path }, file))
    }

    /// Puts it in its place.
    pub fn complete(self) -> Result<(), Failure> {
        if let Target::File { beside, path } = self {
            beside.persist(&path).map_err(|e| Error::File(path.display().to_string(), e.error))?;
        }
        Ok(())
    }
}

/// A temporary file with the rights that a new file would have.
fn new_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a result can be written to a path: told before it is computed.
pub(super) fn writable(path: &Path) -> Result<(), Failure> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("there is no folder {}", folder.display())));
    }
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder: expected a file", path.display())));
    }
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    new_file(folder).map(drop).map_err(|e| Error::File(path.display().to_string(), e).into())
}

fn by_name(path: &Path) -> Option<Format> {
    Some(match path.extension()?.to_str()? {
        "csv" => Format::Csv,
        "json" => Format::Json,
        "ndjson" | "jsonl" => Format::Ndjson,
        "md" => Format::Markdown,
        "parquet" => Format::Parquet,
        "arrow" | "feather" => Format::Arrow,
        _ => return None,
    })
}

impl Writer {
    pub fn new(args: &OutputArgs, schema: SchemaRef) -> Result<Writer, Failure> {
        let format = args.format.or_else(|| args.output.as_deref().and_then(by_name)).unwrap_or(Format::Table);
        let (target, raw): (Target, Box<dyn Write + Send>) = match &args.output {
            Some(path) => {
                let (target, file) = Target::create(path)?;
                (target, Box::new(file))
            }
            None if matches!(format, Format::Parquet | Format::Arrow)
                && std::io::IsTerminal::is_terminal(&std::io::stdout()) =>
            {
                return Err(Failure::Usage(format!("{format:?} is binary: give a file with -o")));
            }
            None => (Target::Stdout, Box::new(std::io::stdout())),
        };
        let stream = BufWriter::with_capacity(1 << 16, raw);
        let sink = match format {
            Format::Table | Format::Markdown => {
                let limit = if args.max_rows == 0 || format == Format::Markdown { usize::MAX } else { args.max_rows };
                Sink::Table { stream, shown: vec![], schema, limit, markdown: format == Format::Markdown }
            }
            Format::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(stream);
                // The header stands even where no row follows.
                closed_or(writer.write(&RecordBatch::new_empty(flat_schema(&schema))))?;
                Sink::Csv(Box::new(writer))
            }
            Format::Json => Sink::Json(Box::new(arrow::json::ArrayWriter::new(stream))),
            Format::Ndjson => Sink::Ndjson(Box::new(arrow::json::LineDelimitedWriter::new(stream))),
            Format::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
                let writer = ArrowWriter::try_new(stream, schema, Some(properties.build()));
                Sink::Parquet(Box::new(writer.map_err(parquet)?))
            }
            Format::Arrow => Sink::Arrow(Box::new(arrow::ipc::writer::FileWriter::try_new(stream, &schema)?)),
        };
        Ok(Writer { target, sink, rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.rows += batch.num_rows();
        match &mut self.sink {
            Sink::Table { shown, limit, .. } => {
                let have: usize = shown.iter().map(RecordBatch::num_rows).sum();
                let room = (*limit - have).min(batch.num_rows());
                if room > 0 {
                    shown.push(batch.slice(0, room));
                }
            }
            Sink::Csv(writer) => closed_or(writer.write(&flatten(batch)?))?,
            Sink::Json(writer) => closed_or(writer.write(batch))?,
            Sink::Ndjson(writer) => closed_or(writer.write(batch))?,
            Sink::Parquet(writer) => writer.write(batch).map_err(parquet)?,
            Sink::Arrow(writer) => closed_or(writer.write(batch))?,
        }
        Ok(())
    }

    /// Completes the result and returns its rows.
    pub fn finish(self) -> Result<usize, Failure> {
        let rows = self.rows;
        match self.sink {
            Sink::Table { mut stream, shown, schema, limit, markdown } => {
                let text = table(&schema, &shown, markdown)?;
                let tail = match rows {
                    _ if markdown => String::new(),
                    1 => "1 row\n".to_string(),
                    n if n > limit => format!("{n} rows, the first {limit} shown (--max-rows 0 shows all)\n"),
                    n => format!("{n} rows\n"),
                };
                io(write!(stream, "{text}\n{tail}").and_then(|()| stream.flush()))?;
            }
            Sink::Csv(writer) => io(writer.into_inner().flush())?,
            Sink::Json(mut writer) => {
                closed_or(writer.finish())?;
                let mut stream = writer.into_inner();
                io(writeln!(stream).and_then(|()| stream.flush()))?;
            }
            Sink::Ndjson(mut writer) => {
                closed_or(writer.finish())?;
                io(writer.into_inner().flush())?;
            }
            Sink::Parquet(writer) => {
                let mut stream = writer.into_inner().map_err(parquet)?;
                io(stream.flush())?;
            }
            Sink::Arrow(mut writer) => {
                closed_or(writer.finish())?;
                io(writer.into_inner()?.flush())?;
            }
        }
        self.target.complete()?;
        Ok(rows)
    }
}

fn io(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(e) => Err(Error::File("standard output".to_string(), e).into()),
        Ok(()) => Ok(()),
    }
}

/// Arrow's writers wrap what the pipe says.
fn closed_or(result: Result<(), arrow::error::ArrowError>) -> Result<(), Failure> {
    match result {
        Err(e) if e.to_string().contains("Broken pipe") => Err(Failure::ClosedPipe),
        Err(e) => Err(e.into()),
        Ok(()) => Ok(()),
    }
}

fn parquet(error: datafusion::parquet::errors::ParquetError) -> Failure {
    Failure::Error(datafusion::error::DataFusionError::from(error).into())
}

fn flat_schema(schema: &SchemaRef) -> SchemaRef {
    let empty = RecordBatch::new_empty(SchemaRef::clone(schema));
    flatten(&empty).map_or_else(|_| SchemaRef::clone(schema), |b| b.schema())
}

/// CSV has no structs: their fields become columns `name.field`.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, Error> {
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

fn table(schema: &SchemaRef, batches: &[RecordBatch], markdown: bool) -> Result<String, Error> {
    let mut table = Table::new();
    table.load_preset(if markdown { comfy_table::presets::ASCII_MARKDOWN } else { comfy_table::presets::NOTHING });
    table.set_header(schema.fields().iter().map(|f| f.name()));
    for batch in batches {
        let columns = batch.columns().iter().map(cells).collect::<Result<Vec<_>, Error>>()?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().map(|column| column[row].as_str()));
        }
    }
    for (column, field) in table.column_iter_mut().zip(schema.fields()) {
        if field.data_type().is_numeric() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !markdown {
            column.set_padding((0, 2));
        }
    }
    let text = table.to_string();
    Ok(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

/// Characters that a cell of a table shows; other formats have all of a value.
const CELL: usize = 1_000;

/// The beginning of what is written to it. More than a cell shows is an error, at which formatting ends: a list of millions is
/// not written out to be cut.
struct Beginning {
    text: String,
    room: usize,
}

impl Beginning {
    fn of(value: impl std::fmt::Display) -> String {
        let mut beginning = Beginning { text: String::new(), room: CELL };
        let _ = std::fmt::Write::write_fmt(&mut beginning, format_args!("{value}"));
        beginning.text
    }
}

impl std::fmt::Write for Beginning {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        match more.char_indices().nth(self.room) {
            None => {
                self.room -= more.chars().count();
                self.text.push_str(more);
                Ok(())
            }
            Some((end, _)) => {
                self.room = 0;
                self.text.push_str(&more[..end]);
                self.text.push('…');
                Err(std::fmt::Error)
            }
        }
    }
}

/// The cells of a column: numbers with the digits that matter, times without a part that is always zero, and of what is long
/// the beginning.
fn cells(column: &ArrayRef) -> Result<Vec<String>, Error> {
    if let Some(values) = column.as_primitive_opt::<Float64Type>() {
        return Ok(values.iter().map(|v| v.map(number).unwrap_or_default()).collect());
    }
    if let Some(nested) = column.as_struct_opt() {
        let fields = nested.columns().iter().map(cells).collect::<Result<Vec<_>, Error>>()?;
        let names = nested.fields();
        let row = |i: usize| {
            let parts: Vec<_> = names.iter().zip(&fields).map(|(f, c)| format!("{}: {}", f.name(), c[i])).collect();
            Beginning::of(format_args!("{{{}}}", parts.join(", ")))
        };
        return Ok((0..column.len()).map(row).collect());
    }
    let format = FormatOptions::default().with_null("").with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let format = format.with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let formatter = ArrayFormatter::try_new(column.as_ref(), &format)?;
    let mut cells: Vec<String> = (0..column.len()).map(|i| Beginning::of(formatter.value(i))).collect();
    if matches!(column.data_type(), DataType::Timestamp(_, _)) {
        let ending =
            [" 00:00:00", ":00"].into_iter().find(|end| cells.iter().all(|c| c.is_empty() || c.ends_with(end)));
        if let Some(ending) = ending {
            cells.iter_mut().for_each(|c| c.truncate(c.len().saturating_sub(ending.len())));
        }
    }
    Ok(cells)
}

/// Up to six significant digits, all digits of the whole part, no trailing zeros.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor();
    if !(-6.0..15.0).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let decimals = (5.0 - magnitude).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, ListArray, StringArray, StructArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;
    use std::sync::Arc;

    /// A list that would be two gigabytes of text.
    fn long_list() -> ArrayRef {
        const NUMBERS: usize = 300_000_000;
        let item = Arc::new(Field::new_list_field(DataType::Boolean, true));
        let numbers: ArrayRef =
            Arc::new(arrow::array::BooleanArray::new(arrow::buffer::BooleanBuffer::new_unset(NUMBERS), None));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([NUMBERS]), numbers, None))
    }

    #[test]
    fn a_cell_is_the_beginning_of_a_long_value() {
        let shown = |column: ArrayRef| cells(&column).unwrap().remove(0);
        assert_eq!(shown(Arc::new(StringArray::from(vec!["é".repeat(CELL)]))), "é".repeat(CELL));
        assert_eq!(shown(Arc::new(StringArray::from(vec!["é".repeat(CELL + 1)]))), "é".repeat(CELL) + "…");
        let list = shown(long_list());
        assert!(list.starts_with("[false, false") && list.ends_with('…'));
        assert_eq!(list.chars().count(), CELL + 1);
        let fields = (0..900).map(|i| {
            (
                Arc::new(Field::new(format!("f{i}"), DataType::Int64, true)),
                Arc::new(Int64Array::from(vec![1])) as ArrayRef,
            )
        });
        let nested = shown(Arc::new(StructArray::from(fields.collect::<Vec<_>>())));
        assert!(nested.starts_with("{f0: 1, f1: 1") && nested.chars().count() == CELL + 1, "{nested}");
    }

    #[test]
    fn numbers_show_the_digits_that_matter() {
        assert_eq!(number(67.8542), "67.8542");
        assert_eq!(number(1234567.0), "1234567");
        assert_eq!(number(0.1 + 0.2), "0.3");
        assert_eq!(number(-0.000123456789), "-0.000123457");
        assert_eq!(number(1.0e-9), "1.00000e-9");
    }
}
