//! Results in the format that was asked for.

use super::Failure;
use super::args::{Format, OutputArgs};
use super::config::Config;
use super::destination::{Opened, Stream, Target, open};
use super::wording;
use crate::Error;
use crate::pipeline::encoding::Encoder;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, Table};
use std::fmt::{Arguments, Display};
use std::io::Write;
use tallow_common::redact::redacted;
use tallow_engine::dialect::Problems;

/// Writes a line to standard output, without the secrets of URLs; a closed pipe ends the command quietly.
macro_rules! out {
    ($($arg:tt)*) => {
        crate::cli::output::line(format_args!($($arg)*))?
    };
}
pub(super) use out;

/// See `out!`.
pub(super) fn line(said: Arguments<'_>) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{}", redacted(&said.to_string())).map_err(|_| Failure::ClosedPipe)
}

/// Writes a message and the end of its line to standard error, in the words of the command line.
pub(super) fn note(said: Arguments<'_>) {
    let _ = wording::stderr().write_all(format!("{said}\n").as_bytes());
}

/// Shows what is allowed and probably not meant.
pub(super) fn warn(config: &Config, warnings: &Problems) {
    if !config.quiet && !warnings.list.is_empty() {
        note(format_args!("warning: {}", warnings.to_string().replace("\n\n", "\nwarning: ")));
    }
}

/// A time as a day.
pub(super) fn date(ts: i64) -> String {
    chrono::DateTime::from_timestamp_micros(ts).map(|t| t.format("%Y-%m-%d").to_string()).unwrap_or_default()
}

/// Writes all rows of a result.
pub(super) fn write(to: &OutputArgs, rows: &RecordBatch) -> Result<(), Failure> {
    let mut writer = Writer::new(to, rows.schema())?;
    writer.write(rows)?;
    writer.finish()?;
    Ok(())
}

/// Writes the batches of one result.
pub(super) struct Writer {
    target: Target,
    sink: Sink,
    /// What messages call the target.
    name: String,
    rows: usize,
}

enum Sink {
    Table(Box<Shown>),
    Encoded(Box<Encoder<Stream>>),
}

/// Rows that a table will show once all have come.
struct Shown {
    stream: Stream,
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    limit: usize,
    markdown: bool,
}

impl Writer {
    pub fn new(args: &OutputArgs, schema: SchemaRef) -> Result<Writer, Failure> {
        let Opened { format, target, stream, name } = open(args)?;
        let sink = match format.encoding(target.is_file()) {
            None => {
                let markdown = format == Format::Markdown;
                // A file is not read off a screen.
                let all = args.max_rows == 0 || markdown || args.output.is_some();
                let limit = if all { usize::MAX } else { args.max_rows };
                Sink::Table(Box::new(Shown { stream, batches: vec![], schema, limit, markdown }))
            }
            Some(encoding) => Sink::Encoded(Box::new(named(Encoder::new(encoding, &schema, stream), &name)?)),
        };
        Ok(Writer { target, sink, name, rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.rows += batch.num_rows();
        let name = &self.name;
        match &mut self.sink {
            Sink::Table(shown) => {
                let have: usize = shown.batches.iter().map(RecordBatch::num_rows).sum();
                let room = (shown.limit - have).min(batch.num_rows());
                if room > 0 {
                    shown.batches.push(batch.slice(0, room));
                }
                Ok(())
            }
            Sink::Encoded(encoder) => named(encoder.write(batch), name),
        }
    }

    /// Completes the result and returns its rows.
    pub fn finish(self) -> Result<usize, Failure> {
        let Writer { target, sink, name, rows } = self;
        let stream = match sink {
            Sink::Table(shown) => {
                let Shown { mut stream, batches, schema, limit, markdown } = *shown;
                let text = table(&schema, &batches, markdown)?;
                let tail = match rows {
                    _ if markdown => String::new(),
                    1 => "1 row\n".to_string(),
                    n if n > limit => format!("{n} rows, the first {limit} shown (--max-rows 0 shows all)\n"),
                    n => format!("{n} rows\n"),
                };
                named(write!(stream, "{text}\n{tail}"), &name)?;
                stream
            }
            Sink::Encoded(encoder) => named(encoder.finish(), &name)?,
        };
        named(stream.finish(), &name)?;
        target.complete()?;
        Ok(rows)
    }
}

/// What went wrong with a target. The writers wrap what a closed pipe says into errors of their own.
fn named<T>(result: Result<T, impl Display>, name: &str) -> Result<T, Failure> {
    result.map_err(|error| {
        let said = error.to_string();
        match said.contains("Broken pipe") {
            true => Failure::ClosedPipe,
            false => Error::File(name.to_string(), std::io::Error::other(said)).into(),
        }
    })
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
