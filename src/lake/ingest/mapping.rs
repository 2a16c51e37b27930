//! Which columns of the delivered files become which columns of the table.

use super::cells::{Chunk, number};
use super::source::Source;
use crate::columns::{NAMES, PRICES, plain};
use crate::files::{symbol_of, without_timeframe};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::short;
use tallow_common::time::{TimeFormat, Zone, timestamp_type};
use tallow_udfs::calendar::Timeframe;

/// Columns beyond those that every candle has, and by which other names they are recognised.
const FURTHER: [(&str, &[&str]); 6] = [
    ("bid", &["bid_close"]),
    ("ask", &["ask_close", "offer"]),
    ("complete", &["is_complete", "is_final", "closed"]),
    ("adj_close", &["adjclose", "adjusted_close", "adj_close_price"]),
    ("trades", &["number_of_trades", "trade_count", "n_trades"]),
    ("vwap", &["vw"]),
];

/// Further columns that are numbers whatever the first rows say.
const NUMBERS: [&str; 6] = ["bid", "ask", "adj_close", "trades", "vwap", "quote_volume"];

/// Columns that only decide whether a row is taken.
const NOT_KEPT: [&str; 1] = ["complete"];

/// What the caller says of the columns.
#[derive(Debug, Clone, Default)]
pub struct Naming {
    /// Column of the file by column of the table (`ts=Gmt time`); `-` drops a column (`close_time=-`). A time in two
    /// columns is `ts=Date+Time`.
    pub map: Vec<(String, String)>,
    /// The symbol of all rows.
    pub symbol: Option<String>,
    /// A pattern on the path of a file; its first group is the symbol.
    pub symbol_from: Option<Regex>,
    /// A pattern on the path of a file; its first group is the date, `YYYYMMDD`, whose milliseconds its times are.
    pub date_from: Option<Regex>,
    /// How times are written, where that cannot be inferred.
    pub time_format: Option<String>,
}

/// Where the symbols of a file come from.
#[derive(Debug, Clone)]
pub(super) enum SymbolOf {
    Column(usize),
    File(String),
}

/// How a file becomes rows of the table.
#[derive(Debug, Clone)]
pub(super) struct FilePlan {
    pub symbol: SymbolOf,
    /// One column, or a date and a time of day.
    pub ts: Vec<usize>,
    pub time_format: TimeFormat,
    /// Local midnight of the day that times are counted from, where they are.
    pub day: Option<i64>,
    /// For each column of the table after `symbol` and `ts`: the file's column.
    pub columns: Vec<Option<usize>>,
    pub complete: Option<usize>,
    /// Names of the columns, as the header gives them: a header that comes again is no row.
    pub header: Vec<String>,
}

/// How a delivery becomes rows of a table.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Columns of the table that the delivery fills, in order.
    pub schema: SchemaRef,
    pub files: Vec<FilePlan>,
}

/// What is known of a file after a look at its first rows.
#[derive(Debug, Clone)]
pub(super) struct Recognised {
    symbol: SymbolOf,
    ts: Vec<usize>,
    time_format: TimeFormat,
    day: Option<i64>,
    /// The file's column by column of the table.
    columns: BTreeMap<String, usize>,
    /// Types of the columns beyond those that every candle has.
    further: BTreeMap<String, DataType>,
    header: Vec<String>,
}

/// Recognises the columns of a file by their names and its first rows.
pub(super) fn recognise(source: &Source, head: &Chunk, naming: &Naming, timeframe: Timeframe) -> Result<Recognised> {
    let names = name_columns(source, naming)?;
    let one = |name: &str| names.get(name).and_then(|c| c.first()).copied();
    let missing = |what: &str, column: &str| {
        plan_datafusion_err!(
            "{}: no {what} column among {}; name it with the option `map {column}=COLUMN`{}",
            source.path,
            short(&source.names.join(", ")),
            if source.is_member { ", or read other members of the archive with the option `member`" } else { "" }
        )
    };
    let ts = names.get("ts").cloned().ok_or_else(|| missing("time", "ts"))?;
    one("close").ok_or_else(|| missing("close", "close"))?;
    let symbol = match (&naming.symbol, &naming.symbol_from, one("symbol")) {
        (Some(symbol), _, _) => SymbolOf::File(symbol.clone()),
        (None, Some(pattern), _) => {
            let found = pattern.captures(&source.path).and_then(|c| c.get(1).or_else(|| c.get(0)));
            match found {
                Some(symbol) => SymbolOf::File(symbol.as_str().to_string()),
                None => {
                    return plan_err!("{}: the option `symbol_from` '{pattern}' does not match its path", source.path);
                }
            }
        }
        (None, None, Some(column)) => SymbolOf::Column(column),
        (None, None, None) => SymbolOf::File(without_timeframe(&symbol_of(&source.name), timeframe).to_string()),
    };
    let day = naming.date_from.as_ref().map(|pattern| day_of(source, pattern)).transpose()?;
    let time_format = match day {
        Some(_) => TimeFormat::Epoch(1000),
        None => time_format(source, head, &ts, naming)?,
    };
    let own = |name: &str| ["symbol", "ts"].contains(&name) || PRICES.contains(&name) || NOT_KEPT.contains(&name);
    let columns: BTreeMap<String, usize> =
        names.into_iter().filter_map(|(name, columns)| Some((name, *columns.first()?))).collect();
    let further = columns.iter().filter(|(name, _)| !own(name)).map(|(name, &column)| {
        let known = NUMBERS.contains(&name.as_str());
        (name.clone(), if known { DataType::Float64 } else { further_type(source, head, column) })
    });
    let further = further.collect();
    Ok(Recognised { symbol, ts, time_format, day, columns, further, header: source.names.clone() })
}

/// Plans how the rows of all files become rows of one table. `table` is the schema of the table, where there is one.
pub(super) fn plan(files: &[Recognised], table: Option<&Schema>) -> Result<Plan> {
    let mut further: BTreeMap<&str, &DataType> = BTreeMap::new();
    for (name, found) in files.iter().flat_map(|f| &f.further) {
        let known = further.entry(name).or_insert(found);
        if *known != found {
            *known = &DataType::Utf8View;
        }
    }
    let mut fields = vec![Field::new("symbol", DataType::Utf8View, true), Field::new("ts", timestamp_type(), true)];
    let delivered = PRICES.into_iter().filter(|name| files.iter().any(|f| f.columns.contains_key(*name)));
    fields.extend(delivered.map(|name| Field::new(name, DataType::Float64, true)));
    for (name, found) in further {
        let data_type = match table.and_then(|t| t.field_with_name(name).ok()).map(Field::data_type) {
            Some(DataType::Float64) => DataType::Float64,
            Some(DataType::Boolean) => DataType::Boolean,
            Some(DataType::Utf8 | DataType::Utf8View) => DataType::Utf8View,
            Some(other) => {
                return plan_err!(
                    "column `{name}` of the table is {other}, which ingest cannot write; drop it with the option \
                     `map {name}=-`"
                );
            }
            None => found.clone(),
        };
        fields.push(Field::new(name, data_type, true));
    }
    let schema = Arc::new(Schema::new(fields));
    let files = files.iter().map(|file| FilePlan {
        symbol: file.symbol.clone(),
        ts: file.ts.clone(),
        time_format: file.time_format.clone(),
        day: file.day,
        columns: schema.fields().iter().skip(2).map(|f| file.columns.get(f.name()).copied()).collect(),
        complete: file.columns.get("complete").copied(),
        header: file.header.clone(),
    });
    Ok(Plan { files: files.collect(), schema })
}

/// Local midnight of the date that the path of a file tells.
fn day_of(source: &Source, pattern: &Regex) -> Result<i64> {
    let date = pattern.captures(&source.path).and_then(|found| found.get(1).or_else(|| found.get(0)));
    let day = date.and_then(|date| TimeFormat::Compact.parse(date.as_str(), &mut Zone::Fixed(0)));
    day.ok_or_else(|| {
        plan_datafusion_err!("{}: the pattern `date_from` '{pattern}' finds no date in its path", source.path)
    })
}

impl Recognised {
    /// Columns of the table, and what of the file they are; further ones, which not every candle has, apart.
    pub fn in_words(&self) -> (Vec<(String, String)>, Vec<String>) {
        let own = |name: &str| ["symbol", "ts"].contains(&name) || PRICES.contains(&name);
        let header = |column: usize| self.header.get(column).cloned().unwrap_or_default();
        let ts = self.ts.iter().map(|column| header(*column)).collect::<Vec<_>>().join("+");
        let symbol = match &self.symbol {
            SymbolOf::Column(column) => header(*column),
            SymbolOf::File(symbol) => format!("'{symbol}'"),
        };
        let prices = PRICES.into_iter().filter_map(|name| Some((name.to_string(), header(*self.columns.get(name)?))));
        let known = [("symbol".to_string(), symbol), ("ts".to_string(), ts)].into_iter().chain(prices).collect();
        let further = self.columns.keys().filter(|name| !own(name) && !NOT_KEPT.contains(&name.as_str()));
        (known, further.cloned().collect())
    }
}

fn time_format(source: &Source, head: &Chunk, ts: &[usize], naming: &Naming) -> Result<TimeFormat> {
    if let Some(pattern) = &naming.time_format {
        return Ok(TimeFormat::Pattern(pattern.clone()));
    }
    let typed = |t: &DataType| matches!(t, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64);
    if source.type_of(ts[0]).is_some_and(typed) {
        return Ok(TimeFormat::Epoch(1));
    }
    let texts = head.texts(ts[0])?;
    let is_header = |text: &str| text.eq_ignore_ascii_case(source.names[ts[0]].trim());
    let samples: Vec<&str> = (0..head.rows()).map(|row| texts.get(row)).filter(|text| !is_header(text)).collect();
    if samples.is_empty() {
        return Ok(TimeFormat::Epoch(1));
    }
    TimeFormat::detect(samples.into_iter())
        .map_err(|said| plan_datafusion_err!("{}, column `{}`: {said}", source.path, source.names[ts[0]]))
}

/// Columns of the table by name, each with the file's columns that make it.
fn name_columns(source: &Source, naming: &Naming) -> Result<BTreeMap<String, Vec<usize>>> {
    let position = |name: &str| {
        let exact = source.names.iter().position(|n| n == name);
        exact.or_else(|| source.names.iter().position(|n| n.eq_ignore_ascii_case(name)))
    };
    let mut result: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut taken = vec![false; source.names.len()];
    for (target, from) in &naming.map {
        if from == "-" {
            // A column may be dropped under the name it has or the one it would get.
            for (i, name) in source.names.iter().enumerate() {
                taken[i] |= name == target || plain(name) == plain(target);
            }
            continue;
        }
        let parts: Vec<&str> = match position(from) {
            Some(_) => vec![from.as_str()],
            None => from.split('+').map(str::trim).collect(),
        };
        let columns = parts
            .iter()
            .map(|part| {
                position(part).ok_or_else(|| {
                    plan_datafusion_err!(
                        "{}: the option `map` {target}={from}: no column `{part}` among {}",
                        source.path,
                        short(&source.names.join(", "))
                    )
                })
            })
            .collect::<Result<Vec<_>>>()?;
        columns.iter().for_each(|&c| taken[c] = true);
        result.insert(plain(target), columns);
    }
    let free =
        |taken: &[bool], name: &str| source.names.iter().enumerate().position(|(i, n)| !taken[i] && plain(n) == name);
    for (name, others) in NAMES.into_iter().chain(FURTHER) {
        if result.contains_key(name) || name == "symbol" && naming.symbol.is_some() {
            continue;
        }
        let known = std::iter::once(&name).chain(others);
        if let Some(column) = known.into_iter().find_map(|known| free(&taken, known)) {
            taken[column] = true;
            let mut columns = vec![column];
            // Some programs write the date and the time of day side by side.
            if name == "ts"
                && plain(&source.names[column]) == "date"
                && source.type_of(column).is_none_or(DataType::is_string)
                && let Some(time) = free(&taken, "time")
            {
                taken[time] = true;
                columns.push(time);
            }
            result.insert(name.to_string(), columns);
        }
    }
    for (i, name) in source.names.iter().enumerate() {
        let name = plain(name);
        if !taken[i] && !name.is_empty() {
            result.entry(name).or_insert_with(|| vec![i]);
        }
    }
    Ok(result)
}

/// The type of a further column: number, truth value or text.
fn further_type(source: &Source, head: &Chunk, column: usize) -> DataType {
    match source.type_of(column) {
        Some(t) if t.is_numeric() => return DataType::Float64,
        Some(DataType::Boolean) => return DataType::Boolean,
        Some(t) if !t.is_string() => return DataType::Utf8View,
        _ => {}
    }
    let Ok(texts) = head.texts(column) else { return DataType::Utf8View };
    let header = source.names[column].trim();
    let values = || (0..head.rows()).map(|row| texts.get(row)).filter(|t| !t.is_empty() && *t != header);
    let decimal_comma = head.decimal_comma();
    if values().next().is_none() {
        // Nothing is known of it: text holds anything.
        DataType::Utf8View
    } else if values().all(|t| number(t, decimal_comma).is_some()) {
        DataType::Float64
    } else if values().all(|t| truth(t).is_some()) {
        DataType::Boolean
    } else {
        DataType::Utf8View
    }
}

/// A truth value in words or digits.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}
