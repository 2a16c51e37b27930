//! Rows as they were delivered: lines of text cut into fields, or columns that have types already.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringViewArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, exec_datafusion_err};
use tallow_common::time::{TimeFormat, Zone};

/// Some rows of one file.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Which file.
    pub file: usize,
    /// Chunks are numbered over all files, in the order of delivery.
    pub number: u32,
    /// Line of the first row, from 1; for formats without lines its row.
    pub first_line: u64,
    pub cells: Cells,
}

#[derive(Debug)]
pub(super) enum Cells {
    Text(TextTable),
    Arrays(RecordBatch),
}

/// Fields of delimited text.
#[derive(Debug, Default)]
pub(super) struct TextTable {
    text: String,
    /// Start and end of each field, row after row.
    spans: Vec<(u32, u32)>,
    width: usize,
    delimiter: u8,
    /// Line of each row after the first line, where rows do not simply follow each other.
    lines: Option<Vec<u64>>,
    /// Rows with more or fewer fields: line after the first line, number of fields, text.
    pub ragged: Vec<(u64, usize, String)>,
}

impl TextTable {
    /// Cuts a block of whole records into fields; blank lines are passed over.
    pub fn parse(block: Vec<u8>, delimiter: u8, width: usize) -> Result<TextTable> {
        if memchr::memchr(b'"', &block).is_some() {
            return Self::quoted(&block, delimiter, width);
        }
        let text = String::from_utf8(block).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Ok(Self::plain(text, delimiter, width))
    }

    /// Without quotes, a line is a record and a delimiter ends a field.
    fn plain(text: String, delimiter: u8, width: usize) -> TextTable {
        let bytes = text.as_bytes();
        let mut rows = PlainRows { bytes, width, ..PlainRows::default() };
        // Rows are seldom shorter than this.
        rows.spans.reserve(bytes.len() / 8);
        each_of(bytes, [delimiter, b'\n'], |at| match bytes[at] {
            b'\n' => rows.end_line(at),
            _ => rows.end_field(at),
        });
        rows.end_line(bytes.len());
        let PlainRows { spans, lines, ragged, .. } = rows;
        TextTable { text, spans, width, delimiter, lines, ragged }
    }

    fn quoted(block: &[u8], delimiter: u8, width: usize) -> Result<TextTable> {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(block);
        let mut table = TextTable { width, delimiter, lines: Some(vec![]), ..TextTable::default() };
        let mut record = csv::ByteRecord::new();
        let (mut line, mut counted) = (0, 0);
        while reader.read_byte_record(&mut record).map_err(|e| exec_datafusion_err!("not delimited text: {e}"))? {
            // The reader's position is where it went on, which may be before line breaks that it passed over.
            let from = record.position().map_or(0, |p| p.byte() as usize);
            let breaks = block[from..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            line += memchr::memchr_iter(b'\n', &block[counted..from + breaks]).count() as u64;
            counted = from + breaks;
            if record.len() != width {
                let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
                table.ragged.push((line, record.len(), fields.join(&(delimiter as char).to_string())));
                continue;
            }
            for field in &record {
                let from = table.text.len() as u32;
                table.text.push_str(&String::from_utf8_lossy(field));
                table.spans.push((from, table.text.len() as u32));
            }
            if let Some(lines) = &mut table.lines {
                lines.push(line);
            }
        }
        Ok(table)
    }

    fn rows(&self) -> usize {
        self.spans.len() / self.width.max(1)
    }

    /// A number of up to eight bytes, as nearly all are; `None` for what has to be looked at more closely.
    fn short_number(&self, row: usize, column: usize) -> Option<f64> {
        let (from, to) = self.spans[row * self.width + column];
        let bytes = self.text.as_bytes().get(from as usize..)?.first_chunk::<8>()?;
        decimal_of_word(u64::from_le_bytes(*bytes), (to - from) as usize)
    }

    fn field(&self, row: usize, column: usize) -> &str {
        let (from, to) = self.spans[row * self.width + column];
        self.text.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// The fields of text without quotes, found on one way through it.
#[derive(Default)]
struct PlainRows<'a> {
    bytes: &'a [u8],
    width: usize,
    spans: Vec<(u32, u32)>,
    /// How many of the spans are those of the rows before.
    complete: usize,
    /// Where the row begins, and where its next field does.
    row: usize,
    field: usize,
    line: u64,
    lines: Option<Vec<u64>>,
    ragged: Vec<(u64, usize, String)>,
}

impl PlainRows<'_> {
    fn end_field(&mut self, at: usize) {
        self.spans.push((self.field as u32, at as u32));
        self.field = at + 1;
    }

    fn end_line(&mut self, at: usize) {
        let end = if at > self.row && self.bytes[at - 1] == b'\r' { at - 1 } else { at };
        if end > self.row {
            self.end_field(end);
            let found = self.spans.len() - self.complete;
            if found == self.width {
                self.complete = self.spans.len();
                self.lines.iter_mut().for_each(|lines| lines.push(self.line));
            } else {
                self.skip_line();
                let text = String::from_utf8_lossy(&self.bytes[self.row..end]).into_owned();
                self.ragged.push((self.line, found, text));
            }
        } else if at + 1 < self.bytes.len() {
            self.skip_line();
        }
        (self.row, self.field) = (at + 1, at + 1);
        self.line += 1;
    }

    /// The line is no row: from here on lines are counted apart from rows.
    fn skip_line(&mut self) {
        self.spans.truncate(self.complete);
        let rows = (self.complete / self.width) as u64;
        self.lines.get_or_insert_with(|| (0..rows).collect());
    }
}

/// Each place of one of two bytes, in order. Fields are short: eight bytes are looked at together.
fn each_of(bytes: &[u8], [one, other]: [u8; 2], mut found: impl FnMut(usize)) {
    /// The highest bit of each byte that is zero.
    fn zeros(word: u64) -> u64 {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        !(((word & LOW) + LOW) | word | LOW)
    }
    let (ones, others) = (u64::from_ne_bytes([one; 8]), u64::from_ne_bytes([other; 8]));
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let mut matches = zeros(word ^ ones) | zeros(word ^ others);
        while matches != 0 {
            found(i * 8 + matches.trailing_zeros() as usize / 8);
            matches &= matches - 1;
        }
    }
    let at = bytes.len() - rest.len();
    rest.iter().enumerate().filter(|(_, byte)| **byte == one || **byte == other).for_each(|(i, _)| found(at + i));
}

impl Chunk {
    pub fn rows(&self) -> usize {
        match &self.cells {
            Cells::Text(table) => table.rows(),
            Cells::Arrays(batch) => batch.num_rows(),
        }
    }

    /// Whether commas separate decimals: they do in text that separates fields by something else.
    pub fn decimal_comma(&self) -> bool {
        matches!(&self.cells, Cells::Text(table) if table.delimiter != b',')
    }

    /// The line that a row stands in.
    pub fn line(&self, row: usize) -> u64 {
        match &self.cells {
            Cells::Text(TextTable { lines: Some(lines), .. }) => self.first_line + lines[row],
            _ => self.first_line + row as u64,
        }
    }

    /// A value as text, for people.
    pub fn show(&self, row: usize, column: usize) -> String {
        match &self.cells {
            Cells::Text(table) => table.field(row, column).to_string(),
            Cells::Arrays(batch) => {
                let options = FormatOptions::default();
                let formatter = ArrayFormatter::try_new(batch.column(column), &options);
                formatter.map(|f| f.value(row).to_string()).unwrap_or_default()
            }
        }
    }

    /// A whole row as text, for people.
    pub fn show_row(&self, row: usize) -> String {
        let width = match &self.cells {
            Cells::Text(table) => table.width,
            Cells::Arrays(batch) => batch.num_columns(),
        };
        (0..width).map(|column| self.show(row, column)).collect::<Vec<_>>().join(",")
    }

    /// A column of text; what is null is empty.
    pub fn texts(&self, column: usize) -> Result<Texts<'_>> {
        match &self.cells {
            Cells::Text(table) => Ok(Texts::Fields(table, column)),
            Cells::Arrays(batch) => {
                let text = cast_with_options(batch.column(column), &DataType::Utf8View, &lenient())?;
                Ok(Texts::Array(text.as_string_view().clone()))
            }
        }
    }

    /// A column of numbers; NaN where there is none. Rows that hold something else are returned beside it.
    pub fn numbers(&self, column: usize) -> Result<(Vec<f64>, Vec<usize>)> {
        let mut strange = vec![];
        let values = match &self.cells {
            Cells::Arrays(batch) if batch.column(column).data_type().is_numeric() => {
                let array = cast_with_options(batch.column(column), &DataType::Float64, &lenient())?;
                let array: &Float64Array = array.as_primitive::<Float64Type>();
                match array.null_count() {
                    0 => array.values().to_vec(),
                    _ => array.iter().map(|v| v.unwrap_or(f64::NAN)).collect(),
                }
            }
            cells => {
                let texts = self.texts(column)?;
                let short = |row| match cells {
                    Cells::Text(table) => table.short_number(row, column),
                    Cells::Arrays(_) => None,
                };
                let parse = |row| match short(row).or_else(|| number(texts.get(row), self.decimal_comma())) {
                    Some(value) => value,
                    None => {
                        strange.push(row);
                        f64::NAN
                    }
                };
                (0..self.rows()).map(parse).collect()
            }
        };
        Ok((values, strange))
    }

    /// A column of times in microseconds UTC; `None` where there is none.
    pub fn times(&self, column: usize, format: &TimeFormat, zone: &mut Zone) -> Result<Vec<Option<i64>>> {
        if let Cells::Arrays(batch) = &self.cells {
            let array = batch.column(column);
            let micros = |zoned: bool| {
                let zone: Option<std::sync::Arc<str>> = zoned.then(|| "UTC".into());
                cast_with_options(array, &DataType::Timestamp(TimeUnit::Microsecond, zone), &lenient())
            };
            match array.data_type() {
                DataType::Timestamp(_, Some(_)) => return Ok(instants(&micros(true)?)),
                DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => {
                    let local = instants(&micros(false)?);
                    return Ok(local.into_iter().map(|at| at.and_then(|at| zone.utc(at))).collect());
                }
                other if other.is_integer() && matches!(format, TimeFormat::Epoch(_)) => {
                    let whole = cast_with_options(array, &DataType::Int64, &lenient())?;
                    let whole = whole.as_primitive::<Int64Type>();
                    return Ok(whole.iter().map(|v| v.and_then(|v| format.parse_epoch(v))).collect());
                }
                _ => {}
            }
        }
        let texts = self.texts(column)?;
        Ok((0..self.rows()).map(|row| format.parse(texts.get(row), zone)).collect())
    }
}

fn instants(array: &ArrayRef) -> Vec<Option<i64>> {
    array.as_primitive::<TimestampMicrosecondType>().iter().collect()
}

fn lenient() -> CastOptions<'static> {
    CastOptions { safe: true, ..CastOptions::default() }
}

/// A column of text.
pub(super) enum Texts<'a> {
    Fields(&'a TextTable, usize),
    Array(StringViewArray),
}

impl Texts<'_> {
    pub fn get(&self, row: usize) -> &str {
        match self {
            Texts::Fields(table, column) => trim(table.field(row, *column)),
            Texts::Array(array) if array.is_null(row) => "",
            Texts::Array(array) => trim(array.value(row)),
        }
    }
}

/// Nearly every value begins and ends with a letter or digit.
fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Words that stand for a missing number.
const MISSING: [&str; 8] = ["null", "nan", "na", "n/a", "none", "-", "nil", "#n/a"];

/// A number; NaN for a missing one, `None` for what is no number. `1,085` is one and a bit where commas are decimal.
pub(super) fn number(text: &str, decimal_comma: bool) -> Option<f64> {
    if text.is_empty() {
        return Some(f64::NAN);
    }
    if let Some(value) = short_decimal(text.as_bytes()) {
        return Some(value);
    }
    match text.parse::<f64>() {
        Ok(value) => Some(value),
        Err(_) if MISSING.iter().any(|m| m.eq_ignore_ascii_case(text)) => Some(f64::NAN),
        Err(_) if decimal_comma => match text.split_once('.') {
            None if text.matches(',').count() == 1 => text.replace(',', ".").parse().ok(),
            _ => without_groups(text, '.', ',').and_then(|plain| plain.parse().ok()),
        },
        Err(_) => without_groups(text, ',', '.').and_then(|plain| plain.parse().ok()),
    }
}

/// A plain decimal of at most 15 digits: both its digits as a whole number and the power of ten are exact, so their
/// quotient is the nearest double. Prices are nearly always such.
fn short_decimal(bytes: &[u8]) -> Option<f64> {
    const TENS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    if bytes.len() > 16 {
        return None;
    }
    let (mut whole, mut digits, mut decimals, mut point) = (0u64, 0, 0, false);
    for &byte in bytes {
        match byte {
            b'0'..=b'9' => {
                whole = whole * 10 + u64::from(byte - b'0');
                digits += 1;
                decimals += usize::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    ((1..=15).contains(&digits)).then(|| whole as f64 / TENS[decimals])
}

/// As [`short_decimal`], of the first bytes of a word: without a look at each of them.
fn decimal_of_word(word: u64, length: usize) -> Option<f64> {
    const TENS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    if !(1..=8).contains(&length) {
        return None;
    }
    let own = word & (u64::MAX >> (64 - 8 * length));
    // A point is taken out: what follows it moves into its place.
    let point = own ^ 0x2e2e_2e2e_2e2e_2e2e;
    let point = point.wrapping_sub(0x0101_0101_0101_0101) & !point & 0x8080_8080_8080_8080;
    let (digits, count, decimals) = match point {
        0 => (own, length, 0),
        point => {
            let at = point.trailing_zeros() & !7;
            let before = own & ((1 << at) - 1);
            (before | (own >> at >> 8) << at, length - 1, length - 1 - at as usize / 8)
        }
    };
    if count == 0 {
        return None;
    }
    // Zeros in front make eight digits of it.
    let shift = 8 * (8 - count) as u32;
    let digits = if shift == 0 { digits } else { digits << shift | ZEROS >> (64 - shift) };
    let is_digits =
        (digits & 0xf0f0_f0f0_f0f0_f0f0) | ((digits.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0) >> 4);
    if is_digits != 0x3333_3333_3333_3333 {
        return None;
    }
    // Pairs of digits, then of pairs, then of fours.
    let pairs = (digits - ZEROS).wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    let whole = fours.wrapping_mul(10_000 << 32 | 1) >> 32;
    Some(whole as f64 / TENS[decimals])
}

/// `1,234,567.8` without its separators of groups; only where they stand between groups of three digits.
fn without_groups(text: &str, separator: char, point: char) -> Option<String> {
    let (whole, decimals) = text.split_once(point).unwrap_or((text, ""));
    let mut groups = whole.trim_start_matches('-').split(separator);
    let first = groups.next()?;
    let grouped = (1..=3).contains(&first.len()) && whole.contains(separator) && groups.all(|g| g.len() == 3);
    grouped.then(|| format!("{}.{decimals}", whole.replace(separator, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(table: &TextTable) -> Vec<Vec<String>> {
        (0..table.rows()).map(|r| (0..table.width).map(|c| table.field(r, c).to_string()).collect()).collect()
    }

    #[test]
    fn fields_are_cut_alike_with_and_without_quotes() {
        let plain = TextTable::parse(b"a,b\r\n\r\n1,2\nx\n3,\n".to_vec(), b',', 2).unwrap();
        let quoted = TextTable::parse(b"\"a\",b\r\n\r\n1,2\nx\n3,\n".to_vec(), b',', 2).unwrap();
        assert_eq!(rows(&plain), rows(&quoted));
        assert_eq!(rows(&plain), [["a", "b"], ["1", "2"], ["3", ""]]);
        let lines = |table: TextTable| {
            let ragged = table.ragged.clone();
            let chunk = Chunk { file: 0, number: 0, first_line: 10, cells: Cells::Text(table) };
            ((0..3).map(|r| chunk.line(r)).collect::<Vec<_>>(), ragged)
        };
        let expected = (vec![10, 12, 14], vec![(3, 1, "x".to_string())]);
        assert_eq!(lines(plain), expected);
        assert_eq!(lines(quoted), expected);
    }

    #[test]
    fn a_quoted_field_may_hold_anything() {
        let table = TextTable::parse(b"\"a,\"\"b\"\"\nc\",2\n3,4\n".to_vec(), b',', 2).unwrap();
        assert_eq!(rows(&table), [["a,\"b\"\nc", "2"], ["3", "4"]]);
        assert_eq!(table.lines, Some(vec![0, 2]));
    }

    proptest::proptest! {
        #[test]
        fn short_decimals_are_read_as_the_standard_library_reads_them(text in "[0-9]{0,9}(\\.[0-9]{0,7})?") {
            if let Some(value) = short_decimal(text.as_bytes()) {
                proptest::prop_assert_eq!(Ok(value), text.parse::<f64>());
            }
        }

        #[test]
        fn words_are_read_like_texts(text in "[0-9.]{0,8}|[ -9]{1,8}", after in "[ -~]{8}") {
            let bytes = format!("{text}{after}").into_bytes();
            let word = u64::from_le_bytes(*bytes.first_chunk().unwrap());
            proptest::prop_assert_eq!(decimal_of_word(word, text.len()), short_decimal(text.as_bytes()));
        }

        #[test]
        fn plain_text_is_cut_like_quoted_text(text in "([a-c]{0,9}[,\\n]){0,30}[a-c]{0,3}(\r\n)?") {
            let plain = TextTable::plain(text.clone(), b',', 2);
            let quoted = TextTable::quoted(text.as_bytes(), b',', 2).unwrap();
            proptest::prop_assert_eq!(rows(&plain), rows(&quoted));
            proptest::prop_assert_eq!(&plain.ragged, &quoted.ragged);
            let lines = |table: &TextTable| match &table.lines {
                Some(lines) => lines.clone(),
                None => (0..table.rows() as u64).collect(),
            };
            proptest::prop_assert_eq!(lines(&plain), lines(&quoted));
        }
    }

    #[test]
    fn numbers_in_text() {
        let plain = |text| number(text, false);
        assert_eq!(plain("1.5e3"), Some(1500.0));
        assert_eq!(plain("-1,234,567.5"), Some(-1_234_567.5));
        assert_eq!(plain("12,345"), Some(12_345.0));
        assert_eq!(plain("1,2"), None);
        assert_eq!(plain("abc"), None);
        assert!(plain("").unwrap().is_nan() && plain("N/A").unwrap().is_nan());
        let german = |text| number(text, true);
        assert_eq!(german("1,085"), Some(1.085));
        assert_eq!(german("-1.234.567,5"), Some(-1_234_567.5));
        assert_eq!(german("1.085"), Some(1.085));
        assert_eq!(german("1,2,3"), None);
    }
}
